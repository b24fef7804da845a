//! The one integration test binary: one link, one set of shared servers.
//!
//! `make test` runs it in the sandbox; see `rig` for what it starts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    missing_docs
)]

mod cli;
mod cluster;
mod kms;
mod musl;
mod rig;
mod stores;
