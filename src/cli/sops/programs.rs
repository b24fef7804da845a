//! Verbs that run another program: `edit`, `exec-env`, `exec-file`.

use std::fs;
use std::io::{BufRead as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use super::Outcome;
use super::args::{EditArgs, ExecEnvArgs, ExecFileArgs, Types, WhoArgs};
use super::failure::{Failure, code};
use super::keys::Run;
use super::private::PrivateFolder;
use super::ring::split_words;
use super::{files, keys};
use crate::pure::error::Explain as _;
use crate::pure::format::{self, Format, FormatError, Indent, Item, Tree, Value};
use crate::pure::secret::Plaintext;
use crate::pure::sops::{self, Opened, SopsError};

fn generic(what: impl std::fmt::Display) -> Failure {
    Failure::new(code::GENERIC, what.to_string())
}

/// The exit status of a child, passed on.
fn passed_on(status: ExitStatus) -> ExitCode {
    let status = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(status).unwrap_or(1))
}

/// `sops exec-env`.
pub fn exec_env(args: &ExecEnvArgs, run: &Run<'_>) -> Outcome {
    let types = Types { input_type: args.input_type.clone(), ..Types::default() };
    files::layout(run.global)?;
    let input = files::read(&args.file, &types)?;
    let document = keys::parse(&input, files::format(args.input_type.as_deref(), &input.name))?;
    let opened = run.open(&document, &input.name, false)?;
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(&args.command);
    if args.pristine {
        command.env_clear();
    }
    let items: &[Item] = opened.branches().first().map_or(&[], |branch| &branch.items);
    for item in items {
        let Item::Entry(entry) = item else { continue };
        let Value::Scalar(scalar) = &entry.value.value else {
            return Err(generic(format!("cannot use complex value in environment; offending key: {}", entry.key)));
        };
        if entry.key.contains('=') || entry.key.contains('\0') {
            return Err(generic(format!("cannot use a key with '=' in the environment; offending key: {}", entry.key)));
        }
        // Null sets nothing.
        let Some(value) = format::plain_text(scalar) else { continue };
        let value = value.expose_str().filter(|value| !value.contains('\0')).ok_or_else(|| {
            generic(format!("cannot use a value that is not text in the environment; offending key: {}", entry.key))
        })?;
        command.env(&entry.key, value);
    }
    args.who.prepare(&mut command)?;
    if args.same_process && args.who.background {
        return Err(Failure::new(code::CONFLICTING_FLAGS, "--background does not go with --same-process"));
    }
    if args.same_process {
        return Err(generic(format!("/bin/sh: {}", command.exec())));
    }
    args.who.run(command)
}

impl WhoArgs {
    /// Makes it the command of another user, if one is asked for.
    fn prepare(&self, command: &mut Command) -> Result<(), Failure> {
        let Some((name, uid, gid, home)) = self.user()? else { return Ok(()) };
        command.uid(uid).gid(gid).env("HOME", home).env("USER", &name).env("LOGNAME", &name);
        Ok(())
    }

    /// Gives what is in the private folder to that user, and the way to it. The folder itself stays ours: whoever owns it
    /// could put a link to another file in the place of the pipe that we open for writing.
    fn give(&self, folder: &Path) -> Result<(), Failure> {
        let Some((_, uid, gid, _)) = self.user()? else { return Ok(()) };
        for entry in fs::read_dir(folder).map_err(generic)? {
            std::os::unix::fs::chown(entry.map_err(generic)?.path(), Some(uid), Some(gid)).map_err(generic)?;
        }
        fs::set_permissions(folder, fs::Permissions::from_mode(0o711)).map_err(generic)
    }

    /// Name, numbers and home of the user.
    fn user(&self) -> Result<Option<(String, u32, u32, String)>, Failure> {
        let Some(name) = &self.user else { return Ok(None) };
        // The system's own look-up: users may come from a directory service.
        let unknown = || generic(format!("unknown user {name}"));
        let output = Command::new("getent").args(["passwd", "--", name]).output().map_err(generic)?;
        let entry = String::from_utf8(output.stdout).map_err(|_| unknown())?;
        let fields: Vec<&str> = entry.trim_end().split(':').collect();
        let [_, _, uid, gid, _, home, ..] = fields.as_slice() else { return Err(unknown()) };
        let number = |text: &str| text.parse::<u32>().map_err(|_| unknown());
        Ok(Some((name.clone(), number(uid)?, number(gid)?, (*home).to_owned())))
    }

    /// Runs it, and waits for it unless it is to go on by itself.
    fn run(&self, mut command: Command) -> Outcome {
        if self.background {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            return command.spawn().map(|_| ExitCode::SUCCESS).map_err(generic);
        }
        command.status().map(passed_on).map_err(generic)
    }
}

/// `sops exec-file`.
pub fn exec_file(args: &ExecFileArgs, run: &Run<'_>) -> Outcome {
    let indent = files::layout(run.global)?;
    let input = files::read(&args.file, &args.types)?;
    let source = files::format(args.types.input_type.as_deref(), &input.name);
    let target = files::format(args.types.output_type.as_deref(), &input.name);
    let document = keys::parse(&input, source)?;
    let opened = run.open(&document, &input.name, false)?;
    let plain = opened.emit_with(target, indent).map_err(|error| Failure::of(&input.name, &error))?;
    let name = args.filename.as_deref().filter(|name| !name.is_empty()).unwrap_or("tmp-file");
    if Path::new(name).file_name().is_none_or(|file| file != name) {
        return Err(generic("--filename must be a name without a folder"));
    }
    let folder = PrivateFolder::new().map_err(generic)?;
    let path = folder.path().join(name);
    let shell = |path: &Path| {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(args.command.replace("{}", &path.to_string_lossy()));
        args.who.prepare(&mut command).map(|()| command)
    };
    if args.who.background {
        let what = "--background leaves the command without its file: it goes when this program ends";
        return Err(Failure::new(code::CONFLICTING_FLAGS, what));
    }
    if args.no_fifo {
        write_private(&path, plain.expose())?;
        args.who.give(folder.path())?;
        return args.who.run(shell(&path)?);
    }
    let made = Command::new("mkfifo").arg("-m").arg("600").arg(&path).status().map_err(generic)?;
    if !made.success() {
        return Err(generic("the pipe could not be made; --no-fifo uses a file"));
    }
    args.who.give(folder.path())?;
    let mut child = shell(&path)?.spawn().map_err(generic)?;
    // The writer waits until the command opens the pipe; a command that never does ends the program all the same.
    let writer_path = path.clone();
    std::thread::spawn(move || {
        if let Ok(mut pipe) = fs::OpenOptions::new().write(true).open(writer_path) {
            let _ = pipe.write_all(plain.expose());
        }
    });
    child.wait().map(passed_on).map_err(generic)
}

fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).map_err(generic)?;
    file.write_all(bytes).map_err(generic)
}

/// `sops edit`.
pub fn edit(args: &EditArgs, run: &Run<'_>) -> Outcome {
    let layout = files::layout(run.global)?;
    let name = args.types.filename_override.clone().unwrap_or_else(|| args.file.to_string_lossy().into_owned());
    let format = files::format(args.types.input_type.as_deref(), &name);
    if !args.file.exists() {
        return edit_new(args, run, &name, format);
    }
    let input = files::read(&args.file, &args.types)?;
    let document = keys::parse(&input, format)?;
    let opened = run.open(&document, &input.name, args.ignore_mac)?;
    let fail = |error: SopsError| Failure::of(&input.name, &error);
    let target = (args.types.output_type.as_deref().and_then(Format::of_name).unwrap_or(format), layout);
    let sealed = if args.show_master_keys {
        let shown = opened.emit_with_block().map_err(fail)?;
        in_editor(&args.file, &shown, |edited| with_edited_block(&opened, edited, target, run).map(Some))?
    } else {
        let plain = opened.emit(format).map_err(fail)?;
        in_editor(&args.file, &plain, |edited| {
            let tree = parse_edited(edited, format)?;
            sops::reseal_to(&opened, &tree, target, &files::now(), &mut random()).map(Some)
        })?
    };
    files::replace(&args.file, &sealed)?;
    Ok(ExitCode::SUCCESS)
}

/// The file after an edit of its values, of the keys in its block, or of both.
fn with_edited_block(
    opened: &Opened<'_>,
    edited: &Plaintext,
    target: (Format, Indent),
    run: &Run<'_>,
) -> Result<Plaintext, SopsError> {
    run.begin_attempt();
    let document = opened.document();
    let mut edited = sops::take_apart(document, edited.expose())?;
    let now = files::now();
    let has_other_values = !edited.plain.source.same_as(&opened.emit(document.format())?);
    let sealed = if has_other_values || target.0 != document.format() {
        sops::reseal_to(opened, &edited.plain, target, &now, &mut random())?
    } else {
        Plaintext::copy_of(document.bytes())
    };
    if !edited.has_other_keys {
        return Ok(sealed);
    }
    run.try_complete(&mut edited.groups)?;
    let document = sops::parse(sealed.expose(), target.0)?;
    let (groups, threshold) = (&edited.groups, edited.shamir_threshold);
    sops::rewrap(&document, opened.data_key(), groups, threshold, &now, &mut random(), &mut run.wrap())
}

fn edit_new(args: &EditArgs, run: &Run<'_>, name: &str, format: Format) -> Outcome {
    let plan = keys::plan(run.global, &args.keys, &args.selector, name)?;
    sops::check_groups(&plan.groups, plan.shamir_threshold).map_err(|error| {
        let what = format!("Error encrypting the data key with one or more master keys: [{}]", error.line());
        Failure::new(code::COULD_NOT_RETRIEVE_KEY, what)
    })?;
    let example = match format {
        Format::Yaml => {
            "hello: Welcome to SOPS! Edit this file as you please!\nexample_key: example_value\n# Example comment\nexample_array:\n    - example_value1\n    - example_value2\nexample_number: 1234.56789\nexample_booleans:\n    - true\n    - false\n"
        }
        Format::Json => {
            "{\n\t\"hello\": \"Welcome to SOPS! Edit this file as you please!\",\n\t\"example_key\": \"example_value\",\n\t\"example_array\": [\n\t\t\"example_value1\",\n\t\t\"example_value2\"\n\t],\n\t\"example_number\": 1234.56789,\n\t\"example_booleans\": [\n\t\ttrue,\n\t\tfalse\n\t]\n}\n"
        }
        Format::Dotenv => {
            "hello=Welcome to SOPS! Edit this file as you please!\nexample_key=example_value\n# Example comment\n"
        }
        Format::Ini => {
            "[Welcome!]\nhello = Welcome to SOPS! Edit this file as you please!\nexample_key = example_value\n"
        }
        Format::Binary => "Welcome to SOPS! Edit this file as you please!\n",
    };
    let sealed = in_editor(&args.file, &Plaintext::copy_of(example.as_bytes()), |edited| {
        run.begin_attempt();
        let tree = parse_edited(edited, format)?;
        sops::seal(&tree, format, &plan, &files::now(), &mut random(), &mut run.wrap()).map(Some)
    })?;
    files::replace(&args.file, &sealed)?;
    Ok(ExitCode::SUCCESS)
}

/// An editor that could not write leaves nothing, and nobody means to lose a whole file so.
fn parse_edited(edited: &Plaintext, format: Format) -> Result<Tree, FormatError> {
    if format == Format::Yaml && edited.expose().trim_ascii().is_empty() {
        return Err(FormatError::Syntax { format, line: 1, what: "the file is empty".into() });
    }
    format::parse(edited.expose(), format)
}

fn random() -> impl FnMut(&mut [u8]) {
    |buffer: &mut [u8]| {
        if getrandom::fill(buffer).is_err() {
            std::process::abort();
        }
    }
}

/// Lets the user edit a plaintext until `accept` takes it. The copy lies in a folder of the user's own and is overwritten
/// and removed.
fn in_editor(
    file: &Path,
    plain: &Plaintext,
    accept: impl Fn(&Plaintext) -> Result<Option<Plaintext>, SopsError>,
) -> Result<Plaintext, Failure> {
    let folder = PrivateFolder::new().map_err(generic)?;
    let path = folder.path().join(file.file_name().unwrap_or_default());
    write_private(&path, plain.expose())?;
    let result = edit_loop(&path, plain, accept);
    if let Ok(length) = fs::metadata(&path).map(|meta| usize::try_from(meta.len()).unwrap_or(0)) {
        let _ = write_private(&path, &vec![0; length]);
    }
    result
}

fn edit_loop(
    path: &Path,
    plain: &Plaintext,
    accept: impl Fn(&Plaintext) -> Result<Option<Plaintext>, SopsError>,
) -> Result<Plaintext, Failure> {
    let words = editor()?;
    loop {
        let (program, arguments) = words.split_first().ok_or_else(|| Failure::new(code::NO_EDITOR, "no editor"))?;
        let no_editor = |what: String| Failure::new(code::NO_EDITOR, format!("Could not run editor: {what}"));
        let status = Command::new(program).args(arguments).arg(path).status();
        let status = status.map_err(|error| no_editor(format!("{program}: {error}")))?;
        if !status.success() {
            return Err(no_editor(status.to_string()));
        }
        let gone = |error| Failure::new(code::COULD_NOT_READ_INPUT, format!("Could not read edited file: {error}"));
        let edited = fs::read(path).map(Plaintext::new).map_err(gone)?;
        if edited.same_as(plain) {
            return Err(Failure::new(code::FILE_HAS_NOT_BEEN_MODIFIED, "File has not changed, exiting."));
        }
        match accept(&edited) {
            Ok(Some(sealed)) => return Ok(sealed),
            Ok(None) => {}
            Err(error) => crate::cli::complain(&format!("The file cannot be encrypted as it is: {error}")),
        }
        crate::cli::complain("Press a key to return to the editor, or Ctrl+C to exit.");
        let mut line = String::new();
        // Without a terminal to answer there would be no end.
        if std::io::stdin().lock().read_line(&mut line).map_err(generic)? == 0 {
            return Err(Failure::new(code::COULD_NOT_READ_INPUT, "the edited file cannot be encrypted"));
        }
    }
}

fn editor() -> Result<Vec<String>, Failure> {
    for variable in ["SOPS_EDITOR", "EDITOR"] {
        if let Some(line) = std::env::var(variable).ok().filter(|line| !line.trim().is_empty()) {
            return Ok(split_words(&line));
        }
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = |name: &str| std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file());
    let program: Option<PathBuf> = ["vim", "nano", "vi"].into_iter().find_map(found);
    let what = "no editor available: set SOPS_EDITOR or EDITOR, or install vim, nano or vi";
    program.map(|path| vec![path.to_string_lossy().into_owned()]).ok_or_else(|| Failure::new(code::NO_EDITOR, what))
}
