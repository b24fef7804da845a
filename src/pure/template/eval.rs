//! The evaluator. Order of evaluation, conversions and error texts follow Go's text/template; depth, steps and sizes are
//! bounded.
//!
//! Longer than other files: one state machine, whose parts all call each other.

use std::sync::Arc;

use super::budget::Environment;
use super::bytes::Buffer;
use super::error::{Fault, TemplateError};
use super::functions::{Context, Function, Special, objects};
use super::node::{Command, Node, Number, Operand, OperandKind, Pipe, template_source};
use super::parse::Trees;
use super::print;
use super::runes::quoted;
use super::types::{Type, UintKind};
use super::value::Value;
use super::{MissingKey, Type as T};
use crate::pure::limits;
use crate::pure::secret::Plaintext;

type Eval<V> = Result<V, TemplateError>;

/// Where execution stands, for errors.
#[derive(Clone, Copy)]
enum At<'t> {
    Nowhere,
    Pipe(&'t Pipe),
    Command(&'t Command),
    Operand(&'t Operand),
    Template(usize, &'t str, Option<&'t Pipe>),
}

/// How a list of nodes ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

/// A value where it is kept: the dot or a variable.
#[derive(Clone)]
struct Slot {
    value: Value,
    /// Whether Go sees an `interface {}` that holds the value. Only an error text shows the difference.
    boxed: bool,
}

impl Slot {
    fn plain(value: Value) -> Self {
        Self { value, boxed: false }
    }
}

struct State<'t, 'e, 'r> {
    parse_name: &'t str,
    text: &'t [u8],
    trees: &'t Trees,
    missing_key: MissingKey,
    environment: &'e mut Environment<'r>,
    out: Buffer,
    /// Name of the template that is executing.
    name: &'t str,
    at: At<'t>,
    variables: Vec<(Arc<str>, Slot)>,
    /// Where the variables of the executing template begin: templates inherit none.
    base: usize,
    depth: usize,
}

pub(super) fn render(
    name: &str,
    text: &[u8],
    trees: &Trees,
    missing_key: MissingKey,
    dot: &Value,
    environment: &mut Environment<'_>,
) -> Eval<Plaintext> {
    let dot = Slot::plain(if dot.is_nil() { Value::Missing } else { dot.clone() });
    let mut state = State {
        parse_name: name,
        text,
        trees,
        missing_key,
        environment,
        out: Buffer::with_capacity(text.len().min(64 * 1024)),
        name,
        at: At::Nowhere,
        variables: vec![("$".into(), dot.clone())],
        base: 0,
        depth: 0,
    };
    if let Some(root) = trees.get(name) {
        state.list(&dot, root)?;
    }
    Ok(Plaintext::new(std::mem::take(&mut state.out).into_vec()))
}

impl<'t> State<'t, '_, '_> {
    // --- errors ---

    fn raise<V>(&self, fault: Fault) -> Eval<V> {
        let (place, source) = match self.at {
            At::Nowhere => (None, String::new()),
            At::Pipe(pipe) => (Some(pipe.pos), pipe.source()),
            At::Command(command) => (Some(command.pos), command.source()),
            At::Operand(operand) => (Some(operand.pos), operand.source()),
            At::Template(pos, name, pipe) => (Some(pos), template_source(name, pipe)),
        };
        let (message, withheld, limit) = match fault {
            Fault::Plain(message) => (message, false, false),
            Fault::Withheld(message) => (message, true, false),
            Fault::Limit(message) => (message, false, true),
        };
        let text = match place {
            None => format!("template: {}: {message}", self.name),
            Some(pos) => {
                let before = self.text.get(..pos).unwrap_or_default();
                let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
                let column = before.iter().rev().take_while(|byte| **byte != b'\n').count();
                let name = quoted(self.name.as_bytes());
                format!("template: {}:{line}:{column}: executing {name} at <{source}>: {message}", self.parse_name)
            }
        };
        Err(if limit { TemplateError::Limit { text } } else { TemplateError::Execute { text, withheld } })
    }

    fn fail<V>(&self, message: impl Into<String>) -> Eval<V> {
        self.raise(Fault::Plain(message.into()))
    }

    fn checked<V>(&self, result: Result<V, Fault>) -> Eval<V> {
        match result {
            Ok(value) => Ok(value),
            Err(fault) => self.raise(fault),
        }
    }

    /// One step deeper into the evaluator. The caller subtracts one when it returns.
    fn deeper(&mut self) -> Eval<()> {
        self.depth += 1;
        if self.depth > limits::TEMPLATE_DEPTH {
            return self.raise(Fault::limit("calls of templates and nesting", limits::TEMPLATE_DEPTH, "levels"));
        }
        let taken = self.environment.steps(1);
        self.checked(taken)
    }

    // --- nodes ---

    fn list(&mut self, dot: &Slot, nodes: &'t [Node]) -> Eval<Flow> {
        self.deeper()?;
        for node in nodes {
            let flow = self.node(dot, node)?;
            if flow != Flow::On {
                self.depth -= 1;
                return Ok(flow);
            }
        }
        self.depth -= 1;
        Ok(Flow::On)
    }

    fn node(&mut self, dot: &Slot, node: &'t Node) -> Eval<Flow> {
        let taken = self.environment.steps(1);
        self.checked(taken)?;
        match node {
            Node::Text(text) => self.write(text)?,
            Node::Action(pipe) => {
                let value = self.pipe(dot, pipe)?;
                if pipe.declares.is_empty() {
                    self.print(&value)?;
                }
            }
            Node::Branch { with, branches, otherwise } => {
                return self.branch(dot, *with, branches, otherwise.as_deref());
            }
            Node::Range { pipe, body, otherwise } => return self.range(dot, pipe, body, otherwise.as_deref()),
            Node::Template { pos, name, pipe } => self.template(dot, *pos, name, pipe.as_ref())?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn room(&self, more: usize) -> Eval<()> {
        if self.out.len().saturating_add(more) > limits::TEMPLATE_OUTPUT_BYTES {
            return self.raise(Fault::limit("the output", limits::TEMPLATE_OUTPUT_BYTES, "bytes"));
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Eval<()> {
        self.room(bytes.len())?;
        self.out.extend(bytes);
        Ok(())
    }

    fn print(&mut self, value: &Value) -> Eval<()> {
        match value {
            Value::Str(text) => self.write(text),
            Value::Missing | Value::Nil => self.write(b"<no value>"),
            other => {
                let mut printed = Buffer::new();
                let result = print::print_into(&mut printed, std::slice::from_ref(other));
                self.checked(result)?;
                self.write(printed.as_slice())
            }
        }
    }

    fn branch(
        &mut self,
        dot: &Slot,
        with: bool,
        branches: &'t [(Pipe, Vec<Node>)],
        otherwise: Option<&'t [Node]>,
    ) -> Eval<Flow> {
        let mark = self.variables.len();
        let mut flow = Flow::On;
        let mut taken = false;
        for (pipe, body) in branches {
            let value = self.pipe(dot, pipe)?;
            if value.truth() {
                taken = true;
                flow = if with { self.list(&Slot::plain(value), body)? } else { self.list(dot, body)? };
                break;
            }
        }
        if !taken && let Some(body) = otherwise {
            flow = self.list(dot, body)?;
        }
        self.variables.truncate(mark);
        Ok(flow)
    }

    fn range(&mut self, dot: &Slot, pipe: &'t Pipe, body: &'t [Node], otherwise: Option<&'t [Node]>) -> Eval<Flow> {
        let outer = self.variables.len();
        let value = self.pipe(dot, pipe)?;
        let mut ran = false;
        let flow = match &value {
            Value::Int(_, count) => self.range_integers(pipe, body, (*count).max(0) as u64, &value, &mut ran)?,
            Value::Uint(_, count) => self.range_integers(pipe, body, *count, &value, &mut ran)?,
            Value::List(list) => {
                let boxed = list.element() == Type::Any;
                let items = list.items().iter().enumerate();
                let pair = |(index, item): (usize, &Value)| (Value::int(index as i64), item.clone());
                self.iterate(pipe, body, items.map(pair), boxed, &mut ran)?
            }
            Value::Bytes(bytes) => {
                let items = bytes.iter().enumerate();
                let pair = |(index, byte): (usize, &u8)| {
                    (Value::int(index as i64), Value::Uint(UintKind::Uint8, u64::from(*byte)))
                };
                self.iterate(pipe, body, items.map(pair), false, &mut ran)?
            }
            Value::Map(map) => {
                let boxed = map.element() == Type::Any;
                let entries = map.entries().into_iter();
                self.iterate(pipe, body, entries.map(|(key, value)| (Value::Str(key), value)), boxed, &mut ran)?
            }
            Value::Missing | Value::Nil => Flow::On,
            other => {
                let kind = other.type_name();
                return self.raise(Fault::withheld(format!("range can't iterate over a {kind}")));
            }
        };
        let mut flow = flow;
        if !ran && let Some(body) = otherwise {
            // A break here ends this range, which has ended anyway; a continue belongs to the range around it.
            let end = self.list(dot, body)?;
            flow = if end == Flow::Break { Flow::On } else { end };
        }
        self.variables.truncate(outer);
        Ok(flow)
    }

    fn range_integers(
        &mut self,
        pipe: &'t Pipe,
        body: &'t [Node],
        count: u64,
        value: &Value,
        ran: &mut bool,
    ) -> Eval<Flow> {
        if pipe.declares.len() > 1 {
            let kind = value.type_name();
            return self.raise(Fault::withheld(format!("can't use a {kind} to iterate over more than one variable")));
        }
        let of = |index: u64| match value {
            Value::Uint(kind, _) => Value::Uint(*kind, index),
            Value::Int(kind, _) => Value::Int(*kind, index as i64),
            _ => Value::Missing,
        };
        self.iterate(pipe, body, (0..count).map(|index| (Value::Missing, of(index))), false, ran)
    }

    fn iterate(
        &mut self,
        pipe: &'t Pipe,
        body: &'t [Node],
        items: impl Iterator<Item = (Value, Value)>,
        boxed: bool,
        ran: &mut bool,
    ) -> Eval<Flow> {
        let mark = self.variables.len();
        for (index, item) in items {
            *ran = true;
            let item = Slot { value: item, boxed };
            self.bind(pipe, index, &item, mark)?;
            let flow = self.list(&item, body)?;
            self.variables.truncate(mark);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    /// Sets the variables of a range for one round.
    fn bind(&mut self, pipe: &'t Pipe, index: Value, item: &Slot, mark: usize) -> Eval<()> {
        match (pipe.assigns, pipe.declares.as_slice()) {
            (_, []) => {}
            (true, [one]) => self.assign(one, item.clone())?,
            (true, [first, second, ..]) => {
                self.assign(first, Slot::plain(index))?;
                self.assign(second, item.clone())?;
            }
            (false, declares) => {
                let mut set = |back: usize, value: Slot| {
                    if let Some(slot) = mark.checked_sub(back).and_then(|at| self.variables.get_mut(at)) {
                        slot.1 = value;
                    }
                };
                set(1, item.clone());
                if declares.len() > 1 {
                    set(2, Slot::plain(index));
                }
            }
        }
        Ok(())
    }

    fn template(&mut self, dot: &Slot, pos: usize, name: &'t str, pipe: Option<&'t Pipe>) -> Eval<()> {
        self.at = At::Template(pos, name, pipe);
        let Some((name, root)) = self.trees.get_key_value(name) else {
            return self.fail(format!("template {} not defined", quoted(name.as_bytes())));
        };
        let dot = match pipe {
            Some(pipe) => Slot::plain(self.pipe(dot, pipe)?),
            None => Slot::plain(Value::Missing),
        };
        let (outer, base, mark) = (self.name, self.base, self.variables.len());
        self.name = name;
        self.base = mark;
        self.variables.push(("$".into(), dot.clone()));
        self.list(&dot, root)?;
        self.variables.truncate(mark);
        self.name = outer;
        self.base = base;
        Ok(())
    }

    // --- variables ---

    fn assign(&mut self, name: &str, value: Slot) -> Eval<()> {
        let base = self.base;
        match self.variables.iter_mut().skip(base).rev().find(|(known, _)| &**known == name) {
            Some(slot) => {
                slot.1 = value;
                Ok(())
            }
            None => self.fail(format!("undefined variable: {name}")),
        }
    }

    fn variable(&self, name: &str) -> Eval<Slot> {
        match self.variables.iter().skip(self.base).rev().find(|(known, _)| &**known == name) {
            Some((_, value)) => Ok(value.clone()),
            None => self.fail(format!("undefined variable: {name}")),
        }
    }

    // --- pipelines ---

    fn pipe(&mut self, dot: &Slot, pipe: &'t Pipe) -> Eval<Value> {
        self.deeper()?;
        self.at = At::Pipe(pipe);
        let mut value = None;
        for command in &pipe.commands {
            let result = self.command(dot, command, value)?;
            // A nil inside an interface is dug out: it is no value from here on.
            value = Some(if matches!(result, Value::Nil) { Value::Missing } else { result });
        }
        let value = value.unwrap_or(Value::Missing);
        for name in &pipe.declares {
            if pipe.assigns {
                self.assign(name, Slot::plain(value.clone()))?;
            } else {
                self.variables.push((name.clone(), Slot::plain(value.clone())));
            }
        }
        self.depth -= 1;
        Ok(value)
    }

    fn not_a_function(&self, operands: &[Operand], last: Option<&Value>) -> Eval<()> {
        if operands.len() > 1 || last.is_some() {
            let source = operands.first().map(Operand::source).unwrap_or_default();
            return self.fail(format!("can't give argument to non-function {source}"));
        }
        Ok(())
    }

    fn command(&mut self, dot: &Slot, command: &'t Command, last: Option<Value>) -> Eval<Value> {
        let Some(first) = command.operands.first() else { return Ok(Value::Missing) };
        let operands = command.operands.as_slice();
        match &first.kind {
            OperandKind::Field(_) | OperandKind::Chain(..) | OperandKind::Variable(..) => {
                return self.path(dot, first, operands, last);
            }
            OperandKind::Function(function) => {
                self.at = At::Operand(first);
                return self.call(dot, function, None, At::Command(command), operands, last);
            }
            OperandKind::Pipe(pipe) => {
                self.not_a_function(operands, last.as_ref())?;
                return self.pipe(dot, pipe);
            }
            _ => {}
        }
        self.at = At::Operand(first);
        self.not_a_function(operands, last.as_ref())?;
        match &first.kind {
            OperandKind::Bool(value) => Ok(Value::Bool(*value)),
            OperandKind::Dot => Ok(dot.value.clone()),
            OperandKind::Number(number) => self.ideal(number),
            OperandKind::Str { text, .. } => Ok(Value::Str(text.clone())),
            _ => self.fail("nil is not a command"),
        }
    }

    /// A number where no type is asked for: its syntax says what it is.
    fn ideal(&self, number: &Number) -> Eval<Value> {
        let text = number.text.as_bytes();
        let rune = text.first() == Some(&b'\'');
        let hex_int = matches!(text, [b'0', b'x' | b'X', ..]) && !text.iter().any(|byte| b"pP".contains(byte));
        if let Some((re, im)) = number.complex {
            return Ok(Value::Complex(re, im));
        }
        if let Some(float) = number.float
            && !hex_int
            && !rune
            && text.iter().any(|byte| b".eEpP".contains(byte))
        {
            return Ok(Value::Float(float));
        }
        match (number.int, number.uint) {
            (Some(int), _) => Ok(Value::int(int)),
            (None, Some(_)) => self.fail(format!("{} overflows int", number.text)),
            (None, None) => Ok(Value::Missing),
        }
    }

    /// A field, a variable or a chain, with its fields; the last one may be a method with arguments.
    fn path(&mut self, dot: &Slot, operand: &'t Operand, operands: &'t [Operand], last: Option<Value>) -> Eval<Value> {
        self.at = At::Operand(operand);
        let (receiver, fields) = match &operand.kind {
            OperandKind::Field(fields) => (dot.clone(), fields),
            OperandKind::Variable(name, fields) => {
                let value = self.variable(name)?;
                if fields.is_empty() {
                    self.not_a_function(operands, last.as_ref())?;
                    return Ok(value.value);
                }
                (value, fields)
            }
            OperandKind::Chain(base, fields) => {
                if matches!(base.kind, OperandKind::Nil) {
                    return self.fail(format!("indirection through explicit nil in {}", operand.source()));
                }
                (Slot::plain(self.argument(dot, None, base)?), fields)
            }
            _ => return Ok(Value::Missing),
        };
        let Some((final_field, leading)) = fields.split_last() else { return Ok(receiver.value) };
        let mut slot = receiver;
        for field in leading {
            let boxed = matches!(&slot.value, Value::Map(map) if map.element() == Type::Any);
            slot = Slot { value: self.field(dot, field, operand, &[], None, slot)?, boxed };
        }
        self.field(dot, final_field, operand, operands, last, slot)
    }

    fn field(
        &mut self,
        dot: &Slot,
        name: &str,
        operand: &'t Operand,
        operands: &'t [Operand],
        last: Option<Value>,
        receiver: Slot,
    ) -> Eval<Value> {
        let Slot { value: receiver, boxed } = receiver;
        match &receiver {
            Value::Missing => {
                if self.missing_key == MissingKey::Error {
                    return self.fail(format!("nil data; no entry for key {}", quoted(name.as_bytes())));
                }
                return Ok(Value::Missing);
            }
            Value::Nil => return self.fail(format!("nil pointer evaluating interface {{}}.{name}")),
            _ => {}
        }
        if let Some(method) = objects::method(&receiver, name) {
            return self.call(dot, method, Some(receiver), At::Operand(operand), operands, last);
        }
        let has_arguments = operands.len() > 1 || last.is_some();
        if let Some(value) = objects::field(&receiver, name) {
            if has_arguments {
                return self.fail(format!("{name} has arguments but cannot be invoked as function"));
            }
            return Ok(value);
        }
        if let Value::Map(map) = &receiver {
            if has_arguments {
                return self.fail(format!("{name} is not a method but has arguments"));
            }
            if let Some(value) = map.get(name.as_bytes()) {
                return Ok(value);
            }
            return match self.missing_key {
                MissingKey::Invalid => Ok(Value::Missing),
                MissingKey::Zero => Ok(Value::zero(map.element())),
                MissingKey::Error => self.fail(format!("map has no entry for key {}", quoted(name.as_bytes()))),
            };
        }
        let kind = if boxed { Type::Any.to_string() } else { receiver.type_name() };
        self.fail(format!("can't evaluate field {name} in type {kind}"))
    }

    // --- calls ---

    fn call(
        &mut self,
        dot: &Slot,
        function: &'static Function,
        receiver: Option<Value>,
        place: At<'t>,
        operands: &'t [Operand],
        last: Option<Value>,
    ) -> Eval<Value> {
        let operands = operands.get(1..).unwrap_or_default();
        let name = function.name;
        // A method's first parameter is its receiver, which is bound already.
        let bound = usize::from(receiver.is_some());
        let params = function.params.get(bound..).unwrap_or_default();
        let given = operands.len() + usize::from(last.is_some());
        match function.rest {
            Some(_) if given < params.len() => {
                let (want, got) = (params.len(), operands.len());
                return self.fail(format!("wrong number of args for {name}: want at least {want} got {got}"));
            }
            None if given != params.len() => {
                return self.fail(format!("wrong number of args for {name}: want {} got {given}", params.len()));
            }
            _ => {}
        }
        if let Special::ShortCircuit { until } = function.special {
            return self.short_circuit(dot, until, operands, last);
        }
        let type_at = |index: usize| params.get(index).copied().or(function.rest).unwrap_or(Type::Any);
        let mut arguments = Vec::with_capacity(given + bound);
        arguments.extend(receiver);
        let mut literals = 0u64;
        for (index, operand) in operands.iter().enumerate() {
            let value = self.argument(dot, Some(type_at(index)), operand)?;
            if matches!(operand.kind, OperandKind::Str { .. }) && index < 64 {
                literals |= 1 << index;
            }
            arguments.push(value);
        }
        if let Some(last) = last {
            let value = self.validate(last, Some(type_at(operands.len())))?;
            arguments.push(value);
        }
        let callee = match function.special {
            // Only its error text needs the name.
            Special::Callee => operands.first().map(Operand::source),
            _ => None,
        };
        let mut context = Context { environment: self.environment, literals, callee };
        let result = (function.call)(&mut context, &arguments)
            .and_then(|value| self.environment.value(value.shallow_bytes()).map(|()| value));
        match result {
            Ok(value) => Ok(value),
            Err(fault) => {
                self.at = place;
                let tell = |message: String| format!("error calling {name}: {message}");
                self.raise(match fault {
                    Fault::Plain(message) => Fault::Plain(tell(message)),
                    Fault::Withheld(message) => Fault::Withheld(tell(message)),
                    Fault::Limit(message) => Fault::Limit(tell(message)),
                })
            }
        }
    }

    fn short_circuit(&mut self, dot: &Slot, until: bool, operands: &'t [Operand], last: Option<Value>) -> Eval<Value> {
        let mut value = Value::Missing;
        for operand in operands {
            value = self.argument(dot, Some(T::Reflect), operand)?;
            if value.truth() == until {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }

    /// Evaluates an operand as an argument of type `wanted`; none takes anything.
    fn argument(&mut self, dot: &Slot, wanted: Option<Type>, operand: &'t Operand) -> Eval<Value> {
        self.at = At::Operand(operand);
        let value = match &operand.kind {
            OperandKind::Dot => dot.value.clone(),
            OperandKind::Nil => {
                return match wanted {
                    Some(Type::Reflect) => Ok(Value::Missing),
                    Some(Type::Any) | None => Ok(Value::Nil),
                    Some(kind) if kind.can_be_nil() => Ok(Value::zero(kind)),
                    Some(kind) => self.fail(format!("cannot assign nil to {kind}")),
                };
            }
            OperandKind::Field(_) | OperandKind::Variable(..) | OperandKind::Chain(..) => {
                self.path(dot, operand, &[], None)?
            }
            OperandKind::Pipe(pipe) => self.pipe(dot, pipe)?,
            OperandKind::Function(function) => self.call(dot, function, None, At::Operand(operand), &[], None)?,
            _ => return self.constant(wanted.unwrap_or(Type::Any), operand),
        };
        self.validate(value, wanted)
    }

    /// A constant as an argument: the type asked for decides.
    fn constant(&mut self, wanted: Type, operand: &'t Operand) -> Eval<Value> {
        let found = |what: &str| format!("expected {what}; found {}", operand.source());
        match (wanted, &operand.kind) {
            (Type::Any | Type::Reflect, OperandKind::Bool(value)) | (Type::Bool, OperandKind::Bool(value)) => {
                Ok(Value::Bool(*value))
            }
            (Type::Any | Type::Reflect, OperandKind::Number(number)) => self.ideal(number),
            (Type::Any | Type::Reflect | Type::Str, OperandKind::Str { text, .. }) => Ok(Value::Str(text.clone())),
            (Type::Int(kind), OperandKind::Number(Number { int: Some(int), .. })) => Ok(Value::Int(kind, *int)),
            (Type::Uint(kind), OperandKind::Number(Number { uint: Some(uint), .. })) => Ok(Value::Uint(kind, *uint)),
            (Type::Float, OperandKind::Number(Number { float: Some(float), .. })) => Ok(Value::Float(*float)),
            (Type::Complex, OperandKind::Number(Number { complex: Some((re, im)), .. })) => {
                Ok(Value::Complex(*re, *im))
            }
            (Type::Bool, _) => self.fail(found("bool")),
            (Type::Str, _) => self.fail(found("string")),
            (Type::Int(_), _) => self.fail(found("integer")),
            (Type::Uint(_), _) => self.fail(found("unsigned integer")),
            (Type::Float, _) => self.fail(found("float")),
            (Type::Complex, _) => self.fail(found("complex")),
            (kind, _) => self.fail(format!("can't handle {} for arg of type {kind}", operand.source())),
        }
    }

    /// Checks that a value can be given where `wanted` is asked for.
    fn validate(&self, value: Value, wanted: Option<Type>) -> Eval<Value> {
        let Some(wanted) = wanted else { return Ok(value) };
        match (&value, wanted) {
            (Value::Missing, Type::Any) => Ok(Value::Nil),
            (Value::Missing, Type::Reflect) => Ok(Value::Missing),
            (Value::Missing, kind) if kind.can_be_nil() => Ok(Value::zero(kind)),
            (Value::Missing, kind) => self.fail(format!("invalid value; expected {kind}")),
            (_, Type::Any | Type::Reflect) => Ok(value),
            (Value::Nil, kind) => self.fail(format!("wrong type for value; expected {kind}; got interface {{}}")),
            (value_, kind) if value_.type_of() == Some(kind) => Ok(value),
            (value_, kind) => self.fail(format!("wrong type for value; expected {kind}; got {}", value_.type_name())),
        }
    }
}
