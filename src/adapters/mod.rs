//! The only code that touches the world. Adapters do not import each other; what several of them need is ground that any
//! may stand on, and that stands on none of them (`GROUND` in `tests/walls.rs`).

#[cfg(feature = "cli")]
pub mod asking;
pub mod atomic;
#[cfg(feature = "aws")]
pub mod aws_http;
pub mod exchange;
pub mod files;
#[cfg(feature = "git")]
pub mod git;
#[cfg(feature = "operator")]
pub mod k8s;
pub mod kms;
#[cfg(any(feature = "operator", feature = "keyservice"))]
pub mod listen;
pub mod parallel;
pub mod process;
pub mod publish;
pub mod stores;
