//! A store that answers badly: each is a closed error, within a bounded time, that names the key and no value.

use std::time::Duration;

use latchwork::adapters::stores::aws::AwsConfig;
use latchwork::adapters::stores::vault::{VaultConfig, VaultStore};
use latchwork::adapters::stores::{Store, StoreError, no_count};
use latchwork::pure::crd::secret_store::VaultVersion;
use latchwork::pure::error::{Explain, Retry};
use latchwork::pure::external::store::Repeats;

use super::{aws, aws_config, text, vault, vault_config, want};
use crate::rig;
use crate::rig::fault_http::{Fault, FaultServer};
use crate::rig::http1::Reply;
use crate::rig::tls::Ca;
use crate::rig::wait::{PATIENCE, SOON};

const CANARY: &str = "canary-token-in-no-text";

fn stores(url: &str) -> [(&'static str, Box<dyn Store>); 2] {
    stores_that_wait(url, PATIENCE)
}

fn stores_that_wait(url: &str, timeout: Duration) -> [(&'static str, Box<dyn Store>); 2] {
    let vault_config = VaultConfig { timeout, ..vault_config(url, Some("kv"), VaultVersion::V2, CANARY) };
    let aws_config = AwsConfig { timeout, ..aws_config(url) };
    [("vault", Box::new(vault(vault_config))), ("aws", Box::new(aws(aws_config)))]
}

#[tokio::test]
async fn every_status_is_a_closed_error() {
    let server = FaultServer::status(500);
    for (name, store) in stores(&server.url()) {
        for (status, reason) in [
            (400, "StoreRefused"),
            (403, "StoreDenied"),
            // Neither says that the value does not exist, which could delete Secrets.
            (404, "StoreRefused"),
            (429, "StoreThrottled"),
            (500, "StoreUnavailable"),
            (503, "StoreUnavailable"),
        ] {
            server.set_status(status);
            let error = text(store.read(&want("app/db")).await).unwrap_err();
            assert_eq!(error.reason(), reason, "{name} {status}: {error:?}");
            let line = error.line();
            assert!(line.contains("app/db") && line.contains(&status.to_string()), "{name} {status}: {line}");
            assert!(!line.contains(CANARY) && !line.contains("fault"), "{name} {status}: {line}");
        }
    }
}

#[tokio::test]
async fn a_throttling_store_says_when_to_come_back() {
    let server = FaultServer::status(429);
    let store = vault(vault_config(&server.url(), Some("kv"), VaultVersion::V2, CANARY));
    let error = text(store.read(&want("db")).await).unwrap_err();
    assert!(matches!(error.retry(), Retry::After(wait) if wait >= Duration::from_secs(1)), "{error:?}");
}

#[tokio::test]
async fn a_hanging_or_missing_server_is_given_up_in_time() {
    let hanging = FaultServer::hanging();
    for (name, store) in stores_that_wait(&hanging.url(), Duration::from_secs(2)) {
        let answer = tokio::time::timeout(SOON, store.read(&want("db"))).await.expect(name);
        let error = text(answer).unwrap_err();
        assert!(matches!(error, StoreError::Timeout { .. }), "{name}: {error:?}");
    }
    let closing = FaultServer::start(Fault::Close);
    let nobody = format!("http://127.0.0.1:{}", rig::ports::free());
    for url in [closing.url(), nobody] {
        for (name, store) in stores(&url) {
            let error = text(store.read(&want("db")).await).unwrap_err();
            assert!(matches!(error, StoreError::Unavailable { .. }), "{name}: {error:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_not_one_is_refused() {
    let server = FaultServer::start(Fault::Reply(Reply::new(200, "<html>welcome</html>")));
    for (name, store) in stores(&server.url()) {
        let error = text(store.read(&want("db")).await).unwrap_err();
        assert!(matches!(error, StoreError::Invalid { .. }), "{name}: {error:?}");
        assert!(!error.line().contains("welcome"), "{}", error.line());
    }
    let large = format!(r#"{{"data":{{"data":{{"a":"{}"}}}}}}"#, "x".repeat(5 << 20));
    server.set(Fault::Reply(Reply::new(200, large)));
    for (name, store) in stores(&server.url()) {
        let error = text(store.read(&want("db")).await).unwrap_err();
        assert!(error.to_string().contains("4 MiB"), "{name}: {error}");
    }
}

#[tokio::test]
async fn calls_are_repeated_as_often_as_the_store_says() {
    let repeats = |retries| Some(Repeats { retries, wait: Some(Duration::from_millis(1)) });
    let server = FaultServer::status(500);
    for (repeats, of_vault, of_aws) in
        [(None, 1, 3), (repeats(None), 1, 3), (repeats(Some(0)), 1, 1), (repeats(Some(3)), 4, 4)]
    {
        let vault = vault(VaultConfig { repeats, ..vault_config(&server.url(), Some("kv"), VaultVersion::V2, CANARY) });
        let aws = aws(AwsConfig { repeats, ..aws_config(&server.url()) });
        for (store, tries) in [(&vault as &dyn Store, of_vault), (&aws, of_aws)] {
            assert!(matches!(text(store.read(&want("db")).await), Err(StoreError::Unavailable { .. })));
            assert_eq!(server.take_requests().len(), tries, "{repeats:?}");
        }
    }
}

#[tokio::test]
async fn only_the_authorities_of_the_store_are_trusted() {
    let (ours, other) = (Ca::new("ours"), Ca::new("other"));
    let reply = Reply::new(200, r#"{"data":{"data":{"a":"b"}}}"#);
    let server = FaultServer::start_tls(&ours, Fault::Reply(reply));
    for (ca, works) in [(Some(&ours), true), (Some(&other), false), (None, false)] {
        let mut config = vault_config(&server.url(), Some("kv"), VaultVersion::V2, CANARY);
        config.ca_pem = ca.map(|ca| ca.certificate_pem.clone().into_bytes());
        let answer = text(vault(config).read(&want("db")).await);
        assert_eq!(answer.is_ok(), works, "{answer:?}");
    }
}

#[tokio::test]
async fn a_token_never_follows_a_redirect_out_of_tls() {
    let ca = Ca::new("redirect");
    let plain = FaultServer::start(Fault::Reply(Reply::new(200, r#"{"data":{"data":{"a":"b"}}}"#)));
    let moved = |to: &str| Reply::new(307, "").with_header("Location", to);
    let secure = FaultServer::start_tls(&ca, Fault::Reply(moved(&format!("{}/v1/kv/data/db", plain.url()))));
    let mut config = vault_config(&secure.url(), Some("kv"), VaultVersion::V2, CANARY);
    config.ca_pem = Some(ca.certificate_pem.clone().into_bytes());
    let error = text(vault(config).read(&want("db")).await).unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
    assert_eq!(plain.count(), 0, "nothing was sent in clear");
    // A standby sends to its leader, by the same scheme.
    let standby = FaultServer::start(Fault::Reply(moved(&format!("{}/v1/kv/data/db", plain.url()))));
    let store = vault(vault_config(&standby.url(), Some("kv"), VaultVersion::V2, CANARY));
    assert!(text(store.read(&want("db")).await).is_ok());
}

#[test]
fn a_configuration_that_cannot_work_is_refused_by_name() {
    rig::tls::install_provider();
    let refused = |server: &str, token: &str| {
        let config = vault_config(server, None, VaultVersion::V2, token);
        VaultStore::new(config, no_count()).err().map(|error| error.to_string()).unwrap_or_default()
    };
    for (server, token, want) in [
        ("not an address", CANARY, "server is not an address"),
        ("file:///etc/passwd", CANARY, "server is neither http nor https"),
        ("mailto:x@y", CANARY, "server is neither http nor https"),
        ("http://127.0.0.1", "canary\u{7}token", "no header can"),
    ] {
        let text = refused(server, token);
        assert!(text.contains(want) && !text.contains("canary"), "{server}: {text}");
    }
}
