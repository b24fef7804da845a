//! How the incumbents' programs, which are Go's, read flags and the variables that stand for them.

use std::ffi::OsString;

use clap::{Arg, Command};

/// A truth value as Go reads it.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("a truth value is true or false".into()),
    }
}

/// The logging flags of Go's programs. They have no effect here, but a wrong value is refused as there: a script that has one
/// has a mistake in it.
pub mod klog {
    /// A level of `-v`.
    pub fn level(text: &str) -> Result<String, String> {
        checked(text, text.parse::<i32>().is_ok(), "a level is a number")
    }

    pub fn boolean(text: &str) -> Result<String, String> {
        super::boolean(text).map(|_| text.to_owned())
    }

    /// A severity, by name or number.
    pub fn severity(text: &str) -> Result<String, String> {
        let named = ["INFO", "WARNING", "ERROR", "FATAL"].iter().any(|name| name.eq_ignore_ascii_case(text));
        checked(text, named || text.parse::<i32>().is_ok(), "a severity is INFO, WARNING, ERROR or FATAL")
    }

    /// `pattern=level`, any number of them with commas between.
    pub fn modules(text: &str) -> Result<String, String> {
        let is_module = |module: &str| {
            module.split_once('=').is_some_and(|(name, level)| !name.is_empty() && level.parse::<u32>().is_ok())
        };
        let all = text.split(',').filter(|module| !module.is_empty()).all(is_module);
        checked(text, all, "a list of name=level")
    }

    /// Megabytes, in any of Go's bases.
    pub fn size(text: &str) -> Result<String, String> {
        let digits = text.to_ascii_lowercase();
        let (digits, base) = match digits.as_bytes() {
            [b'0', b'x', ..] => (digits.get(2..), 16),
            [b'0', b'o', ..] => (digits.get(2..), 8),
            [b'0', b'b', ..] => (digits.get(2..), 2),
            [b'0', _, ..] => (digits.get(1..), 8),
            _ => (Some(&*digits), 10),
        };
        let fits = digits.is_some_and(|digits| !digits.starts_with('+') && u64::from_str_radix(digits, base).is_ok());
        checked(text, fits, "a size is a number")
    }

    /// `file.go:line`, or nothing.
    pub fn place(text: &str) -> Result<String, String> {
        let is_place =
            |(file, line): (&str, &str)| file.contains('.') && line.parse::<u32>().is_ok_and(|line| line > 0);
        checked(text, text.is_empty() || text.split_once(':').is_some_and(is_place), "a place is file.go:line")
    }

    fn checked(text: &str, is_right: bool, what: &str) -> Result<String, String> {
        if is_right { Ok(text.to_owned()) } else { Err(what.to_owned()) }
    }
}

/// Leaves out each variable whose value its flag does not take: the incumbents pass over such a value in silence and go on
/// with the default, and whoever swaps only the program must not find it ending at start. `tell` gets a line for each
/// that is not empty, without the value.
pub fn forgive(command: Command, tell: &mut dyn FnMut(&str)) -> Command {
    command.mut_args(|arg| {
        let Some(variable) = arg.get_env().map(ToOwned::to_owned) else { return arg };
        let Some(value) = std::env::var_os(&variable) else { return arg };
        // An empty text is what a flag without a default has anyway.
        if value.is_empty() && arg.get_default_values().is_empty() {
            return arg.env(None);
        }
        if takes(&arg, &value) {
            return arg;
        }
        if !value.is_empty() {
            let flag = arg.get_long().unwrap_or_default();
            let variable = variable.display();
            tell(&format!("warning: the value of {variable} cannot be used for --{flag} and is passed over"));
        }
        arg.env(None)
    })
}

fn takes(arg: &Arg, value: &OsString) -> bool {
    let mut given = OsString::from(format!("--{}=", arg.get_long().unwrap_or_default()));
    given.push(value);
    // A flag of its own program: what others it goes with is no matter here.
    let alone = Command::new("flag").no_binary_name(true).disable_version_flag(true).arg(arg.clone().env(None));
    alone.try_get_matches_from([given]).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_has_its_variable() {
        for (name, flags) in crate::cli::GOS {
            let verb = flags(Command::new(name));
            for arg in verb.get_arguments() {
                let Some(long) = arg.get_long() else { continue };
                // What ends the program at once, and the logging flags, which have no effect.
                let log = long == "v" || long == "vmodule" || long.contains('_') || long.contains("stderr");
                if log || ["help", "version"].contains(&long) {
                    continue;
                }
                let own = ["leader-elect", "pin", "sealed-endpoints"].contains(&long);
                let prefix = if own { "LATCHWORK" } else { "SEALED_SECRETS" };
                let wanted = format!("{prefix}_{}", long.to_uppercase().replace('-', "_"));
                assert_eq!(arg.get_env().and_then(std::ffi::OsStr::to_str), Some(&*wanted), "{name} --{long}");
            }
        }
    }

    #[test]
    fn truth_is_gos() {
        for text in ["1", "t", "T", "TRUE", "true", "True"] {
            assert_eq!(boolean(text), Ok(true), "{text}");
        }
        for text in ["0", "f", "F", "FALSE", "false", "False"] {
            assert_eq!(boolean(text), Ok(false), "{text}");
        }
        for text in ["", "yes", "tRUE", "2"] {
            assert!(boolean(text).is_err(), "{text}");
        }
    }
}
