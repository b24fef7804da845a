//! The decryption stage: bytes of a repository in, desired objects out. `latchwork render` and the operator use this
//! same code.

pub mod tree;
