//! The command line as SOPS reads it, brought into the form that clap reads.
//!
//! SOPS takes its flags the way Go does: one dash is as good as two, `--flag=false` takes a flag back, and what follows a
//! flag is its value whatever it looks like. Its verbs say how many arguments they want with exit codes of their own.

use std::ffi::OsString;

use clap::{Arg, Command};

use super::failure::{Failure, code};
use crate::cli::go_flags::boolean;

/// Flags of the old style that count for these verbs too: without them something would stay in plaintext.
const SELECTORS: [&str; 2] = ["encrypted-comment-regex", "unencrypted-comment-regex"];
const SELECTING_VERBS: [&str; 2] = ["encrypt", "edit"];

/// The words behind `sops`, in clap's form. The flags of a verb are defined when it comes up.
///
/// # Errors
/// Too few or too many arguments for the verb.
pub fn read(words: Vec<OsString>, sops: &Command) -> Result<Vec<OsString>, Failure> {
    let mut line = Line {
        program: sops,
        levels: vec![],
        flags: vec![],
        verbs: vec![],
        arguments: vec![],
        is_question: false,
        asks_version: false,
    };
    line.take(words)?;
    if line.asks_version {
        return Ok(vec!["--version".into()]);
    }
    line.check()?;
    let Line { flags, verbs, arguments, .. } = line;
    let mut out: Vec<OsString> = verbs.into_iter().map(OsString::from).collect();
    out.extend(flags.into_iter().map(|flag| flag.word));
    if !arguments.is_empty() {
        out.push("--".into());
        out.extend(arguments);
    }
    Ok(out)
}

/// A command line, as far as it was read.
struct Line<'p> {
    program: &'p Command,
    /// The verb, and the verb of that.
    levels: Vec<Command>,
    flags: Vec<Flag>,
    verbs: Vec<String>,
    arguments: Vec<OsString>,
    /// Asks for help: nothing else counts.
    is_question: bool,
    /// Asks for the version, which is that of the program: verbs have none.
    asks_version: bool,
}

struct Flag {
    word: OsString,
    /// Long name of a flag that belongs to one level and not to all.
    own: Option<String>,
}

impl Line<'_> {
    fn take(&mut self, words: Vec<OsString>) -> Result<(), Failure> {
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let text = word.to_str().unwrap_or_default();
            if text == "--" {
                self.arguments.extend(words);
                return Ok(());
            }
            if let Some((name, value)) = name_and_value(text) {
                if is_version(name) && self.arguments.is_empty() {
                    self.version(name, value)?;
                    continue;
                }
                if let Some(flag) = self.flag(name, value, &mut words) {
                    self.flags.extend(flag);
                    continue;
                }
                if self.arguments.is_empty() {
                    // clap's to complain about.
                    self.flags.push(Flag { word, own: None });
                    continue;
                }
            } else if self.arguments.is_empty()
                && let Some(verb) = self.level().find_subcommand(text)
            {
                let verb = defined(verb);
                self.enter(verb);
                continue;
            } else if matches!(text, "help" | "h") && self.arguments.is_empty() && self.level().has_subcommands() {
                self.is_question = true;
                self.flags =
                    [OsString::from("help")].into_iter().chain(words).map(|word| Flag { word, own: None }).collect();
                return Ok(());
            }
            self.arguments.push(word);
        }
        Ok(())
    }

    /// A flag that asks for the version.
    fn version(&mut self, name: &str, value: Option<&str>) -> Result<(), Failure> {
        if !self.verbs.is_empty() {
            let what = format!("Incorrect Usage: flag provided but not defined: -{name}");
            return Err(Failure::new(code::GENERIC, what));
        }
        self.asks_version |= value.is_none_or(|value| boolean(value) != Ok(false));
        Ok(())
    }

    fn level(&self) -> &Command {
        self.levels.last().unwrap_or(self.program)
    }

    /// A flag as clap reads it; `Some(None)` when it was taken back, `None` when there is none of that name.
    fn flag(
        &mut self,
        name: &str,
        value: Option<&str>,
        words: &mut impl Iterator<Item = OsString>,
    ) -> Option<Option<Flag>> {
        if matches!(name, "help" | "h") {
            self.is_question = true;
            return Some(Some(Flag { word: "--help".into(), own: None }));
        }
        let levels = self.levels.iter().rev().chain([self.program]);
        let (arg, is_own) = levels.enumerate().find_map(|(distance, level)| {
            let arg = level
                .get_arguments()
                .find(|arg| is_named(arg, name) && !is_version(name) && (distance == 0 || arg.is_global_set()))?;
            Some((arg, !arg.is_global_set()))
        })?;
        let long = arg.get_long()?;
        let own = is_own.then(|| long.to_owned());
        let mut word = OsString::from(format!("--{long}"));
        if !arg.get_action().takes_values() && !arg.is_require_equals_set() {
            match value.map(|value| (boolean(value), value)) {
                Some((Ok(false), _)) => return Some(None),
                None | Some((Ok(true), _)) => {}
                Some((Err(_), other)) => word.push(format!("={other}")),
            }
        } else if let Some(value) = value {
            word.push(format!("={value}"));
        } else if !arg.is_require_equals_set()
            && let Some(value) = words.next()
        {
            word.push("=");
            word.push(value);
        }
        Some(Some(Flag { word, own }))
    }

    /// Goes on with the words of a verb. Flags before it that are the program's own count for nothing there, but for those
    /// that select what is encrypted.
    fn enter(&mut self, verb: Command) {
        self.verbs.push(verb.get_name().to_owned());
        self.levels.push(verb);
        let verb = self.verbs.first().map_or("", String::as_str);
        self.flags.retain(|flag| {
            let Some(name) = flag.own.as_deref() else { return true };
            let is_passed_on = SELECTORS.contains(&name) && SELECTING_VERBS.contains(&verb);
            if !is_passed_on {
                crate::cli::complain(&format!("warning: --{name} before {verb} counts for nothing; write it behind"));
            }
            is_passed_on
        });
    }

    /// Whether the verb gets as many arguments as it takes. One too many for a verb of one file is passed over, as there.
    fn check(&mut self) -> Result<(), Failure> {
        if self.is_question {
            return Ok(());
        }
        if self.level().has_subcommands() && !self.verbs.is_empty() {
            let Some(verb) = self.arguments.first() else {
                // A verb of verbs alone shows its help, and that is no error.
                self.flags.push(Flag { word: "--help".into(), own: None });
                return Ok(());
            };
            return Err(Failure::new(code::NO_SUCH_VERB, format!("No help topic for '{}'", verb.display())));
        }
        if self.verbs.first().is_some_and(|verb| verb == "keyservice") && !self.arguments.is_empty() {
            // Passed over there as well; it goes on serving.
            crate::cli::complain("warning: keyservice takes no arguments; they count for nothing");
            self.arguments.clear();
        }
        if self.verbs.first().is_some_and(|verb| verb == "completion") {
            self.check_shell()?;
        }
        let places: Vec<&Arg> = self.level().get_positionals().collect();
        let given = self.arguments.len();
        let needed = places.iter().filter(|place| place.is_required_set()).count();
        let takes_any = places.last().is_some_and(|place| place.get_num_args().is_some_and(|n| n.max_values() > 1));
        if given > 1 && places.len() == 1 && !takes_any && needed <= 1 && self.verbs.len() < 2 {
            crate::cli::complain("warning: only the first file counts; give one at a time");
            self.arguments.truncate(1);
            return Ok(());
        }
        if given >= needed && (given <= places.len() || takes_any) {
            return Ok(());
        }
        let status = match self.verbs.first().map(String::as_str) {
            Some("exec-env" | "exec-file" | "groups" | "completion") => code::GENERIC,
            _ => code::NO_FILE,
        };
        let names: Vec<String> = places.iter().map(|place| place.get_id().as_str().to_uppercase()).collect();
        Err(Failure::new(
            status,
            match (given, self.verbs.as_slice()) {
                (0, _) if status == code::NO_FILE => "Error: no file specified".to_owned(),
                (_, verbs) => {
                    let names = if names.is_empty() { "no arguments".to_owned() } else { names.join(" ") };
                    format!("Error: {} takes {names}; {given} given", verbs.join(" "))
                }
            },
        ))
    }

    /// A word that is no shell is taken for a verb of `completion`, an empty one for none.
    fn check_shell(&mut self) -> Result<(), Failure> {
        let Some(shell) = self.arguments.first() else { return Ok(()) };
        if shell.is_empty() {
            self.arguments.clear();
            return Ok(());
        }
        let shells = self.level().get_positionals().flat_map(Arg::get_possible_values);
        if shells.into_iter().any(|known| shell.to_str().is_some_and(|shell| known.matches(shell, false))) {
            return Ok(());
        }
        Err(Failure::new(code::NO_SUCH_VERB, format!("No help topic for '{}'", shell.display())))
    }
}

/// A verb with its flags, which clap puts off until it is built.
fn defined(verb: &Command) -> Command {
    let mut verb = verb.clone().disable_help_flag(true).disable_help_subcommand(true);
    verb.build();
    verb
}

/// The name of a flag and the value behind its `=`; `None` when the word is none.
fn name_and_value(word: &str) -> Option<(&str, Option<&str>)> {
    let name = word.strip_prefix('-')?;
    let name = name.strip_prefix('-').unwrap_or(name);
    if name.is_empty() {
        return None;
    }
    Some(name.split_once('=').map_or((name, None), |(name, value)| (name, Some(value))))
}

fn is_version(name: &str) -> bool {
    matches!(name, "version" | "v" | "V")
}

fn is_named(arg: &Arg, name: &str) -> bool {
    let mut letter = name.chars();
    let letter = letter.next().filter(|_| letter.next().is_none());
    !arg.is_positional()
        && (arg.get_long() == Some(name)
            || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&name))
            || letter.is_some_and(|letter| arg.get_short() == Some(letter)))
}
