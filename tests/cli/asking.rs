//! age identities that somebody must be asked for, and plugins, beside the real sops and the real age.

use std::path::PathBuf;
use std::process::Command;

use super::sops::{BOTH, ours, recipients, text, theirs, vectors};
use crate::rig::process::{self, Ran, run, run_ok};
use crate::rig::{scratch, tools};

const PLAIN: &str = "password: plain-text\n";

/// The command at a terminal of its own, on which `typed` is typed.
fn at_terminal(command: &Command, typed: &str) -> Ran {
    let quote = |word: &std::ffi::OsStr| format!("'{}'", word.to_string_lossy());
    let line: Vec<String> = std::iter::once(command.get_program()).chain(command.get_args()).map(quote).collect();
    let mut script = process::command("script");
    script.args(["--quiet", "--return", "--command", &line.join(" "), "/dev/null"]);
    with_variables(&mut script, command);
    run(script, typed.as_bytes())
}

/// The command without any terminal.
fn alone(command: &Command) -> Ran {
    let mut setsid = process::command("setsid");
    setsid.arg("--wait").arg(command.get_program()).args(command.get_args());
    with_variables(&mut setsid, command);
    run(setsid, b"")
}

fn with_variables(command: &mut Command, of: &Command) {
    for (name, value) in of.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    // The real one asks a gpg-agent first, if there is one.
    command.env("GPG_AGENT_INFO", "");
}

fn sealed(recipient: &str) -> PathBuf {
    let file = scratch::file("a.yaml", PLAIN);
    run_ok(with_plugin(theirs(&["encrypt", "-i", "--age", recipient, &text(&file)])), b"");
    file
}

/// With the plugin on PATH, which the real sops and age find there too.
fn with_plugin(mut command: Command) -> Command {
    let folder = tools::path("age-plugin-rig").parent().expect("a folder").to_owned();
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", folder.display())).env_remove("SOPS_AGE_KEY_FILE");
    command
}

/// A recipient of the plugin, an identity, one that asks for a PIN, and a recipient that the plugin refuses.
fn plugin_keys() -> [String; 4] {
    let mut keys = process::command(tools::path("age-plugin-rig"));
    keys.arg("--keys");
    let all: Vec<String> = run_ok(keys, b"").lines().map(str::to_owned).collect();
    all.try_into().expect("four keys")
}

#[test]
fn an_identity_file_with_a_passphrase_is_opened_at_the_terminal() {
    let file = sealed(&recipients()[0]);
    let locked = vectors().join("keys-locked.age");
    for (name, program) in BOTH {
        let mut command = program(&["decrypt", &text(&file)]);
        command.env("SOPS_AGE_KEY_FILE", &locked);
        let opened = at_terminal(&command, "hunter2\n");
        assert!(opened.stdout.contains("password: plain-text"), "{name}: {}", opened.stdout);
        let prompt = "Enter passphrase for identity 'SOPS_AGE_KEY_FILE':";
        assert_eq!(opened.stdout.matches(prompt).count(), 1, "{name}: {}", opened.stdout);
        let wrong = at_terminal(&command, "wrong\n");
        assert!(
            wrong.status.code() == Some(128) && wrong.stdout.contains("incorrect passphrase"),
            "{name}: {}",
            wrong.stdout
        );
        let nobody = alone(&command);
        assert!(nobody.status.code() == Some(128) && nobody.stdout.is_empty(), "{name}: {}", nobody.stderr);
        assert!(nobody.stderr.contains("could not read"), "{name}: {}", nobody.stderr);
    }
    let mut command = ours(&["decrypt", &text(&file)]);
    command.env("SOPS_AGE_KEY_FILE", &locked);
    assert!(alone(&command).stderr.contains("there is no terminal to ask at"));
    // Many files, one question, for the other verbs too.
    let manifest = |name: &str| {
        let plain =
            format!("apiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\nstringData:\n  password: of-{name}\n");
        let file = scratch::file("a.yaml", plain);
        let recipient = &recipients()[0];
        run_ok(theirs(&["encrypt", "-i", "--encrypted-regex", "^stringData$", "--age", recipient, &text(&file)]), b"");
        text(&file)
    };
    let mut render = process::latchwork();
    render.args(["render", "--identity", &text(&locked), "--keys", &text(&scratch::dir("no-keys"))]);
    render.args([manifest("one"), manifest("two")]).env_remove("SOPS_AGE_KEY_FILE").env_remove("SOPS_AGE_KEY");
    let rendered = at_terminal(&render, "hunter2\n");
    assert!(rendered.stdout.contains("of-one") && rendered.stdout.contains("of-two"), "{}", rendered.stdout);
    assert_eq!(rendered.stdout.matches("Enter passphrase").count(), 1, "{}", rendered.stdout);
}

#[test]
fn an_ssh_key_with_a_passphrase_is_opened_at_the_terminal() {
    let public = std::fs::read_to_string(vectors().join("key-locked.pub")).expect("readable");
    let file = sealed(public.trim());
    for (name, program) in BOTH {
        let mut command = program(&["decrypt", &text(&file)]);
        command.env_remove("SOPS_AGE_KEY_FILE").env("SOPS_AGE_SSH_PRIVATE_KEY_FILE", vectors().join("key-locked"));
        let opened = at_terminal(&command, "hunter2\n");
        assert!(opened.stdout.contains("password: plain-text"), "{name}: {}", opened.stdout);
        assert!(opened.stdout.contains("Enter passphrase for \""), "{name}: {}", opened.stdout);
        let nobody = alone(&command);
        assert_eq!(nobody.status.code(), Some(128), "{name}");
        // A command that gives a locked key could give an open one.
        let mut command = program(&["decrypt", &text(&file)]);
        command.env_remove("SOPS_AGE_KEY_FILE");
        command.env("SOPS_AGE_SSH_PRIVATE_KEY_CMD", format!("cat {}", text(&vectors().join("key-locked"))));
        let refused = at_terminal(&command, "hunter2\n");
        assert_eq!(refused.status.code(), Some(128), "{name}");
        assert!(!refused.stdout.contains("Enter passphrase"), "{name}: {}", refused.stdout);
    }
}

#[test]
fn what_one_wraps_through_a_plugin_the_other_unwraps() {
    let [recipient, identity, with_pin, _] = plugin_keys();
    for (writer, encrypt) in BOTH {
        let file = scratch::file("a.yaml", PLAIN);
        run_ok(with_plugin(encrypt(&["encrypt", "-i", "--age", &recipient, &text(&file)])), b"");
        let sealed = std::fs::read_to_string(&file).expect("readable");
        assert!(sealed.contains(&format!("recipient: {recipient}")), "{writer}: {sealed}");
        for (reader, decrypt) in BOTH {
            let decrypt = || with_plugin(decrypt(&["decrypt", &text(&file)]));
            let mut command = decrypt();
            command.env("SOPS_AGE_KEY", &identity);
            assert_eq!(run_ok(command, b""), PLAIN, "{writer} to {reader}");
            let mut command = decrypt();
            command.env("SOPS_AGE_KEY", &with_pin);
            let opened = at_terminal(&command, "1234\n");
            assert!(opened.stdout.contains("password: plain-text"), "{writer} to {reader}: {}", opened.stdout);
            let refused = at_terminal(&command, "4321\n");
            assert_eq!(refused.status.code(), Some(128), "{writer} to {reader}");
            assert!(refused.stdout.contains("the PIN is wrong"), "{writer} to {reader}: {}", refused.stdout);
        }
    }
    // What ours wraps is an age file that age itself opens.
    let file = scratch::file("a.yaml", PLAIN);
    let sealed = run_ok(with_plugin(ours(&["encrypt", "--age", &recipient, &text(&file)])), b"");
    let armour: Vec<&str> =
        sealed.lines().map(str::trim).skip_while(|line| !line.starts_with("-----BEGIN AGE")).collect();
    let end = armour.iter().position(|line| line.starts_with("-----END")).expect("an end");
    let key = scratch::file("key.txt", &identity);
    let mut age = with_plugin(process::command(tools::path("age")));
    age.args(["--decrypt", "-i", &text(&key)]).arg(scratch::file("enc.age", armour[..=end].join("\n") + "\n"));
    age.stdout(std::process::Stdio::null());
    assert!(age.status().expect("runs").success());
}

#[test]
fn a_plugin_that_is_not_there_or_refuses_is_named() {
    let [recipient, identity, _, refused] = plugin_keys();
    let plain = scratch::file("a.yaml", PLAIN);
    for (name, program) in BOTH {
        let failed = run(with_plugin(program(&["encrypt", "--age", &refused, &text(&plain)])), b"");
        assert_eq!(failed.status.code(), Some(1), "{name}");
        // The library that ours uses drops what a plugin says before it ends.
        let what = if name == "sops" { "this recipient is refused" } else { "age-plugin-rig ended without an answer" };
        assert!(failed.stdout.is_empty() && failed.stderr.contains(what), "{name}: {}", failed.stderr);
        let mut command = program(&["encrypt", "--age", &recipient, &text(&plain)]);
        command.env("PATH", "/usr/bin:/bin");
        let failed = run(command, b"");
        assert!(
            failed.status.code() == Some(1) && failed.stderr.contains("age-plugin-rig"),
            "{name}: {}",
            failed.stderr
        );
        let file = sealed(&recipient);
        let mut command = program(&["decrypt", &text(&file)]);
        command.env("PATH", "/usr/bin:/bin").env_remove("SOPS_AGE_KEY_FILE").env("SOPS_AGE_KEY", &identity);
        let failed = run(command, b"");
        assert!(
            failed.status.code() == Some(128) && failed.stderr.contains("age-plugin-rig"),
            "{name}: {}",
            failed.stderr
        );
        assert!(!failed.stderr.contains(&identity), "{name}: {}", failed.stderr);
    }
}
