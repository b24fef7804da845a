//! Changing single values of an opened file by their paths: what a program does that has neither an editor nor a command
//! line.

use super::error::SopsError;
use super::open::Opened;
use super::seal::{Random, reseal};
use crate::pure::format::place::{self, PathError, Step};
use crate::pure::format::{self, Layout, Node, Scalar, Tree, Value};
use crate::pure::secret::Plaintext;

/// Changes of an opened file, in memory until [`Edit::seal`].
///
/// Paths are those of `sops set`: `["stringData"]["password"]`, `["list"][0]`; they lead into the first document.
pub struct Edit<'o, 'd> {
    opened: &'o Opened<'d>,
    before: Plaintext,
    tree: Tree,
}

impl<'o, 'd> Edit<'o, 'd> {
    /// Nothing changed yet.
    ///
    /// # Errors
    /// Values that cannot be printed, which no file that was read has.
    pub fn new(opened: &'o Opened<'d>) -> Result<Self, SopsError> {
        let format = opened.document().format();
        let before = opened.emit(format)?;
        let tree = format::parse(before.expose(), format)?;
        Ok(Self { opened, before, tree })
    }

    /// The plaintext with the changes so far.
    pub fn plain(&self) -> &Tree {
        &self.tree
    }

    /// Sets the value at `path` to a text. What is missing on the way is added, an index past the end appends.
    ///
    /// # Errors
    /// [`SopsError::Path`]: the path leads through a scalar or an alias, or is none.
    pub fn set_text(&mut self, path: &str, text: Plaintext) -> Result<(), SopsError> {
        self.set(path, Node::new(0..0, Value::Scalar(Scalar::Text(text)), Layout::default()))
    }

    /// Sets the value at `path` to a scalar, map or list ([`place::from_json`] makes one).
    ///
    /// # Errors
    /// As [`Edit::set_text`], and a value that the format cannot hold.
    pub fn set(&mut self, path: &str, value: Node) -> Result<(), SopsError> {
        let value = place::fitted(value, self.tree.format);
        let steps = steps(path)?;
        self.apply(place::set(&self.tree, &steps, value).map_err(|error| failure(path, error))?)
    }

    /// Removes the entry or element at `path`.
    ///
    /// # Errors
    /// [`SopsError::Path`]: there is none, or it stands under an alias.
    pub fn unset(&mut self, path: &str) -> Result<(), SopsError> {
        let steps = steps(path)?;
        self.apply(place::unset(&self.tree, &steps).map_err(|error| failure(path, error))?)
    }

    fn apply(&mut self, bytes: Plaintext) -> Result<(), SopsError> {
        self.tree = format::parse(bytes.expose(), self.tree.format)?;
        Ok(())
    }

    /// The file with the changes: the bytes of what changed, of the MAC and of the time are new, all others stay. When
    /// nothing changed it is the very file that was opened. `now` is RFC 3339 in seconds, UTC.
    ///
    /// # Errors
    /// As [`super::seal`].
    pub fn seal(self, now: &str, random: Random<'_>) -> Result<Plaintext, SopsError> {
        if self.tree.source.same_as(&self.before) {
            return Ok(Plaintext::copy_of(self.opened.document().bytes()));
        }
        reseal(self.opened, &self.tree, now, random)
    }
}

pub(super) fn steps(path: &str) -> Result<Vec<Step>, SopsError> {
    let what = "not a path; write [\"name\"][0][\"name\"]";
    let steps = place::parse_path(path).filter(|steps| !steps.is_empty());
    steps.ok_or_else(|| SopsError::Path { path: path.to_owned(), what })
}

pub(super) fn failure(path: &str, error: PathError) -> SopsError {
    let what = match error {
        PathError::Missing => "there is no such entry",
        PathError::Kind => "the path asks for a name of a list, a position of a map, or something below a value",
        PathError::Value => "the value cannot stand there",
        PathError::Alias => "the entry is an alias; change the anchor that it stands for",
        PathError::Pair => {
            "the map is a pair without braces in a list; write [{a: 1}] for [a: 1], then a name can be added"
        }
        PathError::Merge => "only a map or a list of maps can stand under the merge key <<",
    };
    SopsError::Path { path: path.to_owned(), what }
}
