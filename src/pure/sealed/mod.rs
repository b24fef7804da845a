//! SealedSecrets: what the incumbent's controller and `kubeseal` do, as functions of their arguments.
//!
//! - [`scope`]: what an item is bound to; [`blob`]: the wire format; [`item`]: one value sealed or opened.
//! - [`pem`], [`keys`]: the sealing keys of a cluster; [`generate`]: a new one.
//! - [`manifest`], [`legacy`], [`render`], [`hints`], [`diagnose`], [`opener`], [`mod@unseal`]: a whole object, and why it did
//!   not open.
//! - [`mark`]: how a restart knows what is unchanged.
//! - [`decide`]: what to do about its Secret, and what to say afterwards; [`inventory`]: which key opens what.
//! - [`ring`]: the state of each key, and what may be retired; [`backup`]: the keys as they leave a cluster and come back.
//! - [`pin`]: the certificate that a repository pins.
//! - [`seal`]: a Secret sealed as kubeseal does; [`reseal`]: an object sealed to another key; [`rekey`]: single values of a
//!   file sealed to another key; [`rate`]: the limit of the HTTP endpoints.
//!
//! Sources of the format: the public behaviour of Sealed Secrets v0.36 to v0.40 (docs/compat/sealed-secrets.md).

pub mod backup;
pub mod blob;
pub mod decide;
pub mod diagnose;
pub mod generate;
pub mod hints;
pub mod inventory;
pub mod item;
pub mod keys;
pub mod legacy;
pub mod manifest;
pub mod mark;
pub mod opener;
pub mod pem;
pub mod pin;
pub mod rate;
pub mod rekey;
pub mod render;
pub mod reseal;
pub mod ring;
pub mod scope;
pub mod seal;
pub mod shape;
pub mod unseal;

#[cfg(test)]
mod tests;

/// Header in which a caller of the controller's endpoints shows a bearer token: the API server's service proxy, through which
/// they are called, takes the usual one off. A controller that asks for it names it in its answer 401.
pub const TOKEN_HEADER: &str = "X-Latchwork-Authorization";

/// Header of a request to `/v1/rotate` that asks for the values on the present key as they stand: then a second run changes
/// nothing. A controller that does not know it seals them anew.
pub const KEEP_HEADER: &str = "X-Latchwork-Keep-Current";

pub use hints::Hints;
pub use keys::{KeyError, KeyOrder, SealingKey, SealingKeys};
pub use scope::Scope;
pub use unseal::{UnsealError, Unsealed, unseal};
