//! `latchwork keys rotate` where the real Sealed Secrets controller runs beside ours on the same key Secrets.

use crate::rig;
use crate::rig::control_plane::{ControlPlane, Options};
use crate::rig::in_pod::expose_replicas;
use crate::rig::process::{run, run_ok};
use crate::rig::sealed_controller::{SERVICE, SealedController};
use crate::rig::wait::{SOON, eventually};

use super::keys::{KEYS, certificate, create_namespace, in_state, keys, operator, refused, say, status};

async fn served(url: &str) -> String {
    reqwest::get(format!("{url}/v1/cert.pem")).await.expect("answers").text().await.expect("text")
}

/// The Service has an endpoint that stands for a pod.
async fn behind(plane: &ControlPlane, service: &str) {
    eventually(SOON, &format!("the endpoint of {service}"), || async {
        let slices = run_ok(plane.kubectl(&["get", "endpointslices", "-n", KEYS, "-o", "json"]), b"");
        if slices.contains(&format!("{service}-stand-in-0")) { Ok(()) } else { Err(slices) }
    })
    .await;
}

#[tokio::test]
async fn a_new_key_is_served_by_ours_at_once_and_by_the_real_one_as_it_was_started() {
    rig::require_sandbox("the pod proxy");
    rig::tls::install_provider();
    let plane = ControlPlane::start(Options::default()).await;
    plane.install_crds();
    create_namespace(&plane, KEYS);
    let ours = operator(&plane, &["--key-renew-days", "0"]).await;
    let first = std::fs::read_to_string(certificate(&ours).await).expect("readable");
    expose_replicas(&plane, KEYS, "latchwork", "http", &[ours.port()]).await;
    behind(&plane, "latchwork").await;
    let real = SealedController::start(&plane, KEYS, &["--key-renew-period=0"]).await;
    behind(&plane, SERVICE).await;
    assert_eq!(served(&real.url).await, first, "one key for both");

    // Ours serves a new key at once; the real one reads its keys at start, and that is said.
    let done = run_ok(keys(&plane, &["rotate"]), b"");
    assert!(done.contains("all 1 replicas of keys-here/latchwork serve it"), "{done}");
    let second = served(&ours.url).await;
    assert!(second != first && served(&real.url).await == first);
    let old = in_state(&status(&plane), "retiring").remove(0);
    refused(
        &plane,
        &["rotate", "--service", SERVICE, "--timeout", "2"],
        &["not every replica serves the new key", &format!("still serves {old}"), "--watch-for-secrets", "restart"],
    );
    drop(real);

    // Started anew it has the newest; and with its flag it sees the next one without a restart.
    let real = SealedController::start(&plane, KEYS, &["--key-renew-period=0", "--watch-for-secrets"]).await;
    assert_eq!(served(&real.url).await, served(&ours.url).await);
    let ran = run(keys(&plane, &["rotate", "--service", SERVICE]), b"");
    let all = format!("all 1 replicas of {KEYS}/{SERVICE} serve it");
    assert!(ran.status.success() && ran.stdout.contains(&all), "{}", say(&ran));
    let newest = served(&real.url).await;
    assert!(newest != second);
    eventually(SOON, "ours to serve it, too", || async {
        if served(&ours.url).await == newest { Ok(()) } else { Err(ours.process.tail(5)) }
    })
    .await;
    assert_eq!(in_state(&status(&plane), "retiring").len(), 3, "one key for each call, and the first one");
}
