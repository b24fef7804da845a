//! Random strings. The source is the environment's; results differ from run to run by design.

use super::super::bytes::Buffer;
use super::super::error::Fault;
use super::super::runes::runes as characters;
use super::super::types::{INT, Type};
use super::super::value::Value;
use super::encoding::base64_of;
use super::strings::room;
use super::{Arguments, Context, Function, Result, made, text};

pub(super) const TABLE: &[Function] = &[
    Function::new("randAlphaNum", &[INT], |context, args| {
        random(context, args.int(0), |byte| byte.is_ascii_alphanumeric())
    }),
    Function::new("randAlpha", &[INT], |context, args| random(context, args.int(0), |byte| byte.is_ascii_alphabetic())),
    Function::new("randNumeric", &[INT], |context, args| random(context, args.int(0), |byte| byte.is_ascii_digit())),
    Function::new("randAscii", &[INT], |context, args| random(context, args.int(0), |byte| (32..127).contains(&byte))),
    Function::new("randInt", &[INT, INT], rand_int),
    Function::new("randBytes", &[INT], rand_bytes),
    Function::new("shuffle", &[Type::Str], shuffle),
    Function::new("uuidv4", &[], uuidv4),
];

fn random(context: &mut Context<'_, '_>, count: i64, allowed: fn(u8) -> bool) -> Result {
    // A negative count is an error in the library, which sprig drops.
    let count = usize::try_from(count).unwrap_or(0);
    room(count)?;
    context.environment.steps(count)?;
    let alphabet: Vec<u8> = (0..128).filter(|byte| allowed(*byte)).collect();
    let mut out = Buffer::with_capacity(count);
    for _ in 0..count {
        let index = context.environment.random_below(alphabet.len() as u64);
        out.push(usize::try_from(index).ok().and_then(|index| alphabet.get(index)).copied().unwrap_or(b'0'));
    }
    made(out)
}

fn rand_int(context: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let (min, max) = (args.int(0), args.int(1));
    let range = max.wrapping_sub(min);
    if range <= 0 {
        return Err(Fault::plain("invalid argument to Intn"));
    }
    let offset = context.environment.random_below(range.unsigned_abs());
    Ok(Value::int(min.wrapping_add(i64::try_from(offset).unwrap_or(0))))
}

fn rand_bytes(context: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let count = usize::try_from(args.int(0)).map_err(|_| Fault::plain("runtime error: makeslice: len out of range"))?;
    room(count)?;
    let mut bytes = zeroize::Zeroizing::new(vec![0; count]);
    context.environment.random(&mut bytes);
    text(base64_of(&bytes))
}

fn shuffle(context: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let whole = args.bytes(0);
    context.environment.steps(whole.len())?;
    let mut shuffled: Vec<char> = characters(whole).map(|(_, c, ..)| c).collect();
    for last in (1..shuffled.len()).rev() {
        let other = context.environment.random_below(last as u64 + 1);
        shuffled.swap(last, usize::try_from(other).unwrap_or(0));
    }
    let mut out = Buffer::with_capacity(whole.len());
    shuffled.into_iter().for_each(|c| out.character(c));
    made(out)
}

fn uuidv4(context: &mut Context<'_, '_>, _: &[Value]) -> Result {
    let mut bytes = [0u8; 16];
    context.environment.random(&mut bytes);
    let bits = u128::from_be_bytes(bytes) & !(0xf << 76) & !(0b11 << 62) | 4 << 76 | 0b10 << 62;
    let digits = format!("{bits:032x}");
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default().to_owned();
    text([part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-"))
}
