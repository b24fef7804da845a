//! OpenPGP keys through the user's `gpg`: keyboxes, agents, smartcards, which only that program knows. It is run with
//! the arguments that SOPS gives it, so that what works there works here.

use std::ffi::OsString;
use std::io::{ErrorKind, Read as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};

use zeroize::Zeroizing;

use crate::pure::keys::{KeyError, KeyRef, LocalKeys, Unwrapped, Wrapped, WrappedKey};
use crate::pure::limits;
use crate::pure::secret::Plaintext;

/// The program.
pub struct Gpg {
    program: OsString,
    /// How many more may run: an agent that many ask at a time runs out of locked memory.
    free: Mutex<usize>,
    freed: Condvar,
}

impl Gpg {
    /// `program`: what the user named, else `gpg`. It inherits the environment, `GNUPGHOME` and `GPG_TTY` among it.
    pub fn new(program: Option<OsString>) -> Self {
        let program = program.filter(|program| !program.is_empty()).unwrap_or_else(|| "gpg".into());
        Self { program, free: Mutex::new(limits::GPG_AT_A_TIME), freed: Condvar::new() }
    }

    /// What the program writes for `input`, or what it complains about. Its complaints name keys and files.
    fn run(&self, arguments: &[&str], input: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
        let _turn = Turn::take(self);
        let mut command = Command::new(&self.program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let shown = self.program.to_string_lossy();
        let mut child = command.spawn().map_err(|error| match error.kind() {
            ErrorKind::NotFound => format!("{shown} is not installed; SOPS_GPG_EXEC names another program"),
            _ => format!("{shown} cannot be run: {error}"),
        })?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let mut out = Zeroizing::new(Vec::with_capacity(limits::GPG_OUTPUT_BYTES));
        let mut said = Vec::new();
        std::thread::scope(|scope| {
            // Closed at the end; a program that reads no more has its own reasons and says them.
            scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input)));
            scope.spawn(|| {
                stderr.map(|mut stderr| {
                    let kept = stderr.by_ref().take(limits::GPG_OUTPUT_BYTES as u64).read_to_end(&mut said);
                    // The rest is read, or the program would wait for ever.
                    kept.and_then(|_| std::io::copy(&mut stderr, &mut std::io::sink()))
                })
            });
            stdout.map(|stdout| stdout.take(limits::GPG_OUTPUT_BYTES as u64).read_to_end(&mut out))
        });
        let status = child.wait().map_err(|error| format!("{shown}: {error}"))?;
        if status.success() {
            return Ok(out);
        }
        let said = String::from_utf8_lossy(&said);
        Err(if said.trim().is_empty() { format!("{shown} ended with {status}") } else { said.trim().to_owned() })
    }
}

/// The right to run one.
struct Turn<'g>(&'g Gpg);

impl<'g> Turn<'g> {
    fn take(gpg: &'g Gpg) -> Self {
        let free = gpg.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = gpg.freed.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Self(gpg)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}

/// The id by which the key is trusted for this call: its last 16 digits, with the mark of an exact subkey.
fn short(fingerprint: &str) -> &str {
    let digits = if fingerprint.ends_with('!') { 17 } else { 16 };
    fingerprint.len().checked_sub(digits).and_then(|at| fingerprint.get(at..)).unwrap_or(fingerprint)
}

impl LocalKeys for Gpg {
    fn unwrap(&self, key: &WrappedKey) -> Option<Unwrapped> {
        let KeyRef::Pgp { .. } = &key.key else { return None };
        let failed = |what: &str| {
            let message = format!(
                "could not decrypt data key with PGP key: GnuPG binary error: failed to decrypt sops data key with pgp: {what}"
            );
            KeyError::Local { message }
        };
        Some(match self.run(&["-d"], key.enc.as_bytes()) {
            // A gpg that does not know the cipher may say nothing and end well.
            Ok(secret) if secret.is_empty() => Err(failed("zero bytes returned")),
            Ok(secret) => Ok(Plaintext::copy_of(&secret)),
            Err(said) => Err(failed(&said)),
        })
    }

    fn wrap(&self, key: &KeyRef, secret: &Plaintext) -> Option<Wrapped> {
        let KeyRef::Pgp { fingerprint } = key else { return None };
        let failed = |what: &str| {
            let message = format!(
                "could not encrypt data key with PGP key: GnuPG binary error: failed to encrypt sops data key with pgp: {what}"
            );
            KeyError::Local { message }
        };
        let arguments = [
            "--no-default-recipient",
            "--yes",
            "--encrypt",
            "-a",
            "-r",
            fingerprint,
            "--trusted-key",
            short(fingerprint),
            "--no-encrypt-to",
            // The key was named, so it is trusted. Two that run at the same time write the same table of trust, and one of
            // them may read it half written; this one does not look.
            "--trust-model",
            "always",
        ];
        let enc = self.run(&arguments, secret.expose()).map_err(|said| failed(&said));
        Some(enc.and_then(|enc| {
            let text = std::str::from_utf8(&enc).map_err(|_| failed("the message is not text"))?.trim();
            if text.is_empty() { Err(failed("nothing was written")) } else { Ok(text.to_owned()) }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_id_keeps_the_mark_of_an_exact_subkey() {
        let fingerprint = "86E73D0C49D025BB44027B4858EFB12409A18F87";
        assert_eq!(short(fingerprint), "58EFB12409A18F87");
        assert_eq!(short(&format!("{fingerprint}!")), "58EFB12409A18F87!");
        assert_eq!(short("ABCD"), "ABCD");
    }

    fn wrapped(enc: &str) -> WrappedKey {
        WrappedKey { key: KeyRef::Pgp { fingerprint: "AB".into() }, enc: enc.into(), created_at: None }
    }

    #[test]
    fn what_the_program_says_is_told_and_an_empty_answer_is_none() {
        let message = |answer: Option<Unwrapped>| answer.expect("a PGP key").err().expect("fails").to_string();
        let run = |program: &str, enc: &str| message(Gpg::new(Some(program.into())).unwrap(&wrapped(enc)));
        assert!(run("true", "x").ends_with("zero bytes returned"));
        // More than a pipe holds, to a program that reads nothing: nobody may wait for ever.
        assert!(run("true", &"x".repeat(1 << 20)).ends_with("zero bytes returned"));
        assert!(run("cat", "x").contains("-- 'd'"), "cat has no -d, and says so");
        assert!(run("/nonexistent/gpg", "x").contains("is not installed"));
    }
}
