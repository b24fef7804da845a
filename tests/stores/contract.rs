//! What every store must do, run through all of them.

use latchwork::adapters::stores::fake::FakeStore;
use latchwork::adapters::stores::{Store, StoreError, Validity};
use latchwork::pure::crd::secret_store::VaultVersion;
use latchwork::pure::external::{RemoteKey, Want};
use serde_json::json;

use super::{aws, aws_config, id, key, text, vault, vault_config, want};
use crate::rig;
use crate::rig::bao::ROOT_TOKEN;
use crate::rig::wait::PATIENCE;

/// A store in which `app/db` holds `{"password":"one"}`, and `app/none` nothing.
async fn contract(store: &dyn Store) {
    assert_eq!(store.validate().await, Ok(Validity::Valid));
    assert_eq!(text(store.read(&want("app/db")).await).as_deref(), Ok(r#"{"password":"one"}"#));
    let missing = text(store.read(&want("app/none")).await).unwrap_err();
    assert!(missing.is_missing(), "{missing:?}");
    assert_eq!(missing.to_string(), "SecretStore \"store\" has no \"app/none\"");
}

/// A version that does not exist is not another version's value.
async fn versioned(store: &dyn Store) {
    let version = Want::Value(RemoteKey { version: Some("999".into()), ..key("app/db") });
    let missing = text(store.read(&version).await).unwrap_err();
    assert!(missing.is_missing(), "{missing:?}");
}

#[tokio::test]
async fn fake_keeps_the_contract() {
    let provider = json!({"data": [{"key": "app/db", "value": r#"{"password":"one"}"#}]});
    let store = FakeStore::new(id(), serde_json::from_value(provider).unwrap());
    contract(&store).await;
    versioned(&store).await;
}

#[tokio::test]
async fn openbao_keeps_the_contract_in_both_versions() {
    let bao = rig::bao();
    bao.enable_kv1("contract-kv1").await;
    bao.enable_kv2("contract-kv2").await;
    bao.write_kv1("contract-kv1", "app/db", &json!({"password": "one"})).await;
    bao.write_kv2("contract-kv2", "app/db", &json!({"password": "one"})).await;
    for (mount, version) in [("contract-kv1", VaultVersion::V1), ("contract-kv2", VaultVersion::V2)] {
        let store = vault(vault_config(&bao.url, Some(mount), version, ROOT_TOKEN));
        contract(&store).await;
        if version == VaultVersion::V2 {
            versioned(&store).await;
        }
        let without_path = vault(vault_config(&bao.url, None, version, &format!("  {ROOT_TOKEN}\n")));
        let answer = text(without_path.read(&want(&format!("{mount}/app/db"))).await);
        assert_eq!(answer.as_deref(), Ok(r#"{"password":"one"}"#));
    }
}

#[tokio::test]
async fn openbao_versions_metadata_and_deletions() {
    let bao = rig::bao();
    bao.enable_kv2("history").await;
    bao.write_kv2("history", "db", &json!({"n": 12345678901u64, "f": 1.5, "a": "<&>"})).await;
    bao.write_kv2("history", "db", &json!({"n": 2})).await;
    bao.call("POST", "history/metadata/db", Some(&json!({"custom_metadata": {"owner": "ann"}}))).await;
    let store = vault(vault_config(&bao.url, Some("history"), VaultVersion::V2, ROOT_TOKEN));
    let at = |version: &str| Want::Value(RemoteKey { version: Some(version.into()), ..key("db") });
    assert_eq!(text(store.read(&want("db")).await).as_deref(), Ok(r#"{"n":2}"#));
    let first = text(store.read(&at("1")).await);
    assert_eq!(first.as_deref(), Ok(r#"{"a":"<&>","f":1.5,"n":12345678901}"#));
    assert!(matches!(text(store.read(&at("one")).await), Err(StoreError::Invalid { .. })));
    let metadata = Want::Value(RemoteKey { metadata: true, ..key("db") });
    let metadata = text(store.read(&metadata).await).unwrap();
    assert!(metadata.contains(r#""owner":"ann""#) && metadata.contains(r#""current_version":2"#), "{metadata}");
    bao.call("DELETE", "history/data/db", None).await;
    assert!(text(store.read(&want("db")).await).unwrap_err().is_missing(), "a deleted version does not exist");
    assert!(text(store.read(&at("1")).await).is_ok(), "the one before does");
}

#[tokio::test]
async fn openbao_policies_mounts_and_namespaces() {
    let bao = rig::bao();
    bao.enable_kv2("closed").await;
    bao.write_kv2("closed", "db", &json!({"a": "b"})).await;
    let token = bao.token_with_policy("contract-none", "path \"other/*\" { capabilities = [\"read\"] }").await;
    let store = vault(vault_config(&bao.url, Some("closed"), VaultVersion::V2, &token));
    let denied = text(store.read(&want("db")).await).unwrap_err();
    assert_eq!(denied.to_string(), "SecretStore \"store\" denies \"db\" (403)");
    let stranger = vault(vault_config(&bao.url, Some("closed"), VaultVersion::V2, "s.nobody"));
    assert!(matches!(stranger.validate().await, Err(StoreError::Denied { .. })));
    // A mount that is not there is 404 as well; it must not pass for a value that was deleted.
    let lost = vault(vault_config(&bao.url, Some("no-such-mount"), VaultVersion::V2, ROOT_TOKEN));
    let refused = text(lost.read(&want("db")).await).unwrap_err();
    assert!(matches!(refused, StoreError::Refused { .. }), "{refused:?}");
    bao.call("PUT", "sys/namespaces/contract", None).await;
    let mut config = vault_config(&bao.url, Some("closed"), VaultVersion::V2, ROOT_TOKEN);
    config.namespace = Some("contract".into());
    let elsewhere = text(vault(config).read(&want("db")).await).unwrap_err();
    assert!(!matches!(elsewhere, StoreError::NotFound { .. }), "the mount is in another namespace: {elsewhere:?}");
}

#[tokio::test]
async fn secrets_manager_keeps_the_contract() {
    let moto = rig::moto();
    moto.create_secret("app/db", r#"{"password":"one"}"#).await;
    let store = aws(aws_config(&moto.url));
    contract(&store).await;
    versioned(&store).await;
}

#[tokio::test]
async fn secrets_manager_versions_bytes_and_tags() {
    let moto = rig::moto();
    moto.create_secret("team/versions", "first").await;
    moto.put_secret("team/versions", "second").await;
    let mut config = aws_config(&moto.url);
    config.prefix = "team/".into();
    let store = aws(config);
    let at = |version: &str| Want::Value(RemoteKey { version: Some(version.into()), ..key("versions") });
    assert_eq!(text(store.read(&want("versions")).await).as_deref(), Ok("second"));
    assert_eq!(text(store.read(&at("AWSPREVIOUS")).await).as_deref(), Ok("first"));
    let region = rig::moto::REGION;
    let described = moto.secrets_manager(region, "DescribeSecret", &json!({"SecretId": "team/versions"})).await.1;
    let stages = described["VersionIdsToStages"].as_object().unwrap().clone();
    let previous = stages.iter().find(|(_, stages)| stages.to_string().contains("AWSPREVIOUS")).unwrap().0;
    assert_eq!(text(store.read(&at(&format!("uuid/{previous}"))).await).as_deref(), Ok("first"));

    let bytes = json!({"Name": "team/bytes", "SecretBinary": "/wD+", "Tags": [{"Key": "owner", "Value": "ann"}]});
    assert_eq!(moto.secrets_manager(region, "CreateSecret", &bytes).await.0, 200);
    assert_eq!(text(store.read(&want("bytes")).await).as_deref(), Ok("bytes"));
    let tags = Want::Value(RemoteKey { metadata: true, ..key("bytes") });
    assert_eq!(text(store.read(&tags).await).as_deref(), Ok(r#"{"owner":"ann"}"#));

    moto.create_secret("team/deleted", "x").await;
    assert_eq!(moto.secrets_manager(region, "DeleteSecret", &json!({"SecretId": "team/deleted"})).await.0, 200);
    let deleted = text(store.read(&want("deleted")).await).unwrap_err();
    assert!(deleted.is_missing(), "{deleted:?}");
}

#[tokio::test]
async fn secrets_manager_checks_signatures() {
    // Of its own: the switch is for the whole server.
    let moto = rig::moto::Moto::start().await;
    moto.create_secret("db", "x").await;
    rig::tls::install_provider();
    let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
    let reset = http.post(format!("{}/moto-api/reset-auth", moto.url)).header("Content-Type", "text/plain").body("0");
    assert!(reset.send().await.unwrap().status().is_success());
    let denied = text(aws(aws_config(&moto.url)).read(&want("db")).await).unwrap_err();
    assert!(matches!(denied, StoreError::Denied { .. }), "{denied:?}");
    assert!(!denied.to_string().contains(rig::moto::SECRET_ACCESS_KEY));
}
