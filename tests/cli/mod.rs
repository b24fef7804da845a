//! Tests of the command line against the tools that it answers for.

mod kubeseal;
mod render;
mod sops;
