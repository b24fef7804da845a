//! What a directory or a Git commit holds: the manifests of a tree, each with its bytes or the reason why it has none.

use crate::pure::error::{Explain, Retry};
use crate::pure::limits;

/// One manifest file of a tree.
pub struct TreeFile {
    /// Path below the root of the tree, with `/`.
    pub path: String,
    /// Its bytes, as they are in the tree.
    pub content: Result<Vec<u8>, TreeError>,
}

/// Why a file, or what would follow it, was not read.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the message of each variant is its documentation")]
pub enum TreeError {
    #[error("the symbolic link leads out of the repository")]
    LinkOutside,
    #[error("the symbolic link leads to nothing, or through other links")]
    LinkBroken,
    #[error("the file holds {bytes} bytes, and at most {max} are read")]
    TooLarge { bytes: u64, max: usize },
    #[error("not a regular file")]
    NotRegular,
    #[error("the file cannot be read: {0}")]
    Unreadable(std::io::ErrorKind),
    #[error("more than {max} manifest files; this one and the rest were not read")]
    TooManyFiles { max: usize },
    #[error("the manifests hold more than {max} bytes; this one and the rest were not read")]
    TooManyBytes { max: usize },
    #[error("the path does not exist in the repository")]
    NoSuchPath,
}

impl Explain for TreeError {
    fn reason(&self) -> &'static str {
        match self {
            Self::LinkOutside => "LinkOutsideRepository",
            Self::LinkBroken => "LinkBroken",
            Self::TooLarge { .. } => "FileTooLarge",
            Self::NotRegular => "NotRegularFile",
            Self::Unreadable(_) => "FileUnreadable",
            Self::TooManyFiles { .. } | Self::TooManyBytes { .. } => "TreeTooLarge",
            Self::NoSuchPath => "PathNotFound",
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Unreadable(_) => Retry::Backoff,
            _ => Retry::OnChange,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::LinkOutside => "put a copy of the file in place of the link".into(),
            Self::LinkBroken => "point the link at a regular file of the repository, or remove it".into(),
            Self::TooLarge { .. } => "split the file; the API server takes no object of that size".into(),
            Self::NotRegular => "remove it, or move it out of the path".into(),
            Self::Unreadable(_) => "check its permissions".into(),
            Self::TooManyFiles { .. } | Self::TooManyBytes { .. } => "name a directory further down".into(),
            Self::NoSuchPath => "correct the path".into(),
        }
    }
}

/// Whether a file of this name is read as a manifest: `.yaml`, `.yml`, `.json`, as `kubectl apply -f DIR` does.
pub fn is_manifest(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    !name.starts_with('.')
        && name
            .rsplit_once('.')
            .is_some_and(|(_, suffix)| ["yaml", "yml", "json"].iter().any(|known| suffix.eq_ignore_ascii_case(known)))
}

/// Whether a file or folder of this name is passed over with all that lies in it: `.git`, `.sops.yaml`, `.latchwork`
/// and all others that begin with a dot.
pub fn is_hidden(name: &str) -> bool {
    name.starts_with('.') && name != "." && name != ".."
}

/// Follows a relative symbolic link textually: the path, from the root of the tree, that a link at `link` with target
/// `target` names. `None` when it leaves the tree or is absolute.
pub fn follow_link(link: &str, target: &str) -> Option<String> {
    if target.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = link.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// Counts what is read from one tree against the caps.
#[derive(Default)]
pub struct TreeBudget {
    files: usize,
    bytes: usize,
}

impl TreeBudget {
    /// Admits one more file of `size` bytes, before it is read.
    pub fn admit(&mut self, size: u64) -> Result<(), TreeError> {
        let max = limits::FILE_BYTES;
        let bytes = usize::try_from(size).ok().filter(|bytes| *bytes <= max);
        let Some(bytes) = bytes else { return Err(TreeError::TooLarge { bytes: size, max }) };
        if self.files >= limits::FILES_PER_TREE {
            return Err(TreeError::TooManyFiles { max: limits::FILES_PER_TREE });
        }
        if self.bytes.saturating_add(bytes) > limits::TREE_BYTES {
            return Err(TreeError::TooManyBytes { max: limits::TREE_BYTES });
        }
        self.files += 1;
        self.bytes += bytes;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_decide_what_is_read() {
        for path in ["a.yaml", "x/b.yml", "c.JSON", "x.y/z.enc.yaml"] {
            assert!(is_manifest(path), "{path}");
        }
        for path in ["README.md", ".sops.yaml", "x/.hidden.json", "yaml", "a.yaml.bak", "a.yaml/b"] {
            assert!(!is_manifest(path), "{path}");
        }
        assert!(is_hidden(".git") && !is_hidden(".") && !is_hidden("..") && !is_hidden("a.b"));
    }

    #[test]
    fn links_are_followed_inside_the_tree_only() {
        for (link, target, expected) in [
            ("a/b.yaml", "c.yaml", Some("a/c.yaml")),
            ("a/b.yaml", "./../c.yaml", Some("c.yaml")),
            ("b.yaml", "x/../y.yaml", Some("y.yaml")),
            ("a/b.yaml", "../../c.yaml", None),
            ("b.yaml", "../c.yaml", None),
            ("b.yaml", "/etc/passwd", None),
        ] {
            assert_eq!(follow_link(link, target).as_deref(), expected, "{link} -> {target}");
        }
    }

    #[test]
    fn a_large_file_is_refused_by_its_size_and_does_not_use_up_the_budget() {
        let mut budget = TreeBudget::default();
        let large = 100 * 1024 * 1024;
        assert_eq!(budget.admit(large), Err(TreeError::TooLarge { bytes: large, max: limits::FILE_BYTES }));
        assert_eq!(budget.admit(limits::FILE_BYTES as u64), Ok(()));
        let fits = limits::TREE_BYTES / limits::FILE_BYTES;
        for _ in 1..fits {
            assert_eq!(budget.admit(limits::FILE_BYTES as u64), Ok(()));
        }
        assert_eq!(budget.admit(limits::FILE_BYTES as u64), Err(TreeError::TooManyBytes { max: limits::TREE_BYTES }));
        assert_eq!(budget.admit(1), Ok(()), "a small one may still fit");
    }
}
