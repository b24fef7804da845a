//! Where Go's yaml.v3 hangs the comments of a document.
//!
//! SOPS binds an encrypted comment to the collection that it hangs on, so a comment that we hang elsewhere is one that
//! sops leaves as ciphertext. In yaml.v3 a comment is the head of what follows, the foot of what precedes, or stands on
//! the line of a token. Which of these it is, the scanner decides from blank lines and columns; whose it is, follows
//! from the order in which the parser meets tokens and comments. Both are played here on the events of our parser.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, StructureStyle, options};

use crate::pure::format::Span;

/// The collection of each comment by the comment's offset in `text`. Collections are numbered in the order in which they
/// begin. A text that cannot be parsed has none: who reads it next gets the error.
///
/// The text is looked at as an encrypted file: a key follows at the end of `body`, and scalars stand on one line.
pub(super) fn homes(text: &str, body: &Span, first_line: bool) -> HashMap<usize, usize> {
    let Some((nodes, comments)) = nodes(text) else { return HashMap::new() };
    let mut homes: HashMap<usize, usize> = comments.iter().map(|comment| (comment.at, 0)).collect();
    if comments.is_empty() {
        return homes;
    }
    let mut scan = Scan {
        text,
        end: body.end,
        first_line,
        cursor: body.start,
        comments,
        seen: 0,
        steps: Vec::new(),
        pieces: Vec::new(),
        last: Token { at: body.start.saturating_sub(3), kind: Kind::Plain },
        before: Token { at: 0, kind: Kind::Plain },
        indents: Vec::new(),
        gap: 0,
        end_mark: 0,
    };
    scan.seen = scan.comments.iter().take_while(|comment| comment.at < body.start).count();
    scan.document(&nodes);
    let Scan { steps, pieces, .. } = scan;
    let mut tree = Tree { pieces: &pieces, ..Tree::default() };
    for step in &steps {
        tree.step(step);
    }
    homes.extend(tree.found);
    homes
}

struct Comment {
    at: usize,
    end: usize,
}

/// An event of our parser, as far as it matters here.
struct Node {
    what: What,
    start: usize,
    end: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Start {
        map: bool,
        flow: bool,
    },
    End,
    /// A plain or quoted scalar, or an alias.
    Leaf,
    Block,
}

fn nodes(text: &str) -> Option<(Vec<Node>, Vec<Comment>)> {
    let options = options! { block_scalar_eof_without_line_feed: true, max_buffered_comment_events: 100_000 };
    let (mut nodes, mut comments) = (Vec::new(), Vec::new());
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.ok()?;
        let range = span.byte_range().unwrap_or_default();
        let what = match event {
            Event::Comment(..) => {
                comments.push(Comment { at: range.start, end: range.end });
                continue;
            }
            Event::MappingStart(style, ..) => What::Start { map: true, flow: style == StructureStyle::Flow },
            Event::SequenceStart(style, ..) => What::Start { map: false, flow: style == StructureStyle::Flow },
            Event::MappingEnd | Event::SequenceEnd => What::End,
            Event::Scalar(_, ScalarStyle::Literal | ScalarStyle::Folded, ..) => What::Block,
            Event::Scalar(..) | Event::Alias(_) => What::Leaf,
            _ => continue,
        };
        nodes.push(Node { what, start: range.start, end: range.end });
    }
    comments.sort_by_key(|comment| comment.at);
    Some((nodes, comments))
}

#[derive(Clone, Copy)]
struct Token {
    at: usize,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    /// The end of a scalar or alias.
    Leaf,
    Dash,
    Colon,
    Comma,
}

/// What the parser does, in its order.
enum Step {
    /// A token that only brings the comments before it along.
    Token(usize),
    Dash(usize),
    Leaf(usize),
    /// A value that is not there.
    Empty,
    Start {
        id: usize,
        map: bool,
        open: Open,
    },
    End(Option<usize>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Block(usize),
    Flow(usize),
    /// A list as far left as its name, or a pair in a flow list: no token begins it.
    Bare,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Head,
    Line,
    Foot,
}

/// Comments that the scanner keeps together.
struct Piece {
    role: Role,
    /// The token from which on the parser takes it up.
    mark: usize,
    column: usize,
    comments: Vec<usize>,
}

struct Scan<'t> {
    text: &'t str,
    end: usize,
    first_line: bool,
    /// Behind the last token.
    cursor: usize,
    comments: Vec<Comment>,
    /// How many comments are in pieces.
    seen: usize,
    steps: Vec<Step>,
    pieces: Vec<Piece>,
    last: Token,
    before: Token,
    /// Columns of the open block collections that have tokens of their own.
    indents: Vec<usize>,
    /// The first piece behind the last token.
    gap: usize,
    /// Where the collections that end here are taken to end.
    end_mark: usize,
}

struct Frame {
    map: bool,
    flow: bool,
    open: Option<Open>,
    id: usize,
    /// Children so far: of a map, keys and values.
    count: usize,
}

impl Scan<'_> {
    fn document(&mut self, nodes: &[Node]) {
        let mut frames: Vec<Frame> = Vec::new();
        let mut ids = 0;
        for (index, node) in nodes.iter().enumerate() {
            if node.what == What::End {
                let Some(frame) = frames.pop() else { return };
                if frames.is_empty() {
                    let column = self.indents.first().copied().unwrap_or_default();
                    self.close_gap(self.end, column, false);
                    self.token(self.end, self.end, Kind::Leaf);
                    self.steps.push(Step::Leaf(self.end));
                    self.steps.push(Step::Empty);
                }
                self.end(&frame);
                continue;
            }
            let in_flow = frames.last().is_some_and(|frame| frame.flow);
            let begins_map = matches!(node.what, What::Start { map: true, flow: false }) && !in_flow;
            // Properties on the line of a map's first key are the key's.
            let key = nodes.get(index + 1).filter(|_| begins_map);
            let key_line = key.map(|key| self.text.get(..key.start).and_then(|text| text.rfind('\n')).unwrap_or(0));
            if let Some(frame) = frames.last_mut() {
                self.separators(frame);
                frame.count += 1;
            }
            let empty = node.what == What::Leaf && node.start == node.end;
            while let Some(at) = self.next() {
                let is_property = matches!(self.byte(at), Some(b'&' | b'!'));
                let is_far = || self.text.get(self.cursor..at).is_some_and(|between| between.contains('\n'));
                if !is_property || key_line.is_some_and(|line| at > line) || empty && is_far() {
                    break;
                }
                if let Some(frame) = frames.last_mut() {
                    self.begin(frame, at);
                }
                let end = self.word_end(at, in_flow);
                self.token(at, end, Kind::Plain);
                self.steps.push(Step::Token(at));
            }
            match node.what {
                What::Start { map, flow } => {
                    let at = self.next().unwrap_or(node.start);
                    let mut frame = Frame { map, flow: flow || in_flow, open: None, id: ids, count: 0 };
                    ids += 1;
                    if frame.flow && matches!(self.byte(at), Some(b'[' | b'{')) {
                        if let Some(parent) = frames.last_mut() {
                            self.begin(parent, at);
                        }
                        self.token(at, at + 1, Kind::Plain);
                        frame.open = Some(Open::Flow(at));
                    } else if frame.flow {
                        frame.open = Some(Open::Bare);
                    }
                    if let Some(open) = frame.open {
                        self.steps.push(Step::Start { id: frame.id, map, open });
                    }
                    frames.push(frame);
                }
                _ if empty => {
                    if let (Some(frame), Some(at)) = (frames.last_mut(), self.next()) {
                        self.begin(frame, at);
                    }
                    self.steps.push(Step::Empty);
                }
                What::Leaf | What::Block => {
                    let at = if node.what == What::Block { self.next().unwrap_or(node.start) } else { node.start };
                    if let Some(frame) = frames.last_mut() {
                        self.begin(frame, at);
                    }
                    let end = if node.what == What::Block {
                        let body = self.text.get(..node.end).unwrap_or_default().trim_end().len();
                        self.word_end(at, false).max(body)
                    } else {
                        node.end
                    };
                    self.token(at, end, Kind::Leaf);
                    self.steps.push(Step::Leaf(at));
                }
                What::End => {}
            }
        }
    }

    /// The tokens before a child.
    fn separators(&mut self, frame: &mut Frame) {
        if frame.flow {
            while let Some(at) = self.next().filter(|at| self.byte(*at) == Some(b',')) {
                self.token(at, at + 1, Kind::Comma);
                self.steps.push(Step::Token(at));
            }
        }
        let Some(at) = self.next() else { return };
        match self.byte(at) {
            Some(b'-') if !frame.map && !frame.flow => {
                self.begin(frame, at);
                self.token(at, at + 1, Kind::Dash);
                self.steps.push(Step::Dash(at));
            }
            Some(b':') if frame.map && frame.count % 2 == 1 => {
                self.token(at, at + 1, Kind::Colon);
                self.steps.push(Step::Token(at));
            }
            Some(b'?')
                if frame.map
                    && frame.count.is_multiple_of(2)
                    && self.byte(at + 1).is_none_or(|byte| byte.is_ascii_whitespace()) =>
            {
                self.begin(frame, at);
                self.token(at, at + 1, Kind::Plain);
                self.steps.push(Step::Token(at));
            }
            _ => {}
        }
    }

    /// The first token of a block collection is at `at`.
    fn begin(&mut self, frame: &mut Frame, at: usize) {
        if frame.open.is_some() {
            return;
        }
        let column = self.column(at);
        let open = if frame.map || self.indents.last().is_none_or(|indent| *indent < column) {
            self.close_gap(at, column, false);
            self.indents.push(column);
            Open::Block(at)
        } else {
            Open::Bare
        };
        frame.open = Some(open);
        self.steps.push(Step::Start { id: frame.id, map: frame.map, open });
    }

    fn end(&mut self, frame: &Frame) {
        let at = match frame.open {
            Some(Open::Block(_)) => {
                let next = self.next().unwrap_or(self.end);
                let column =
                    if next < self.end { self.column(next) } else { self.indents.first().copied().unwrap_or_default() };
                self.close_gap(next, column, false);
                let indent = self.indents.pop().unwrap_or_default();
                let own = |piece: &&Piece| piece.role != Role::Line && piece.column == indent;
                let first = self.pieces.get(self.gap..).unwrap_or_default().iter().find(own);
                if let Some(at) = first.and_then(|piece| piece.comments.first()) {
                    self.end_mark = *at;
                }
                Some(self.end_mark)
            }
            Some(Open::Flow(_)) => {
                while let Some(at) = self.next().filter(|at| self.byte(*at) == Some(b',')) {
                    self.token(at, at + 1, Kind::Comma);
                    self.steps.push(Step::Token(at));
                }
                let at = self.next().unwrap_or(self.end);
                self.token(at, at + 1, Kind::Plain);
                Some(at)
            }
            _ => None,
        };
        self.steps.push(Step::End(at));
    }

    fn token(&mut self, at: usize, end: usize, kind: Kind) {
        let closes = kind == Kind::Plain && matches!(self.byte(at), Some(b']' | b'}'));
        self.close_gap(at, self.column(at), closes);
        self.before = std::mem::replace(&mut self.last, Token { at, kind });
        self.cursor = self.cursor.max(end);
        self.gap = self.pieces.len();
        self.end_mark = at + 1;
    }

    /// Makes pieces of the comments between the last token and the one at `next`.
    fn close_gap(&mut self, next: usize, next_column: usize, closes: bool) {
        let first = self.seen;
        self.seen += self.comments.iter().skip(first).take_while(|comment| comment.at < next).count();
        let mut own: Vec<(usize, usize)> =
            self.comments.get(first..self.seen).unwrap_or_default().iter().map(|it| (it.at, it.end)).collect();
        let Some(&(start, _)) = own.first() else { return };
        let is_comma = self.last.kind == Kind::Comma;
        // Behind a colon or comma, what counts is the token before it.
        let is_block = self.text.as_bytes().get(self.last.at) == Some(&b':') && self.last.kind == Kind::Colon;
        let inline = self.breaks_before(start) == 0 && self.last.kind != Kind::Dash;
        if inline {
            let mark = if is_comma || is_block { self.before.at } else { self.last.at };
            self.pieces.push(Piece { role: Role::Line, mark, column: 0, comments: vec![start] });
            own.remove(0);
        }
        let Some(&(start, _)) = own.first() else { return };
        let token = if is_comma { self.before } else { self.last };
        let indent = self.indents.last().copied().unwrap_or_default();
        let breaks = self.breaks_before(start);
        let scanned_from = if self.last.kind == Kind::Leaf && !inline { start } else { self.cursor };
        let is_first_line = self.first_line && !self.text.get(..scanned_from).is_some_and(|text| text.contains('\n'));
        // Lines are counted from the first comment's.
        let foot_line = match breaks {
            _ if is_first_line => None,
            0 => Some(if self.column(start) > 1 { 2 } else { 1 }),
            _ => Some(1 - i64::try_from(breaks).unwrap_or(i64::MAX)),
        };
        let (mut is_first_empty, mut line) = (breaks <= 1, 0);
        let mut mark = token.at;
        let mut group: Option<(usize, i64, Vec<usize>)> = None;
        for (index, &(at, _)) in own.iter().enumerate() {
            let column = self.column(at);
            if index > 0 {
                let breaks = self.breaks_before(at);
                line += i64::try_from(breaks).unwrap_or(i64::MAX / 2);
                if breaks > 1 {
                    let is_foot = |group: &(usize, i64, Vec<usize>)| {
                        Some(group.1) == foot_line && token.kind != Kind::Colon || group.0 < indent
                    };
                    if is_first_empty && group.as_ref().is_some_and(is_foot) {
                        self.foot(group.take(), &mut mark, indent, true, at);
                    }
                    is_first_empty = false;
                }
                if column < indent && group.as_ref().is_some_and(|group| group.0 != column) {
                    self.foot(group.take(), &mut mark, indent, false, at);
                }
            }
            // The scanner counts the line of the comment before for all but the first.
            group.get_or_insert_with(|| (column, if index == 0 { 0 } else { line - 1 }, Vec::new())).2.push(at);
        }
        let last_end = own.last().map_or(start, |(_, end)| *end);
        let behind = self.text.get(last_end..next).unwrap_or_default();
        if behind.bytes().filter(|byte| *byte == b'\n').count() > 1 {
            let is_foot = |group: &(usize, i64, Vec<usize>)| {
                Some(group.1) == foot_line && token.kind != Kind::Colon || group.0 < indent
            };
            if is_first_empty && group.as_ref().is_some_and(is_foot) {
                self.foot(group.take(), &mut mark, indent, true, next);
            }
        }
        if closes {
            self.foot(group.take(), &mut mark, indent, true, next);
        } else if next_column < indent && group.as_ref().is_some_and(|group| group.0 != next_column) {
            self.foot(group.take(), &mut mark, indent, false, next);
        }
        if let Some((column, _, comments)) = group {
            let mark = comments.first().copied().unwrap_or(next);
            self.pieces.push(Piece { role: Role::Head, mark, column, comments });
        }
    }

    /// A group of comments becomes a foot. Where a blank line parts it, one left of the block is unrelated to the token
    /// before it.
    fn foot(
        &mut self,
        group: Option<(usize, i64, Vec<usize>)>,
        mark: &mut usize,
        indent: usize,
        parted: bool,
        next: usize,
    ) {
        let Some((column, _, comments)) = group else { return };
        let own = comments.first().copied().filter(|_| parted && column < indent);
        self.pieces.push(Piece { role: Role::Foot, mark: own.unwrap_or(*mark), column, comments });
        *mark = next;
    }

    /// Line breaks between `at` and what stands before it.
    fn breaks_before(&self, at: usize) -> usize {
        let before = self.text.as_bytes().get(..at).unwrap_or_default();
        let blank = before.iter().rev().take_while(|byte| byte.is_ascii_whitespace());
        let breaks = blank.filter(|byte| **byte == b'\n').count();
        // Nothing stands before the first line.
        breaks + usize::from(before.iter().all(u8::is_ascii_whitespace) && self.first_line)
    }

    /// The next byte behind the last token that is neither blank nor in a comment.
    fn next(&self) -> Option<usize> {
        let bytes = self.text.as_bytes().get(..self.end)?;
        let mut at = self.cursor;
        while let Some(byte) = bytes.get(at) {
            if *byte == b'#' {
                at += bytes.get(at..)?.iter().position(|byte| *byte == b'\n')?;
            } else if byte.is_ascii_whitespace() {
                at += 1;
            } else {
                return Some(at);
            }
        }
        None
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    fn word_end(&self, at: usize, flow: bool) -> usize {
        let word = self.text.as_bytes().get(at..).unwrap_or_default();
        let ends = |byte: &u8| byte.is_ascii_whitespace() || flow && b",[]{}".contains(byte);
        at + word.iter().position(ends).unwrap_or(word.len()).max(1)
    }

    fn column(&self, at: usize) -> usize {
        let before = self.text.get(..at).unwrap_or_default();
        let line = before.rfind('\n').map_or(before, |at| before.get(at + 1..).unwrap_or_default());
        line.chars().count()
    }
}

/// The parser's side: which node takes which comments, and on what SOPS hangs them.
#[derive(Default)]
struct Tree<'p> {
    pieces: &'p [Piece],
    unfolded: usize,
    head: Vec<usize>,
    line: Vec<usize>,
    foot: Vec<usize>,
    /// Heads of a dash that a collection follows: the collection's.
    stem: Vec<usize>,
    /// How many heads there were at the last dash, until the next token.
    at_dash: Option<usize>,
    open: Vec<OpenNode>,
    found: Vec<(usize, usize)>,
}

struct OpenNode {
    id: usize,
    map: bool,
    open: Open,
    count: usize,
    /// Whether the present key has a foot, so that the value keeps its own.
    key_has_foot: bool,
    head: Vec<usize>,
}

impl Tree<'_> {
    fn step(&mut self, step: &Step) {
        match *step {
            Step::Token(at) => self.meet(at, false),
            Step::Dash(at) => {
                self.meet(at, false);
                self.at_dash = Some(self.head.len());
            }
            Step::Leaf(at) => {
                self.meet(at, false);
                let (head, line, foot) = self.take();
                self.leaf(head, line, foot);
            }
            Step::Empty => self.leaf(Vec::new(), Vec::new(), Vec::new()),
            Step::Start { id, map, open } => {
                let mut head = Vec::new();
                match open {
                    Open::Block(at) => {
                        let dash = self.at_dash;
                        self.meet(at, false);
                        if let Some(count) = dash {
                            let rest = self.head.split_off(count.min(self.head.len()));
                            self.stem = std::mem::replace(&mut self.head, rest);
                        }
                        head = std::mem::take(&mut self.stem);
                    }
                    Open::Flow(at) => {
                        self.meet(at, false);
                        let (own, line, foot) = self.take();
                        head = own;
                        self.hang(line, id);
                        self.hang(foot, id);
                    }
                    Open::Bare => {}
                }
                self.open.push(OpenNode { id, map, open, count: 0, key_has_foot: false, head });
            }
            Step::End(at) => {
                let Some(node) = self.open.pop() else { return };
                let (mut line, mut foot) = (Vec::new(), Vec::new());
                if let Some(at) = at {
                    let is_block = matches!(node.open, Open::Block(_));
                    self.meet(at, is_block);
                    if !is_block || node.map {
                        let (head, own_line, own_foot) = self.take();
                        self.hang(head, node.id);
                        (line, foot) = (own_line, own_foot);
                        // The foot of a map is its last key's.
                        if is_block {
                            self.hang(std::mem::take(&mut foot), node.id);
                        }
                    }
                }
                self.close(node, line, foot);
            }
        }
    }

    /// Takes up the pieces that begin before a token. No head belongs to an end.
    fn meet(&mut self, at: usize, is_end: bool) {
        self.at_dash = None;
        while let Some(piece) = self.pieces.get(self.unfolded).filter(|piece| piece.mark <= at) {
            match piece.role {
                Role::Head if is_end => break,
                Role::Head => self.head.extend(&piece.comments),
                Role::Line => self.line.extend(&piece.comments),
                Role::Foot => self.foot.extend(&piece.comments),
            }
            self.unfolded += 1;
        }
    }

    fn take(&mut self) -> (Vec<usize>, Vec<usize>, Vec<usize>) {
        self.stem.clear();
        (std::mem::take(&mut self.head), std::mem::take(&mut self.line), std::mem::take(&mut self.foot))
    }

    /// A scalar: its comments are those of the collection around it.
    fn leaf(&mut self, head: Vec<usize>, line: Vec<usize>, foot: Vec<usize>) {
        let Some(parent) = self.open.last_mut() else { return };
        if parent.map && parent.count.is_multiple_of(2) {
            // In lines, the foot of a key goes to the key before it.
            let moves = parent.count > 0 && matches!(parent.open, Open::Block(_));
            parent.key_has_foot = !foot.is_empty() && !moves;
        }
        parent.count += 1;
        let id = parent.id;
        for comments in [head, line, foot] {
            self.hang(comments, id);
        }
    }

    fn close(&mut self, node: OpenNode, line: Vec<usize>, foot: Vec<usize>) {
        let Some(parent) = self.open.last_mut() else {
            for comments in [node.head, line, foot] {
                self.hang(comments, node.id);
            }
            return;
        };
        let is_value = parent.map && parent.count % 2 == 1;
        if parent.map && !is_value {
            parent.key_has_foot = false;
        }
        parent.count += 1;
        let (id, keeps_foot) = (parent.id, parent.key_has_foot);
        // Below a name, a collection keeps its comments, and its name takes the foot.
        self.hang(node.head, if is_value { node.id } else { id });
        self.hang(line, if is_value { node.id } else { id });
        self.hang(foot, if is_value && keeps_foot { node.id } else { id });
    }

    fn hang(&mut self, comments: Vec<usize>, id: usize) {
        self.found.extend(comments.into_iter().map(|comment| (comment, id)));
    }
}
