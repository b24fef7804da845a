//! Every format with every selector and kind of MAC, sealed to one key of each service; each service alone opens it.

use super::command_line::{Environment, ours, transit};
use super::theirs;
use crate::cli::sops_matrix::{product, side_by_side};
use crate::rig::cloud::{GCP_KEY, VAULT};
use crate::rig::moto::{ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY};
use crate::rig::process::run_ok;
use crate::rig::{self, scratch};

#[tokio::test]
async fn each_service_alone_opens_every_format_selector_and_mac_both_ways() {
    let (uri, vault) = transit("matrix").await;
    let moto = rig::moto();
    let arn = moto.create_key(REGION).await;
    let cloud = rig::cloud();
    let version = cloud.new_vault_key("matrix");
    let aws = vec![
        ("AWS_ENDPOINT_URL_KMS", moto.url.clone()),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY.to_owned()),
    ];
    // Who is to open has what one service asks for and nothing of the others'. To ask that one first saves the wait for
    // credentials that are nowhere.
    let services: [(&str, Environment); 4] = [
        ("kms", aws),
        ("gcp_kms", cloud.google_environment()),
        ("azure_kv", cloud.azure_environment()),
        ("hc_vault", vault),
    ];
    let all: Environment = services.iter().flat_map(|(_, environment)| environment.clone()).collect();
    let keys = format!(
        "kms: '{arn}', gcp_kms: '{GCP_KEY}', azure_keyvault: '{VAULT}/keys/matrix/{version}', hc_vault_transit_uri: '{uri}'"
    );
    let theirs = |arguments: &[&str], environment: &Environment| {
        let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        theirs(arguments, &environment)
    };
    let ours = |arguments: &[&str], environment: &Environment| ours(&[&["sops"], arguments].concat(), environment);
    side_by_side(&product(), |sealing| {
        let rules = sealing.rules(&keys).display().to_string();
        let plain = sealing.plain().display().to_string();
        let seal = ["--config", &rules, "encrypt", &plain];
        let [by_theirs, by_ours] = [run_ok(theirs(&seal, &all), b""), run_ok(ours(&seal, &all), b"")].map(|sealed| {
            sealing.assert_sealed_so(sealed.as_bytes());
            scratch::file(sealing.file, sealed).display().to_string()
        });
        for (service, environment) in &services {
            let open = |file| ["decrypt", "--decryption-order", *service, file];
            let opened = run_ok(ours(&open(by_theirs.as_str()), environment), b"");
            sealing.assert_same(opened.as_bytes(), &format!("theirs, opened by ours with {service}"));
            let opened = run_ok(theirs(&open(by_ours.as_str()), environment), b"");
            sealing.assert_same(opened.as_bytes(), &format!("ours, opened by theirs with {service}"));
        }
    });
}
