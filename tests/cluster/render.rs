//! What `latchwork render` writes, applied as a user would.

use crate::rig::control_plane::{ControlPlane, Options};
use crate::rig::process::{latchwork, run_ok};
use crate::rig::tools;

/// The example holds a HelmRelease, since SOPS encrypts any kind; its CRD is Flux's, so one of the same name stands in.
const HELM_RELEASE: &str = "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: helmreleases.helm.toolkit.fluxcd.io}
spec:
  group: helm.toolkit.fluxcd.io
  scope: Namespaced
  names: {plural: helmreleases, kind: HelmRelease}
  versions:
    - name: v2
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}";

#[tokio::test]
async fn the_example_applies_as_it_is_written() {
    let plane = ControlPlane::start(Options::default()).await;
    plane.apply(HELM_RELEASE);
    run_ok(plane.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=240s"]), b"");

    for output in ["yaml", "json"] {
        let mut render = latchwork();
        render.args(["render", "--output", output, "keys-example/gitops"]).current_dir(tools::repository());
        let manifests = run_ok(render, b"");
        let applied = run_ok(plane.kubectl(&["apply", "--server-side", "-f", "-"]), manifests.as_bytes());
        assert_eq!(
            applied.lines().next(),
            Some("namespace/shop serverside-applied"),
            "what others stand in goes first"
        );
        let secrets = applied.lines().filter(|line| line.starts_with("secret/")).count();
        assert_eq!(secrets, 8, "{output}:\n{applied}");
    }

    let get = ["get", "secret", "database", "-n", "shop", "-o", "go-template={{.data.password | base64decode}}"];
    assert_eq!(run_ok(plane.kubectl(&get), b""), "example-database-password");
    let get = ["get", "secret", "sealed-strict", "-n", "shop", "-o", "go-template={{.data.token | base64decode}}"];
    assert_eq!(run_ok(plane.kubectl(&get), b""), "example-strict-token");
    let get = ["get", "helmrelease", "grafana", "-n", "shop", "-o", "jsonpath={.spec.values.admin.password}"];
    assert_eq!(run_ok(plane.kubectl(&get), b""), "example-grafana-password");
}
