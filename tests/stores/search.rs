//! `dataFrom.find` against real servers: what is found, by which name, and what is not.

use std::sync::{Arc, Mutex};

use latchwork::adapters::stores::{Store, StoreError};
use latchwork::pure::crd::secret_store::VaultVersion;
use latchwork::pure::external::{Fetched, Search, Want};
use serde_json::{Value, json};

use super::{aws, aws_config, vault, vault_config};
use crate::rig;
use crate::rig::bao::ROOT_TOKEN;
use crate::rig::http1::{Answer, Reply, Server};
use crate::rig::moto::REGION;

fn search(path: Option<&str>, name: Option<&str>, tags: &[(&str, &str)]) -> Search {
    let tags = tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Search { path: path.map(str::to_owned), name: name.map(str::to_owned), tags }
}

fn by_name(path: Option<&str>, name: &str) -> Search {
    search(path, Some(name), &[])
}

/// Names and values of what was found.
async fn found(store: &dyn Store, search: Search) -> Result<Vec<(String, String)>, StoreError> {
    match store.read(&Want::Matches(search)).await? {
        Fetched::Matches(data) => {
            Ok(data.iter().map(|(name, value)| (name.to_owned(), value.expose_str().unwrap().to_owned())).collect())
        }
        Fetched::Value(..) => panic!("one value in place of matches"),
    }
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn openbao_finds_names_in_all_folders_of_both_versions() {
    let bao = rig::bao();
    bao.enable_kv1("find-kv1").await;
    bao.enable_kv2("find-kv2").await;
    let names = ["top", "app/db", "app/web", "app/deep/er/db", "app/with space/db", "other/db"];
    for (mount, version) in [("find-kv1", VaultVersion::V1), ("find-kv2", VaultVersion::V2)] {
        for name in names {
            match version {
                VaultVersion::V1 => bao.write_kv1(mount, name, &json!({"at": name})).await,
                VaultVersion::V2 => bao.write_kv2(mount, name, &json!({"at": name})).await,
            }
        }
        let store = vault(vault_config(&bao.url, Some(mount), version, ROOT_TOKEN));
        let at = |name: &str| (name.to_owned(), json!({"at": name}).to_string());
        let all = found(&store, by_name(None, "db$")).await.unwrap();
        assert_eq!(all, ["app/db", "app/deep/er/db", "app/with space/db", "other/db"].map(at));
        for path in ["app", "app/"] {
            let below = found(&store, by_name(Some(path), "(db|web)$")).await.unwrap();
            assert_eq!(below, ["app/db", "app/deep/er/db", "app/web", "app/with space/db"].map(at), "{path}");
        }
        let deep = found(&store, by_name(Some("app/deep"), ".")).await.unwrap();
        assert_eq!(deep, ["app/deep/er/db"].map(at));
        assert_eq!(found(&store, by_name(None, "^nothing$")).await.unwrap(), []);
        let missing = found(&store, by_name(Some("no/such/folder"), ".")).await.unwrap_err();
        assert!(missing.is_missing(), "{missing:?}");
        assert!(matches!(found(&store, by_name(None, "(")).await, Err(StoreError::Config { .. })));
        // Without a mount in the store, the path begins with it, and so do the names.
        let store = vault(vault_config(&bao.url, None, version, ROOT_TOKEN));
        let below = found(&store, by_name(Some(&format!("{mount}/other")), ".")).await.unwrap();
        assert_eq!(below, [(format!("{mount}/other/db"), json!({"at": "other/db"}).to_string())]);
        assert!(matches!(found(&store, by_name(None, ".")).await, Err(StoreError::Invalid { .. })));
    }
}

#[tokio::test]
async fn openbao_finds_tags_and_leaves_out_what_was_deleted() {
    let bao = rig::bao();
    bao.enable_kv2("find-tags").await;
    for (name, tags) in [
        ("a", json!({"team": "red", "env": "prod"})),
        ("b", json!({"team": "red", "env": "production"})),
        ("sub/c", json!({"team": "red", "env": "prod"})),
        ("d", json!({"team": "blue", "env": "prod"})),
        ("gone", json!({"team": "red", "env": "prod"})),
    ] {
        bao.write_kv2("find-tags", name, &json!({"v": name})).await;
        let path = format!("find-tags/metadata/{name}");
        bao.call("POST", &path, Some(&json!({ "custom_metadata": tags }))).await;
    }
    bao.write_kv2("find-tags", "untagged", &json!({"v": 1})).await;
    bao.call("DELETE", "find-tags/data/gone", None).await;
    let store = vault(vault_config(&bao.url, Some("find-tags"), VaultVersion::V2, ROOT_TOKEN));
    let tags = [("team", "red"), ("env", "prod")];
    let red = found(&store, search(None, None, &tags)).await.unwrap();
    assert_eq!(red, pairs(&[("a", r#"{"v":"a"}"#), ("sub/c", r#"{"v":"sub/c"}"#)]));
    let below = found(&store, search(Some("sub"), None, &tags)).await.unwrap();
    assert_eq!(below, pairs(&[("sub/c", r#"{"v":"sub/c"}"#)]));
    // A name counts before tags.
    let both = found(&store, search(None, Some("^d$"), &tags)).await.unwrap();
    assert_eq!(both, pairs(&[("d", r#"{"v":"d"}"#)]));
    let store = vault(vault_config(&bao.url, Some("find-tags"), VaultVersion::V1, ROOT_TOKEN));
    assert!(matches!(found(&store, search(None, None, &tags)).await, Err(StoreError::Unsupported { .. })));
}

#[tokio::test]
async fn openbao_denies_a_search_as_a_whole() {
    let bao = rig::bao();
    bao.enable_kv2("find-denied").await;
    bao.write_kv2("find-denied", "a", &json!({"v": 1})).await;
    bao.write_kv2("find-denied", "closed/b", &json!({"v": 1})).await;
    let rules = [("metadata/", "list"), ("metadata/*", "list"), ("data/a", "read")];
    let rules = rules.map(|(path, may)| format!("path \"find-denied/{path}\" {{ capabilities = [\"{may}\"] }}"));
    let token = bao.token_with_policy("find-denied", &rules.join("\n")).await;
    let store = vault(vault_config(&bao.url, Some("find-denied"), VaultVersion::V2, &token));
    assert_eq!(found(&store, by_name(None, "^a$")).await.unwrap(), pairs(&[("a", r#"{"v":1}"#)]));
    let denied = found(&store, by_name(None, ".")).await.unwrap_err();
    assert_eq!(denied.to_string(), "SecretStore \"store\" denies \"closed/b\" (403)");
}

#[tokio::test]
async fn secrets_manager_finds_names_on_all_pages() {
    let moto = rig::moto();
    // More than a page of names, and more than a batch of values.
    for number in 0..105 {
        moto.create_secret(&format!("find-pages/{number:03}"), &number.to_string()).await;
    }
    moto.create_secret("find-pages-not", "x").await;
    moto.create_secret("find-pages/deleted", "x").await;
    let deleted = moto.secrets_manager(REGION, "DeleteSecret", &json!({"SecretId": "find-pages/deleted"})).await;
    assert_eq!(deleted.0, 200);
    // The prefix is for keys alone.
    let mut config = aws_config(&moto.url);
    config.prefix = "elsewhere/".into();
    let store = aws(config);
    let all = found(&store, by_name(Some("find-pages/"), ".")).await.unwrap();
    let wanted: Vec<_> = (0..105).map(|n| (format!("find-pages/{n:03}"), n.to_string())).collect();
    assert_eq!(all, wanted);
    let some = found(&store, by_name(None, "find-pages/10[0-4]$")).await.unwrap();
    assert_eq!(some, wanted[100..]);
    assert_eq!(found(&store, by_name(Some("find-pages"), "^nothing$")).await.unwrap(), []);
    assert!(matches!(found(&store, search(Some("find-pages"), None, &[])).await, Err(StoreError::Config { .. })));
}

#[tokio::test]
async fn secrets_manager_finds_whole_tags() {
    let moto = rig::moto();
    for (name, tags) in [
        ("find-tags/a", [("team", "red"), ("env", "prod")]),
        ("find-tags/b", [("team", "red"), ("env", "production")]),
        ("find-tags/c", [("env", "red"), ("team", "prod")]),
        ("find-others/d", [("team", "red"), ("env", "prod")]),
    ] {
        let tags: Vec<Value> = tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect();
        let body = json!({"Name": name, "SecretString": name, "Tags": tags});
        assert_eq!(moto.secrets_manager(REGION, "CreateSecret", &body).await.0, 200);
    }
    let store = aws(aws_config(&moto.url));
    let tags = [("team", "red"), ("env", "prod")];
    let below = found(&store, search(Some("find-tags/"), None, &tags)).await.unwrap();
    assert_eq!(below, pairs(&[("find-tags/a", "find-tags/a")]));
    let all = found(&store, search(Some("find-"), None, &tags)).await.unwrap();
    assert_eq!(all, pairs(&[("find-others/d", "find-others/d"), ("find-tags/a", "find-tags/a")]));
}

/// Secrets Manager with the secrets `a` and `b`, a batch that answers as told, and the calls that came.
fn secrets_manager(batch: (u16, Value)) -> (Server, Arc<Mutex<Vec<String>>>) {
    let calls = Arc::new(Mutex::new(vec![]));
    let kept = calls.clone();
    let server = Server::start(move |request| {
        let call = request.header("x-amz-target").unwrap_or_default().replace("secretsmanager.", "");
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        kept.lock().unwrap().push(call.clone());
        let (status, answer) = match call.as_str() {
            "ListSecrets" => (200, json!({"SecretList": [{"Name": "a"}, {"Name": "b"}]})),
            "BatchGetSecretValue" => batch.clone(),
            _ => (200, json!({"Name": body["SecretId"], "SecretString": "value"})),
        };
        let reply = Reply::new(status, answer.to_string()).with_header("Content-Type", "application/x-amz-json-1.1");
        Answer::Reply(reply)
    });
    (server, calls)
}

#[tokio::test]
async fn secrets_manager_without_the_right_to_batches_is_asked_one_by_one() {
    let refused = json!({"__type": "AccessDeniedException", "Message": "no"});
    let (server, calls) = secrets_manager((400, refused));
    let store = aws(aws_config(&server.url()));
    for batches in [1, 0] {
        assert_eq!(found(&store, by_name(None, ".")).await.unwrap(), pairs(&[("a", "value"), ("b", "value")]));
        let calls = std::mem::take(&mut *calls.lock().unwrap());
        let count = |name: &str| calls.iter().filter(|call| *call == name).count();
        let counts = [count("ListSecrets"), count("BatchGetSecretValue"), count("GetSecretValue")];
        assert_eq!(counts, [1, batches, 2], "{calls:?}");
    }
}

#[tokio::test]
async fn secrets_manager_that_keeps_back_one_value_of_a_batch_fails_the_search() {
    let a = json!([{"Name": "a", "SecretString": "of the batch"}]);
    let error = |code: &str| json!([{"SecretId": "b", "ErrorCode": code, "Message": "canary"}]);
    let (server, _) = secrets_manager((200, json!({"SecretValues": a, "Errors": error("AccessDeniedException")})));
    let denied = found(&aws(aws_config(&server.url())), by_name(None, ".")).await.unwrap_err();
    assert_eq!(denied.to_string(), "SecretStore \"store\" denies \"b\" (AccessDeniedException)");
    let (server, _) = secrets_manager((200, json!({"SecretValues": a, "Errors": error("ResourceNotFoundException")})));
    let rest = found(&aws(aws_config(&server.url())), by_name(None, ".")).await.unwrap();
    assert_eq!(rest, pairs(&[("a", "of the batch")]));
    // What a batch says nothing about is read by itself.
    let (server, _) = secrets_manager((200, json!({ "SecretValues": a })));
    let all = found(&aws(aws_config(&server.url())), by_name(None, ".")).await.unwrap();
    assert_eq!(all, pairs(&[("a", "of the batch"), ("b", "value")]));
}
