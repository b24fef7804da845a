//! `latchwork render` on keys-example, and on everything that a repository can hold that it should not.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::rig::process::{self, Ran, run, run_ok};
use crate::rig::{scratch, tools};

fn example(path: &str) -> PathBuf {
    tools::repository().join("keys-example").join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(example(path)).expect("example")
}

fn render(paths: &[&Path]) -> Command {
    let mut command = process::latchwork();
    command.arg("render").args(paths).current_dir(tools::repository());
    command
}

/// A repository whose keys are those of the example.
struct Repository(PathBuf);

impl Repository {
    fn new() -> Self {
        Self(scratch::dir("repository"))
    }

    fn write(&self, path: &str, content: &str) -> &Self {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().expect("inside")).expect("folder");
        std::fs::write(path, content).expect("file");
        self
    }

    fn render(&self, arguments: &[&str]) -> Ran {
        let mut command = render(&[Path::new(".")]);
        command.current_dir(&self.0).arg("--keys").arg(example(".latchwork/keys")).args(arguments);
        run(command, b"")
    }

    /// Standard error and standard output of a run that must fail.
    fn fails(&self, arguments: &[&str]) -> (String, String) {
        let ran = self.render(arguments);
        assert_eq!(ran.status.code(), Some(1), "{}{}", ran.stdout, ran.stderr);
        (ran.stderr, ran.stdout)
    }
}

const GOOD: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: good\n";

/// `kind/namespace/name` of each object in a stream of JSON objects.
fn objects(stream: &str) -> Vec<String> {
    serde_json::Deserializer::from_str(stream)
        .into_iter::<serde_json::Value>()
        .map(|object| {
            let object = object.expect("JSON");
            let text = |pointer: &str| object.pointer(pointer).and_then(|v| v.as_str()).unwrap_or("-").to_owned();
            format!("{}/{}/{}", text("/kind"), text("/metadata/namespace"), text("/metadata/name"))
        })
        .collect()
}

#[test]
fn the_example_is_rendered_without_a_flag_or_a_variable() {
    let mut command = render(&[Path::new("keys-example/gitops")]);
    let out = run_ok(command, b"");
    for rest in ["ENC[", "sops:", "SealedSecret", "ExternalSecret", "SecretStore"] {
        assert!(!out.contains(rest), "{rest} is left in\n{out}");
    }
    assert!(out.contains(&read("gitops/app/shop.yaml")), "a plain file keeps its bytes");
    for value in
        ["example-database-password", "example-grafana-password", "example-queue-password", "# rotated by hand"]
    {
        assert!(out.contains(value), "{value}");
    }
    command = render(&[Path::new("keys-example/gitops")]);
    command.args(["--output", "json"]);
    let json = run_ok(command, b"");
    assert_eq!(
        objects(&json),
        [
            "Namespace/-/shop",
            "ConfigMap/shop/limits",
            "ConfigMap/shop/shop",
            "Service/shop/shop",
            "Secret/shop/payment",
            "Secret/shop/sealed-cluster-wide",
            "Secret/shop/sealed-namespace-wide",
            "Secret/shop/sealed-strict",
            "Secret/shop/database",
            "HelmRelease/shop/grafana",
            "Secret/shop/registry",
            "Secret/shop/queue",
            "Secret/shop/cache",
        ]
    );
}

#[test]
fn what_sops_decrypts_is_what_render_shows() {
    for path in ["gitops/sops/database.yaml", "gitops/sops/registry.json", "gitops/sops/stream.yaml"] {
        let mut sops = process::command(tools::path("sops"));
        sops.args(["--disable-version-check", "decrypt"]).arg(example(path));
        sops.env("SOPS_AGE_KEY_FILE", example(".latchwork/keys/person.agekey"));
        let mut ours = render(&[&example(path)]);
        ours.arg("--output").arg("json");
        let theirs = serde_yaml_like(&run_ok(sops, b""), path);
        assert_eq!(
            serde_json::Deserializer::from_str(&run_ok(ours, b""))
                .into_iter()
                .map(|v| v.expect("JSON"))
                .collect::<Vec<serde_json::Value>>(),
            theirs,
            "{path}"
        );
    }
}

/// What real sops wrote, as JSON values.
fn serde_yaml_like(text: &str, path: &str) -> Vec<serde_json::Value> {
    use latchwork::pure::format::{self, Format};
    let tree = format::parse(text.as_bytes(), Format::of_path(path)).expect("sops writes what can be read");
    tree.branches
        .iter()
        .map(|branch| {
            let json = format::emit(std::slice::from_ref(branch), Format::Json).expect("JSON");
            serde_json::from_slice(json.expose()).expect("JSON")
        })
        .collect()
}

#[test]
fn identities_come_from_flags_and_from_sops_own_variables() {
    let path = example("gitops/sops/database.yaml");
    let empty = scratch::dir("no-keys");
    let identity = example(".latchwork/keys/person.agekey");
    let base = || {
        let mut command = render(&[&path]);
        command.arg("--keys").arg(&empty);
        command
    };
    let ran = run(base(), b"");
    assert_eq!(ran.status.code(), Some(1));
    assert!(ran.stderr.contains(": document 1: Secret shop/database: NoMatchingKey: "), "{}", ran.stderr);
    let mut by_flag = base();
    by_flag.arg("--identity").arg(&identity);
    let mut by_file = base();
    by_file.env("SOPS_AGE_KEY_FILE", &identity);
    let mut by_text = base();
    by_text.env("SOPS_AGE_KEY", std::fs::read_to_string(&identity).expect("identity"));
    for command in [by_flag, by_file, by_text] {
        assert!(run_ok(command, b"").contains("example-database-password"));
    }
    let mut sealed = render(&[&example("gitops/sealed/strict.yaml")]);
    sealed.arg("--keys").arg(&empty).arg("--sealing-key").arg(example(".latchwork/keys/sealing.key"));
    assert!(run_ok(sealed, b"").contains("kind: Secret"));
    let mut missing = base();
    missing.args(["--identity", "/nonexistent"]);
    let ran = run(missing, b"");
    assert_eq!((ran.status.code(), ran.stdout.as_str()), (Some(1), ""));
    assert!(ran.stderr.contains("/nonexistent"), "{}", ran.stderr);
}

#[test]
fn every_bad_file_is_one_line_and_the_rest_is_rendered() {
    let repository = Repository::new();
    let file = read("gitops/sops/database.yaml");
    let change = |from: &str, to: &str| {
        assert!(file.contains(from), "{from}");
        file.replacen(from, to, 1)
    };
    let mac = file.lines().find(|line| line.trim_start().starts_with("mac:")).expect("mac");
    let block = file.find("sops:\n").expect("block");
    repository
        .write("a-good.yaml", GOOD)
        .write("b-broken.yaml", &format!("{GOOD}---\nkey: [1\n---\n{GOOD}"))
        .write("c-value.yaml", &change("password: ENC[AES256_GCM,data:", "password: ENC[AES256_GCM,data:AAAA"))
        .write("d-moved.yaml", &change("namespace: shop", "namespace: other"))
        .write("e-mac.yaml", &change("    mac: ENC[AES256_GCM,data:", "    mac: ENC[AES256_GCM,data:AAAA"))
        .write("f-no-mac.yaml", &change(&format!("{mac}\n"), ""))
        .write("g-no-block.yaml", &file[..block])
        .write("h-not-sops.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: sops}\nsops: {enabled: true}\n")
        .write("j-sealed.yaml", &read("gitops/sealed/strict.yaml").replace("sealed-strict", "renamed"))
        .write("k-external.yaml", &read("gitops/external/payment.yaml"))
        .write("z-good.yaml", GOOD);
    symlink("/etc/hostname", repository.0.join("l-link.yaml")).expect("link");
    let large = std::fs::File::create(repository.0.join("m-large.yaml")).expect("file");
    large.set_len(100 * 1024 * 1024).expect("sparse");
    let (stderr, stdout) = repository.fails(&[]);
    let lines: Vec<&str> = stderr.lines().collect();
    let expected = [
        ("./b-broken.yaml: document 2: InvalidFile: line ", "; correct the line"),
        (
            "./c-value.yaml: document 1: Secret shop/database: DecryptionFailed: line 13: entry stringData.password ",
            " with sops",
        ),
        ("./d-moved.yaml: document 1: Secret other/database: MacMismatch: ", " after a review"),
        ("./e-mac.yaml: document 1: Secret shop/database: MacMismatch: ", " after a review"),
        ("./f-no-mac.yaml: document 1: Secret shop/database: MacMissing: ", " after a review"),
        (
            "./g-no-block.yaml: document 1: Secret shop/database: MetadataMissing: stringData.username is SOPS ciphertext, but the document has no sops block; ",
            "restore the sops block from history",
        ),
        ("./j-sealed.yaml: document 1: SealedSecret shop/renamed: ", ""),
        ("./k-external.yaml: document 1: ExternalSecret shop/payment: ", ""),
        (
            "./l-link.yaml: LinkOutsideRepository: the symbolic link leads out of the repository; ",
            "put a copy of the file in place of the link",
        ),
        (
            "./m-large.yaml: FileTooLarge: the file holds 104857600 bytes, and at most 5242880 are read; ",
            "split the file; the API server takes no object of that size",
        ),
    ];
    assert_eq!(lines.len(), expected.len(), "{stderr}");
    for (line, (start, end)) in lines.iter().zip(expected) {
        assert!(line.starts_with(&format!("error: {start}")) && line.ends_with(end), "{line}\nshould be {start}…{end}");
    }
    assert_eq!(stdout.matches(GOOD).count(), 4, "{stdout}");
    assert!(stdout.contains("sops: {enabled: true}"), "a file that is not SOPS passes");
    assert!(!stdout.contains("ENC["), "{stdout}");

    let (stderr, stdout) = repository.fails(&["--strict"]);
    assert_eq!((stderr.lines().count(), stdout.as_str()), (1, ""), "{stderr}");
    assert!(stderr.contains("b-broken.yaml"));
}

#[test]
fn ten_thousand_plain_files_pass_in_order() {
    let repository = Repository::new();
    let mut expected = String::new();
    for number in 0..10_000 {
        let text = format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: n{number:05}\n");
        repository.write(&format!("{:02}/{number:05}.yaml", number / 100), &text);
        expected.push_str(&text);
    }
    let ran = repository.render(&[]);
    assert_eq!((ran.status.code(), ran.stderr.as_str()), (Some(0), ""));
    assert!(ran.stdout == expected, "every byte in order");
}

#[test]
fn standard_input_is_a_file_like_another() {
    let mut command = render(&[Path::new("-")]);
    command.arg("--keys").arg(example(".latchwork/keys"));
    let out = run_ok(command, read("gitops/sops/stream.yaml").as_bytes());
    assert!(out.contains("example-cache-password") && !out.contains("sops:"), "{out}");
}

#[test]
fn redacted_output_holds_no_value() {
    let mut command = render(&[Path::new("keys-example/gitops")]);
    command.arg("--redact");
    let out = run_ok(command, b"");
    assert!(!out.contains("example-database") && !out.contains("ZXhhbXBsZS"), "{out}");
    assert!(out.contains(" <25 bytes>"), "{out}");
}

#[test]
fn a_token_goes_only_to_the_server_that_the_user_named() {
    let repository = Repository::new();
    let store = read("gitops/external/store.yaml");
    let provider = store.find("    fake:").expect("provider");
    let vault = "    vault:\n      server: http://127.0.0.1:1\n      path: secret\n";
    repository
        .write("store.yaml", &format!("{}{vault}", &store[..provider]))
        .write("external.yaml", &read("gitops/external/payment.yaml"));
    let (stderr, _) = repository.fails(&[]);
    let start = "error: ./external.yaml: document 1: ExternalSecret shop/payment: InvalidProviderConfig: ";
    assert!(stderr.starts_with(start) && stderr.contains("VAULT_ADDR is not set"), "{stderr}");
}
