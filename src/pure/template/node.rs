//! The parsed template.

use std::fmt::Write;
use std::sync::Arc;

use super::bytes::ByteStr;
use super::functions::Function;
use super::runes::quoted;

/// Something written between text: an action, a control structure, a call of another template.
pub(super) enum Node {
    Text(ByteStr),
    Action(Pipe),
    /// `if` and `with`. An `else if` chain is one node with many branches, so that a long chain nests nothing.
    Branch {
        with: bool,
        branches: Vec<(Pipe, Vec<Node>)>,
        otherwise: Option<Vec<Node>>,
    },
    Range {
        pipe: Pipe,
        body: Vec<Node>,
        otherwise: Option<Vec<Node>>,
    },
    Template {
        pos: usize,
        name: String,
        pipe: Option<Pipe>,
    },
    Break,
    Continue,
}

/// A pipeline with what it declares or assigns.
pub(super) struct Pipe {
    pub pos: usize,
    pub declares: Vec<Arc<str>>,
    pub assigns: bool,
    pub commands: Vec<Command>,
}

/// One command of a pipeline: an operand and its arguments.
pub(super) struct Command {
    pub pos: usize,
    pub operands: Vec<Operand>,
}

/// An operand and where it stands.
pub(super) struct Operand {
    pub pos: usize,
    pub kind: OperandKind,
}

pub(super) enum OperandKind {
    Dot,
    Nil,
    Bool(bool),
    Number(Number),
    Str { quoted: String, text: ByteStr },
    Field(Vec<Arc<str>>),
    Variable(Arc<str>, Vec<Arc<str>>),
    Chain(Box<Operand>, Vec<Arc<str>>),
    Function(&'static Function),
    Pipe(Box<Pipe>),
}

/// A constant number under every type that can hold it.
#[derive(Default)]
pub(super) struct Number {
    pub int: Option<i64>,
    pub uint: Option<u64>,
    pub float: Option<f64>,
    pub complex: Option<(f64, f64)>,
    pub text: String,
}

impl Pipe {
    /// The pipeline as source text, for errors.
    pub fn source(&self) -> String {
        let mut out = self.declares.iter().map(|name| &**name).collect::<Vec<_>>().join(", ");
        if !out.is_empty() {
            out.push_str(if self.assigns { " = " } else { " := " });
        }
        for (index, command) in self.commands.iter().enumerate() {
            if index > 0 {
                out.push_str(" | ");
            }
            out.push_str(&command.source());
        }
        out
    }
}

impl Command {
    pub fn source(&self) -> String {
        let mut out = String::new();
        for (index, operand) in self.operands.iter().enumerate() {
            if index > 0 {
                out.push(' ');
            }
            out.push_str(&operand.nested_source());
        }
        out
    }
}

impl Operand {
    fn nested_source(&self) -> String {
        match &self.kind {
            OperandKind::Pipe(pipe) => format!("({})", pipe.source()),
            _ => self.source(),
        }
    }

    pub fn source(&self) -> String {
        let dotted = |mut out: String, fields: &[Arc<str>]| {
            for field in fields {
                let _ = write!(out, ".{field}");
            }
            out
        };
        match &self.kind {
            OperandKind::Dot => ".".to_owned(),
            OperandKind::Nil => "nil".to_owned(),
            OperandKind::Bool(value) => value.to_string(),
            OperandKind::Number(number) => number.text.clone(),
            OperandKind::Str { quoted, .. } => quoted.clone(),
            OperandKind::Field(fields) => dotted(String::new(), fields),
            OperandKind::Variable(name, fields) => dotted(name.to_string(), fields),
            OperandKind::Chain(base, fields) => dotted(base.nested_source(), fields),
            OperandKind::Function(function) => function.name.to_owned(),
            OperandKind::Pipe(pipe) => pipe.source(),
        }
    }
}

/// `{{template "name" pipeline}}` as source text.
pub(super) fn template_source(name: &str, pipe: Option<&Pipe>) -> String {
    let pipe = pipe.map(|pipe| format!(" {}", pipe.source())).unwrap_or_default();
    format!("{{{{template {}{pipe}}}}}", quoted(name.as_bytes()))
}

/// Whether there is nothing in it but blanks and comments.
pub(super) fn is_empty(nodes: &[Node]) -> bool {
    nodes.iter().all(|node| match node {
        Node::Text(text) => String::from_utf8_lossy(text).chars().all(super::runes::is_space),
        _ => false,
    })
}
