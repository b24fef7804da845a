//! Wiring: one file per kind (observe, decide, act, report), and what they share.
//!
//! A kind hands [`Part`](part::Part)s to [`run`](run::run): its watches, its reconciler, its routes. Everything below
//! `reconcile` is decided in `pure` and written by the one writer.

pub mod driver;
pub mod encrypted_source;
pub mod external_secret;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod part;
pub mod run;
pub mod sealed_secret;
pub mod secret_store;
pub mod settings;
pub mod stores;

use part::MakePart;

/// Every kind that the operator reconciles.
pub const KINDS: &[MakePart] =
    &[sealed_secret::part, secret_store::part, external_secret::part, encrypted_source::part];

/// What the Sealed Secrets controller does, alone.
pub const SEALED_ONLY: &[MakePart] = &[sealed_secret::part];
