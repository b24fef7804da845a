//! Running a program as if it were in a pod: the service account's files where clients look for them.

use std::ffi::OsStr;
use std::process::Command;

use super::control_plane::ControlPlane;
use super::process::{command, run, run_ok};
use super::wait::{SOON, eventually};
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
/// server's service proxy reaches it, and waits until it does. It takes only endpoints that name a Pod with that address, and
/// refuses loopback.
pub async fn expose(plane: &ControlPlane, namespace: &str, service: &str, port_name: &str, port: u16) {
    expose_replicas(plane, namespace, service, port_name, &[port]).await;
}

/// [`expose`] with one stand-in for each of `ports`, all of them ready behind the Service.
pub async fn expose_replicas(plane: &ControlPlane, namespace: &str, service: &str, port_name: &str, ports: &[u16]) {
    let (node, first) = (super::NODE_ADDRESS, ports[0]);
    let pod = |index: usize| format!("{service}-stand-in-{index}");
    let (mut pods, mut slices) = (String::new(), String::new());
    for (index, port) in ports.iter().enumerate() {
        let pod = pod(index);
        pods += &format!(
            "---
apiVersion: v1
kind: Pod
metadata: {{name: {pod}, namespace: {namespace}}}
spec:
  nodeName: stand-in
  serviceAccountName: {service}-stand-in
  automountServiceAccountToken: false
  containers: [{{name: main, image: stand-in.invalid/none}}]
"
        );
        // The controller makes the slice of the first one out of the Endpoints; it does not take one address twice.
        if index > 0 {
            slices += &format!(
                "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {pod}, namespace: {namespace}, labels: {{kubernetes.io/service-name: {service}}}}}
addressType: IPv4
ports: [{{name: {port_name}, port: {port}, protocol: TCP}}]
endpoints:
- addresses: ['{node}']
  conditions: {{ready: true}}
  targetRef: {{kind: Pod, name: {pod}, namespace: {namespace}}}
"
            );
        }
    }
    let first_pod = pod(0);
    plane.apply(&format!(
        "apiVersion: v1
kind: ServiceAccount
metadata: {{name: {service}-stand-in, namespace: {namespace}}}
{pods}---
apiVersion: v1
kind: Service
metadata: {{name: {service}, namespace: {namespace}}}
spec:
  ports: [{{name: {port_name}, port: {first}, targetPort: {first}}}]
---
apiVersion: v1
kind: Endpoints
metadata: {{name: {service}, namespace: {namespace}}}
subsets:
- addresses:
  - ip: {node}
    targetRef: {{kind: Pod, name: {first_pod}, namespace: {namespace}}}
  ports: [{{name: {port_name}, port: {first}}}]
{slices}"
    ));
    let status = format!(
        r#"{{"status":{{"phase":"Running","podIP":"{node}","podIPs":[{{"ip":"{node}"}}],"conditions":[{{"type":"Ready","status":"True"}}]}}}}"#
    );
    for index in 0..ports.len() {
        let name = pod(index);
        let patch =
            ["patch", "pod", &name, "-n", namespace, "--subresource=status", "--type=merge", "--patch", &status];
        run_ok(plane.kubectl(&patch), b"");
    }
    let through = format!("/api/v1/namespaces/{namespace}/services/http:{service}:{port_name}/proxy/healthz");
    eventually(SOON, &format!("{service} behind its Service"), || async {
        let ran = run(plane.kubectl(&["get", "--raw", &through]), b"");
        if ran.status.success() { Ok(()) } else { Err(ran.stderr) }
    })
    .await;
}
