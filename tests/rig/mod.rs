//! The rig: real servers and real tools for the integration tests.
//!
//! Nothing here is a fake of a thing that can be had: etcd, kube-apiserver and kube-controller-manager, OpenBao, moto,
//! git, sops, age and kubeseal are the programs themselves. `tests/rig/tools/build.sh` puts them into the cache folder;
//! `tests/rig/sandbox.sh` gives a run its own network and process namespace.
//!
//! - [`cluster`] is the one API server of a test run; each test takes a [`control_plane::ControlPlane::namespace`].
//! - A test that stops, pauses or otherwise harms a server starts its own, with `ControlPlane::start`.
//! - Every child dies with the thread that started it (shared ones: with the process), even when that is killed.
// A rig offers more than the tests of one day use.
#![allow(dead_code)]

pub mod bao;
pub mod cloud;
pub mod control_plane;
pub mod credentials;
pub mod fault_http;
pub mod git_http;
pub mod http1;
pub mod in_pod;
pub mod moto;
pub mod operator;
pub mod ports;
pub mod process;
pub mod scratch;
pub mod sealed_controller;
pub mod shared;
pub mod tls;
pub mod tools;
pub mod wait;

pub use shared::{bao, cloud, cluster, moto};

/// The address that the sandbox adds to its loopback device: a "node" that is not 127.0.0.1, which Kubernetes refuses
/// as an endpoint.
pub const NODE_ADDRESS: &str = "10.99.0.2";

/// Whether the run is inside `sandbox.sh`, and so whether [`NODE_ADDRESS`] and private mounts exist.
pub fn sandboxed() -> bool {
    std::env::var("LATCHWORK_SANDBOX").is_ok_and(|v| v == "1")
}

/// Ends the test with what to do when it runs outside the sandbox.
pub fn require_sandbox(what: &str) {
    assert!(
        sandboxed(),
        "{what} needs the sandbox: run `make test`, or `tests/rig/sandbox.sh cargo test --offline --test main`"
    );
}
