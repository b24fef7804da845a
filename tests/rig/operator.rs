//! Our operator, as a process of its own.

use std::path::Path;
use std::process::{Command, ExitStatus};

use super::control_plane::ControlPlane;
use super::in_pod::in_pod;
use super::process::{self, Proc};
use super::wait::{PATIENCE, SOON, eventually};
use super::{ports, tls};

/// A running operator. Dropping it kills it; [`Operator::stop`] asks it to end.
pub struct Operator {
    pub process: Proc,
    /// `http://ADDRESS:PORT` of `/healthz`, `/readyz` and the kinds' routes.
    pub url: String,
    /// `http://ADDRESS:PORT` of `/metrics`.
    pub metrics_url: String,
}

impl Operator {
    /// Starts `latchwork operator` as whoever `kubeconfig` names, with its lease and sealing keys in `namespace`, and
    /// waits until it serves. It works on that namespace only, so that tests of one cluster do not meet; a test with a
    /// cluster of its own uses [`Operator::start_everywhere`].
    pub async fn start(kubeconfig: &Path, namespace: &str, arguments: &[&str]) -> Self {
        let mut command = process::operator(kubeconfig);
        command.args(["--watch-namespace", namespace]);
        Self::spawn(command, "127.0.0.1", namespace, arguments).await
    }

    /// Works on every namespace. Only for a cluster of the test's own.
    pub async fn start_everywhere(kubeconfig: &Path, namespace: &str, arguments: &[&str]) -> Self {
        Self::spawn(process::operator(kubeconfig), "127.0.0.1", namespace, arguments).await
    }

    /// Works on every namespace, with the in-cluster credentials of a service account in `namespace`, listening where
    /// `in_pod::expose` can lead the service proxy. Needs the sandbox.
    pub async fn start_in_pod(plane: &ControlPlane, namespace: &str, account: &str, arguments: &[&str]) -> Self {
        let mut command = in_pod(plane, namespace, account, process::program()).await;
        command.arg("operator");
        Self::spawn(command, super::NODE_ADDRESS, namespace, arguments).await
    }

    /// Starts `command`, made by [`process::operator`], with `namespace` as its own and free ports on `address`.
    pub async fn spawn(mut command: Command, address: &str, namespace: &str, arguments: &[&str]) -> Self {
        let (main, metrics) = (format!("{address}:{}", ports::free()), format!("{address}:{}", ports::free()));
        command.args(["--namespace", namespace, "--listen", &main, "--listen-metrics", &metrics]).args(arguments);
        let operator = Self {
            process: Proc::spawn("latchwork operator", command),
            url: format!("http://{main}"),
            metrics_url: format!("http://{metrics}"),
        };
        eventually(SOON, "the operator's /healthz", || async {
            operator.process.assert_running();
            match operator.get("/healthz").await? {
                (200, _) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        operator
    }

    /// The port of [`Operator::url`], for `in_pod::expose`.
    pub fn port(&self) -> u16 {
        self.url.rsplit(':').next().and_then(|p| p.parse().ok()).expect("made with a port")
    }

    /// One GET below [`Operator::url`]: status and body.
    pub async fn get(&self, path: &str) -> Result<(u16, String), String> {
        fetch(&format!("{}{path}", self.url)).await
    }

    /// Waits until `/readyz` answers 200.
    pub async fn wait_ready(&self) {
        eventually(SOON, "the operator's /readyz", || async {
            self.process.assert_running();
            match self.get("/readyz").await? {
                (200, _) => Ok(()),
                other => Err(format!("{other:?}\n{}", self.process.tail(10))),
            }
        })
        .await;
    }

    /// All metrics, in the text format.
    pub async fn metrics(&self) -> String {
        let (status, text) = fetch(&format!("{}/metrics", self.metrics_url)).await.expect("metrics");
        assert_eq!(status, 200, "{text}");
        text
    }

    /// The value of the first sample that starts with `series`, such as `name_total{kind="SealedSecret"`.
    pub async fn metric(&self, series: &str) -> Option<f64> {
        let text = self.metrics().await;
        let line = text.lines().find(|line| line.starts_with(series))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// SIGTERM, and the exit status of a clean stop.
    pub async fn stop(&self) -> ExitStatus {
        self.process.stop().await
    }
}

async fn fetch(url: &str) -> Result<(u16, String), String> {
    tls::install_provider();
    let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().expect("HTTP client");
    let answer = http.get(url).send().await.map_err(|e| format!("{e:?}"))?;
    let status = answer.status().as_u16();
    Ok((status, answer.text().await.map_err(|e| e.to_string())?))
}
