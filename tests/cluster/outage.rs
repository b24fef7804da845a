//! An API server that goes away, by a crash and by silence: the operator stays up, loses nothing and goes on.

use std::time::Duration;

use crate::rig::control_plane::{ControlPlane, Options};
use crate::rig::operator::Operator;
use crate::rig::process::{command, run_ok};
use crate::rig::wait::{SOON, eventually, steadily};
use crate::rig::{scratch, tools};

const NAMESPACE: &str = "default";
async fn seal_and_wait(plane: &ControlPlane, operator: &Operator, name: &str) {
    let (_, certificate) = operator.get("/v1/cert.pem").await.expect("certificate");
    let certificate = scratch::file("cert.pem", certificate);
    let secret = format!(
        "{{apiVersion: v1, kind: Secret, metadata: {{name: {name}, namespace: {NAMESPACE}}}, stringData: {{k: v-{name}}}}}"
    );
    let mut kubeseal = command(tools::path("kubeseal"));
    kubeseal.arg("--cert").arg(&certificate).env("KUBECONFIG", "/nonexistent");
    let sealed = run_ok(kubeseal, secret.as_bytes());
    eventually(SOON, "the SealedSecret to be stored", || async {
        let apply = ["apply", "--server-side", "-f", "-"];
        let ran = crate::rig::process::run(plane.kubectl(&apply), sealed.as_bytes());
        if ran.status.success() { Ok(()) } else { Err(ran.stderr) }
    })
    .await;
    eventually(SOON, "the Secret", || async {
        operator.process.assert_running();
        let get = ["get", "secret", name, "-n", NAMESPACE, "-o", "jsonpath={.data.k}"];
        let ran = crate::rig::process::run(plane.kubectl(&get), b"");
        if ran.status.success() && !ran.stdout.is_empty() { Ok(()) } else { Err(operator.process.tail(20)) }
    })
    .await;
}

#[tokio::test]
async fn an_api_server_that_crashes_or_falls_silent_for_30_seconds_costs_nothing_but_the_time() {
    let plane = ControlPlane::start(Options::default()).await;
    plane.install_crds();
    let operator = Operator::start_everywhere(&plane.kubeconfig, NAMESPACE, &["--lease-seconds", "4"]).await;
    operator.wait_ready().await;
    seal_and_wait(&plane, &operator, "before").await;

    plane.kill_api_server();
    // Alive, and no longer a leader: nobody can know who leads while the record cannot be read.
    steadily(Duration::from_secs(30), "the operator to stay up", || async {
        operator.process.assert_running();
        operator.get("/healthz").await.map(drop)
    })
    .await;
    assert_eq!(operator.metric("latchwork_leader").await, Some(0.0));
    plane.start_api_server().await;
    seal_and_wait(&plane, &operator, "after-crash").await;

    plane.pause_api_server().await;
    steadily(Duration::from_secs(30), "the operator to stay up", || async {
        operator.process.assert_running();
        operator.get("/healthz").await.map(drop)
    })
    .await;
    plane.resume_api_server();
    seal_and_wait(&plane, &operator, "after-silence").await;

    let secrets = run_ok(plane.kubectl(&["get", "secrets", "-n", NAMESPACE, "-o", "name"]), b"");
    for name in ["before", "after-crash", "after-silence"] {
        assert!(secrets.lines().any(|line| line == format!("secret/{name}")), "{name} was lost:\n{secrets}");
    }
    assert!(operator.stop().await.success());
}
