//! YAML: reading with spans, the scalar rules of Go's yaml.v3, and the text of single scalars.

mod comments;
mod merge_keys;
mod read;
mod resolve;
mod tabs;
pub mod time;
mod write;

pub(in crate::pure) use merge_keys::misused as misused_merge_key;
pub(in crate::pure) use read::place_comment;
pub(super) use read::read;
pub use resolve::resolve_plain;
pub(in crate::pure) use tabs::misplaced as misplaced_tab;
pub use write::{Room, key_text, scalar_text};
