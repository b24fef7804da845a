//! The Sealed Secrets controller itself, as the other side of compatibility tests.

use std::path::PathBuf;
use std::process::Command;

use super::control_plane::ControlPlane;
use super::in_pod::{expose, in_pod};
use super::process::Proc;
use super::wait::{PATIENCE, SOON, eventually};
use super::{NODE_ADDRESS, ports, require_sandbox, tools};

pub struct SealedController {
    pub process: Proc,
    pub namespace: String,
    /// `http://ADDRESS:PORT`, where it serves `/v1/cert.pem`, `/v1/verify` and `/v1/rotate`.
    pub url: String,
    kubeconfig: PathBuf,
}

/// The service name that kubeseal looks for by default.
pub const SERVICE: &str = "sealed-secrets-controller";

impl SealedController {
    /// Starts it in `namespace` of a cluster that has the SealedSecret CRD, with full rights, reachable for kubeseal
    /// through the service proxy. It watches every namespace: use a cluster of its own where ours runs too.
    pub async fn start(plane: &ControlPlane, namespace: &str, arguments: &[&str]) -> Self {
        Self::start_program(tools::path("sealed-secrets-controller"), plane, namespace, arguments).await
    }

    /// Another program in its place: ours, under the name `controller`.
    pub async fn start_program(program: PathBuf, plane: &ControlPlane, namespace: &str, arguments: &[&str]) -> Self {
        require_sandbox("the Sealed Secrets controller");
        plane.apply(&format!(
            "apiVersion: v1
kind: ServiceAccount
metadata: {{name: {SERVICE}, namespace: {namespace}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: {SERVICE}-{namespace}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}}
subjects: [{{kind: ServiceAccount, name: {SERVICE}, namespace: {namespace}}}]
"
        ));
        let (port, metrics) = (ports::free(), ports::free());
        let mut controller = in_pod(plane, namespace, SERVICE, program).await;
        controller.args([
            &format!("--listen-addr={NODE_ADDRESS}:{port}"),
            &format!("--listen-metrics-addr={NODE_ADDRESS}:{metrics}"),
        ]);
        controller.args(arguments);
        let process = Proc::spawn("sealed-secrets-controller", controller);
        let url = format!("http://{NODE_ADDRESS}:{port}");
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().expect("HTTP client");
        eventually(SOON, "the Sealed Secrets controller's certificate", || async {
            process.assert_running();
            let answer = http.get(format!("{url}/v1/cert.pem")).send().await.map_err(|e| e.to_string())?;
            if answer.status().is_success() { Ok(()) } else { Err(answer.status().to_string()) }
        })
        .await;
        expose(plane, namespace, SERVICE, "http", port).await;
        Self { process, namespace: namespace.to_owned(), url, kubeconfig: plane.kubeconfig.clone() }
    }

    /// A kubeseal command that talks to this controller through the API server.
    pub fn kubeseal(&self, arguments: &[&str]) -> Command {
        let mut kubeseal = Command::new(tools::path("kubeseal"));
        kubeseal.args(["--controller-namespace", &self.namespace, "--controller-name", SERVICE]);
        kubeseal.args(arguments).env("KUBECONFIG", &self.kubeconfig);
        kubeseal
    }
}
