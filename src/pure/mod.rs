//! The ground floor. Everything here is a function of its arguments; `cargo test --no-default-features` proves that it
//! builds without a runtime or a client. Modules are listed in order of height: a module may use those above it in
//! this list and none below (held by `tests/walls.rs`).

pub mod secret;

pub mod limits;

pub mod error;

pub mod duration;

pub mod format;

pub mod crd;

pub mod template;

pub mod queue;

pub mod keys;

pub mod desired;

pub mod sops;

pub mod sealed;

pub mod external;

pub mod gitops;
