//! The parser. Grammar, strictness and error texts follow Go's text/template/parse; nesting is bounded.
//!
//! A little longer than other files: the grammar is one piece.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bytes::ByteStr;
use super::error::TemplateError;
use super::functions::{self, Function};
use super::lexer::{Kind, Lexer, Token};
use super::node::{self, Command, Node, Number, Operand, OperandKind, Pipe};
use super::numeric::{NumberError, parse_float, parse_int, parse_uint};
use super::runes::{Unquoted, quoted, unquote, unquote_char};
use super::{Flavour, Options};
use crate::pure::limits;

type Parsed<T> = Result<T, TemplateError>;

/// Trees by template name; the main template and what it defines.
pub(super) type Trees = BTreeMap<String, Vec<Node>>;

/// What a definition inside a template has of its own.
struct Scope {
    name: String,
    variables: Vec<Arc<str>>,
    range_depth: usize,
    action_line: usize,
    token: [Token; 3],
    peeked: usize,
}

impl Scope {
    fn new(name: String) -> Self {
        let blank = || Token { kind: Kind::Eof, pos: 0, text: Vec::new(), line: 0 };
        Self {
            name,
            variables: vec!["$".into()],
            range_depth: 0,
            action_line: 0,
            token: [blank(), blank(), blank()],
            peeked: 0,
        }
    }
}

enum Item {
    Node(Node),
    End,
    Else,
}

struct Parser<'t> {
    parse_name: &'t str,
    flavour: Flavour,
    lexer: Lexer<'t>,
    scope: Scope,
    trees: Trees,
    /// Control structures and parentheses around the current token.
    depth: usize,
    /// A function was named whose result may differ from run to run.
    volatile: bool,
}

/// Parses a template and everything it defines.
pub(super) fn parse(name: &str, text: &[u8], options: &Options) -> Parsed<(Trees, bool)> {
    if text.len() > limits::TEMPLATE_BYTES {
        let cap = limits::TEMPLATE_BYTES;
        return Err(TemplateError::Limit {
            text: format!("template: {name}: limit reached: a template may not exceed {cap} bytes"),
        });
    }
    let mut parser = Parser {
        parse_name: name,
        flavour: options.flavour,
        lexer: Lexer::new(text, &options.left, &options.right),
        scope: Scope::new(name.to_owned()),
        trees: Trees::new(),
        depth: 0,
        volatile: false,
    };
    parser.top()?;
    Ok((parser.trees, parser.volatile))
}

impl<'t> Parser<'t> {
    fn next(&mut self) -> Token {
        if self.scope.peeked > 0 {
            self.scope.peeked -= 1;
        } else {
            self.scope.token[0] = self.lexer.next_token();
        }
        self.scope.token.get(self.scope.peeked).unwrap_or(&self.scope.token[0]).clone()
    }

    fn backup(&mut self) {
        self.scope.peeked += 1;
    }

    fn backup2(&mut self, first: Token) {
        self.scope.token[1] = first;
        self.scope.peeked = 2;
    }

    fn backup3(&mut self, first: Token, second: Token) {
        self.scope.token[1] = second;
        self.scope.token[2] = first;
        self.scope.peeked = 3;
    }

    fn peek(&mut self) -> &Token {
        if self.scope.peeked == 0 {
            self.scope.peeked = 1;
            self.scope.token[0] = self.lexer.next_token();
        }
        self.scope.token.get(self.scope.peeked - 1).unwrap_or(&self.scope.token[0])
    }

    fn next_non_space(&mut self) -> Token {
        loop {
            let token = self.next();
            if token.kind != Kind::Space {
                return token;
            }
        }
    }

    fn peek_non_space(&mut self) -> Token {
        let token = self.next_non_space();
        self.backup();
        token
    }

    fn fail<T>(&self, message: impl std::fmt::Display) -> Parsed<T> {
        Err(TemplateError::Parse {
            text: format!("template: {}:{}: {message}", self.parse_name, self.scope.token[0].line),
        })
    }

    fn unexpected<T>(&self, token: &Token, context: &str) -> Parsed<T> {
        if token.kind != Kind::Error {
            return self.fail(format_args!("unexpected {} in {context}", token.describe()));
        }
        let text = token.describe();
        let mut extra = String::new();
        if self.scope.action_line != 0 && self.scope.action_line != token.line {
            // "unclosed action in action started at …" reads badly: Go leaves the second "in action" out.
            let action = if text.ends_with(" action") { "" } else { " in action" };
            extra = format!("{action} started at {}:{}", self.parse_name, self.scope.action_line);
        }
        self.fail(format_args!("{text}{extra}"))
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Parsed<Token> {
        let token = self.next_non_space();
        if token.kind == kind { Ok(token) } else { self.unexpected(&token, context) }
    }

    fn deeper(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > limits::TEMPLATE_NESTING {
            let (name, line, cap) = (self.parse_name, self.scope.token[0].line, limits::TEMPLATE_NESTING);
            return Err(TemplateError::Limit {
                text: format!("template: {name}:{line}: limit reached: nesting may not exceed {cap} levels"),
            });
        }
        Ok(())
    }

    fn add(&mut self, root: Vec<Node>) -> Parsed<()> {
        let name = &self.scope.name;
        match self.trees.get(name) {
            Some(old) if !node::is_empty(old) => {
                if !node::is_empty(&root) {
                    let name = quoted(name.as_bytes());
                    return self.fail(format_args!("template: multiple definition of template {name}"));
                }
            }
            _ => {
                self.trees.insert(name.clone(), root);
            }
        }
        Ok(())
    }

    fn top(&mut self) -> Parsed<()> {
        let mut root = Vec::new();
        while self.peek().kind != Kind::Eof {
            if self.peek().kind == Kind::LeftDelim {
                let delim = self.next();
                if self.next_non_space().kind == Kind::Define {
                    self.definition()?;
                    continue;
                }
                self.backup2(delim);
            }
            match self.text_or_action()? {
                Item::End => return self.fail("unexpected {{end}}"),
                Item::Else => return self.fail("unexpected {{else}}"),
                Item::Node(node) => root.push(node),
            }
        }
        self.add(root)
    }

    /// Parses a body with a scope of its own up to its `end` and files it under `name` (none: it comes next).
    fn body(&mut self, name: Option<String>, context: &str) -> Parsed<()> {
        let outer = std::mem::replace(&mut self.scope, Scope::new("definition".to_owned()));
        match name {
            Some(name) => self.scope.name = name,
            None => {
                let token = self.next_non_space();
                if !matches!(token.kind, Kind::String | Kind::RawString) {
                    return self.unexpected(&token, context);
                }
                self.scope.name = self.unquoted(&token)?;
                self.expect(Kind::RightDelim, context)?;
            }
        }
        let (root, end) = self.item_list()?;
        if !matches!(end, Item::End) {
            return self.fail(format_args!("unexpected {{{{else}}}} in {context}"));
        }
        self.add(root)?;
        self.scope = outer;
        Ok(())
    }

    fn definition(&mut self) -> Parsed<()> {
        self.body(None, "define clause")
    }

    fn unquoted(&self, token: &Token) -> Parsed<String> {
        match unquote(&token.text) {
            Some(name) => Ok(String::from_utf8_lossy(&name).into_owned()),
            None => self.fail("invalid syntax"),
        }
    }

    fn item_list(&mut self) -> Parsed<(Vec<Node>, Item)> {
        self.deeper()?;
        let mut nodes = Vec::new();
        while self.peek_non_space().kind != Kind::Eof {
            match self.text_or_action()? {
                Item::Node(node) => nodes.push(node),
                end => {
                    self.depth -= 1;
                    return Ok((nodes, end));
                }
            }
        }
        self.fail("unexpected EOF")
    }

    fn text_or_action(&mut self) -> Parsed<Item> {
        let token = self.next_non_space();
        match token.kind {
            Kind::Text => Ok(Item::Node(Node::Text(ByteStr::from_vec(token.text)))),
            Kind::LeftDelim => {
                self.scope.action_line = token.line;
                let item = self.action();
                if item.is_ok() {
                    self.scope.action_line = 0;
                }
                item
            }
            _ => self.unexpected(&token, "input"),
        }
    }

    fn action(&mut self) -> Parsed<Item> {
        let token = self.next_non_space();
        Ok(Item::Node(match token.kind {
            Kind::Block => self.block()?,
            Kind::Break => self.loop_exit("{{break}}", Node::Break)?,
            Kind::Continue => self.loop_exit("{{continue}}", Node::Continue)?,
            Kind::Else => {
                if !matches!(self.peek_non_space().kind, Kind::If | Kind::With) {
                    self.expect(Kind::RightDelim, "else")?;
                }
                return Ok(Item::Else);
            }
            Kind::End => {
                self.expect(Kind::RightDelim, "end")?;
                return Ok(Item::End);
            }
            Kind::If => self.branch(false)?,
            Kind::With => self.branch(true)?,
            Kind::Range => self.range()?,
            Kind::Template => self.template()?,
            _ => {
                self.backup();
                // What the pipeline declares stays visible until the surrounding `end`.
                Node::Action(self.pipeline("command", Kind::RightDelim)?)
            }
        }))
    }

    fn loop_exit(&mut self, name: &str, node: Node) -> Parsed<Node> {
        let token = self.next_non_space();
        if token.kind != Kind::RightDelim {
            return self.unexpected(&token, name);
        }
        if self.scope.range_depth == 0 {
            return self.fail(format_args!("{name} outside {{{{range}}}}"));
        }
        Ok(node)
    }

    fn branch(&mut self, with: bool) -> Parsed<Node> {
        let visible = self.scope.variables.len();
        let (context, keyword) = if with { ("with", Kind::With) } else { ("if", Kind::If) };
        let mut branches = Vec::new();
        let otherwise = loop {
            let pipe = self.pipeline(context, Kind::RightDelim)?;
            let (body, end) = self.item_list()?;
            branches.push((pipe, body));
            if matches!(end, Item::End) {
                break None;
            }
            if self.peek().kind == keyword {
                self.next();
                continue;
            }
            break Some(self.else_body()?);
        };
        self.scope.variables.truncate(visible);
        Ok(Node::Branch { with, branches, otherwise })
    }

    fn else_body(&mut self) -> Parsed<Vec<Node>> {
        let (body, end) = self.item_list()?;
        match end {
            Item::End => Ok(body),
            _ => self.fail("expected end; found {{else}}"),
        }
    }

    fn range(&mut self) -> Parsed<Node> {
        let visible = self.scope.variables.len();
        let pipe = self.pipeline("range", Kind::RightDelim)?;
        self.scope.range_depth += 1;
        let (body, end) = self.item_list()?;
        self.scope.range_depth -= 1;
        let otherwise = if matches!(end, Item::End) { None } else { Some(self.else_body()?) };
        self.scope.variables.truncate(visible);
        Ok(Node::Range { pipe, body, otherwise })
    }

    fn template_name(&mut self, context: &str) -> Parsed<(usize, String)> {
        let token = self.next_non_space();
        if !matches!(token.kind, Kind::String | Kind::RawString) {
            return self.unexpected(&token, context);
        }
        Ok((token.pos, self.unquoted(&token)?))
    }

    fn block(&mut self) -> Parsed<Node> {
        let context = "block clause";
        let (pos, name) = self.template_name(context)?;
        let pipe = self.pipeline(context, Kind::RightDelim)?;
        self.body(Some(name.clone()), context)?;
        Ok(Node::Template { pos, name, pipe: Some(pipe) })
    }

    fn template(&mut self) -> Parsed<Node> {
        let context = "template clause";
        let (pos, name) = self.template_name(context)?;
        let mut pipe = None;
        if self.next_non_space().kind != Kind::RightDelim {
            self.backup();
            pipe = Some(self.pipeline(context, Kind::RightDelim)?);
        }
        Ok(Node::Template { pos, name, pipe })
    }

    fn pipeline(&mut self, context: &str, end: Kind) -> Parsed<Pipe> {
        self.deeper()?;
        let pos = self.peek_non_space().pos;
        let mut pipe = Pipe { pos, declares: Vec::new(), assigns: false, commands: Vec::new() };
        self.declarations(&mut pipe, context)?;
        loop {
            let token = self.next_non_space();
            match token.kind {
                kind if kind == end => break,
                Kind::Bool
                | Kind::CharConstant
                | Kind::Complex
                | Kind::Dot
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::Nil
                | Kind::RawString
                | Kind::String
                | Kind::Variable
                | Kind::LeftParen => {
                    self.backup();
                    let command = self.command()?;
                    pipe.commands.push(command);
                }
                _ => return self.unexpected(&token, context),
            }
        }
        self.depth -= 1;
        if pipe.commands.is_empty() {
            return self.fail(format_args!("missing value for {context}"));
        }
        for (index, command) in pipe.commands.iter().enumerate().skip(1) {
            if let Some(Operand {
                kind:
                    OperandKind::Bool(_)
                    | OperandKind::Dot
                    | OperandKind::Nil
                    | OperandKind::Number(_)
                    | OperandKind::Str { .. },
                ..
            }) = command.operands.first()
            {
                return self.fail(format_args!("non executable command in pipeline stage {}", index + 1));
            }
        }
        Ok(pipe)
    }

    /// `$x :=`, `$x =`, and in a range `$x, $y :=`.
    fn declarations(&mut self, pipe: &mut Pipe, context: &str) -> Parsed<()> {
        loop {
            let variable = self.peek_non_space();
            if variable.kind != Kind::Variable {
                return Ok(());
            }
            self.next();
            // Blanks are tokens: telling `$x foo` from `$x := foo` takes three tokens.
            let after = self.peek().clone();
            let next = self.peek_non_space();
            let comma = next.kind == Kind::Char && next.text == b",";
            if !comma && !matches!(next.kind, Kind::Assign | Kind::Declare) {
                if after.kind == Kind::Space {
                    self.backup3(variable, after);
                } else {
                    self.backup2(variable);
                }
                return Ok(());
            }
            self.next_non_space();
            let name: Arc<str> = String::from_utf8_lossy(&variable.text).into();
            pipe.declares.push(name.clone());
            self.scope.variables.push(name);
            if !comma {
                pipe.assigns = next.kind == Kind::Assign;
                return Ok(());
            }
            if context == "range" && pipe.declares.len() < 2 {
                if matches!(self.peek_non_space().kind, Kind::Variable | Kind::RightDelim | Kind::RightParen) {
                    continue;
                }
                return self.fail("range can only initialize variables");
            }
            return self.fail(format_args!("too many declarations in {context}"));
        }
    }

    fn command(&mut self) -> Parsed<Command> {
        let mut command = Command { pos: self.peek_non_space().pos, operands: Vec::new() };
        loop {
            self.peek_non_space();
            if let Some(operand) = self.operand()? {
                command.operands.push(operand);
            }
            let token = self.next();
            match token.kind {
                Kind::Space => continue,
                Kind::RightDelim | Kind::RightParen => self.backup(),
                Kind::Pipe => {}
                _ => return self.unexpected(&token, "operand"),
            }
            break;
        }
        if command.operands.is_empty() {
            return self.fail("empty command");
        }
        Ok(command)
    }

    fn operand(&mut self) -> Parsed<Option<Operand>> {
        let Some(term) = self.term()? else { return Ok(None) };
        if self.peek().kind != Kind::Field {
            return Ok(Some(term));
        }
        let pos = self.peek().pos;
        let mut fields: Vec<Arc<str>> = Vec::new();
        while self.peek().kind == Kind::Field {
            fields.push(field_name(&self.next()));
        }
        let kind = match term.kind {
            OperandKind::Field(mut names) => {
                names.append(&mut fields);
                OperandKind::Field(names)
            }
            OperandKind::Variable(name, mut names) => {
                names.append(&mut fields);
                OperandKind::Variable(name, names)
            }
            OperandKind::Bool(_)
            | OperandKind::Str { .. }
            | OperandKind::Number(_)
            | OperandKind::Nil
            | OperandKind::Dot => {
                let source = quoted(term.source().as_bytes());
                return self.fail(format_args!("unexpected . after term {source}"));
            }
            _ => OperandKind::Chain(Box::new(term), fields),
        };
        Ok(Some(Operand { pos, kind }))
    }

    fn term(&mut self) -> Parsed<Option<Operand>> {
        let token = self.next_non_space();
        let kind = match token.kind {
            Kind::Identifier => OperandKind::Function(self.function(&token)?),
            Kind::Dot => OperandKind::Dot,
            Kind::Nil => OperandKind::Nil,
            Kind::Variable => {
                let name: Arc<str> = String::from_utf8_lossy(&token.text).into();
                if !self.scope.variables.contains(&name) {
                    let name = quoted(name.as_bytes());
                    return self.fail(format_args!("undefined variable {name}"));
                }
                OperandKind::Variable(name, Vec::new())
            }
            Kind::Field => OperandKind::Field(vec![field_name(&token)]),
            Kind::Bool => OperandKind::Bool(token.text == b"true"),
            Kind::CharConstant | Kind::Complex | Kind::Number => match number(&token) {
                Ok(number) => OperandKind::Number(number),
                Err(message) => return self.fail(message),
            },
            Kind::LeftParen => OperandKind::Pipe(Box::new(self.pipeline("parenthesized pipeline", Kind::RightParen)?)),
            Kind::String | Kind::RawString => match unquote(&token.text) {
                Some(text) => OperandKind::Str {
                    quoted: String::from_utf8_lossy(&token.text).into_owned(),
                    text: ByteStr::from_vec(text),
                },
                None => return self.fail("invalid syntax"),
            },
            _ => {
                self.backup();
                return Ok(None);
            }
        };
        Ok(Some(Operand { pos: token.pos, kind }))
    }

    fn function(&mut self, token: &Token) -> Parsed<&'static Function> {
        let name = String::from_utf8_lossy(&token.text);
        match functions::find(self.flavour, &name) {
            Some(function) => {
                self.volatile |= functions::is_volatile(function.name);
                Ok(function)
            }
            None => self.fail(format_args!("function {} not defined", quoted(&token.text))),
        }
    }
}

fn field_name(token: &Token) -> Arc<str> {
    String::from_utf8_lossy(token.text.get(1..).unwrap_or_default()).into()
}

fn number(token: &Token) -> Result<Number, String> {
    let bytes = token.text.as_slice();
    let text = String::from_utf8_lossy(bytes).into_owned();
    if token.kind == Kind::CharConstant {
        return char_constant(bytes, text);
    }
    if let Some(head) = bytes.strip_suffix(b"i") {
        let (re, im) = match token.kind {
            Kind::Complex => split_complex(head).ok_or("syntax error scanning complex number")?,
            _ => (0.0, parse_float(head).unwrap_or(f64::NAN)),
        };
        if !im.is_nan() {
            return Ok(simplified(re, im, text));
        }
    }
    let uint = parse_uint(bytes, 0).ok();
    let int = parse_int(bytes, 0).ok();
    let mut number = Number { int, uint: uint.or((int == Some(0)).then_some(0)), text, ..Number::default() };
    if let Some(int) = number.int {
        number.float = Some(int as f64);
    } else if let Some(uint) = number.uint {
        number.float = Some(uint as f64);
    } else if let Ok(float) = parse_float(bytes) {
        if !bytes.iter().any(|byte| b".eEpP".contains(byte)) {
            return Err(format!("integer overflow: {}", quoted(bytes)));
        }
        number.float = Some(float);
        number.int = exact_int(float);
        number.uint = exact_uint(float);
    }
    if number.int.is_none() && number.uint.is_none() && number.float.is_none() {
        return Err(format!("illegal number syntax: {}", quoted(bytes)));
    }
    Ok(number)
}

fn char_constant(bytes: &[u8], text: String) -> Result<Number, String> {
    let inner = bytes.get(1..).unwrap_or_default();
    let (unquoted, width) = unquote_char(inner, b'\'').ok_or("invalid syntax")?;
    if inner.get(width..) != Some(b"'") {
        return Err(format!("malformed character constant: {text}"));
    }
    let code = match unquoted {
        Unquoted::Byte(byte) => u32::from(byte),
        Unquoted::Char(c) => c as u32,
    };
    Ok(Number {
        int: Some(i64::from(code)),
        uint: Some(u64::from(code)),
        float: Some(f64::from(code)),
        complex: None,
        text,
    })
}

/// `1+2` of `1+2i`: the second number starts at the last sign that is not an exponent's.
fn split_complex(text: &[u8]) -> Option<(f64, f64)> {
    let at = (1..text.len()).rev().find(|at| {
        matches!(text.get(*at), Some(b'+' | b'-')) && !matches!(text.get(at - 1), Some(b'e' | b'E' | b'p' | b'P'))
    })?;
    let part = |bytes: &[u8]| match parse_float(bytes) {
        Ok(value) => Some(value),
        Err(NumberError::Syntax) => parse_int(bytes, 0).ok().map(|int| int as f64),
        Err(NumberError::Range) => None,
    };
    Some((part(text.get(..at)?)?, part(text.get(at..)?)?))
}

fn simplified(re: f64, im: f64, text: String) -> Number {
    let mut number = Number { complex: Some((re, im)), text, ..Number::default() };
    if im == 0.0 {
        number.float = Some(re);
        number.int = exact_int(re);
        number.uint = exact_uint(re);
    }
    number
}

fn exact_int(float: f64) -> Option<i64> {
    // Conversion of a float outside the range gives the smallest integer on amd64, which is exact only for itself.
    let int = if (-9.3e18..9.223_372_036_854_775e18).contains(&float) { float as i64 } else { i64::MIN };
    (int as f64 == float).then_some(int)
}

fn exact_uint(float: f64) -> Option<u64> {
    let uint = if float < 0.0 { float as i64 as u64 } else { float as u64 };
    ((0.0..1.844_674_407_370_955_2e19).contains(&float) && uint as f64 == float).then_some(uint)
}
