//! Input, output, formats by name, the rules file, time and randomness.

use std::fs;
use std::io::{BufRead as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use zeroize::{Zeroize as _, Zeroizing};

use super::args::{Global, Target, Types};
use super::failure::{Failure, code};
use crate::adapters::atomic;
use crate::pure::format::{Format, Indent};
use crate::pure::secret::Plaintext;
use crate::pure::sops::Plan;
use crate::pure::sops::rules::Config;

/// Folders searched upwards for a `.sops.yaml`.
const CONFIG_LEVELS: usize = 100;

/// An input that was read.
pub struct Input {
    /// The path, or the name that stands for standard input.
    pub name: String,
    /// Where it lies; `None` for standard input.
    pub path: Option<PathBuf>,
    /// Its bytes.
    pub bytes: Plaintext,
}

/// Reads a file to decrypt or encrypt, or standard input.
pub fn read_or_stdin(file: Option<&Path>, types: &Types) -> Result<Input, Failure> {
    let Some(path) = file else {
        // Without a name it is a binary file, unless a flag says more.
        let name = types.filename_override.clone().unwrap_or_else(|| "(stdin)".into());
        let mut bytes = Vec::new();
        std::io::stdin()
            .lock()
            .read_to_end(&mut bytes)
            .map_err(|error| Failure::new(code::COULD_NOT_READ_INPUT, format!("standard input: {error}")))?;
        return Ok(Input { name, path: None, bytes: Plaintext::new(bytes) });
    };
    exists(path)?;
    read(path, types)
}

/// An error if there is no such file.
pub fn exists(path: &Path) -> Result<(), Failure> {
    if path.exists() {
        return Ok(());
    }
    let what = format!("Error: cannot operate on non-existent file \"{}\"", path.display());
    Err(Failure::new(code::NO_FILE, what))
}

/// Reads a file.
pub fn read(path: &Path, types: &Types) -> Result<Input, Failure> {
    let fail = |error| Failure::new(code::COULD_NOT_READ_INPUT, format!("{}: {error}", path.display()));
    let bytes = fs::read(path).map_err(fail)?;
    let name = types.filename_override.clone().unwrap_or_else(|| path.to_string_lossy().into_owned());
    Ok(Input { name, path: Some(path.to_owned()), bytes: Plaintext::new(bytes) })
}

/// The format that a flag names, or that the name of a file stands for. An unknown flag falls back to the name.
pub fn format(flag: Option<&str>, name: &str) -> Format {
    flag.and_then(Format::of_name).unwrap_or_else(|| Format::of_path(name))
}

/// Writes the result where the flags say.
pub fn write(target: &Target, input: &Input, bytes: &Plaintext) -> Result<ExitCode, Failure> {
    let path = if target.in_place {
        let stdin = || Failure::new(code::CONFLICTING_FLAGS, "Error: cannot use --in-place with standard input");
        Some(input.path.as_deref().ok_or_else(stdin)?)
    } else {
        target.output()
    };
    match path {
        Some(path) => replace(path, bytes)?,
        None => to_stdout(bytes)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Replaces a file as a whole or not at all.
pub fn replace(path: &Path, bytes: &Plaintext) -> Result<(), Failure> {
    atomic::replace(path, bytes.expose()).map_err(|error| unwritten(path, &error))
}

/// A file or folder that could not be written.
pub fn unwritten(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(code::COULD_NOT_WRITE_OUTPUT, format!("{}: {error}", path.display()))
}

/// Writes to standard output.
pub fn to_stdout(bytes: &Plaintext) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes.expose())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::new(code::COULD_NOT_WRITE_OUTPUT, format!("standard output: {error}")))
}

/// The rules file: the flag's, else the first one from the working directory upwards.
pub fn config_path(global: &Global) -> Result<Option<PathBuf>, Failure> {
    if let Some(path) = global.config.as_ref().filter(|path| !path.as_os_str().is_empty()) {
        return Ok(Some(path.clone()));
    }
    let here = std::env::current_dir().map_err(|error| Failure::new(code::GENERIC, error.to_string()))?;
    Ok(here.ancestors().take(CONFIG_LEVELS).map(|folder| folder.join(".sops.yaml")).find(|path| path.is_file()))
}

/// A verb that needs rules was called without a file: that there are no rules is said first, as there.
pub fn nothing_named(global: &Global) -> Failure {
    match config_path(global) {
        Ok(None) => Failure::new(code::GENERIC, "config file not found"),
        Ok(Some(_)) => Failure::new(code::NO_FILE, "Error: no file specified"),
        Err(failure) => failure,
    }
}

/// The text of the rules file, and where it is.
pub fn rules_text(global: &Global) -> Result<Option<(String, PathBuf)>, Failure> {
    let Some(path) = config_path(global)? else { return Ok(None) };
    let fail = |what: String| Failure::new(code::GENERIC, format!("error loading config {}: {what}", path.display()));
    let text = fs::read_to_string(&path).map_err(|error| fail(error.to_string()))?;
    Ok(Some((text, path)))
}

/// Asks until the answer is `y` or `n`.
pub fn confirmed(question: &str) -> Result<bool, Failure> {
    let generic = |what: &str| Failure::new(code::GENERIC, what);
    let fail = |error: std::io::Error| Failure::new(code::GENERIC, error.to_string());
    loop {
        let mut out = std::io::stdout().lock();
        out.write_all(question.as_bytes()).and_then(|()| out.flush()).map_err(fail)?;
        let mut answer = String::new();
        if std::io::stdin().lock().read_line(&mut answer).map_err(fail)? == 0 {
            return Err(generic("no answer, so nothing is done; --yes goes on without a question"));
        }
        match answer.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["y"] => return Ok(true),
            ["n"] => return Ok(false),
            [_] => {}
            _ => return Err(generic("the answer is neither y nor n, so nothing is done")),
        }
    }
}

/// Layout of printed files: that of the flag, else of the rules file.
///
/// # Errors
/// A rules file that cannot be read, as in SOPS where nothing but its layout is needed.
pub fn layout(global: &Global) -> Result<Indent, Failure> {
    let indent = match rules_text(global)? {
        Some((text, path)) => Config::layout(&text).map_err(|error| {
            Failure::new(code::GENERIC, format!("error loading config {}: {error}", path.display()))
        })?,
        None => Indent::default(),
    };
    Ok(global.indent.map_or(indent, Indent::of_width))
}

/// The rules and their folder.
pub fn config(global: &Global) -> Result<Option<(Config, PathBuf)>, Failure> {
    let Some((text, path)) = rules_text(global)? else { return Ok(None) };
    let fail = |what: String| Failure::new(code::GENERIC, format!("error loading config {}: {what}", path.display()));
    let config = Config::parse(&text).map_err(|error| fail(error.to_string()))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.canonicalize().map_err(|error| fail(error.to_string()))?;
    Ok(Some((config, folder)))
}

/// The plan of the rules for a file.
pub fn plan_of_rules(global: &Global, name: &str) -> Result<Option<Plan>, Failure> {
    config(global)?.map_or(Ok(None), |rules| plan_of(&rules, name))
}

/// The plan of rules that were read already.
pub fn plan_of((config, folder): &(Config, PathBuf), name: &str) -> Result<Option<Plan>, Failure> {
    let relative = path_for_rules(folder, name);
    config.plan_for(&relative).map_err(|error| Failure::new(code::GENERIC, format!("error loading config: {error}")))
}

/// The path of a file as rules see it: below the folder of the rules, or absolute when it lies elsewhere.
pub fn path_for_rules(folder: &Path, name: &str) -> String {
    let absolute = std::path::absolute(name).unwrap_or_else(|_| PathBuf::from(name));
    let resolved = absolute.parent().and_then(|folder| folder.canonicalize().ok());
    let absolute = match (resolved, absolute.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => absolute,
    };
    absolute.strip_prefix(folder).unwrap_or(&absolute).to_string_lossy().into_owned()
}

/// Bytes that are drawn from the system at a time: a call for each nonce would be felt in large files.
const RANDOM_BLOCK: usize = 1024;

/// Random bytes of the system.
pub fn random() -> Result<impl FnMut(&mut [u8]), Failure> {
    let mut block = Zeroizing::new([0_u8; RANDOM_BLOCK]);
    // The first draw tells whether the system has any; later ones cannot fail then.
    getrandom::fill(block.as_mut_slice())
        .map_err(|error| Failure::new(code::GENERIC, format!("no random bytes: {error}")))?;
    let mut left = RANDOM_BLOCK;
    Ok(move |buffer: &mut [u8]| {
        if buffer.len() > left {
            fill_or_abort(block.as_mut_slice());
            left = RANDOM_BLOCK;
        }
        let rest = left.checked_sub(buffer.len());
        match rest.and_then(|rest| block.get_mut(rest..left).map(|bytes| (rest, bytes))) {
            // What was handed out is not kept, and never handed out again.
            Some((rest, bytes)) => {
                buffer.copy_from_slice(bytes);
                bytes.zeroize();
                left = rest;
            }
            None => fill_or_abort(buffer),
        }
    })
}

/// A key or nonce that is not random must never be used.
fn fill_or_abort(buffer: &mut [u8]) {
    if getrandom::fill(buffer).is_err() {
        std::process::abort();
    }
}

/// The time, in UTC and seconds, RFC 3339.
pub fn now() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let seconds = i64::try_from(now).unwrap_or(0);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| "1970-01-01T00:00:00Z".into(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_random_bytes_are_handed_out_twice() {
        let mut random = random().map_err(|failure| failure.text).expect("the system has some");
        let mut seen = HashSet::new();
        for length in [32, 1, 500, RANDOM_BLOCK, 32, RANDOM_BLOCK + 1, 5000, 7].into_iter().cycle().take(200) {
            let mut buffer = vec![0; length];
            random(&mut buffer);
            for part in buffer.chunks_exact(16) {
                assert!(seen.insert(part.to_vec()), "drawn twice");
            }
        }
        assert!(!seen.contains(&vec![0; 16]));
    }
}
