//! Latchwork opens every secret that a GitOps repository can hold, inside the Kubernetes cluster, and turns its keys
//! safely. Four floors: what stands higher may use what stands lower, never the other way round.
//!
//! 1. [`pure`]: bytes and facts in, decisions out. No runtime, client, file, clock or randomness of its own.
//! 2. `adapters`: the only code that touches the world (Kubernetes, stores, Git, files).
//! 3. `operator`: wiring; one file per kind.
//! 4. `cli`: one file per verb.
//!
//! # As a library
//! With `default-features = false` only [`pure`] is built: no runtime, no client, no I/O, no globals. It is a complete
//! library for SOPS files ([`pure::sops`], where the examples stand), reads and edits YAML, JSON, dotenv and INI without
//! touching what does not change ([`pure::format`]), and does the cryptography of SealedSecrets ([`pure::sealed`]).
#![forbid(unsafe_code)]

pub mod pure;

#[cfg(feature = "net")]
pub mod adapters;
#[cfg(feature = "operator")]
pub mod operator;

#[cfg(all(feature = "cli", feature = "operator"))]
pub mod cli;
