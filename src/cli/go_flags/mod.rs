//! How the incumbents' programs, which are Go's, read flags and the variables that stand for them.
//!
//! The line is read here as Go's `pflag` reads it, and what is wrong is said in its words; clap gets what is left, one word
//! for each value, and only puts it into its place.

use std::error::Error as _;
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, Command};

use crate::pure::template::{quoted, quoted_rune};

mod list;
mod values;

pub use values::{boolean, count, duration, float, klog, path};

/// Old names of flags, each with what is said when it is used.
const DEPRECATED: [(&str, &str); 2] =
    [("rotate", "please use --re-encrypt instead"), ("rotate-period", "please use key-renew-period instead")];

/// Where a program prints the text about its flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageTo {
    Stdout,
    Stderr,
}

/// Why a line is not carried out.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    /// It asks for help, with a flag that the program defines.
    Help,
    /// The same with one that it does not, which ends the reading at once.
    Usage,
    /// A flag or a value is wrong.
    Wrong(String),
}

/// The words behind the program's name in the form that clap reads: those that the variables stand for, then those that
/// were given. `tell` gets a line for what has no effect.
///
/// # Errors
/// The line asks for help, or is wrong.
pub fn read(flags: &Command, words: Vec<OsString>, tell: &mut dyn FnMut(&str)) -> Result<Vec<OsString>, Stop> {
    let mut line = Line { flags, out: vec![], is_help: false, is_version: false };
    line.take_variables(tell);
    line.take(words, tell)?;
    if line.is_help && !line.is_version { Err(Stop::Help) } else { Ok(line.out) }
}

/// The same flags as clap has to read them: the variables and the lists are read already.
pub fn prepared(flags: Command) -> Command {
    flags.mut_args(|arg| arg.env(None).value_delimiter(None))
}

/// Prints why the line is not carried out, and returns the exit status.
pub fn stop(why: &Stop, flags: Command, program: &str, to: UsageTo) -> u8 {
    let mut flags = flags.bin_name(program).max_term_width(110);
    let text = if *why == Stop::Help { flags.render_long_help() } else { flags.render_help() }.to_string();
    let (message, status) = match why {
        Stop::Help | Stop::Usage => (String::new(), 0),
        Stop::Wrong(message) => (format!("{message}\n"), 2),
    };
    let mut stderr = std::io::stderr().lock();
    if *why != Stop::Help {
        let _ = writeln!(stderr, "Usage of {program}:");
    }
    // Nobody is left to tell when a stream is closed.
    let _ = match to {
        UsageTo::Stdout => std::io::stdout().lock().write_all((text + &message).as_bytes()),
        UsageTo::Stderr => stderr.write_all((text + &message).as_bytes()),
    };
    status
}

struct Line<'a> {
    flags: &'a Command,
    out: Vec<OsString>,
    is_help: bool,
    is_version: bool,
}

impl<'a> Line<'a> {
    /// What the variables say. One whose value its flag does not take is left out: the incumbents pass over such a value in
    /// silence and go on with the default, and whoever swaps only the program must not find it ending at start. It is told
    /// of, unless it is empty, without the value.
    fn take_variables(&mut self, tell: &mut dyn FnMut(&str)) {
        let flags = self.flags;
        for arg in flags.get_arguments() {
            let Some(variable) = arg.get_env() else { continue };
            let old = arg.get_all_aliases().into_iter().flatten();
            let old =
                old.map(|name| OsString::from(format!("SEALED_SECRETS_{}", name.to_uppercase().replace('-', "_"))));
            for variable in std::iter::once(variable.to_owned()).chain(old) {
                let Some(value) = std::env::var_os(&variable) else { continue };
                // An empty text is what a flag without a default has anyway.
                if value.is_empty() && arg.get_default_values().is_empty() {
                    continue;
                }
                if self.set(arg, &value).is_err() && !value.is_empty() {
                    let (flag, variable) = (arg.get_long().unwrap_or_default(), variable.display());
                    tell(&format!("warning: the value of {variable} cannot be used for --{flag} and is passed over"));
                }
            }
        }
    }

    fn take(&mut self, words: Vec<OsString>, tell: &mut dyn FnMut(&str)) -> Result<(), Stop> {
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            match word.as_bytes() {
                b"--" => break,
                [b'-', b'-', rest @ ..] => self.long(rest, &mut words, tell)?,
                [b'-', rest @ ..] if !rest.is_empty() => self.short(rest, &mut words, tell)?,
                // These programs look at no argument.
                _ => {}
            }
        }
        Ok(())
    }

    fn long(
        &mut self,
        word: &[u8],
        words: &mut impl Iterator<Item = OsString>,
        tell: &mut dyn FnMut(&str),
    ) -> Result<(), Stop> {
        let shown = String::from_utf8_lossy(word);
        if matches!(word, [] | [b'-' | b'=', ..]) {
            return Err(Stop::Wrong(format!("bad flag syntax: --{shown}")));
        }
        let (name, value) = match word.iter().position(|byte| *byte == b'=') {
            Some(at) => (word.get(..at).unwrap_or_default(), word.get(at + 1..)),
            None => (word, None),
        };
        let name = String::from_utf8_lossy(name);
        let is_named = |arg: &&Arg| {
            arg.get_long() == Some(&*name) || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&&*name))
        };
        let flags = self.flags;
        let Some(arg) = flags.get_arguments().find(is_named) else {
            return Err(if name == "help" { Stop::Usage } else { Stop::Wrong(format!("unknown flag: --{name}")) });
        };
        let value = match value {
            Some(value) => OsString::from_vec(value.to_vec()),
            None if is_truth(arg) => "true".into(),
            None => words.next().ok_or_else(|| Stop::Wrong(format!("flag needs an argument: --{shown}")))?,
        };
        self.give(arg, &name, &value, tell)
    }

    /// One letter or several: the first one that wants a value takes the rest.
    fn short(
        &mut self,
        letters: &[u8],
        words: &mut impl Iterator<Item = OsString>,
        tell: &mut dyn FnMut(&str),
    ) -> Result<(), Stop> {
        let mut rest = letters;
        while let [letter, after @ ..] = rest {
            // Those of Go's tests are passed over.
            if rest.starts_with(b"test.") {
                return Ok(());
            }
            let in_word = || format!("{} in -{}", quoted_rune(char::from(*letter)), String::from_utf8_lossy(rest));
            let flags = self.flags;
            // Nobody has defined this one there: it is what asks for the usage.
            let found =
                flags.get_arguments().find(|arg| *letter != b'h' && arg.get_short() == Some(char::from(*letter)));
            let Some(arg) = found else {
                let wrong = || Stop::Wrong(format!("unknown shorthand flag: {}", in_word()));
                return Err(if *letter == b'h' { Stop::Usage } else { wrong() });
            };
            let value = match after {
                [b'=', value @ ..] if !value.is_empty() => value.to_vec(),
                _ if is_truth(arg) => {
                    self.give(arg, arg.get_long().unwrap_or_default(), OsStr::new("true"), tell)?;
                    rest = after;
                    continue;
                }
                [] => match words.next() {
                    Some(value) => value.into_vec(),
                    None => return Err(Stop::Wrong(format!("flag needs an argument: {}", in_word()))),
                },
                value => value.to_vec(),
            };
            return self.give(arg, arg.get_long().unwrap_or_default(), &OsString::from_vec(value), tell);
        }
        Ok(())
    }

    /// Takes a value that was given.
    fn give(&mut self, arg: &'a Arg, name: &str, value: &OsStr, tell: &mut dyn FnMut(&str)) -> Result<(), Stop> {
        self.set(arg, value).map_err(|why| {
            let short = arg.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
            let value = quoted(value.as_bytes());
            Stop::Wrong(format!("invalid argument {value} for \"{short}--{name}\" flag: {why}"))
        })?;
        if let Some((_, instead)) = DEPRECATED.iter().find(|(old, _)| *old == name) {
            tell(&format!("Flag --{name} has been deprecated, {instead}"));
        }
        Ok(())
    }

    fn set(&mut self, arg: &'a Arg, value: &OsStr) -> Result<(), String> {
        let Some(long) = arg.get_long() else { return Ok(()) };
        let elements = match arg.get_value_delimiter() {
            Some(_) => {
                let elements = list::elements(&value.to_string_lossy())?;
                elements.into_iter().map(OsString::from).collect()
            }
            None => vec![value.to_owned()],
        };
        for element in elements {
            let mut word = OsString::from(format!("--{long}="));
            word.push(element);
            check(arg, word.clone())?;
            match long {
                "help" => self.is_help = boolean(&value.to_string_lossy())?,
                "version" => {
                    self.is_version = boolean(&value.to_string_lossy())?;
                    self.out.push(word);
                }
                _ => self.out.push(word),
            }
        }
        Ok(())
    }
}

/// Whether a flag stands for itself, without a value.
fn is_truth(arg: &Arg) -> bool {
    arg.is_require_equals_set()
}

/// Whether the flag takes the value of this word; else why not.
fn check(arg: &Arg, word: OsString) -> Result<(), String> {
    // A flag of its own program: what others it goes with is no matter here.
    let arg = arg.clone().env(None).value_delimiter(None);
    let alone = Command::new("flag")
        .no_binary_name(true)
        .disable_version_flag(true)
        .disable_help_flag(true)
        .args_override_self(true)
        .arg(arg);
    let Err(error) = alone.try_get_matches_from([word]) else { return Ok(()) };
    if let Some(ContextValue::Strings(names)) = error.get(ContextKind::ValidValue) {
        return Err(format!("must be one of: {}", names.join(", ")));
    }
    Err(error.source().map_or_else(|| "it is not UTF-8".into(), ToString::to_string))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_has_its_variable() {
        for program in crate::cli::GOS {
            let verb = (program.flags)(Command::new(program.verb));
            for arg in verb.get_arguments() {
                let Some(long) = arg.get_long() else { continue };
                // The logging flags have no effect.
                if long == "v" || long == "vmodule" || long.contains('_') || long.contains("stderr") {
                    continue;
                }
                let own = ["leader-elect", "pin", "sealed-endpoints"].contains(&long);
                let prefix = if own { "LATCHWORK" } else { "SEALED_SECRETS" };
                let wanted = format!("{prefix}_{}", long.to_uppercase().replace('-', "_"));
                assert_eq!(arg.get_env().and_then(OsStr::to_str), Some(&*wanted), "{} --{long}", program.verb);
            }
        }
    }
}
