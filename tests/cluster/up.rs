//! `make up`: the rig for a person. Not a test, but it lives here because the rig does.

use std::path::PathBuf;
use std::process::Stdio;

use crate::rig::control_plane::{ControlPlane, Options};
use crate::rig::{ports, process, tools};

/// The namespace that the operator takes as its own.
const NAMESPACE: &str = "latchwork-system";

/// Serves until the process is ended; then everything ends with it, except the kubeconfig, which leads nowhere then.
#[tokio::test]
#[ignore = "runs until ctrl-C: `make up`"]
async fn up() {
    let folder: PathBuf = tools::cache_bin().expect("HOME is set").join("../../up");
    std::fs::create_dir_all(&folder).unwrap();
    let folder = folder.canonicalize().unwrap();
    std::fs::write(folder.join("pid"), std::process::id().to_string()).unwrap();

    let plane = ControlPlane::start(Options::default()).await;
    if tools::repository().join("crds").is_dir() {
        plane.install_crds();
    }
    plane.apply(&format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {NAMESPACE}}}}}"));
    let kubeconfig = folder.join("kubeconfig");
    std::fs::copy(&plane.kubeconfig, &kubeconfig).unwrap();

    let mut operator = process::operator(&plane.kubeconfig);
    // Its log is what a person wants to see.
    let (main, metrics) = (format!("127.0.0.1:{}", ports::free()), format!("127.0.0.1:{}", ports::free()));
    operator.args(["--namespace", NAMESPACE, "--listen", &main, "--listen-metrics", &metrics]).stdin(Stdio::null());
    let mut operator = operator.spawn().unwrap();
    println!("\nThe API server is up, with the operator beside it. In another shell:\n");
    println!("    export KUBECONFIG={}\n", kubeconfig.display());
    println!("The operator serves http://{main} (/healthz, /readyz) and http://{metrics}/metrics. ctrl-C ends all.\n");
    tokio::task::spawn_blocking(move || operator.wait()).await.unwrap().unwrap();
    println!("The operator has ended; the API server stays until ctrl-C.");
    std::future::pending::<()>().await;
}
