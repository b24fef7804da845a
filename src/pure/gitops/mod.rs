//! The decryption stage: bytes of a repository in, desired objects out. `latchwork render` and the operator use this
//! same code.
//!
//! - [`tree`]: the files of a tree; [`mod@stage`]: one file, document by document; [`object`]: a document as an object.
//! - [`stores`]: ExternalSecrets against the stores of the same tree.
//! - [`decide`]: what becomes of the Secrets in the cluster; [`conclude`]: what the status says afterwards.
//! - [`check`]: what is wrong with the files of a repository, without any private key.
//! - [`show`]: text for standard output; [`error`]: why a document failed.

pub mod check;
pub mod conclude;
pub mod decide;
pub mod error;
pub mod object;
pub mod show;
pub mod stage;
pub mod stores;
pub mod stream;
pub mod tree;

#[cfg(test)]
mod tests;

pub use error::StageError;
pub use object::Header;
pub use show::Show;
pub use stage::{Document, FileResult, Keys, Staged, Text, failure_line, stage};
