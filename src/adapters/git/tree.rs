//! Reads the manifests of a commit straight from its objects.

use std::sync::atomic::{AtomicBool, Ordering};

use gix::bstr::ByteSlice as _;
use gix::object::tree::EntryKind;

use super::{GitError, protocol};
use crate::pure::gitops::tree::{TreeBudget, TreeError, TreeFile, follow_link, is_hidden, is_manifest};
use crate::pure::limits;

/// One entry of a Git tree, by value.
struct Entry {
    path: String,
    kind: EntryKind,
    id: gix::ObjectId,
}

/// All manifests below `path`, each directory in the byte order of its names; the rules are those of the walk over a
/// directory on disk.
pub(super) fn read(
    repository: &gix::Repository,
    commit: &gix::Commit<'_>,
    path: &str,
    interrupt: &AtomicBool,
) -> Result<Vec<TreeFile>, GitError> {
    let root = commit.tree().map_err(|e| protocol(&e))?;
    let path = normal(path);
    let mut walk = Walk { repository, root: &root, below: path.clone(), budget: TreeBudget::default(), entries: 0 };
    let start = if path.is_empty() {
        Some((EntryKind::Tree, root.id))
    } else {
        let entry = root.lookup_entry_by_path(&path).map_err(|e| protocol(&e))?;
        entry.map(|entry| (entry.mode().kind(), entry.object_id()))
    };
    let mut files = vec![];
    match start {
        None => files.push(TreeFile { path, content: Err(TreeError::NoSuchPath) }),
        Some((EntryKind::Tree, id)) => {
            walk.directory(Entry { path, kind: EntryKind::Tree, id }, interrupt, &mut files)?
        }
        Some((kind, id)) => files.extend(walk.file(&Entry { path, kind, id }, true)?),
    }
    Ok(files)
}

/// The path without leading `/`, `./` and doubled slashes. `..` is refused by the schema and finds nothing here.
fn normal(path: &str) -> String {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>().join("/")
}

struct Walk<'a> {
    repository: &'a gix::Repository,
    root: &'a gix::Tree<'a>,
    /// Directory that is read, from the root of the repository.
    below: String,
    budget: TreeBudget,
    entries: usize,
}

impl Walk<'_> {
    fn directory(&mut self, start: Entry, interrupt: &AtomicBool, files: &mut Vec<TreeFile>) -> Result<(), GitError> {
        let mut stack = vec![start];
        while let Some(entry) = stack.pop() {
            if interrupt.load(Ordering::SeqCst) {
                return Err(GitError::Interrupted);
            }
            if !matches!(entry.kind, EntryKind::Tree) {
                let file = self.file(&entry, false)?;
                let over = matches!(
                    file.as_ref().map(|file| &file.content),
                    Some(Err(TreeError::TooManyFiles { .. } | TreeError::TooManyBytes { .. }))
                );
                files.extend(file);
                if over {
                    return Ok(());
                }
                continue;
            }
            if entry.path.matches('/').count() >= limits::NESTING_DEPTH {
                files.push(TreeFile { path: entry.path, content: Err(TreeError::NotRegular) });
                continue;
            }
            let mut children = self.children(&entry)?;
            self.entries += children.len();
            // The same subtree a thousand times at each of ten levels is a few kilobytes on the wire.
            if self.entries > limits::TREE_ENTRIES {
                let content = Err(TreeError::TooManyFiles { max: limits::TREE_ENTRIES });
                files.push(TreeFile { path: entry.path, content });
                return Ok(());
            }
            children.sort_by(|a, b| b.path.cmp(&a.path));
            stack.append(&mut children);
        }
        Ok(())
    }

    fn children(&self, entry: &Entry) -> Result<Vec<Entry>, GitError> {
        let tree = self.repository.find_tree(entry.id).map_err(|e| protocol(&e))?;
        let mut children = vec![];
        for child in tree.iter() {
            let child = child.map_err(|e| protocol(&e))?;
            let name = child.filename().to_str_lossy();
            if is_hidden(&name) || name == ".." || name == "." {
                continue;
            }
            let path = if entry.path.is_empty() { name.into_owned() } else { format!("{}/{name}", entry.path) };
            children.push(Entry { path, kind: child.mode().kind(), id: child.object_id() });
        }
        Ok(children)
    }

    /// `named`: the path itself was asked for, whatever its name.
    fn file(&mut self, entry: &Entry, named: bool) -> Result<Option<TreeFile>, GitError> {
        if !named && !is_manifest(&entry.path) {
            return Ok(None);
        }
        let content = match entry.kind {
            EntryKind::Blob | EntryKind::BlobExecutable => self.blob(entry.id)?,
            EntryKind::Link => match self.link(entry)? {
                Some(content) => content,
                None => return Ok(None),
            },
            // A submodule is another repository.
            EntryKind::Commit | EntryKind::Tree => return Ok(None),
        };
        Ok(Some(TreeFile { path: entry.path.clone(), content }))
    }

    /// Refused by size before it is inflated.
    fn blob(&mut self, id: gix::ObjectId) -> Result<Result<Vec<u8>, TreeError>, GitError> {
        let header = self.repository.find_header(id).map_err(|e| protocol(&e))?;
        if let Err(error) = self.budget.admit(header.size()) {
            return Ok(Err(error));
        }
        let mut object = self.repository.find_object(id).map_err(|e| protocol(&e))?;
        Ok(Ok(std::mem::take(&mut object.data)))
    }

    /// `None` when the walk meets the target by itself.
    fn link(&mut self, entry: &Entry) -> Result<Option<Result<Vec<u8>, TreeError>>, GitError> {
        const LONGEST_TARGET: u64 = 4096;
        let header = self.repository.find_header(entry.id).map_err(|e| protocol(&e))?;
        if header.size() > LONGEST_TARGET {
            return Ok(Some(Err(TreeError::LinkBroken)));
        }
        let target = self.repository.find_object(entry.id).map_err(|e| protocol(&e))?;
        let Some(target) = follow_link(&entry.path, &target.data.to_str_lossy()) else {
            return Ok(Some(Err(TreeError::LinkOutside)));
        };
        let Some(found) = self.root.lookup_entry_by_path(&target).map_err(|e| protocol(&e))? else {
            return Ok(Some(Err(TreeError::LinkBroken)));
        };
        match found.mode().kind() {
            EntryKind::Blob | EntryKind::BlobExecutable => {}
            EntryKind::Tree => return Ok(None),
            EntryKind::Link | EntryKind::Commit => return Ok(Some(Err(TreeError::LinkBroken))),
        }
        let inside = if self.below.is_empty() {
            Some(target.as_str())
        } else {
            target.strip_prefix(self.below.as_str()).and_then(|rest| rest.strip_prefix('/'))
        };
        let met = inside.is_some_and(|path| is_manifest(path) && !path.split('/').any(is_hidden));
        if met { Ok(None) } else { self.blob(found.object_id()).map(Some) }
    }
}
