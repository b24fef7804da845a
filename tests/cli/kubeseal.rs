//! `latchwork kubeseal` beside the real kubeseal, in both directions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use latchwork::pure::sealed::generate::{NewKey, generate};

use crate::rig::http1::{Answer, Reply, Request, Server};
use crate::rig::process::{self, Ran, run, run_ok};
use crate::rig::tls::Ca;
use crate::rig::{scratch, tools};

const SCOPES: [&str; 3] = ["strict", "namespace-wide", "cluster-wide"];

const SECRET: &str = "apiVersion: v1
kind: Secret
metadata:
  name: db
  namespace: team
  labels: {app: web, num: \"1\", odd: \"true\"}
  annotations: {note: 'a: b #c', multi: \"l1\\nl2\\n\", empty: '', long: 'one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen'}
  creationTimestamp: 2026-01-01T00:00:00Z
  uid: abc
  ownerReferences: [{apiVersion: v1, kind: Pod, name: p, uid: u}]
type: example.com/kind
immutable: true
data: {bin: AP+A, empty: \"\", both: eA==}
stringData: {password: correct horse, both: wins}
";

fn vector(name: &str) -> PathBuf {
    tools::repository().join("tests/vectors/sealed").join(name)
}

fn theirs(arguments: &[&str]) -> Command {
    let mut command = process::command(tools::path("kubeseal"));
    command.args(arguments).env("KUBECONFIG", "/nonexistent").env("HOME", scratch::dir("home"));
    command
}

/// The program under the name `kubeseal`, as a user's script calls it.
fn ours(arguments: &[&str]) -> Command {
    let link = scratch::dir("bin").join("kubeseal");
    std::os::unix::fs::symlink(process::program(), &link).expect("link");
    let mut command = process::command(link);
    command.args(arguments).env("KUBECONFIG", "/nonexistent").env("HOME", scratch::dir("home"));
    command
}

type Program = fn(&[&str]) -> Command;
const BOTH: [(&str, Program); 2] = [("kubeseal", theirs), ("latchwork", ours)];

fn cert() -> String {
    vector("keys/current.crt").display().to_string()
}

fn key() -> String {
    vector("keys/current.key").display().to_string()
}

/// Text with every sealed value replaced: what must be equal byte for byte.
fn without_values(text: &str) -> String {
    let sealed = |word: &str| word.len() > 300 && word.starts_with("Ag");
    let blank = |line: &str| match line.split_once(": ") {
        Some((name, value)) if sealed(value.trim_matches(['"', ','])) => {
            format!("{name}: SEALED{}", if value.ends_with(',') { "," } else { "" })
        }
        _ => line.to_owned(),
    };
    text.lines().map(blank).collect::<Vec<_>>().join("\n")
}

/// What must be equal in YAML, where the two printers fold and quote in different places: everything that is read.
fn documents(text: &str) -> Vec<Value> {
    let mut documents: Vec<Value> = serde_saphyr::from_multiple(text).expect("YAML");
    for value in documents.iter_mut().filter_map(|d| d.pointer_mut("/spec/encryptedData")?.as_object_mut()) {
        value.values_mut().for_each(|value| *value = json!("SEALED"));
    }
    documents
}

fn data(secret: &str) -> BTreeMap<String, String> {
    let value: Value = serde_saphyr::from_str(secret).expect("a Secret");
    let data = value["data"].as_object().cloned().unwrap_or_default();
    data.into_iter().map(|(name, value)| (name, value.as_str().unwrap_or_default().to_owned())).collect()
}

#[test]
fn sealing_prints_the_same_text_and_each_opens_the_others() {
    for scope in SCOPES {
        for format in ["json", "yaml"] {
            let arguments = ["--cert", &cert(), "--scope", scope, "--format", format];
            let texts = BOTH.map(|(_, program)| run_ok(program(&arguments), SECRET.as_bytes()));
            assert_eq!(documents(&texts[0]), documents(&texts[1]), "{scope}");
            if format == "json" {
                assert_eq!(without_values(&texts[0]), without_values(&texts[1]), "{scope}");
            }
            let mut opened = vec![];
            for text in &texts {
                for (name, program) in BOTH {
                    let arguments = ["--recovery-unseal", "--recovery-private-key", &key(), "-o", "json"];
                    let secret = run_ok(program(&arguments), text.as_bytes());
                    let found = data(&secret);
                    assert_eq!(found["password"], "Y29ycmVjdCBob3JzZQ==", "{name}");
                    assert_eq!(found["both"], "d2lucw==", "{name}");
                    // The incumbent adds an owner without a UID, which no API server takes.
                    let mut value: Value = serde_json::from_str(&secret).unwrap();
                    value["metadata"].as_object_mut().unwrap().shift_remove("ownerReferences");
                    // And it prints an empty value as null.
                    value["data"]["empty"] = json!("");
                    opened.push(serde_json::to_string(&value).unwrap());
                }
            }
            opened.dedup();
            assert_eq!(opened.len(), 1, "{scope}: {opened:#?}");
        }
    }
}

#[test]
fn several_documents_overridden_names_and_namespaces() {
    let two = format!("{SECRET}---\n{}", SECRET.replace("name: db", "name: other").replace("  namespace: team\n", ""));
    for arguments in [
        &["-o", "yaml", "-n", "team", "--name", "renamed"][..],
        &["-oyaml", "--namespace=team", "--scope=cluster-wide"],
        &["--format=yaml", "-n=team", "--allow-empty-data=true", "--v=3", "ignored", "arguments"],
    ] {
        let cert = cert();
        let all = [&["--cert", cert.as_str()], arguments].concat();
        let [theirs, ours] = BOTH.map(|(_, program)| run_ok(program(&all), two.as_bytes()));
        assert_eq!(documents(&theirs), documents(&ours), "{arguments:?}");
        assert_eq!(ours.matches("kind: SealedSecret").count(), 2);
    }
}

/// JSON has no mark between documents: one object follows the other, as `kubeseal` itself and `jq` print them.
#[test]
fn json_objects_one_after_the_other_are_documents_too() {
    let secret = |name: &str| json!({ "metadata": { "name": name, "namespace": "team" }, "stringData": { "a": name } });
    let stream = format!("{}{}\n{}", secret("a"), secret("b"), secret("c"));
    for (name, program) in BOTH {
        let sealed = run_ok(program(&["--cert", &cert()]), stream.as_bytes());
        assert_eq!(sealed.matches("\"kind\": \"SealedSecret\"").count(), 3, "{name}: {sealed}");
    }
    let text = std::fs::read_to_string(vector("keys/old.key")).unwrap();
    let other = std::fs::read_to_string(key()).unwrap();
    let key = |text: &str| json!({ "kind": "Secret", "data": { "tls.key": STANDARD.encode(text) } });
    let keys = file_with("keys.json", &format!("{}{}", key(&text), key(&other)));
    let sealed = run_ok(ours(&["--cert", &cert()]), secret("a").to_string().as_bytes());
    for (name, program) in BOTH {
        let keys = keys.display().to_string();
        let opened = run_ok(program(&["--recovery-unseal", "--recovery-private-key", &keys]), sealed.as_bytes());
        assert_eq!(data(&opened)["a"], "YQ==", "{name}");
    }
}

/// As kubectl does: files of the list that are missing are passed over.
#[test]
fn the_namespace_comes_from_the_first_kubeconfig_of_the_list_that_is_there() {
    let context = "current-context: c
contexts: [{name: c, context: {cluster: x, namespace: from-file}}]
clusters: [{name: x, cluster: {server: 'https://127.0.0.1:1'}}]
";
    let list = format!("/missing/kubeconfig:{}", file_with("kubeconfig", context).display());
    for (name, program) in BOTH {
        let mut command = program(&["--cert", &cert()]);
        command.env("KUBECONFIG", &list);
        let sealed = run_ok(command, b"{metadata: {name: a}, stringData: {a: b}}");
        assert!(sealed.contains("\"namespace\": \"from-file\""), "{name}: {sealed}");
    }
}

fn sealed_with(scope: &str, item: &str) -> String {
    let annotations = match scope {
        "strict" => json!({}),
        scope => json!({ format!("sealedsecrets.bitnami.com/{scope}"): "true" }),
    };
    json!({
        "apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret",
        "metadata": { "name": "db", "namespace": "team", "annotations": annotations },
        "spec": { "encryptedData": { "x": item } },
    })
    .to_string()
}

#[test]
fn raw_items_open_on_the_other_side() {
    let value = scratch::file("value", "raw \u{e9} value");
    let from_file = format!("ignored={}", value.display());
    for scope in SCOPES {
        for (name, program) in BOTH {
            let cert = cert();
            let mut arguments = vec!["--cert", &cert, "--raw", "--scope", scope];
            if scope != "cluster-wide" {
                arguments.extend(["--namespace", "team"]);
            }
            if scope == "strict" {
                arguments.extend(["--name", "db"]);
            }
            let piped = run_ok(program(&arguments), "raw \u{e9} value".as_bytes());
            arguments.extend(["--from-file", &from_file]);
            let from_file = run_ok(program(&arguments), b"");
            for item in [piped, from_file] {
                assert!(!item.contains('\n') && item.starts_with("Ag"), "{name}: {item}");
                for (other, program) in BOTH {
                    let arguments = ["--recovery-unseal", "--recovery-private-key", &key()];
                    let secret = run_ok(program(&arguments), sealed_with(scope, &item).as_bytes());
                    assert_eq!(data(&secret)["x"], "cmF3IMOpIHZhbHVl", "{name} {scope} by {other}");
                }
            }
        }
    }
}

fn file_with(name: &str, text: &str) -> PathBuf {
    scratch::file(name, text)
}

#[test]
fn merging_and_files() {
    let update =
        "metadata: {name: ignored, namespace: team, labels: {more: 'yes'}}\nstringData: {password: new, token: t}\n";
    let merged = BOTH.map(|(_, program)| {
        let original = run_ok(theirs(&["--cert", &cert(), "-o", "yaml"]), SECRET.as_bytes());
        let file = file_with("sealed.yaml", &original);
        let path = file.display().to_string();
        let out = run_ok(program(&["--cert", &cert(), "-o", "yaml", "--merge-into", &path]), update.as_bytes());
        assert_eq!(out, "");
        let after = std::fs::read_to_string(&file).unwrap();
        // What was not merged stays as it was, to the byte.
        let line = |text: &str, name: &str| text.lines().find(|l| l.trim_start().starts_with(name)).map(str::to_owned);
        assert_eq!(line(&original, "bin:"), line(&after, "bin:"));
        assert_ne!(line(&original, "password:"), line(&after, "password:"));
        for (_, program) in BOTH {
            let secret = run_ok(program(&["--recovery-unseal", "--recovery-private-key", &key()]), after.as_bytes());
            assert_eq!((data(&secret)["token"].as_str(), data(&secret)["password"].as_str()), ("dA==", "bmV3"));
        }
        documents(&after)
    });
    assert_eq!(merged[0], merged[1]);

    // A file of wider scope keeps it: the incumbent would seal these entries strict, and the controller could not open them.
    let wide = run_ok(theirs(&["--cert", &cert(), "-o", "yaml", "--scope", "cluster-wide"]), SECRET.as_bytes());
    let file = file_with("wide.yaml", &wide);
    run_ok(ours(&["--cert", &cert(), "-o", "yaml", "--merge-into", &file.display().to_string()]), update.as_bytes());
    let wide = std::fs::read(&file).unwrap();
    let secret = run_ok(theirs(&["--recovery-unseal", "--recovery-private-key", &key()]), &wide);
    assert_eq!(data(&secret)["token"], "dA==");
    // A template without labels: the incumbent panics.
    let bare = "metadata: {name: db, namespace: team}\nstringData: {a: b}\n";
    let bare = run_ok(theirs(&["--cert", &cert(), "-o", "yaml"]), bare.as_bytes());
    let file = file_with("bare.yaml", &bare);
    run_ok(ours(&["--cert", &cert(), "-o", "yaml", "--merge-into", &file.display().to_string()]), update.as_bytes());
    assert!(std::fs::read_to_string(&file).unwrap().contains("more: \"yes\""));

    // Input and output files; the name of the output decides about YAML; a failure leaves it alone.
    for (_, program) in BOTH {
        let (input, output) = (file_with("in.yaml", SECRET), scratch::dir("out").join("out.yml"));
        let (input, path) = (input.display().to_string(), output.display().to_string());
        run_ok(program(&["--cert", &cert(), "-f", &input, "-w", &path]), b"");
        let first = std::fs::read_to_string(&output).unwrap();
        assert!(first.starts_with("---\napiVersion: bitnami.com/v1alpha1\n"), "{first}");
        let failed = run(program(&["--cert", &cert(), "-w", &path]), b"metadata: {name: db}\n");
        assert_eq!(failed.status.code(), Some(1));
        assert_eq!(std::fs::read_to_string(&output).unwrap(), first);
    }
}

#[test]
fn recovery_takes_pem_secrets_and_lists() {
    let text = |name: &str| std::fs::read_to_string(vector(name)).unwrap();
    let secret = |name: &str| {
        let key = STANDARD.encode(text(&format!("keys/{name}.key")));
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "data": { "tls.key": key } })
    };
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": [secret("old"), secret("current")] });
    let one = file_with("one.json", &secret("current").to_string());
    let all = file_with("all.json", &list.to_string());
    let old = vector("keys/old.key");
    let path = |path: &Path| path.display().to_string();
    let sealed = text("sealed/two-keys.yaml");
    for (name, program) in BOTH {
        for keys in [path(&all), format!("{},{}", path(&old), path(&one))] {
            let secret = run_ok(
                program(&["--recovery-unseal", "--recovery-private-key", &keys, "-o", "yaml"]),
                sealed.as_bytes(),
            );
            assert_eq!(data(&secret)["token"], "bmV3", "{name}");
            assert_eq!(data(&secret).len(), 4);
        }
        let half = run(program(&["--recovery-unseal", "--recovery-private-key", &path(&old)]), sealed.as_bytes());
        assert_eq!((half.status.code(), half.stdout.as_str()), (Some(1), ""), "{name}");
        assert!(half.stderr.starts_with("error: no key could decrypt secret (token)"), "{name}: {}", half.stderr);
        let deprecated = text("sealed/deprecated.json");
        let refused = run(program(&["--recovery-unseal", "--recovery-private-key", &key()]), deprecated.as_bytes());
        assert_eq!(
            refused.stderr,
            "error: using deprecated 'data' field, use 'encryptedData' or flip the feature flag\n"
        );
    }
}

fn expired() -> String {
    let new = NewKey {
        bits: 2048,
        common_name: String::new(),
        now: "2020-02-01T00:00:00Z".parse().unwrap(),
        validity: jiff::SignedDuration::from_hours(24 * 7),
    };
    scratch::file("expired.pem", generate(&new).unwrap().cert_pem).display().to_string()
}

/// What is open to any name opens without one.
#[test]
fn a_secret_without_a_name_is_recovered() {
    let wide = run_ok(theirs(&["--cert", &cert(), "--scope", "cluster-wide"]), SECRET.as_bytes());
    let mut sealed: Value = serde_json::from_str(&wide).unwrap();
    sealed["metadata"].as_object_mut().unwrap().shift_remove("name");
    let [theirs, ours] = BOTH.map(|(_, program)| {
        let unseal = ["--recovery-unseal", "--recovery-private-key", &key()];
        let text = run_ok(program(&unseal), sealed.to_string().as_bytes());
        serde_json::from_str::<Value>(&text).unwrap()
    });
    assert_eq!(ours["metadata"].get("name"), theirs["metadata"].get("name"));
    assert_eq!(ours["data"]["password"], theirs["data"]["password"]);
    assert_eq!(ours["data"]["password"], STANDARD.encode("correct horse"));
}

#[test]
fn failures_have_the_same_text_and_status() {
    let (cert, expired) = (cert(), expired());
    let named = "metadata: {name: db, namespace: team}\nstringData: {a: b}\n";
    let table: &[(&[&str], &str)] = &[
        (&["--cert", &expired], named),
        (&["--cert", &cert, "--namespace", "other"], named),
        (&["--cert", &cert], "metadata: {namespace: team}\nstringData: {a: b}\n"),
        (&["--cert", &cert], "metadata: {name: db}\n"),
        (&["--cert", &cert], ""),
        (&["--cert", &cert, "-o", "xml"], named),
        (&["--cert", "/dev/null", "-o", "xml"], named),
        (&["--cert", &cert, "-o", "xml"], "metadata: {name: db}\n"),
        (&["--cert", &cert, "--from-file", "x"], named),
        (&["--cert", &cert, "--raw", "--namespace", "team"], "x"),
        (&["--cert", &cert], "metadata: {name: db}\nstringData: {a: b}\n"),
        (&["--cert", &cert, "--raw", "--from-file", "a", "--from-file", "b", "--scope", "cluster-wide"], ""),
        (&["--cert", &cert, "-f", "/nonexistent/file"], ""),
        (&["--cert", "/dev/null"], named),
        (&["--cert", &cert], "kind: List\nitems: []\n"),
        (&["--cert", "file:///nonexistent/cert"], named),
        (&["--cert", "ftp://x/y"], named),
        (&["--cert", "http://127.0.0.1:1/cert.pem"], named),
        (&["--cert", "https://127.0.0.1:1"], named),
        (&["--cert", "http://[::1]:1/cert.pem", "--fetch-cert"], named),
    ];
    for (arguments, input) in table {
        let [theirs, ours] = BOTH.map(|(_, program)| run(program(arguments), input.as_bytes()));
        let shown = |ran: &Ran| (ran.status.code(), ran.stdout.clone(), ran.stderr.clone());
        assert_eq!(shown(&theirs), shown(&ours), "{arguments:?}");
        assert_eq!(theirs.status.code(), Some(1), "{arguments:?}");
    }
    // Other words, the same status and stream.
    let raw = ["--cert", &cert, "--raw"];
    for arguments in [&["--cert", "/nonexistent/cert"][..], &["--fetch-cert"], &raw] {
        let [theirs, ours] = BOTH.map(|(_, program)| run(program(arguments), named.as_bytes()));
        assert_eq!(theirs.status.code(), ours.status.code(), "{arguments:?}: {} / {}", theirs.stderr, ours.stderr);
        assert!(ours.stdout.is_empty() && !ours.stderr.is_empty(), "{arguments:?}");
        assert!(!ours.stderr.contains("kubeseal kubeseal"), "{}", ours.stderr);
    }
}

#[test]
fn values_of_the_logging_flags_are_checked_as_there() {
    let certificate = cert();
    let flags = "--v=x --v=2 --v=-1 --v=99999999999 --v=0x10 --v= --logtostderr --logtostderr=T --logtostderr= \
                 --logtostderr=x --alsologtostderr=y --one_output=z --skip_headers=1 --vmodule= --vmodule=a --vmodule=a=x \
                 --vmodule=a=1 --vmodule=a=1,b=2 --vmodule==1 --log_file_max_size=x --log_file_max_size=-1 \
                 --log_file_max_size=5 --log_file_max_size=0x5 --log_file_max_size=08 --stderrthreshold=x \
                 --stderrthreshold=info --stderrthreshold=9 --alsologtostderrthreshold=q --log_backtrace_at= \
                 --log_backtrace_at=x --log_backtrace_at=a:1 --log_backtrace_at=a.go:1 --log_dir=/x --log_file=";
    let mut seen = std::collections::BTreeSet::new();
    for flag in flags.split_whitespace() {
        let [theirs, ours] = BOTH.map(|(_, program)| run(program(&[flag, "--cert", &certificate]), SECRET.as_bytes()));
        assert_eq!(theirs.status.code(), ours.status.code(), "{flag}: {} / {}", theirs.stderr, ours.stderr);
        seen.insert(ours.status.code());
    }
    assert_eq!(seen.len(), 2, "some are taken and some are not");
}

#[test]
fn variables_certificates_by_url_and_version() {
    let named = "metadata: {name: db, namespace: team}\nstringData: {a: b}\n";
    let file = format!("file://{}", vector("keys/current.crt").display());
    for (_, program) in BOTH {
        let mut command = program(&[]);
        command
            .env("SEALED_SECRETS_CERT", cert())
            .env("SEALED_SECRETS_FORMAT", "yaml")
            .env("SEALED_SECRETS_SCOPE", "namespace-wide");
        let sealed = run_ok(command, named.as_bytes());
        assert!(sealed.starts_with("---\n") && sealed.contains("namespace-wide: \"true\""), "{sealed}");
        run_ok(program(&["--cert", &file]), named.as_bytes());
        let printed = run_ok(program(&["--cert", &cert(), "--fetch-cert"]), b"");
        assert_eq!(printed, std::fs::read_to_string(cert()).unwrap());
        assert!(run_ok(program(&["--version"]), b"").starts_with("kubeseal version: v0.38.4"));
        let mut version = program(&["--cert", &cert(), "--from-file="]);
        assert!(run_ok(program(&["--cert", &cert(), "--from-file="]), named.as_bytes()).contains("encryptedData"));
        version.env("SEALED_SECRETS_VERSION", "true");
        assert!(run_ok(version, named.as_bytes()).starts_with("kubeseal version: v0.38.4"));
        assert!(run_ok(program(&["--help"]), b"").contains("--merge-into"));
    }
    let reply = Reply::new(200, std::fs::read_to_string(cert()).unwrap());
    let server = crate::rig::fault_http::FaultServer::start(crate::rig::fault_http::Fault::Reply(reply));
    for (_, program) in BOTH {
        run_ok(program(&["--cert", &format!("{}/cert.pem", server.url())]), named.as_bytes());
    }
    server.set_status(404);
    for (_, program) in BOTH {
        let refused = run(program(&["--cert", &server.url()]), named.as_bytes());
        assert_eq!(refused.status.code(), Some(1));
        assert!(
            refused.stderr.starts_with("error: cannot fetch \"http://") && refused.stderr.contains("404"),
            "{}",
            refused.stderr
        );
    }
}

#[test]
fn a_pinned_certificate_seals_offline_and_refuses_every_other_key() {
    let repository = scratch::dir("repository");
    let folder = repository.join("apps/db");
    std::fs::create_dir_all(repository.join(".git")).unwrap();
    std::fs::create_dir_all(&folder).unwrap();
    let named = "metadata: {name: db, namespace: team}\nstringData: {a: b}\n";
    let here = |mut command: Command| {
        command.current_dir(&folder);
        command
    };
    let (current, old) = (cert(), vector("keys/old.crt").display().to_string());
    // Without a pin the cluster is asked, as ever.
    let asked = run(here(ours(&[])), named.as_bytes());
    assert_eq!(asked.status.code(), Some(1), "{}", asked.stderr);
    let none = run(here(ours(&["--pin", "check", "--cert", &current])), named.as_bytes());
    assert!(none.stderr.contains("no certificate is pinned"), "{}", none.stderr);

    let pin = |arguments: &[&str]| {
        let mut command = process::latchwork();
        command.arg("pin").args(arguments).current_dir(&folder);
        run(command, b"")
    };
    let pinned = pin(&["--cert", &current]);
    assert!(pinned.status.success() && pinned.stderr.starts_with("pinned SHA256:"), "{}", pinned.stderr);
    let file = repository.join(".latchwork/recipients");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("# reviewed\nage1qqqq\n{text}")).unwrap();

    // Nothing but the certificate is needed, and it is said where it came from.
    let sealed = run(here(ours(&["-o", "yaml"])), named.as_bytes());
    assert!(sealed.status.success(), "{}", sealed.stderr);
    assert!(sealed.stderr.starts_with("sealing to SHA256:") && sealed.stderr.contains(".latchwork/recipients"));
    let secret = run_ok(theirs(&["--recovery-unseal", "--recovery-private-key", &key()]), sealed.stdout.as_bytes());
    assert_eq!(data(&secret)["a"], "Yg==");
    let raw = run_ok(here(ours(&["--raw", "--scope", "cluster-wide"])), b"x");
    assert!(raw.starts_with("Ag"));

    // The right one may be named; another one is refused until it is pinned, or the pin is left out once.
    run_ok(here(ours(&["--cert", &current])), named.as_bytes());
    let refused = run(here(ours(&["--cert", &old])), named.as_bytes());
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stdout.is_empty() && refused.stderr.contains("--pin update"), "{}", refused.stderr);
    run_ok(here(ours(&["--cert", &old, "--pin", "off"])), named.as_bytes());
    // No Secret is sealed to a certificate that has run out, pinned or not: the old one's is still good.
    run_ok(here(ours(&["--cert", &old, "--pin=update"])), named.as_bytes());
    let after = std::fs::read_to_string(&file).unwrap();
    assert!(after.contains("# reviewed\nage1qqqq\n") && !after.contains(text.lines().nth(3).unwrap()), "{after}");
    let refused = run(here(ours(&["--cert", &current])), named.as_bytes());
    assert_eq!(refused.status.code(), Some(1));

    // Above the repository nothing counts, and a private key in the file is an error.
    let inner = folder.join("inner");
    std::fs::create_dir_all(inner.join(".git")).unwrap();
    let mut command = ours(&["--pin", "check", "--cert", &current]);
    command.current_dir(&inner);
    assert!(run(command, named.as_bytes()).stderr.contains("no certificate is pinned"));
    std::fs::copy(vector("keys/old.key"), &file).unwrap();
    let private = run(here(ours(&[])), named.as_bytes());
    assert!(private.stderr.contains("a private key"), "{}", private.stderr);
}

/// What is null is empty, in JSON and in YAML; fields that no metadata have are left out, and a field may be capitalised.
#[test]
fn odd_secrets_are_sealed_to_the_same_text() {
    let with =
        |metadata: &str| format!("{{metadata: {{name: db, namespace: team, {metadata}}}, stringData: {{x: why}}}}");
    let json = |metadata: Value| {
        let mut secret =
            json!({ "metadata": { "name": "db", "namespace": "team" }, "data": { "x": "eQ==", "none": null } });
        secret["metadata"].as_object_mut().unwrap().extend(metadata.as_object().cloned().unwrap());
        secret.to_string()
    };
    let inputs = [
        with("labels: {a: null, b: x}"),
        with("annotations: {a: ~}, labels: null"),
        with("finalizers: [null, f]"),
        with("labels: {l: x}, generateName: g, finalizers: [f], annotations: {z: x}"),
        with("foo: bar, managedFields: [], clusterName: c"),
        with("managedFields: [{manager: kubectl}]"),
        with("generation: 5, resourceVersion: '7', ownerReferences: [], selfLink: /x"),
        json(json!({ "annotations": { "a": "<b> & \u{2028}\u{2029}\u{1}\u{7f} \u{e9}", "<c>": "\\u003c" } })),
        json(json!({ "labels": { "a": null }, "annotations": null, "finalizers": [null] })),
        "metadata: {name: db, namespace: team}\nData: {x: eQ==}\nType: x.y/z\n".to_owned(),
        "METADATA: {Name: db, NAMESPACE: team, Labels: {A: b}}\nSTRINGDATA: {X: eQ==}\nIMMUTABLE: true\n".to_owned(),
        "metaData: {name: db, nameSpace: team, Finalizers: [f], GenerateName: g}\ndAtA: {x: eQ==}\nTYPE: t\n"
            .to_owned(),
        with("ANNOTATIONS: {sealedsecrets.bitnami.com/cluster-wide: 'true'}, CreationTimestamp: 2026-01-01T00:00:00Z"),
        with("finalizers: [f]").replace("why", ".inf"),
        with("labels: {a: 1, b: true, 5: x}, generateName: 5, uid: 5, creationTimestamp: null"),
        "immutable: yes\ntype: 5\nkind: null\nmetadata: {name: 5, namespace: team}\nstringData: {a: 5}\n".to_owned(),
        r#"{"Metadata":{"Name":"db","Namespace":"team","Labels":{"A":"b"}},"Data":{"A":"eQ=="},"TYPE":"t"}"#.to_owned(),
        r#"{"metadata":{"name":"db","namespace":"team","labels":{"a":1}},"type":5,"stringData":{"a":5,"b":true}}"#
            .to_owned(),
        json(json!({ "Labels": { "a": "b" } })),
        format!("{}---\n{}", json(json!({})), json(json!({ "labels": { "a": "b" } }))),
        format!("---\n{} ---\t\n---\n{}---\n", json(json!({})), json(json!({}))),
    ];
    for input in &inputs {
        let [theirs, ours] = BOTH.map(|(_, program)| run_ok(program(&["--cert", &cert()]), input.as_bytes()));
        assert_eq!(without_values(&theirs), without_values(&ours), "{input}");
    }
}

/// A wrong type is refused in the words of Go's decoder, which quote no value.
#[test]
fn wrong_types_are_refused_in_the_same_words() {
    let with = |top: &str, metadata: &str, data: &str| {
        format!("{top}\nmetadata: {{name: db, namespace: team{metadata}}}\n{data}\n")
    };
    let value = "hunter2";
    let mut inputs = vec![];
    for top in ["immutable: 'true'", "immutable: \"yes\"", "immutable: 1", "immutable: hunter2", "immutable: [hunter2]"]
    {
        inputs.push(with(top, "", "stringData: {a: b}"));
    }
    for top in
        ["kind: 5", "kind: yes", "kind: [hunter2]", "kind: {a: b}", "apiVersion: 5", "apiVersion: 1.0", "Kind: 5"]
    {
        inputs.push(with(top, "", "stringData: {a: b}"));
    }
    for top in ["type: [hunter2]", "type: {a: b}", "TYPE: [x]"] {
        inputs.push(with(top, "", "stringData: {a: b}"));
    }
    inputs.push(r#"{"metadata": {"name": "s", "generation": "hunter2"}, "stringData": {"a": "b"}}"#.into());
    for metadata in [
        "labels: {a: [hunter2]}",
        "labels: {a: {b: c}}",
        "labels: [a]",
        "labels: hunter2",
        "Labels: 5",
        "annotations: [a]",
        "finalizers: x",
        "finalizers: {a: b}",
        "uid: [a]",
        "generation: hunter2",
        "generation: '5'",
        "deletionGracePeriodSeconds: x",
        "ownerReferences: x",
        "ownerReferences: [x]",
        "ownerReferences: {a: b}",
        "ownerReferences: [{controller: 'x'}]",
        "managedFields: x",
        "managedFields: [x]",
    ] {
        inputs.push(with("", &format!(", {metadata}"), "stringData: {a: b}"));
    }
    for data in [
        "stringData: {a: [hunter2]}",
        "stringData: {a: {hunter2: c}}",
        "stringData: [a]",
        "stringData: hunter2",
        "stringData: 5",
        "data: {a: 5}",
        "data: {a: 1234}",
        "data: {a: true}",
        "data: {a: 1.5}",
        "data: {a: {b: hunter2}}",
        "data: [a]",
        "data: hunter2",
        "data: 5",
    ] {
        inputs.push(with("", "", data));
    }
    inputs.push("metadata: [hunter2]\nstringData: {a: b}\n".into());
    inputs.push("metadata: {name: [a], namespace: team}\nstringData: {a: b}\n".into());
    let whole = json!({ "metadata": { "name": "db", "namespace": "team" }, "data": { "a": "eQ==" } });
    for (field, wrong) in [
        ("immutable", json!("true")),
        ("immutable", json!(1)),
        ("kind", json!(5)),
        ("apiVersion", json!([value])),
        ("data", json!({ "a": 5 })),
        ("data", json!(value)),
        ("stringData", json!({ "a": [value] })),
        ("metadata", json!(5)),
        ("metadata", json!({ "name": "db", "namespace": "team", "generation": "x" })),
        ("metadata", json!({ "name": "db", "namespace": "team", "finalizers": value })),
    ] {
        let mut secret = whole.clone();
        secret[field] = wrong;
        inputs.push(secret.to_string());
    }
    assert!(inputs.len() > 55);
    for input in &inputs {
        let [theirs, ours] = BOTH.map(|(_, program)| {
            let ran = run(program(&["--cert", &cert()]), input.as_bytes());
            (ran.status.code(), ran.stdout, ran.stderr)
        });
        assert_eq!(theirs, ours, "{input}");
        assert!(ours.0 == Some(1) && !ours.2.contains(value), "{input}: {}", ours.2);
    }
    // Refused by both; theirs quotes the value, or says that there is no Secret.
    for metadata in
        ["creationTimestamp: hunter2", "deletionTimestamp: hunter2", "creationTimestamp: 5", "generation: 1.5"]
    {
        let input = with("", &format!(", {metadata}"), "stringData: {a: b}");
        let [theirs, ours] = BOTH.map(|(_, program)| run(program(&["--cert", &cert()]), input.as_bytes()));
        assert_eq!((theirs.status.code(), ours.status.code()), (Some(1), Some(1)), "{metadata}");
        assert!(!ours.stderr.contains(value), "{}", ours.stderr);
    }
    // What is lost there in silence is refused here.
    let object = whole.to_string();
    for lossy in [format!("{object}garbage"), format!("{object},{object}"), format!("{object}---{object}")] {
        let [theirs, ours] = BOTH.map(|(_, program)| run(program(&["--cert", &cert()]), lossy.as_bytes()));
        assert_eq!((theirs.status.code(), ours.status.code()), (Some(0), Some(1)), "{lossy}");
    }
}

/// The same of a SealedSecret that is opened, or that gets new entries.
#[test]
fn sealed_secrets_of_wrong_types_are_refused_in_the_same_words() {
    let named = "metadata: {name: db, namespace: team}\nstringData: {new: x}\n";
    let sealed: Value = serde_json::from_str(&run_ok(theirs(&["--cert", &cert()]), SECRET.as_bytes())).unwrap();
    let table = [
        ("/spec", json!([])),
        ("/spec", json!("x")),
        ("/metadata", json!(5)),
        ("/metadata/labels", json!({ "a": 1 })),
        ("/metadata/annotations", json!({ "sealedsecrets.bitnami.com/cluster-wide": true })),
        ("/metadata/generation", json!("5")),
        ("/metadata/finalizers", json!("x")),
        ("/metadata/ownerReferences", json!([{ "name": 5 }])),
        ("/spec/template", json!("x")),
        ("/spec/template/type", json!(5)),
        ("/spec/template/immutable", json!("true")),
        ("/spec/template/data", json!(["x"])),
        ("/spec/template/metadata/labels", json!({ "app": 1 })),
        ("/spec/template/metadata/generation", json!("x")),
        ("/status", json!({ "conditions": "x" })),
    ];
    for (path, wrong) in table {
        let mut object = sealed.clone();
        let (parent, field) = path.rsplit_once('/').unwrap();
        object.pointer_mut(parent).unwrap()[field] = wrong;
        let told = BOTH.map(|(_, program)| {
            let unseal = ["--recovery-unseal", "--recovery-private-key", &key()];
            let opened = run(program(&unseal), object.to_string().as_bytes());
            let file = file_with("sealed.json", &object.to_string()).display().to_string();
            let merged = run(program(&["--cert", &cert(), "--merge-into", &file]), named.as_bytes());
            [opened, merged].map(|ran| (ran.status.code(), ran.stdout, ran.stderr))
        });
        assert_eq!(told[0], told[1], "{path}");
        assert_eq!(told[1][0].0, Some(1), "{path}");
    }
    let text = sealed.to_string();
    let mut bad = sealed.clone();
    bad["spec"]["data"] = json!("YWJ*");
    let texts = [
        format!("{text}---"),
        format!("{text}\n---\n"),
        format!("{text}\n...\n"),
        format!("{text} é"),
        bad.to_string(),
    ];
    for text in texts {
        let told = BOTH.map(|(_, program)| {
            let opened = run(program(&["--recovery-unseal", "--recovery-private-key", &key()]), text.as_bytes());
            let file = file_with("sealed.json", &text).display().to_string();
            let merged = run(program(&["--cert", &cert(), "--merge-into", &file]), named.as_bytes());
            [opened, merged].map(|ran| (ran.status.code(), ran.stdout, ran.stderr))
        });
        assert_eq!(told[0], told[1]);
        assert_eq!(told[1][0].0, Some(1));
    }
    // Only where it names itself the case is no matter; and one of the two names is enough.
    let text = sealed.to_string();
    for (from, to) in
        [("\"kind\"", "\"Kind\""), ("\"kind\":\"SealedSecret\",", ""), ("\"apiVersion\"", "\"APIVERSION\"")]
    {
        let text = text.replacen(from, to, 1);
        assert_ne!(text, sealed.to_string());
        for (name, program) in BOTH {
            let opened = run_ok(program(&["--recovery-unseal", "--recovery-private-key", &key()]), text.as_bytes());
            assert_eq!(data(&opened)["both"], "d2lucw==", "{name} {to}");
        }
    }
    // A template that is not there is printed, as Go prints a struct.
    let mut bare = sealed;
    bare["spec"].as_object_mut().unwrap().shift_remove("template");
    let [theirs, ours] = BOTH.map(|(_, program)| {
        let file = file_with("sealed.json", &bare.to_string());
        run_ok(program(&["--cert", &cert(), "--merge-into", &file.display().to_string()]), named.as_bytes());
        without_values(&std::fs::read_to_string(file).unwrap())
    });
    assert_eq!(theirs, ours);
    assert!(ours.contains("\"metadata\": {}"), "{ours}");
}

/// A kubeconfig with a context that is whole, and some that are not.
const CONTEXTS: &str = "current-context: whole
contexts:
- {name: whole, context: {cluster: here, user: somebody, namespace: from-file}}
- {name: dangling, context: {cluster: gone, user: gone}}
- {name: serverless, context: {cluster: empty, user: somebody}}
clusters: [{name: here, cluster: {server: SERVER}}, {name: empty, cluster: {}}]
users: [{name: somebody, user: {token: abc}}]
";

/// What the kubeconfig and the flags choose, and what is said when there is no such thing: with sealing, which needs a
/// namespace, and with the cluster.
#[test]
fn clusters_users_and_contexts_are_chosen_as_by_the_real_one() {
    let pem = std::fs::read_to_string(cert()).unwrap();
    let server = Server::start(move |request: Request| {
        let service =
            json!({ "kind": "Service", "apiVersion": "v1", "spec": { "ports": [{ "name": "http", "port": 1 }] } });
        let reply = match request.path.as_str() {
            path if path.ends_with("/proxy/v1/cert.pem") => Reply::new(200, pem.clone()),
            path if path.ends_with("/forbidden") => {
                let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403,
                    "reason": "Forbidden", "message": "services \"forbidden\" is forbidden: no" });
                Reply::new(403, status.to_string()).with_header("content-type", "application/json")
            }
            path if path.ends_with("/broken") => Reply::new(502, "bad \"gateway\"\n"),
            path if path.ends_with("/odd") => Reply::new(418, "tea").with_header("content-type", "application/json"),
            _ => Reply::new(200, service.to_string()).with_header("content-type", "application/json"),
        };
        // Who speaks to a server in clear shows it no token.
        Answer::Reply(if request.header("authorization").is_some() { Reply::new(500, "a token") } else { reply })
    });
    let file = file_with("kubeconfig", &CONTEXTS.replace("SERVER", &server.url())).display().to_string();
    let bare = server.url().replace("http://", "");
    let broken = file_with("broken", "clusters: [").display().to_string();
    let table: &[&[&str]] = &[
        &[],
        &["--context", "nope"],
        &["--cluster", "nope"],
        &["--user", "nope"],
        &["--context", "nope", "--cluster", "nope", "--user", "nope"],
        &["--context", "dangling"],
        &["--context", "dangling", "--cluster", "here"],
        &["--context", "serverless"],
        &["--context", "serverless", "--server", &server.url()],
        &["--context=", "--cluster=", "--user=", "--server="],
        &["--cluster", "here", "--user", "somebody"],
        &["--server", &bare],
        &["--server", "host/path"],
        &["--server", &server.url(), "--cluster", "nope"],
        &["--username", "u", "--password", "p"],
        &["--client-certificate", "/nope"],
        &["--client-certificate", "/nope", "--client-key", "/nope"],
        &["--certificate-authority", "/nope"],
        &["--certificate-authority", "/nope", "--context", "nope", "--insecure-skip-tls-verify"],
        &["--proxy-url", "ftp://x"],
        &["--as", "bob", "--as-uid", "7"],
        &["--as-uid", "7"],
        &["--as-group", "g"],
        &["--request-timeout", "x"],
        &["--request-timeout", "5"],
        &["--request-timeout", "1m"],
        &["--kubeconfig", "/nope"],
        &["--kubeconfig", "/nope", "-n", "team"],
        &["--kubeconfig", "/dev/null"],
        &["--kubeconfig", "/dev/null", "-n", "team"],
        &["--kubeconfig", "/dev/null", "--server", &server.url()],
        &["--controller-name", "forbidden"],
        &["--controller-name", "broken"],
        &["--controller-name", "odd"],
    ];
    let secret = b"{metadata: {name: db}, stringData: {a: why}}";
    let cert = cert();
    for more in table {
        for (first, input) in [
            (&["--fetch-cert"][..], &b""[..]),
            (&["--cert", &cert], secret),
            (&["--cert", &cert, "--raw", "--name", "db"], b"value"),
        ] {
            let arguments = [first, more].concat();
            let [theirs, ours] = BOTH.map(|(_, program)| {
                let mut command = program(&arguments);
                command.env("KUBECONFIG", &file);
                run(command, input)
            });
            assert_eq!(theirs.status.code(), ours.status.code(), "{arguments:?}: {} / {}", theirs.stderr, ours.stderr);
            // Without any configuration ours says in addition what to do.
            let words = ours.stderr.replace("; must provide the --namespace flag with --raw and --scope strict", "");
            assert_eq!(theirs.stderr, words, "{arguments:?}");
            if !ours.stdout.starts_with("Ag") {
                assert_eq!(without_values(&theirs.stdout), without_values(&ours.stdout), "{arguments:?}");
            }
        }
    }
    // A line of the file may hold a token.
    let refused = BOTH.map(|(_, program)| run(program(&["--fetch-cert", "--kubeconfig", &broken]), b""));
    let start = format!("error: error loading config file \"{broken}\": yaml: ");
    for ran in refused {
        assert!(ran.status.code() == Some(1) && ran.stderr.starts_with(&start), "{}", ran.stderr);
        assert!(!ran.stderr.contains("clusters: ["), "{}", ran.stderr);
    }
}

/// Why nobody answers is told in the words of the real one, for a cluster and for a certificate behind a URL.
#[test]
fn faults_of_the_network_have_the_same_text() {
    let ca = Ca::new("nobody");
    let server = Server::start_tls(&ca, |_| Answer::Reply(Reply::new(500, "never")));
    let authority = file_with("ca.crt", &ca.certificate_pem).display().to_string();
    let url = server.url();
    let input = b"{metadata: {name: db, namespace: team}, stringData: {a: b}}";
    let table: &[&[&str]] = &[
        &["--server", "https://127.0.0.1:1", "--fetch-cert"],
        &["--server", "https://127.0.0.1:1/some/path/", "--validate"],
        &["--server", "http://[::1]:1"],
        &["--server", &url, "--re-encrypt"],
        &["--server", &url, "--certificate-authority", &authority, "--tls-server-name", "other.test"],
        &["--server", &url, "--certificate-authority", &authority, "--tls-server-name", "192.0.2.1"],
        &["--cert", &url],
    ];
    for arguments in table {
        // Who has no credentials is asked for them there.
        let arguments = [&["--token", "x"], *arguments].concat();
        let [theirs, ours] = BOTH.map(|(_, program)| run(program(&arguments), input));
        assert_eq!((theirs.status.code(), theirs.stderr), (ours.status.code(), ours.stderr), "{arguments:?}");
        assert!(theirs.status.code() == Some(1) && ours.stdout.is_empty(), "{arguments:?}");
    }
}

/// What the controller and the API server refuse is told in the words of the real one; and what cannot be read never passes.
#[test]
fn refusals_of_the_controller_have_the_same_text() {
    let service =
        json!({ "kind": "Service", "apiVersion": "v1", "spec": { "ports": [{ "name": "http", "port": 1 }] } });
    let server = Server::start(move |request: Request| {
        if request.method == "GET" {
            return Answer::Reply(Reply::new(200, service.to_string()).with_header("content-type", "application/json"));
        }
        let object: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let (code, kind) = name.split_once('-').unwrap_or(("500", "text"));
        let code: u16 = code.parse().unwrap_or(500);
        let text = if kind == "status" {
            json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "said so", "code": code })
                .to_string()
        } else {
            "some text\n".to_owned()
        };
        let kind = if kind == "text" { "text/plain; charset=utf-8" } else { "application/json" };
        Answer::Reply(Reply::new(code, text).with_header("content-type", kind))
    });
    let file = file_with("kubeconfig", &CONTEXTS.replace("SERVER", &server.url())).display().to_string();
    let ran = |mode: &str, input: &str| {
        BOTH.map(|(_, program)| {
            let mut command = program(&[mode]);
            command.env("KUBECONFIG", &file);
            let ran = run(command, input.as_bytes());
            (ran.status.code(), ran.stdout, ran.stderr)
        })
    };
    for mode in ["--validate", "--re-encrypt"] {
        for code in [400, 403, 404, 405, 406, 409, 415, 418, 422, 500, 502, 504] {
            for kind in ["text", "status", "other"] {
                let object = json!({ "apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret",
                    "metadata": { "name": format!("{code}-{kind}") }, "spec": { "encryptedData": {} } });
                let [theirs, ours] = ran(mode, &object.to_string());
                assert_eq!(theirs, ours, "{mode} {code} {kind}");
                assert_eq!(ours.0, Some(1));
            }
        }
    }
    let sealed = "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\n";
    let [theirs, ours] = ran("--validate", &format!("{sealed}metadata: 5\n"));
    assert_eq!((theirs.0, theirs.2.as_str()), (Some(1), "error: unable to decrypt sealed secret\n"));
    assert!(ours.0 == Some(1) && ours.2.starts_with("error: unable to decrypt sealed secret: "), "{}", ours.2);
    // Its decoder does not mind the case of a field here, and minds its type.
    for (field, passes) in [
        ("Metadata: {Name: 200-text}\nSpec: {EncryptedData: {}}", true),
        ("metadata: {name: 200-text}\nspec: {encryptedData: {}, template: {immutable: 'true'}}", false),
        ("metadata: {name: 200-text}\nspec: {encryptedData: {}, template: {data: [x]}}", false),
        ("metadata: {name: 200-text}\nspec: [x]", false),
        ("metadata: {name: 200-text, generation: x}\nspec: {}", false),
    ] {
        let [theirs, ours] = ran("--validate", &format!("{sealed}{field}\n"));
        let wanted = Some(if passes { 0 } else { 1 });
        assert_eq!((theirs.0, ours.0), (wanted, wanted), "{field}: {} / {}", theirs.2, ours.2);
        assert!(ours.2.starts_with(theirs.2.trim_end()), "{field}: {} / {}", theirs.2, ours.2);
        let [theirs, ours] = ran("--re-encrypt", &format!("{sealed}{field}\n"));
        let words = theirs.2.replace("error unmarshaling JSON: while decoding JSON: ", "");
        assert!(passes || (theirs.0, words) == (ours.0, ours.2.clone()), "{field}: {} / {}", theirs.2, ours.2);
    }
    // Numbers pass for text there. Ours refuses them, as the API server does.
    for labels in ["labels: {a: 1}", "annotations: {sealedsecrets.bitnami.com/cluster-wide: true}"] {
        let [theirs, ours] =
            ran("--validate", &format!("{sealed}metadata: {{name: 200-text, {labels}}}\nspec: {{}}\n"));
        assert_eq!((theirs.0, ours.0), (Some(0), Some(1)), "{labels}");
    }
    // The real one says yes to these.
    for unread in ["garbage", "a: [", "just: text\n", "{\"metadata\":"] {
        let [theirs, ours] = ran("--validate", unread);
        assert_eq!((theirs.0, theirs.2.as_str()), (Some(0), ""), "{unread}");
        assert!(ours.0 == Some(1) && ours.2.starts_with("error: "), "{unread}: {}", ours.2);
    }
}

/// An answer of the incumbent's controller names neither version nor kind. What is opened is in clear, and so the file is for
/// its owner only, whoever could read what was there before.
#[test]
fn what_a_controller_answered_opens_into_a_private_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut sealed: Value = serde_json::from_str(&run_ok(theirs(&["--cert", &cert()]), SECRET.as_bytes())).unwrap();
    for field in ["apiVersion", "kind"] {
        sealed.as_object_mut().unwrap().shift_remove(field);
    }
    for (name, program) in BOTH {
        let file = file_with("secret.json", "");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        let path = file.display().to_string();
        let arguments = ["--recovery-unseal", "--recovery-private-key", &key(), "-w", &path];
        run_ok(program(&arguments), sealed.to_string().as_bytes());
        assert_eq!(data(&std::fs::read_to_string(&file).unwrap())["both"], "d2lucw==", "{name}");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
}

/// As the flags of Go's programs: the last one counts.
#[test]
fn a_flag_may_be_given_twice() {
    let missing = "/no/such/certificate.pem";
    let flags = ["--cert", "/also/missing.pem", "--cert", missing];
    for (name, command) in [("kubeseal", theirs(&flags)), ("latchwork", ours(&flags))] {
        let ran = run(command, b"{}");
        assert_eq!(ran.status.code(), Some(1), "{name}");
        assert_eq!(ran.stderr, format!("error: open {missing}: no such file or directory\n"), "{name}");
    }
}
