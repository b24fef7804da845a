//! `latchwork sops` and `latchwork render` with keys of every service, beside the real sops.

use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::{PLAIN, sealed_by_theirs, theirs};
use crate::rig::bao::ROOT_TOKEN;
use crate::rig::cloud::{GCP_KEY, VAULT};
use crate::rig::moto::{ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY};
use crate::rig::process::{self, Proc, run, run_ok};
use crate::rig::{self, scratch};

type Environment = Vec<(&'static str, String)>;

fn ours(arguments: &[&str], environment: &Environment) -> Command {
    let mut command = process::latchwork();
    command.args(arguments).envs(environment.iter().map(|(name, value)| (name, value)));
    command
}

/// A transit key of its own mount, and how to be allowed to use it.
async fn transit(mount: &str) -> (String, Environment) {
    let bao = rig::bao();
    bao.call("POST", &format!("sys/mounts/{mount}"), Some(&json!({"type": "transit"}))).await;
    bao.call("POST", &format!("{mount}/keys/k"), None).await;
    (format!("{}/v1/{mount}/keys/k", bao.url), vec![("VAULT_TOKEN", ROOT_TOKEN.to_owned())])
}

/// Encrypts with the one and decrypts with the other.
fn both_directions(flags: &[&str], environment: &Environment) -> String {
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
async fn the_key_service_verb_serves_the_real_sops_and_ours() {
    let (uri, mut environment) = transit("keyservice-verb").await;
    let age = run_ok(process::command(rig::tools::path("age-keygen")), b"");
    let recipient = age.lines().find_map(|line| line.strip_prefix("# public key: ")).expect("recipient").to_owned();
    environment.push(("SOPS_AGE_KEY", age));
    let socket = scratch::dir("socket").join("s").display().to_string();
    let server = ours(&["sops", "keyservice", "--network", "unix", "--address", &socket], &environment);
    let server = Proc::spawn("latchwork sops keyservice", server);
    server.wait_for_log("Listening on", Duration::from_secs(20)).await;
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
    let status = server.stop(Duration::from_secs(10)).await;
    assert!(status.success() && !std::path::Path::new(&socket).exists(), "{status}");
}
