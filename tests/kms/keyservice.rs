//! SOPS' key service: our server with the real client, the real server with our client, over TCP and a Unix socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use latchwork::adapters::kms::KeyService;
use latchwork::adapters::kms::grpc::{Confirm, Listener, Remote, Server};
use latchwork::adapters::kms::vault::{Addresses, Transit, TransitConfig};
use latchwork::pure::keys::KeyRef;
use latchwork::pure::secret::Plaintext;
use serde_json::json;

use super::{both_ways, only_key, refused, sealed_by_theirs, theirs, wrapped};
use crate::rig::bao::ROOT_TOKEN;
use crate::rig::process::{Proc, run, run_ok};
use crate::rig::{self, ports, scratch, tls};

async fn transit_key(name: &str) -> (Arc<dyn KeyService>, String) {
    tls::install_provider();
    let bao = rig::bao();
    bao.call("POST", &format!("sys/mounts/{name}"), Some(&json!({"type": "transit"}))).await;
    bao.call("POST", &format!("{name}/keys/k"), None).await;
    let addresses = Addresses { list: None, by: "nothing" };
    let config = TransitConfig::with_token(Some(Plaintext::from(ROOT_TOKEN.to_owned())), addresses);
    (Arc::new(Transit::new(config).unwrap()), format!("{}/v1/{name}/keys/k", bao.url))
}

async fn listen(address: &str) -> (Listener, String) {
    match address {
        "tcp" => {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = format!("tcp://{}", listener.local_addr().unwrap());
            (Listener::Tcp(listener), address)
        }
        _ => {
            let path = scratch::dir("socket").join("s");
            let address = format!("unix://{}", path.display());
            (Listener::Unix(tokio::net::UnixListener::bind(path).unwrap()), address)
        }
    }
}

/// Serves in the background until the test ends.
async fn serve(network: &str, keys: Arc<dyn KeyService>, confirm: Option<Confirm>) -> String {
    let (listener, address) = listen(network).await;
    tokio::spawn(Server::new(keys, confirm).serve(listener, std::future::pending()));
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_real_sops_asks_our_key_service() {
    let (keys, uri) = transit_key("keyservice-ours").await;
    for network in ["tcp", "unix"] {
        let address = serve(network, Arc::clone(&keys), None).await;
        // No token: only the service can do it.
        let only = ["--enable-local-keyservice=false", "--keyservice", &address];
        let text = sealed_by_theirs(&[&only[..], &["--hc-vault-transit", &uri]].concat(), &[]);
        assert!(only_key(&text).enc.starts_with("vault:v1:"), "{network}");
        let file = scratch::file("s.yaml", &text).display().to_string();
        let opened = run_ok(theirs(&[&["decrypt"], &only[..], &[&file]].concat(), &[]), b"");
        assert!(opened.contains("password: s3cret"), "{network}: {opened}");
        // What it cannot do reaches the user as a text.
        let foreign = text.replace("keyservice-ours", "keyservice-none");
        let file = scratch::file("s.yaml", foreign).display().to_string();
        let refused = run(theirs(&[&["decrypt"], &only[..], &[&file]].concat(), &[]), b"");
        assert!(!refused.status.success());
        assert!(refused.stderr.contains("no such key"), "{network}: {}", refused.stderr);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_client_asks_the_real_key_service() {
    let (_, uri) = transit_key("keyservice-theirs").await;
    let environment = [("VAULT_TOKEN", ROOT_TOKEN)];
    let port = ports::free();
    let socket = scratch::dir("socket").join("s").display().to_string();
    let servers = [
        ("tcp", format!("127.0.0.1:{port}"), format!("tcp://127.0.0.1:{port}")),
        ("unix", socket.clone(), format!("unix://{socket}")),
    ];
    for (network, listen, address) in servers {
        let server = theirs(&["keyservice", "--verbose", "--network", network, "--address", &listen], &environment);
        let server = Proc::spawn("sops keyservice", server);
        server.wait_for_log("Listening on").await;
        let service = Remote::new(&address).unwrap();
        let found = both_ways(&service, &["--hc-vault-transit", &uri], &environment).await;
        let text = refused(service.unwrap(&wrapped(found.key, "vault:v1:AAAA")).await, &[ROOT_TOKEN]);
        assert!(text.contains(&address) && text.contains("refuses"), "{text}");
        server.stop().await;
        let gone = KeyRef::Age { recipient: "age1x".into() };
        let text = refused(service.wrap(&gone, &Plaintext::from("data key".to_owned())).await, &["data key"]);
        assert!(text.contains("no connection"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_user_does_not_confirm_is_not_done() {
    let (keys, uri) = transit_key("keyservice-confirm").await;
    let yes = Arc::new(AtomicBool::new(true));
    let said = Arc::clone(&yes);
    let confirm: Confirm = Arc::new(move |call, key| {
        assert!(matches!(call, "encrypt" | "decrypt") && key.to_string().contains("keyservice-confirm"));
        Box::pin(std::future::ready(said.load(Ordering::SeqCst)))
    });
    let service = Remote::new(&serve("tcp", keys, Some(confirm)).await).unwrap();
    let found = both_ways(&service, &["--hc-vault-transit", &uri], &[("VAULT_TOKEN", ROOT_TOKEN)]).await;
    yes.store(false, Ordering::SeqCst);
    assert!(refused(service.unwrap(&found).await, &[]).contains("rejected by user"));
}

#[test]
fn addresses_of_key_services_are_checked() {
    for bad in ["", "tcp://", "unix://", "http://x:1", "127.0.0.1:5000", "tcp://a b"] {
        assert!(Remote::new(bad).is_err_and(|what| what.contains("tcp://HOST:PORT")), "{bad}");
    }
}
