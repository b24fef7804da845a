//! sprig's integer and float maths, with the conversions of spf13/cast.

use rsa::BigUint;

use super::super::error::Fault;
use super::super::numeric::{parse_float, parse_int};
use super::super::print;
use super::super::types::{INT, IntKind, Type};
use super::super::value::{List, Value};
use super::strings::room;
use super::{Arguments, Context, Function, Result, text};

const ANY: Type = Type::Any;

pub(super) const TABLE: &[Function] = &[
    Function::new("atoi", &[Type::Str], |_, args| Ok(Value::int(saturated(args.bytes(0))))),
    Function::new("int64", &[ANY], |_, args| Ok(Value::int64(to_int(args.at(0))))),
    Function::new("int", &[ANY], |_, args| Ok(Value::int(to_int(args.at(0))))),
    Function::new("float64", &[ANY], |_, args| Ok(Value::Float(to_float(args.at(0))))),
    Function::new("seq", &[], seq).rest(INT),
    Function::new("toDecimal", &[ANY], to_decimal),
    Function::new("until", &[INT], |_, args| {
        let count = args.int(0);
        integers(0, count, if count < 0 { -1 } else { 1 })
    }),
    Function::new("untilStep", &[INT, INT, INT], |_, args| integers(args.int(0), args.int(1), args.int(2))),
    Function::new("add1", &[ANY], |_, args| Ok(Value::int64(to_int(args.at(0)).wrapping_add(1)))),
    Function::new("add", &[], |_, args| fold(0, args, i64::wrapping_add)).rest(ANY),
    Function::new("sub", &[ANY, ANY], |_, args| Ok(Value::int64(to_int(args.at(0)).wrapping_sub(to_int(args.at(1)))))),
    Function::new("div", &[ANY, ANY], |_, args| divided(args, i64::wrapping_div)),
    Function::new("mod", &[ANY, ANY], |_, args| divided(args, i64::wrapping_rem)),
    Function::new("mul", &[ANY], |_, args| fold(to_int(args.at(0)), args.after(1), i64::wrapping_mul)).rest(ANY),
    Function::new("max", &[ANY], |_, args| fold(to_int(args.at(0)), args.after(1), i64::max)).rest(ANY),
    Function::new("biggest", &[ANY], |_, args| fold(to_int(args.at(0)), args.after(1), i64::max)).rest(ANY),
    Function::new("min", &[ANY], |_, args| fold(to_int(args.at(0)), args.after(1), i64::min)).rest(ANY),
    Function::new("add1f", &[ANY], |_, args| {
        decimals(to_float(args.at(0)), &[Value::int(1)], |left, right| Ok(left.plus(&right)))
    }),
    Function::new("addf", &[], |_, args| decimals(0.0, args, |left, right| Ok(left.plus(&right)))).rest(ANY),
    Function::new("subf", &[ANY], |_, args| {
        decimals(to_float(args.at(0)), args.after(1), |left, right| Ok(left.plus(&right.negated())))
    })
    .rest(ANY),
    Function::new("divf", &[ANY], |_, args| {
        decimals(to_float(args.at(0)), args.after(1), |left, right| left.divided_by(&right))
    })
    .rest(ANY),
    Function::new("mulf", &[ANY], |_, args| {
        decimals(to_float(args.at(0)), args.after(1), |left, right| Ok(left.times(&right)))
    })
    .rest(ANY),
    Function::new("maxf", &[ANY], |_, args| fold_float(args, larger)).rest(ANY),
    Function::new("minf", &[ANY], |_, args| fold_float(args, |left, right| -larger(-left, -right))).rest(ANY),
    Function::new("ceil", &[ANY], |_, args| Ok(Value::Float(to_float(args.at(0)).ceil()))),
    Function::new("floor", &[ANY], |_, args| Ok(Value::Float(to_float(args.at(0)).floor()))),
    Function::new("round", &[ANY, INT], round).rest(Type::Float),
];

/// What Go's compiler does with a float that no int64 holds, on amd64.
fn truncated(float: f64) -> i64 {
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&float) { float as i64 } else { i64::MIN }
}

/// `1.00` counts as the integer 1.
fn without_zero_decimals(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().rev().take_while(|byte| **byte == b'0').count();
    match bytes.len().checked_sub(zeros + 1) {
        Some(dot) if zeros > 0 && bytes.get(dot) == Some(&b'.') => bytes.get(..dot).unwrap_or(bytes),
        _ => bytes,
    }
}

/// `cast.ToInt64`: what cannot be converted is zero.
pub(super) fn to_int(value: &Value) -> i64 {
    match value {
        Value::Int(IntKind::Duration, _) => 0,
        Value::Int(_, number) => *number,
        Value::Uint(_, number) => *number as i64,
        Value::Float(float) => truncated(*float),
        Value::Bool(flag) => i64::from(*flag),
        Value::Str(text) => parse_int(without_zero_decimals(text), 0).unwrap_or(0),
        _ => 0,
    }
}

/// `cast.ToFloat64`.
pub(super) fn to_float(value: &Value) -> f64 {
    match value {
        Value::Int(IntKind::Duration, _) => 0.0,
        Value::Int(_, number) => *number as f64,
        Value::Uint(_, number) => *number as f64,
        Value::Float(float) => *float,
        Value::Bool(flag) => f64::from(u8::from(*flag)),
        Value::Str(text) => parse_float(text).unwrap_or(0.0),
        _ => 0.0,
    }
}

/// `strconv.Atoi` without its error: out of range gives the nearest number.
pub(super) fn saturated(bytes: &[u8]) -> i64 {
    use super::super::numeric::NumberError;
    match parse_int(bytes, 10) {
        Ok(number) => number,
        Err(NumberError::Syntax) => 0,
        Err(NumberError::Range) if bytes.first() == Some(&b'-') => i64::MIN,
        Err(NumberError::Range) => i64::MAX,
    }
}

fn fold(start: i64, args: &[Value], step: fn(i64, i64) -> i64) -> Result {
    Ok(Value::int64(args.iter().map(to_int).fold(start, step)))
}

fn divided(args: &[Value], step: fn(i64, i64) -> i64) -> Result {
    match to_int(args.at(1)) {
        0 => Err(Fault::plain("runtime error: integer divide by zero")),
        divisor => Ok(Value::int64(step(to_int(args.at(0)), divisor))),
    }
}

/// `math.Max`: NaN wins over everything but an infinity, and +0 over -0.
fn larger(left: f64, right: f64) -> f64 {
    if left == f64::INFINITY || right == f64::INFINITY {
        f64::INFINITY
    } else if left.is_nan() || right.is_nan() {
        f64::NAN
    } else if left == 0.0 && right == 0.0 {
        if left.is_sign_negative() { right } else { left }
    } else if left > right {
        left
    } else {
        right
    }
}

fn fold_float(args: &[Value], step: fn(f64, f64) -> f64) -> Result {
    let start = to_float(args.at(0));
    Ok(Value::Float(args.after(1).iter().map(to_float).fold(start, step)))
}

fn round(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let from = match args.get(2) {
        Some(Value::Float(from)) => *from,
        _ => 0.5,
    };
    let power = 10f64.powi(i32::try_from(args.int(1)).unwrap_or(i32::MAX));
    let digits = power * to_float(args.at(0));
    let rounded = if digits.fract() >= from { digits.ceil() } else { digits.floor() };
    Ok(Value::Float(rounded / power))
}

fn to_decimal(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let printed = print::printed(args.at(0))?;
    Ok(Value::int64(parse_int(printed.as_slice(), 8).unwrap_or(0)))
}

/// `untilStep`, as numbers.
fn steps(start: i64, stop: i64, step: i64) -> std::result::Result<Vec<i64>, Fault> {
    let (distance, step_wide) = (i128::from(stop) - i128::from(start), i128::from(step));
    if distance == 0 || step == 0 || (distance < 0) != (step < 0) {
        return Ok(Vec::new());
    }
    let count = (distance.abs() + step_wide.abs() - 1) / step_wide.abs();
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    room(count.saturating_mul(size_of::<Value>()))?;
    Ok((0..count as i64).map(|index| start.wrapping_add(index.wrapping_mul(step))).collect())
}

fn integers(start: i64, stop: i64, step: i64) -> Result {
    let items = steps(start, stop, step)?.into_iter().map(Value::int).collect();
    Ok(Value::List(List::new(INT, items)))
}

fn seq(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let at = |index: usize| args.int(index);
    let (start, step, end) = match args.len() {
        1 => (1, if at(0) < 1 { -1 } else { 1 }, at(0)),
        2 => (at(0), if at(1) < at(0) { -1 } else { 1 }, at(1)),
        3 if at(2) < at(0) && at(1) > 0 => return text(""),
        3 => (at(0), at(1), at(2)),
        _ => return text(""),
    };
    let toward = if end < start { -1 } else { 1 };
    let numbers = steps(start, end.wrapping_add(toward), step)?;
    text(numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(" "))
}

// --- decimals ---

/// A decimal number of any length: coefficient times ten to the exponent.
struct Decimal {
    negative: bool,
    coefficient: BigUint,
    exponent: i32,
}

/// Digits after the point of a quotient; the library's default.
const DIVISION_DIGITS: i32 = 16;
/// Longest coefficient in bits: products grow with every factor.
const COEFFICIENT_BITS: usize = 1 << 14;

fn ten_to(power: i32) -> BigUint {
    BigUint::from(10u32).pow_of(u32::try_from(power).unwrap_or(0))
}

/// Powers by squaring.
trait Pow {
    fn pow_of(self, power: u32) -> Self;
}

impl Pow for BigUint {
    fn pow_of(self, mut power: u32) -> Self {
        let (mut base, mut result) = (self, BigUint::from(1u32));
        while power > 0 {
            if power & 1 == 1 {
                result *= &base;
            }
            base = &base * &base;
            power >>= 1;
        }
        result
    }
}

impl Decimal {
    fn from_float(float: f64) -> std::result::Result<Self, Fault> {
        if !float.is_finite() {
            let shown = super::super::floats::format(float, b'g', None);
            return Err(Fault::plain(format!("Cannot create a Decimal from {shown}")));
        }
        let text = format!("{:e}", float.abs());
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let fraction = mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        let digits = mantissa.replace('.', "");
        Ok(Self {
            negative: float < 0.0,
            coefficient: BigUint::parse_bytes(digits.as_bytes(), 10).unwrap_or_default(),
            exponent: exponent.parse::<i32>().unwrap_or(0) - i32::try_from(fraction).unwrap_or(0),
        })
    }

    fn scaled(&self, exponent: i32) -> BigUint {
        &self.coefficient * ten_to(self.exponent - exponent)
    }

    fn plus(&self, other: &Self) -> Self {
        let exponent = self.exponent.min(other.exponent);
        let (left, right) = (self.scaled(exponent), other.scaled(exponent));
        let (negative, coefficient) = if self.negative == other.negative {
            (self.negative, left + right)
        } else if left >= right {
            (self.negative, left - right)
        } else {
            (other.negative, right - left)
        };
        Self { negative, coefficient, exponent }
    }

    fn negated(self) -> Self {
        Self { negative: !self.negative, ..self }
    }

    fn times(&self, other: &Self) -> Self {
        Self {
            negative: self.negative != other.negative,
            coefficient: &self.coefficient * &other.coefficient,
            exponent: self.exponent + other.exponent,
        }
    }

    /// Rounded half away from zero at the sixteenth digit after the point.
    fn divided_by(&self, other: &Self) -> std::result::Result<Self, Fault> {
        if other.coefficient == BigUint::default() {
            return Err(Fault::plain("decimal division by 0"));
        }
        let shift = self.exponent - other.exponent + DIVISION_DIGITS;
        let (mut above, mut below) = (self.coefficient.clone(), other.coefficient.clone());
        if shift >= 0 {
            above *= ten_to(shift);
        } else {
            below *= ten_to(-shift);
        }
        let mut quotient = &above / &below;
        let rest = above - &quotient * &below;
        if rest * 2u32 >= below {
            quotient += 1u32;
        }
        Ok(Self { negative: self.negative != other.negative, coefficient: quotient, exponent: -DIVISION_DIGITS })
    }

    fn float(&self) -> f64 {
        let text = format!("{}e{}", self.coefficient, self.exponent);
        let magnitude: f64 = text.parse().unwrap_or(f64::NAN);
        if self.negative && magnitude != 0.0 { -magnitude } else { magnitude }
    }
}

fn decimals(start: f64, args: &[Value], step: fn(Decimal, Decimal) -> std::result::Result<Decimal, Fault>) -> Result {
    let mut sum = Decimal::from_float(start)?;
    for value in args {
        sum = step(sum, Decimal::from_float(to_float(value))?)?;
        if sum.coefficient.bits() > COEFFICIENT_BITS {
            return Err(Fault::limit("a decimal number", COEFFICIENT_BITS, "bits"));
        }
    }
    Ok(Value::Float(sum.float()))
}
