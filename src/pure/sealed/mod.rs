//! SealedSecrets: what the incumbent's controller and `kubeseal` do, as functions of their arguments.
//!
//! - [`scope`]: what an item is bound to; [`blob`]: the wire format; [`item`]: one value sealed or opened.
//! - [`keys`]: the sealing keys of a cluster; [`generate`]: a new one.
//! - [`unseal`]: a whole object; [`diagnose`]: why it did not open.
//! - [`decide`]: what to do about its Secret, and what to say afterwards; [`inventory`]: which key opens what.
//!
//! Sources of the format: the public wire format of Sealed Secrets v0.36 to v0.40 (docs/compat/sealed-secrets.md).

pub mod blob;
pub mod generate;
pub mod item;
pub mod keys;
pub mod pem;
pub mod scope;
