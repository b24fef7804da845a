//! Everything that talks to the API server. Called `k8s`, since a module named like the crate `kube` would shadow it.
//!
//! Secret bodies pass through [`secrets`] only: kube's typed calls log a body that they cannot decode.

pub mod client;
pub mod dial;
mod error;
pub mod events;
mod kubeconfig;
pub mod lease;
pub mod lock;
mod proxy;
pub mod review;
pub mod secrets;
pub mod seen;
pub mod service_proxy;
pub mod status;
pub mod watch;
pub mod writer;

pub use client::Cluster;
pub use error::ApiError;
pub use kubeconfig::{Overrides, context_namespace, pod_namespace};
