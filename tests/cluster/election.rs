//! Several replicas: one leads, another takes over; health, readiness and metrics of each.

use std::time::Duration;

use crate::rig::process::{Proc, operator};
use crate::rig::wait::{SOON, eventually, steadily};
use crate::rig::{self, ports};

/// One replica with its own ports.
struct Replica {
    process: Proc,
    http: u16,
    metrics: u16,
}

impl Replica {
    fn start(name: &str, namespace: &str, lease_seconds: &str) -> Self {
        let (http, metrics) = (ports::free(), ports::free());
        let mut command = operator(&rig::cluster().kubeconfig);
        command.args(["--namespace", namespace, "--watch-namespace", namespace, "--lease-seconds", lease_seconds]);
        command.args(["--listen", &format!("127.0.0.1:{http}"), "--listen-metrics", &format!("127.0.0.1:{metrics}")]);
        Self { process: Proc::spawn(name, command), http, metrics }
    }

    async fn get(&self, port: u16, path: &str) -> Result<(u16, String), String> {
        self.process.assert_running();
        let url = format!("http://127.0.0.1:{port}{path}");
        let answer = reqwest::get(url).await.map_err(|e| e.to_string())?;
        Ok((answer.status().as_u16(), answer.text().await.map_err(|e| e.to_string())?))
    }

    async fn leads(&self) -> Result<bool, String> {
        let (_, text) = self.get(self.metrics, "/metrics").await?;
        Ok(text.lines().any(|line| line == "latchwork_leader 1"))
    }

    async fn wait_to_lead(&self) {
        eventually(SOON, "the replica to lead", || async {
            if self.leads().await? { Ok(()) } else { Err(self.process.tail(5)) }
        })
        .await;
    }
}

#[tokio::test]
async fn one_replica_leads_and_another_takes_over_after_a_kill() {
    rig::tls::install_provider();
    let cluster = rig::cluster();
    cluster.install_crds();
    let namespace = cluster.namespace("election").await;

    let first = Replica::start("first", &namespace, "12");
    first.wait_to_lead().await;
    let second = Replica::start("second", &namespace, "12");
    eventually(SOON, "the standby to be ready", || async {
        match second.get(second.http, "/readyz").await? {
            (200, _) => Ok(()),
            (status, text) => Err(format!("{status} {text}")),
        }
    })
    .await;
    assert_eq!(second.get(second.http, "/healthz").await, Ok((200, "ok\n".to_owned())));
    // Longer than the lease: a standby that ignored renewals would lead by now.
    steadily(Duration::from_secs(15), "one leader", || async {
        match (first.leads().await?, second.leads().await?) {
            (true, false) => Ok(()),
            both => Err(format!("{both:?}")),
        }
    })
    .await;

    first.process.kill();
    second.wait_to_lead().await;
}

#[tokio::test]
async fn a_leader_that_is_stopped_gives_its_lease_back() {
    rig::tls::install_provider();
    let cluster = rig::cluster();
    let namespace = cluster.namespace("election-stop").await;
    // A lease that outlasts every wait of this test.
    let first = Replica::start("first", &namespace, "300");
    first.wait_to_lead().await;
    let second = Replica::start("second", &namespace, "300");
    second.process.wait_for_log("operator started").await;
    let status = first.process.stop().await;
    assert!(status.success(), "a clean stop ends with success, not {status}: {}", first.process.tail(10));
    assert!(first.process.output().contains("lease released"), "{}", first.process.tail(10));
    second.wait_to_lead().await;
}

#[tokio::test]
async fn a_taken_port_is_a_clear_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = operator(&rig::cluster().kubeconfig);
    command.args(["--listen", &taken.local_addr().unwrap().to_string(), "--namespace", "default"]);
    let process = Proc::spawn("operator", command);
    let status = process.wait().await;
    assert_eq!(status.code(), Some(1));
    assert!(process.stderr().starts_with("error: cannot listen: "), "{}", process.stderr());
}
