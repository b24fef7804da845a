//! Running a program as if it were in a pod: the service account's files where clients look for them.

use std::ffi::OsStr;
use std::process::Command;

use super::control_plane::ControlPlane;
use super::process::command;
use super::{require_sandbox, scratch};

/// The mount is private to this program: two "pods" with different accounts run side by side.
const MOUNT_AND_RUN: &str = "set -eu
    mount -t tmpfs -o mode=0755 tmpfs /run
    mkdir -p /var/run/secrets/kubernetes.io/serviceaccount
    cp -- \"$0\"/* /var/run/secrets/kubernetes.io/serviceaccount/
    exec \"$@\"";

/// `program`, with the in-cluster credentials of the service account `name` in `namespace` (which must exist) and
/// `POD_NAMESPACE`; add arguments and environment before `Proc::spawn`.
pub async fn in_pod(plane: &ControlPlane, namespace: &str, name: &str, program: impl AsRef<OsStr>) -> Command {
    require_sandbox("a program in a pod");
    let files = scratch::dir("service-account");
    let token = plane.service_account_token(namespace, name, &[]).await;
    for (file, content) in [("token", token.as_str()), ("ca.crt", &plane.ca.certificate_pem), ("namespace", namespace)]
    {
        std::fs::write(files.join(file), content).expect("service account file");
    }
    // unshare and sh replace themselves, so the process id, and with it every signal, is the program's.
    let mut pod = command("unshare");
    pod.args(["--mount", "--propagation", "private", "sh", "-c", MOUNT_AND_RUN]).arg(files).arg(program);
    pod.env_remove("KUBECONFIG")
        .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        .env("KUBERNETES_SERVICE_PORT", plane.port.to_string())
        .env("POD_NAMESPACE", namespace);
    pod
}

/// Makes `service` in `namespace` lead to a process that listens on [`super::NODE_ADDRESS`]`:port`, so that the API
/// server's service proxy reaches it. It takes only endpoints that name a Pod with that address, and refuses loopback.
pub fn expose(plane: &ControlPlane, namespace: &str, service: &str, port_name: &str, port: u16) {
    let node = super::NODE_ADDRESS;
    plane.apply(&format!(
        "apiVersion: v1
kind: ServiceAccount
metadata: {{name: {service}-stand-in, namespace: {namespace}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: {service}-stand-in, namespace: {namespace}}}
spec:
  nodeName: stand-in
  serviceAccountName: {service}-stand-in
  automountServiceAccountToken: false
  containers: [{{name: main, image: stand-in.invalid/none}}]
---
apiVersion: v1
kind: Service
metadata: {{name: {service}, namespace: {namespace}}}
spec:
  ports: [{{name: {port_name}, port: {port}, targetPort: {port}}}]
---
apiVersion: v1
kind: Endpoints
metadata: {{name: {service}, namespace: {namespace}}}
subsets:
- addresses:
  - ip: {node}
    targetRef: {{kind: Pod, name: {service}-stand-in, namespace: {namespace}}}
  ports: [{{name: {port_name}, port: {port}}}]
"
    ));
    let status = format!(
        r#"{{"status":{{"phase":"Running","podIP":"{node}","podIPs":[{{"ip":"{node}"}}],"conditions":[{{"type":"Ready","status":"True"}}]}}}}"#
    );
    let pod = format!("{service}-stand-in");
    let patch =
        ["patch", "pod", &pod, "--namespace", namespace, "--subresource=status", "--type=merge", "--patch", &status];
    super::process::run_ok(plane.kubectl(&patch), b"");
}
