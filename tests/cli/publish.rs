//! `publish` beside the real sops: buckets of moto and of the fake Google, and OpenBao's KV engine.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::sops::{BOTH, Program, ours, recipients, text, theirs};
use crate::rig::bao::ROOT_TOKEN;
use crate::rig::moto::{ACCESS_KEY_ID, Moto, SECRET_ACCESS_KEY};
use crate::rig::process::{Ran, run, run_ok};
use crate::rig::{self, scratch};

const PLAIN: &str = "user: admin\npassword: s3cret\nport: 5432\nratio: 1.5\non: true\nsince: 2024-01-01\nnone: null\nlist: [1, two]\nmap: {a: b}\n";

/// A folder with rules that have `destinations`, and with `plain` encrypted under each of `names`.
fn folder(destinations: &str, names: &[&str], plain: &str) -> std::path::PathBuf {
    let folder = scratch::dir("publish");
    let rules = format!("creation_rules:\n  - age: {}\ndestination_rules:\n{destinations}", recipients().remove(0));
    fs::write(folder.join(".sops.yaml"), rules).unwrap();
    for name in names {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, plain).unwrap();
        let mut encrypt = theirs(&["encrypt", "--in-place", &text(&path)]);
        encrypt.current_dir(&folder);
        run_ok(encrypt, b"");
    }
    folder
}

fn publish(program: Program, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = program(&[&["publish"], arguments].concat());
    command.current_dir(folder);
    for name in ["VAULT_ADDR", "VAULT_AGENT_ADDR", "VAULT_NAMESPACE", "SOPS_HC_VAULT_ALLOWLIST", "AWS_PROFILE"] {
        command.env_remove(name);
    }
    command
}

fn to_moto(program: Program, moto: &Moto, folder: &Path, arguments: &[&str], input: &str) -> Ran {
    let mut command = publish(program, folder, arguments);
    command.env("AWS_ENDPOINT_URL", &moto.url).env("AWS_REGION", "us-east-1");
    command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID).env("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY);
    run(command, input.as_bytes())
}

#[tokio::test]
async fn a_bucket_of_s3_gets_what_the_real_sops_brings_there() {
    let moto = rig::moto();
    let second = recipients().remove(1);
    for (label, program) in BOTH {
        let bucket = format!("publish-{label}");
        moto.create_bucket(&bucket).await;
        let rules = format!(
            "  - {{path_regex: two, s3_bucket: {bucket}, gcs_bucket: g}}\n  - {{path_regex: nowhere, omit_extensions: true}}\n  \
             - {{path_regex: turned, s3_bucket: {bucket}, s3_prefix: t/, recreation_rule: {{age: {second}}}}}\n  \
             - {{path_regex: ^dir/, s3_bucket: {bucket}, s3_prefix: d-, omit_extensions: true}}\n  \
             - {{path_regex: 'yaml$', s3_bucket: {bucket}, s3_prefix: 'p/a b+é/'}}\n"
        );
        let names = ["a.yaml", "two.yaml", "nowhere.yaml", "turned.yaml", "dir/b.yaml", "dir/sub/c.yaml", "x.txt"];
        let folder = folder(&rules, &names, PLAIN.split_once("since").unwrap().0);
        let publish = |arguments: &[&str], input: &str| to_moto(program, moto, &folder, arguments, input);

        // As it is, byte for byte.
        let done = publish(&["--yes", "a.yaml"], "");
        assert_eq!((done.status.code(), done.stdout.as_str()), (Some(0), ""), "{label}: {}", done.stderr);
        let object = moto.object(&format!("{bucket}/p/a%20b%2B%C3%A9/a.yaml")).await.expect("published");
        assert_eq!(object.1, fs::read(folder.join("a.yaml")).unwrap(), "{label}");
        assert_eq!(object.0, "application/octet-stream", "{label}");

        // New keys.
        let done = publish(&["--yes", "turned.yaml"], "");
        let first = recipients().remove(0);
        assert!(done.stdout.contains(&format!("+++ {second}\n--- {first}\n")), "{label}: {}", done.stdout);
        let turned = moto.object(&format!("{bucket}/t/turned.yaml")).await.expect("published").1;
        let turned_text = String::from_utf8_lossy(&turned).into_owned();
        assert!(turned_text.contains(&second) && !turned_text.contains(&first), "{label}");
        let path = text(&scratch::file("turned.yaml", &turned));
        assert!(run_ok(theirs(&["decrypt", &path]), b"").contains("password: s3cret"), "{label}");
        assert!(run_ok(ours(&["decrypt", &path]), b"").contains("password: s3cret"), "{label}");

        // Questions.
        let question = format!("uploading {}/a.yaml to s3://{bucket}/p/a b+é/a.yaml ? (y/n): ", folder.display());
        for (input, asked, code, said) in [
            ("y\n", 1, 0, ""),
            ("maybe\ny\n", 2, 0, ""),
            ("n\n", 1, 1, "Publication of "),
            ("", 1, 1, ""),
            ("\n", 1, 1, ""),
            ("y now\n", 1, 1, ""),
        ] {
            let done = publish(&["a.yaml"], input);
            assert_eq!(
                (done.status.code(), done.stdout.as_str()),
                (Some(code), question.repeat(asked).as_str()),
                "{label} {input:?}"
            );
            assert!(done.stderr.contains(said), "{label} {input:?}: {}", done.stderr);
        }

        // Folders: the names below the folder, without their extensions here.
        let done = publish(&["--recursive", "dir"], "n\ny\n");
        assert_eq!(done.status.code(), Some(0), "{label}: {}", done.stderr);
        assert!(done.stdout.contains("dir/b.yaml canceled\n"), "{label}: {}", done.stdout);
        assert!(moto.object(&format!("{bucket}/d-b")).await.is_none(), "{label}");
        assert!(moto.object(&format!("{bucket}/d-sub/c")).await.is_some(), "{label}");

        for (arguments, code, said) in [
            (&["--yes", "two.yaml"][..], 1, "more than one destinations"),
            (&["--yes", "nowhere.yaml"], 1, "no destination configured for this file"),
            (&["--yes", "x.txt"], 1, "no matching destination found in config"),
            (&["--yes", "missing.yaml"], 1, "stat missing.yaml"),
            (&["--yes", "dir"], 1, "without --recursive flag"),
            (&["--yes"], 100, "no file specified"),
        ] {
            let done = publish(arguments, "");
            assert_eq!(done.status.code(), Some(code), "{label} {arguments:?}: {}", done.stderr);
            assert!(done.stderr.contains(said), "{label} {arguments:?}: {}", done.stderr);
        }
    }
}

#[tokio::test]
async fn nothing_in_clear_reaches_a_bucket_and_one_bad_file_does_not_stop_the_others() {
    let moto = rig::moto();
    moto.create_bucket("publish-careful").await;
    let rules = format!(
        "  - path_regex: narrow\n    s3_bucket: publish-careful\n    recreation_rule: {{age: {}, encrypted_regex: ^user$}}\n  \
         - {{path_regex: locked, s3_bucket: publish-no-such-bucket}}\n  - {{s3_bucket: publish-careful}}\n",
        recipients().remove(0)
    );
    let folder = folder(&rules, &["a/byhand.yaml", "a/good.yaml", "a/locked.yaml", "a/narrow.yaml", "a/z.yaml"], PLAIN);
    let byhand = folder.join("a/byhand.yaml");
    let sealed = fs::read_to_string(&byhand).unwrap();
    let (before, _) = sealed.split_once("password: ").unwrap();
    let after = sealed.split_once("port: ").unwrap().1;
    fs::write(&byhand, format!("{before}password: typed-by-hand\nport: {after}")).unwrap();
    fs::write(folder.join("a/plain.yaml"), "password: typed-by-hand\n").unwrap();
    fs::create_dir(folder.join("a/.git")).unwrap();
    fs::write(folder.join("a/.git/HEAD"), "ref: x\n").unwrap();

    let done = to_moto(ours, moto, &folder, &["--yes", "--recursive", "./a"], "");
    assert_eq!(done.status.code(), Some(1));
    for said in [
        "a/byhand.yaml: password (line 2) is in clear and should be encrypted",
        "a/plain.yaml: sops metadata not found",
        "a/narrow.yaml: the recreation rule would publish in clear what is encrypted in the file: list, map.a, ",
        "a/locked.yaml: s3://publish-no-such-bucket/locked.yaml: there is no such place (404 NoSuchBucket)",
    ] {
        assert!(done.stderr.contains(said), "{said}\n{}", done.stderr);
    }
    assert_eq!(done.stderr.lines().count(), 4, "{}", done.stderr);
    assert!(!done.stderr.contains("typed-by-hand") && !done.stderr.contains(SECRET_ACCESS_KEY));
    for (name, published) in [("good.yaml", true), ("z.yaml", true), ("byhand.yaml", false), ("narrow.yaml", false)] {
        assert_eq!(moto.object(&format!("publish-careful/{name}")).await.is_some(), published, "{name}");
    }
    // One file with --recursive has its own name; the real sops calls it ".".
    let done = to_moto(ours, moto, &folder.join("a"), &["--yes", "--recursive", "--omit-extensions", "good.yaml"], "");
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
    assert!(moto.object("publish-careful/good").await.is_some());
}

#[tokio::test]
async fn names_are_those_below_the_folder_however_it_is_named() {
    let moto = rig::moto();
    for (label, program) in BOTH {
        let folder = folder("  []\n", &["dir/b.yaml", "dir/sub/c.yaml"], PLAIN);
        fs::remove_file(folder.join(".sops.yaml")).unwrap();
        let dotted = format!("../{}/./dir/../dir", folder.file_name().unwrap().display());
        let whole = text(&folder.join("dir"));
        for (index, (named, below)) in
            [("./dir", ""), ("dir/sub/..", ""), (&*dotted, ""), (&*whole, ""), (".", "dir/"), ("dir/..", "dir/")]
                .into_iter()
                .enumerate()
        {
            let bucket = format!("publish-names-{label}-{index}");
            moto.create_bucket(&bucket).await;
            // The rules see paths without dots, too.
            let rules =
                format!("destination_rules:\n  - {{path_regex: '^(\\.\\./[^/]+/|/.*/)?dir/', s3_bucket: {bucket}}}\n");
            let rules = text(&scratch::file("rules.yaml", rules));
            let arguments = ["--config", &rules, "publish", "--yes", "--recursive", "--omit-extensions", named];
            let mut command = program(&arguments);
            command.current_dir(&folder).env("AWS_ENDPOINT_URL", &moto.url).env("AWS_REGION", "us-east-1");
            command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID).env("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY);
            run_ok(command, b"");
            for name in ["b", "sub/c"] {
                assert!(moto.object(&format!("{bucket}/{below}{name}")).await.is_some(), "{label} {named}: {name}");
            }
        }
    }
}

#[tokio::test]
async fn changes_of_keys_are_told_without_the_threshold_and_flags_may_be_words_of_yaml_1_1() {
    let moto = rig::moto();
    let known = recipients();
    let mut said = vec![];
    for (label, program) in BOTH {
        let bucket = format!("publish-words-{label}");
        moto.create_bucket(&bucket).await;
        let groups = format!("{{key_groups: [{{age: [{}]}}, {{age: [{}]}}]}}", known[0], known[1]);
        let rules = format!("  - {{s3_bucket: {bucket}, omit_extensions: yes, recreation_rule: {groups}}}\n");
        let folder = folder(&rules, &["a.yaml"], PLAIN.split_once("since").unwrap().0);
        let done = to_moto(program, moto, &folder, &["--yes", "a.yaml"], "");
        assert_eq!(done.status.code(), Some(0), "{label}: {}", done.stderr);
        assert!(moto.object(&format!("{bucket}/a")).await.is_some(), "{label}");
        said.push(done.stdout);
    }
    assert!(said[0].contains("Group 2\n+++ "), "{}", said[0]);
    assert_eq!(said[0], said[1]);
}

#[test]
fn a_bucket_of_google_gets_what_the_real_sops_brings_there() {
    let cloud = rig::cloud();
    for (label, program) in BOTH {
        let rules = format!(
            "  - {{path_regex: locked, gcs_bucket: locked}}\n  - {{gcs_bucket: {label}, gcs_prefix: 'p/é &/'}}\n"
        );
        let folder = folder(&rules, &["a.yaml", "locked.yaml"], PLAIN);
        let publish = |name: &str| {
            let mut command = publish(program, &folder, &["--yes", name]);
            command.envs(cloud.google_environment());
            run(command, b"")
        };
        let done = publish("a.yaml");
        assert_eq!(done.status.code(), Some(0), "{label}: {}", done.stderr);
        let (kind, bytes) = cloud.object(&format!("{label}/p/é &/a.yaml")).expect("published");
        assert_eq!(bytes, fs::read(folder.join("a.yaml")).unwrap(), "{label}");
        assert_eq!(kind, "text/plain; charset=utf-8", "{label}");
        // The real sops does not look at what became of the upload, and ends with 0.
        let done = publish("locked.yaml");
        assert_eq!(done.status.code(), Some(if label == "sops" { 0 } else { 1 }), "{label}: {}", done.stderr);
        if label != "sops" {
            let said = "gcs://locked/locked.yaml: access denied (403 forbidden); check the credential";
            assert!(done.stderr.starts_with(said) && !done.stderr.contains("must-not-show"), "{}", done.stderr);
        }
    }
}

#[tokio::test]
async fn vault_gets_the_values_that_the_real_sops_brings_there() {
    let bao = rig::bao();
    let expected = json!({
        "user": "admin", "password": "s3cret", "port": 5432, "ratio": 1.5, "on": true, "since": "2024-01-01T00:00:00Z",
        "none": null, "list": [1, "two"], "map": {"a": "b"},
    });
    for (label, program) in BOTH {
        let mount = format!("publish-{label}");
        bao.enable_kv1(&mount).await;
        let rules = format!(
            "  - {{path_regex: v1, vault_path: /team/, vault_kv_mount_name: {mount}/, vault_kv_version: 1, \
             vault_address: '{}'}}\n  - {{vault_path: {mount}/x, omit_extensions: true}}\n",
            bao.url
        );
        let folder = folder(&rules, &["v1.yaml", "db.yaml", "key.bin"], PLAIN);
        let publish = |arguments: &[&str], token: &str, input: &[u8]| {
            let mut command = publish(program, &folder, arguments);
            command.env("VAULT_ADDR", &bao.url).env("VAULT_TOKEN", token);
            run(command, input)
        };
        let done = publish(&["db.yaml"], ROOT_TOKEN, b"y\n");
        let question =
            format!("uploading {}/db.yaml to {}/v1/secret/data/{mount}/x/db ? (y/n): ", folder.display(), bao.url);
        assert_eq!((done.status.code(), done.stdout), (Some(0), question), "{label}: {}", done.stderr);
        let version = async || {
            let stored: Value = bao.call("GET", &format!("secret/data/{mount}/x/db"), None).await;
            assert_eq!(stored["data"]["data"], expected, "{label}");
            stored["data"]["metadata"]["version"].as_u64()
        };
        assert_eq!(version().await, Some(1), "{label}");
        let done = publish(&["--yes", "--verbose", "db.yaml"], ROOT_TOKEN, b"");
        assert_eq!(done.status.code(), Some(0), "{label}: {}", done.stderr);
        // The real sops takes no number for the same as before, and makes a version of each run.
        assert_eq!(version().await, Some(if label == "sops" { 2 } else { 1 }), "{label}");
        let unchanged = done.stderr.contains("is already up-to-date");
        assert_eq!(unchanged, label != "sops", "{label}: {}", done.stderr);

        assert_eq!(publish(&["--yes", "v1.yaml"], ROOT_TOKEN, b"").status.code(), Some(0), "{label}");
        assert_eq!(bao.call("GET", &format!("{mount}/team/v1.yaml"), None).await["data"], expected, "{label}");
        fs::write(folder.join("top.ini"), "[s]\na = 1\n").unwrap();
        let mut encrypt = theirs(&["encrypt", "--in-place", "top.ini"]);
        encrypt.current_dir(&folder);
        run_ok(encrypt, b"");
        assert_eq!(publish(&["--yes", "top.ini"], ROOT_TOKEN, b"").status.code(), Some(0), "{label}");
        let stored = bao.call("GET", &format!("secret/data/{mount}/x/top"), None).await;
        assert_eq!(stored["data"]["data"], json!({ "DEFAULT": {}, "s": { "a": "1" } }), "{label}");
        assert_eq!(publish(&["--yes", "key.bin"], ROOT_TOKEN, b"").status.code(), Some(0), "{label}");
        let stored = bao.call("GET", &format!("secret/data/{mount}/x/key"), None).await;
        assert_eq!(stored["data"]["data"], json!({ "data": PLAIN }), "{label}");

        // A token that may write and not read.
        let policy = format!("path \"secret/data/{mount}/*\" {{ capabilities = [\"update\"] }}");
        let token = bao.token_with_policy(&mount, &policy).await;
        let done = publish(&["--yes", "db.yaml"], &token, b"");
        assert_eq!(done.status.code(), Some(0), "{label}: {}", done.stderr);
        assert!(done.stderr.contains("Cannot check if destination secret already exists in secret/data/"), "{label}");
        let done = publish(&["--yes", "db.yaml"], "wrong-token", b"");
        assert_eq!(done.status.code(), Some(1), "{label}");
        assert!(!done.stderr.contains("wrong-token") && !done.stderr.contains("s3cret"), "{label}: {}", done.stderr);
    }
}

#[tokio::test]
async fn vault_gets_lists_of_maps_as_they_are_and_only_at_addresses_that_may_have_the_token() {
    let bao = rig::bao();
    let rules = format!("  - {{vault_path: publish-careful, vault_address: '{}'}}\n", bao.url);
    let folder = folder(&rules, &["a.yaml", "twice.yaml"], "list:\n  - {name: a}\n  # told\n  - {name: b}\n");
    let publish = |name: &str, list: &str| {
        let mut command = publish(ours, &folder, &["--yes", name]);
        command.env("VAULT_TOKEN", ROOT_TOKEN).env("SOPS_HC_VAULT_ALLOWLIST", list);
        run(command, b"")
    };
    let done = publish("a.yaml", "https://vault.test");
    assert_eq!(done.status.code(), Some(1));
    assert!(done.stderr.contains("not contacted, since SOPS_HC_VAULT_ALLOWLIST does not allow it"), "{}", done.stderr);
    let done = publish("a.yaml", &bao.url);
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
    // The real sops writes [[{"Key": "name", "Value": "a"}], {"Value": " told"}, …].
    let stored = bao.call("GET", "secret/data/publish-careful/a.yaml", None).await;
    assert_eq!(stored["data"]["data"], json!({"list": [{"name": "a"}, {"name": "b"}]}));

    let stream = "a: 1\n---\na: 2\n";
    fs::write(folder.join("twice.yaml"), stream).unwrap();
    let mut encrypt = theirs(&["encrypt", "--in-place", "twice.yaml"]);
    encrypt.current_dir(&folder);
    run_ok(encrypt, b"");
    let done = publish("twice.yaml", "all");
    assert_eq!(
        (done.status.code(), done.stderr.contains("a is there more than once")),
        (Some(1), true),
        "{}",
        done.stderr
    );
}
