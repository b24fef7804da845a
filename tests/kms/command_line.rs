//! `latchwork sops` and `latchwork render` with keys of every service, beside the real sops.

use std::process::Command;

use latchwork::pure::limits::FILES_AT_A_TIME;
use serde_json::json;

use super::{PLAIN, sealed_by_theirs, theirs};
use crate::rig::bao::ROOT_TOKEN;
use crate::rig::cloud::{GCP_KEY, VAULT};
use crate::rig::fault_http::{Fault, FaultServer};
use crate::rig::http1::Reply;
use crate::rig::moto::{ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY};
use crate::rig::process::{self, Proc, run, run_ok};
use crate::rig::{self, scratch};

pub type Environment = Vec<(&'static str, String)>;

pub fn ours(arguments: &[&str], environment: &Environment) -> Command {
    let mut command = process::latchwork();
    command.args(arguments).envs(environment.iter().map(|(name, value)| (name, value)));
    command
}

/// A transit key of its own mount, and how to be allowed to use it.
pub async fn transit(mount: &str) -> (String, Environment) {
    let bao = rig::bao();
    bao.call("POST", &format!("sys/mounts/{mount}"), Some(&json!({"type": "transit"}))).await;
    bao.call("POST", &format!("{mount}/keys/k"), None).await;
    (format!("{}/v1/{mount}/keys/k", bao.url), vec![("VAULT_TOKEN", ROOT_TOKEN.to_owned())])
}

/// Encrypts with the one and decrypts with the other.
pub fn both_directions(flags: &[&str], environment: &Environment) -> String {
    let borrowed: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let sealed = scratch::file("theirs.yaml", sealed_by_theirs(flags, &borrowed)).display().to_string();
    let opened = run_ok(ours(&["sops", "decrypt", &sealed], environment), b"");
    assert!(opened.contains("password: s3cret"), "{flags:?}: {opened}");
    let plain = scratch::file("plain.yaml", PLAIN).display().to_string();
    let text = run_ok(ours(&[&["sops", "encrypt"], flags, &[&plain]].concat(), environment), b"");
    let sealed = scratch::file("ours.yaml", &text).display().to_string();
    let opened = run_ok(theirs(&["decrypt", &sealed], &borrowed), b"");
    assert!(opened.contains("password: s3cret"), "{flags:?}: {opened}");
    text
}

#[tokio::test]
async fn files_with_keys_of_services_go_both_ways() {
    let (uri, environment) = transit("command-line").await;
    both_directions(&["--hc-vault-transit", &uri], &environment);

    let moto = rig::moto();
    let arn = moto.create_key(REGION).await;
    let environment = vec![
        ("AWS_ENDPOINT_URL_KMS", moto.url.clone()),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY.to_owned()),
    ];
    both_directions(&["--kms", &arn, "--encryption-context", "team:a"], &environment);
    // The same from a profile that the file names.
    let credentials =
        format!("[team]\naws_access_key_id = {ACCESS_KEY_ID}\naws_secret_access_key = {SECRET_ACCESS_KEY}\n");
    let file = scratch::file("credentials", credentials).display().to_string();
    let environment = vec![("AWS_ENDPOINT_URL", moto.url.clone()), ("AWS_SHARED_CREDENTIALS_FILE", file)];
    let text = both_directions(&["--kms", &arn, "--aws-profile", "team"], &environment);
    assert!(text.contains("aws_profile: team"), "{text}");

    let cloud = rig::cloud();
    both_directions(&["--gcp-kms", GCP_KEY], &cloud.google_environment());
    let version = cloud.new_vault_key("command-line");
    let text = both_directions(&["--azure-kv", &format!("{VAULT}/keys/command-line")], &cloud.azure_environment());
    assert!(text.contains(&version), "the version was looked up:\n{text}");
}

#[tokio::test]
async fn a_refusal_shows_in_the_report_of_the_keys() {
    let (uri, mut environment) = transit("command-line-refused").await;
    let sealed = sealed_by_theirs(&["--hc-vault-transit", &uri], &[("VAULT_TOKEN", ROOT_TOKEN)]);
    let sealed = scratch::file("sealed.yaml", sealed).display().to_string();
    environment.push(("SOPS_HC_VAULT_ALLOWLIST", "https://other.test".to_owned()));
    let refused = run(ours(&["sops", "decrypt", &sealed], &environment), b"");
    assert_eq!(refused.status.code(), Some(128), "{}", refused.stderr);
    assert!(refused.stderr.contains("SOPS_HC_VAULT_ALLOWLIST"), "{}", refused.stderr);
    // Nor does a file of somebody else get a token without being asked for.
    let environment = vec![("VAULT_TOKEN", ROOT_TOKEN.to_owned())];
    let refused = run(ours(&["render", &sealed], &environment), b"");
    assert!(!refused.status.success());
    assert!(refused.stderr.contains("--kms-allow"), "{}", refused.stderr);
    let opened = run_ok(ours(&["sops", "decrypt", &sealed], &environment), b"");
    assert!(opened.contains("password: s3cret"));
}

#[tokio::test]
async fn render_asks_the_key_services_that_it_may() {
    let (uri, environment) = transit("render-allowed").await;
    let secret = "apiVersion: v1\nkind: Secret\nmetadata:\n    name: s\nstringData:\n    password: s3cret\n";
    let plain = scratch::file("secret.yaml", secret).display().to_string();
    let sealed = run_ok(
        ours(
            &["sops", "encrypt", "--encrypted-regex", "^(data|stringData)$", "--hc-vault-transit", &uri, &plain],
            &environment,
        ),
        b"",
    );
    let sealed = scratch::file("secret.yaml", sealed).display().to_string();
    let bao = &rig::bao().url;
    let rendered = run_ok(ours(&["render", "--kms-allow", bao, &sealed], &environment), b"");
    assert!(rendered.contains("name: s"), "{rendered}");
}

#[tokio::test]
async fn rekey_looks_up_the_version_of_a_new_key() {
    let cloud = rig::cloud();
    let version = cloud.new_vault_key("rekey");
    let folder = scratch::dir("rekey");
    let age = run_ok(process::command(rig::tools::path("age-keygen")), b"");
    let recipient = age.lines().find_map(|line| line.strip_prefix("# public key: ")).expect("recipient").to_owned();
    std::fs::write(folder.join("a.yaml"), sealed_by_theirs(&["--age", &recipient], &[])).expect("writes");
    let rules = format!("creation_rules:\n  - azure_keyvault: {VAULT}/keys/rekey\n");
    std::fs::write(folder.join(".sops.yaml"), rules).expect("writes");
    let rekey = |arguments: &[&str], environment: &Environment| {
        let mut command = ours(&[&["rekey"], arguments, &["a.yaml"]].concat(), environment);
        command.current_dir(&folder).env("SOPS_AGE_KEY", &age);
        command
    };
    // To look asks no service.
    assert_eq!(run(rekey(&["--dry-run"], &vec![]), b"").status.code(), Some(1));
    let refused = run(rekey(&["--yes"], &vec![("AZURE_TOKEN_CREDENTIALS", "dev".to_owned())]), b"");
    assert_eq!(refused.status.code(), Some(2), "a key without its version is not written: {}", refused.stdout);
    let mut environment = cloud.azure_environment();
    run_ok(rekey(&["--yes"], &environment), b"");
    let text = std::fs::read_to_string(folder.join("a.yaml")).expect("readable");
    assert!(text.contains(&version), "{text}");
    run_ok(rekey(&["--dry-run"], &vec![]), b"");
    environment.push(("HOME", folder.display().to_string()));
    let borrowed: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let file = folder.join("a.yaml").display().to_string();
    assert!(run_ok(theirs(&["decrypt", &file], &borrowed), b"").contains("password: s3cret"));
}

#[tokio::test]
async fn a_dead_key_service_costs_a_run_one_wait() {
    let (uri, _) = transit("dead-service").await;
    let sealed = sealed_by_theirs(&["--hc-vault-transit", &uri], &[("VAULT_TOKEN", ROOT_TOKEN)]);
    let dead = FaultServer::hanging();
    let folder = scratch::dir("dead");
    let files = 4 * FILES_AT_A_TIME;
    for file in 0..files {
        let text = sealed.replace(&rig::bao().url, &dead.url());
        std::fs::write(folder.join(format!("{file:04}.yaml")), text).expect("writes");
    }
    std::fs::write(folder.join("alive.yaml"), &sealed).expect("writes");
    let environment = vec![("VAULT_TOKEN", ROOT_TOKEN.to_owned()), ("VAULT_CLIENT_TIMEOUT", "5".to_owned())];
    let mut rotate = ours(&["rekey", "--rotate", "--yes", "."], &environment);
    rotate.current_dir(&folder);
    let ran = run(rotate, b"");
    let counted = format!("1 changed, {files} failed");
    assert!(ran.status.code() == Some(2) && ran.stdout.contains(&counted), "{}", ran.stdout);
    assert!(ran.stdout.contains("not asked again in this run: Vault, decrypt with"), "{}", ran.stdout);
    // Those that were under way together, three tries each.
    assert!(dead.count() <= 3 * FILES_AT_A_TIME, "{} requests", dead.count());
}

#[test]
fn a_service_that_comes_back_is_asked_when_the_editor_is_left_again() {
    let service = FaultServer::start(Fault::Close);
    let folder = scratch::dir("edit");
    let uri = format!("{}/v1/transit/keys/k", service.url());
    let environment: Environment =
        vec![("VAULT_TOKEN", "t".to_owned()), ("SOPS_EDITOR", "sed -i s/hello/hallo/".to_owned())];
    let mut edit = ours(&["sops", "edit", "--hc-vault-transit", &uri, "new.yaml"], &environment);
    edit.current_dir(&folder);
    let ran = std::thread::scope(|scope| {
        let edit = scope.spawn(|| run(edit, b"\n"));
        // The tries of the first attempt.
        while service.count() < 3 && !edit.is_finished() {
            std::thread::yield_now();
        }
        let reply = r#"{"data":{"ciphertext":"vault:v1:wrapped"}}"#;
        service.set(Fault::Reply(Reply::new(200, reply)));
        edit.join().expect("runs")
    });
    assert!(ran.status.success() && ran.stderr.contains("no connection"), "{}", ran.stderr);
    let text = std::fs::read_to_string(folder.join("new.yaml")).expect("written");
    assert!(text.contains("hallo: ENC[") && text.contains("vault:v1:wrapped"), "{text}");
}

#[tokio::test]
async fn named_key_services_are_asked_when_this_machine_cannot() {
    let (uri, environment) = transit("keyservice-next").await;
    let serve = |name: &str, more: &[&str], environment: &Environment| {
        let socket = scratch::dir("socket").join(name).display().to_string();
        let listen = [&["sops", "keyservice", "--network", "unix", "--address", &socket], more].concat();
        (Proc::spawn("latchwork sops keyservice", ours(&listen, environment)), format!("unix://{socket}"))
    };
    let (last, last_address) = serve("last", &[], &environment);
    last.wait_for_log("Listening on").await;
    // This one has no token either, and asks the last one.
    let (first, first_address) = serve("first", &["--keyservice", &last_address], &vec![]);
    first.wait_for_log("Listening on").await;
    let dead = format!("unix://{}", scratch::dir("socket").join("nobody").display());
    for services in [vec![&last_address], vec![&dead, &last_address], vec![&first_address]] {
        let flags: Vec<&str> = services.iter().flat_map(|address| ["--keyservice", address.as_str()]).collect();
        let seal = [&flags[..], &["--hc-vault-transit", uri.as_str()]].concat();
        // The real one does the same; its log, and ours, tell of those that could not.
        let sealed = scratch::file("sealed.yaml", sealed_by_theirs(&seal, &[])).display().to_string();
        let opened = run_ok(theirs(&[&["decrypt"], &flags[..], &[sealed.as_str()]].concat(), &[]), b"");
        assert!(opened.contains("password: s3cret"), "{services:?}");
        let opened = run_ok(ours(&[&["sops", "decrypt"], &flags[..], &[sealed.as_str()]].concat(), &vec![]), b"");
        assert!(opened.contains("password: s3cret"), "{services:?}");
        let plain = scratch::file("plain.yaml", PLAIN).display().to_string();
        let text = run_ok(ours(&[&["sops", "encrypt"], &seal[..], &[plain.as_str()]].concat(), &vec![]), b"");
        assert!(text.contains("enc: vault:v1:"), "{text}");
    }
}

#[tokio::test]
async fn a_key_service_ends_while_it_waits_for_an_answer() {
    let (uri, environment) = transit("keyservice-prompt").await;
    let sealed = sealed_by_theirs(&["--hc-vault-transit", &uri], &[("VAULT_TOKEN", ROOT_TOKEN)]);
    let sealed = scratch::file("sealed.yaml", sealed).display().to_string();
    let folder = scratch::dir("prompt");
    let mut mkfifo = process::command("mkfifo");
    mkfifo.arg(folder.join("stdin"));
    run_ok(mkfifo, b"");
    for signal in ["TERM", "INT"] {
        let socket = folder.join(signal).display().to_string();
        // A pipe that is open for writing too: nobody answers, and it does not end.
        let mut server = process::command("sh");
        server.env("HOME", scratch::dir("home"));
        server.args(["-c", "exec \"$0\" sops keyservice --prompt --network unix --address \"$1\" <>stdin"]);
        server.arg(process::program()).arg(&socket).current_dir(&folder);
        server.envs(environment.iter().map(|(name, value)| (name, value)));
        let server = Proc::spawn("latchwork sops keyservice", server);
        server.wait_for_log("Listening on").await;
        let address = format!("unix://{socket}");
        let only = ["--enable-local-keyservice=false", "--keyservice", &address];
        let client = Proc::spawn("sops", theirs(&[&["decrypt"], &only[..], &[sealed.as_str()]].concat(), &[]));
        server.wait_for_log("Respond to request").await;
        server.signal(signal);
        assert!(server.wait().await.success(), "SIG{signal}");
        // Other calls get five seconds, after which it says this.
        assert!(!server.output().contains("given up"), "SIG{signal}: {}", server.output());
        assert!(!client.wait().await.success(), "nobody said yes");
    }
}

#[tokio::test]
async fn the_key_service_verb_serves_the_real_sops_and_ours() {
    let (uri, mut environment) = transit("keyservice-verb").await;
    let age = run_ok(process::command(rig::tools::path("age-keygen")), b"");
    let recipient = age.lines().find_map(|line| line.strip_prefix("# public key: ")).expect("recipient").to_owned();
    environment.push(("SOPS_AGE_KEY", age));
    let socket = scratch::dir("socket").join("s").display().to_string();
    let server = ours(&["sops", "keyservice", "--network", "unix", "--address", &socket], &environment);
    let server = Proc::spawn("latchwork sops keyservice", server);
    server.wait_for_log("Listening on").await;
    let address = format!("unix://{socket}");
    let only = ["--enable-local-keyservice=false", "--keyservice", &address];
    for flags in [["--hc-vault-transit", uri.as_str()], ["--age", recipient.as_str()]] {
        let sealed = sealed_by_theirs(&[&only[..], &flags].concat(), &[]);
        let sealed = scratch::file("sealed.yaml", sealed).display().to_string();
        let opened = run_ok(theirs(&[&["decrypt"], &only[..], &[&sealed]].concat(), &[]), b"");
        assert!(opened.contains("password: s3cret"), "{flags:?}");
        let opened = run_ok(ours(&[&["sops", "decrypt"], &only[..], &[&sealed]].concat(), &vec![]), b"");
        assert!(opened.contains("password: s3cret"), "{flags:?}");
    }
    let status = server.stop().await;
    assert!(status.success() && !std::path::Path::new(&socket).exists(), "{status}");
}
