//! Transit keys of the real OpenBao.

use std::time::Duration;

use latchwork::adapters::kms::KeyService as _;
use latchwork::adapters::kms::vault::{Addresses, Transit, TransitConfig};
use latchwork::pure::keys::KeyRef;
use latchwork::pure::keys::allow::KeyAllowList;
use latchwork::pure::secret::Plaintext;
use serde_json::json;

use super::{both_ways, refused, wrapped};
use crate::rig::bao::ROOT_TOKEN;
use crate::rig::fault_http::{Fault, FaultServer};
use crate::rig::http1::Reply;
use crate::rig::wait::PATIENCE;
use crate::rig::{self, tls};

const TOKEN: &str = "s.a-token-that-must-not-show";

fn config(token: &str, list: Option<KeyAllowList>) -> TransitConfig {
    tls::install_provider();
    let addresses = Addresses { list, by: "the test's list" };
    let mut config = TransitConfig::with_token(Some(Plaintext::from(token.to_owned())), addresses);
    config.timeout = PATIENCE;
    config
}

fn transit(token: &str, list: Option<KeyAllowList>) -> Transit {
    Transit::new(config(token, list)).unwrap()
}

fn listed(addresses: &[&str]) -> Option<KeyAllowList> {
    Some(KeyAllowList::parse(addresses.iter().copied()).unwrap())
}

fn key(address: &str, engine: &str, name: &str) -> KeyRef {
    KeyRef::HcVault { address: address.into(), engine: engine.into(), key: name.into() }
}

#[tokio::test]
async fn a_transit_key_wraps_and_unwraps_as_the_real_sops_does() {
    let bao = rig::bao();
    bao.call("POST", "sys/mounts/kms/two", Some(&json!({"type": "transit"}))).await;
    bao.call("POST", "kms/two/keys/both-ways", None).await;
    let uri = format!("{}/v1/kms/two/keys/both-ways", bao.url);
    // What `bao login` writes ends in a line break.
    let service = transit(&format!("{ROOT_TOKEN}\n"), listed(&[&bao.url]));
    let environment = [("VAULT_TOKEN", ROOT_TOKEN)];
    let wrapped = both_ways(&service, &["--hc-vault-transit", &uri], &environment).await;
    assert!(wrapped.enc.starts_with("vault:v1:"), "{}", wrapped.enc);
    bao.call("POST", "kms/two/keys/both-ways/rotate", None).await;
    let wrapped = both_ways(&service, &["--hc-vault-transit", &uri], &environment).await;
    assert!(wrapped.enc.starts_with("vault:v2:"), "{}", wrapped.enc);
}

#[tokio::test]
async fn refusals_of_transit_say_what_was_asked_where_and_why() {
    let bao = rig::bao();
    bao.call("POST", "sys/mounts/kms-refuse", Some(&json!({"type": "transit"}))).await;
    bao.call("POST", "kms-refuse/keys/k", None).await;
    let secret = Plaintext::from("thirty-two bytes of a data key!!".to_owned());
    let secrets = ["thirty-two", TOKEN, ROOT_TOKEN];
    let at = |name: &str| key(&bao.url, "kms-refuse", name);
    let root = transit(ROOT_TOKEN, None);
    let enc = root.wrap(&at("k"), &secret).await.unwrap();

    let text = refused(transit(TOKEN, None).unwrap(&wrapped(at("k"), &enc)).await, &secrets);
    assert!(text.contains("decrypt") && text.contains(&at("k").to_string()) && text.contains("denied (403)"), "{text}");
    let encrypt_only = bao
        .token_with_policy("kms-encrypt-only", "path \"kms-refuse/encrypt/*\" { capabilities = [\"update\"] }")
        .await;
    let limited = transit(&encrypt_only, None);
    limited.wrap(&at("k"), &secret).await.unwrap();
    assert!(refused(limited.unwrap(&wrapped(at("k"), &enc)).await, &secrets).contains("denied (403)"));
    // Another key of the same engine.
    bao.call("POST", "kms-refuse/keys/other", None).await;
    assert!(refused(root.unwrap(&wrapped(at("other"), &enc)).await, &secrets).contains("encrypted with another key"));
    assert!(refused(root.unwrap(&wrapped(at("missing"), &enc)).await, &secrets).contains("no such key"));
    let nowhere = key(&bao.url, "no-engine", "k");
    assert!(refused(root.unwrap(&wrapped(nowhere, &enc)).await, &secrets).contains("no such key"));
    assert!(refused(root.unwrap(&wrapped(at("k"), "not a ciphertext")).await, &secrets).contains("refuses (400)"));
    // The secret is an argument of the server, which never sees it.
    let foreign = transit(ROOT_TOKEN, listed(&["https://other.test"]));
    let text = refused(foreign.wrap(&at("k"), &secret).await, &secrets);
    assert!(text.contains("not contacted") && text.contains("the test's list"), "{text}");
}

#[tokio::test]
async fn a_redirect_does_not_carry_the_token_elsewhere() {
    let answer = Reply::new(200, r#"{"data":{"ciphertext":"vault:v1:redirected"}}"#);
    let leader = FaultServer::start(Fault::Reply(answer));
    let to = |url: &str| Reply::new(307, "").with_header("Location", &format!("{url}/v1/transit/encrypt/k"));
    let standby = FaultServer::start(Fault::Reply(to(&leader.url())));
    let secret = Plaintext::from("data key".to_owned());
    let at = key(&standby.url(), "transit", "k");

    for list in [None, listed(&[&standby.url()])] {
        let text = refused(transit(TOKEN, list).wrap(&at, &secret).await, &[TOKEN, "data key"]);
        assert!(text.contains("redirected") && text.contains(&leader.url()), "{text}");
        assert_eq!(leader.count(), 0, "the token must not arrive there");
    }
    let both = listed(&[&standby.url(), &leader.url()]);
    assert_eq!(transit(TOKEN, both.clone()).wrap(&at, &secret).await.unwrap(), "vault:v1:redirected");
    let seen = leader.take_requests();
    assert_eq!(seen[0].header("x-vault-token"), Some(TOKEN));
    assert_eq!(seen[0].header("x-vault-request"), Some("true"));
    assert_eq!((seen[0].method.as_str(), seen[0].path.as_str()), ("PUT", "/v1/transit/encrypt/k"));
    // In a circle, it ends.
    leader.set(Fault::Reply(to(&standby.url())));
    assert!(refused(transit(TOKEN, both).wrap(&at, &secret).await, &[TOKEN]).contains("redirected"));
}

#[tokio::test]
async fn a_transit_server_in_trouble_is_asked_again_for_a_bounded_time() {
    let server = FaultServer::status(503);
    let service = transit(TOKEN, None);
    let secret = Plaintext::from("data key".to_owned());
    let at = key(&server.url(), "transit", "k");
    let ask = || service.wrap(&at, &secret);
    assert!(refused(ask().await, &[TOKEN]).contains("unavailable (503)"));
    assert_eq!(server.count(), 3);
    server.set(Fault::Hang);
    let hurried = Transit::new(TransitConfig { timeout: Duration::from_secs(2), ..config(TOKEN, None) }).unwrap();
    assert!(refused(hurried.wrap(&at, &secret).await, &[TOKEN]).contains("no answer within 2 s"));
    server.set(Fault::Close);
    assert!(refused(ask().await, &[TOKEN]).contains("unavailable (no connection)"));
    server.set(Fault::Reply(Reply::new(200, vec![b'x'; 1 << 20])));
    assert!(refused(ask().await, &[TOKEN]).contains("larger"));
    server.set(Fault::Reply(Reply::new(200, "<html>a portal")));
    assert!(refused(ask().await, &[TOKEN]).contains("cannot be used"));
}

#[tokio::test]
async fn authorities_and_namespace_are_the_clients_own() {
    let ca = tls::Ca::new("kms");
    let server = FaultServer::start_tls(&ca, Fault::Reply(Reply::new(200, r#"{"data":{"ciphertext":"vault:v1:x"}}"#)));
    let secret = Plaintext::from("data key".to_owned());
    let at = key(&server.url(), "transit", "k");
    assert!(refused(transit(TOKEN, None).wrap(&at, &secret).await, &[TOKEN]).contains("unavailable"));
    assert_eq!(server.count(), 0, "nothing is said to a server that cannot show who it is");
    let mut trusting = config(TOKEN, None);
    trusting.ca_pem = Some(ca.certificate_pem.clone().into_bytes());
    trusting.namespace = Some("team/one".into());
    assert_eq!(Transit::new(trusting).unwrap().wrap(&at, &secret).await.unwrap(), "vault:v1:x");
    let seen = server.take_requests();
    assert_eq!(seen[0].header("x-vault-namespace"), Some("team/one"));
    let mut careless = config(TOKEN, None);
    careless.skip_verify = true;
    Transit::new(careless).unwrap().wrap(&at, &secret).await.unwrap();
}
