//! The only code that touches the world. Adapters do not import each other.

#[cfg(feature = "cli")]
pub mod asking;
pub mod atomic;
pub mod files;
#[cfg(feature = "git")]
pub mod git;
#[cfg(feature = "operator")]
pub mod k8s;
pub mod kms;
pub mod parallel;
pub mod process;
pub mod publish;
pub mod stores;
