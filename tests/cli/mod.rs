//! Tests of the command line against the tools that it answers for.

mod asking;
mod check;
mod flags;
mod git;
mod keyservice;
mod kill;
mod kubeseal;
pub mod pgp;
mod publish;
mod rekey;
mod render;
mod sealed_flags;
mod sops;
mod sops_lines;
pub mod sops_matrix;
mod sops_values;
mod template;
