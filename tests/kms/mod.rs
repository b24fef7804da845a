//! Key services: our clients beside the real sops, against the real service where there is one.

mod aws;
mod azure;
mod command_line;
mod gcp;
mod identities;
mod keyservice;
mod matrix;
mod vault;
mod vendors;

use std::process::Command;

use latchwork::adapters::kms::KeyService;
use latchwork::pure::error::Explain as _;
use latchwork::pure::format::Format;
use latchwork::pure::keys::{DataKey, KeyError, KeyRef, WrappedKey};
use latchwork::pure::sops::{self, MacPolicy};

use crate::rig::process::{self, run_ok};
use crate::rig::{scratch, tools};

const PLAIN: &str = "apiVersion: v1\npassword: s3cret\nlist:\n- 1\n- two\n";

/// The real sops with an environment that holds nothing of the user's.
fn theirs(arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = process::command(tools::path("sops"));
    command.env_clear().env("HOME", scratch::dir("home")).env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("SOPS_DISABLE_VERSION_CHECK", "1").args(arguments).envs(environment.iter().copied());
    command
}

/// A file that the real sops encrypted to one key.
fn sealed_by_theirs(flags: &[&str], environment: &[(&str, &str)]) -> String {
    let file = scratch::file("plain.yaml", PLAIN);
    let mut arguments = vec!["encrypt"];
    arguments.extend(flags);
    let path = file.display().to_string();
    arguments.push(&path);
    run_ok(theirs(&arguments, environment), b"")
}

fn only_key(text: &str) -> WrappedKey {
    let document = sops::parse(text.as_bytes(), Format::Yaml).unwrap_or_else(|e| panic!("{}\n{text}", e.line()));
    let mut keys = document.recipients();
    let key = keys.next().expect("a key").clone();
    assert!(keys.next().is_none(), "one key only:\n{text}");
    key
}

/// What the real sops wraps, ours unwraps to the key that opens the file; what ours wraps of it, the real sops unwraps.
async fn both_ways(service: &dyn KeyService, flags: &[&str], environment: &[(&str, &str)]) -> WrappedKey {
    let text = sealed_by_theirs(flags, environment);
    let wrapped = only_key(&text);
    assert!(service.serves(&wrapped.key), "{}", wrapped.key);
    let key = service.unwrap(&wrapped).await.unwrap_or_else(|e| panic!("{e}"));
    let again = service.wrap(&wrapped.key, &key).await.unwrap_or_else(|e| panic!("{e}"));
    assert_ne!(again, wrapped.enc, "a fresh encryption");

    let document = sops::parse(text.as_bytes(), Format::Yaml).expect("parsed before");
    let key = DataKey::new(key.expose()).expect("32 bytes");
    let opened = sops::open_with_key(&document, key, MacPolicy::Verify).unwrap_or_else(|e| panic!("{}", e.line()));
    let plain = opened.emit(Format::Yaml).unwrap_or_else(|e| panic!("{}", e.line()));
    assert!(plain.expose_str().is_some_and(|text| text.contains("password: s3cret")));

    assert!(text.contains(&wrapped.enc), "the wrapped key stands on one line:\n{text}");
    let file = scratch::file("again.yaml", text.replace(&wrapped.enc, &again));
    let path = file.display().to_string();
    let opened = run_ok(theirs(&["decrypt", &path], environment), b"");
    assert!(opened.contains("password: s3cret"), "{opened}");
    wrapped
}

/// The text of an error; it must hold nothing of `secrets`.
fn refused<T>(result: Result<T, KeyError>, secrets: &[&str]) -> String {
    let text = match result {
        Ok(_) => panic!("it was not refused"),
        Err(error) => error.to_string(),
    };
    for secret in secrets {
        assert!(!text.contains(secret), "{text}");
    }
    text
}

fn wrapped(key: KeyRef, enc: &str) -> WrappedKey {
    WrappedKey { key, enc: enc.to_owned(), created_at: None }
}
