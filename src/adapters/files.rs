//! Files on disk: the walk over a tree of manifests, and the listing of a repository as Git sees it.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::pure::gitops::tree::{TreeBudget, TreeError, TreeFile, is_hidden, is_manifest};
use crate::pure::limits;

/// Walks `root`, each directory in the byte order of its names, and gives each manifest with its content to `visit`; stops when that
/// returns false. A `root` that is a file is given as it is, whatever its name.
///
/// Files that are no manifests are not opened. Symbolic links are followed to regular files below `root` that the walk
/// would not meet by itself; one that leads out of `root` is an error of that file alone.
pub fn walk(root: &Path, mut visit: impl FnMut(TreeFile) -> bool) {
    let mut walk = Walk { budget: TreeBudget::default(), canonical: PathBuf::new() };
    let kind = std::fs::metadata(root).map_err(|e| TreeError::Unreadable(e.kind()));
    let is_directory = match kind {
        Ok(meta) => meta.is_dir(),
        Err(error) => {
            let error = if matches!(error, TreeError::Unreadable(std::io::ErrorKind::NotFound)) {
                TreeError::NoSuchPath
            } else {
                error
            };
            visit(TreeFile { path: String::new(), content: Err(error) });
            return;
        }
    };
    if !is_directory {
        let content = walk.read(root);
        visit(TreeFile { path: String::new(), content });
        return;
    }
    match root.canonicalize() {
        Ok(canonical) => walk.canonical = canonical,
        Err(e) => {
            visit(TreeFile { path: String::new(), content: Err(TreeError::Unreadable(e.kind())) });
            return;
        }
    }
    walk.directory(root, &mut visit);
}

struct Walk {
    budget: TreeBudget,
    canonical: PathBuf,
}

impl Walk {
    fn directory(&mut self, root: &Path, visit: &mut impl FnMut(TreeFile) -> bool) {
        let entries = ignore::WalkBuilder::new(root)
            // Only what the names of manifests say counts: neither .gitignore nor a user's settings.
            .standard_filters(false)
            .filter_entry(|entry| entry.depth() == 0 || !entry.file_name().to_str().is_some_and(is_hidden))
            .sort_by_file_name(Ord::cmp)
            .build();
        let mut links = HashSet::new();
        for entry in entries {
            let file = match entry {
                Ok(entry) => self.entry(root, &entry, &mut links),
                Err(error) => Some(unreadable(root, &error)),
            };
            if let Some(file) = file
                && !visit(file)
            {
                return;
            }
        }
    }

    fn entry(&mut self, root: &Path, entry: &ignore::DirEntry, links: &mut HashSet<PathBuf>) -> Option<TreeFile> {
        let path = relative(root, entry.path());
        if !is_manifest(&path) {
            return None;
        }
        let kind = entry.file_type()?;
        let content = if kind.is_dir() {
            return None;
        } else if kind.is_symlink() {
            self.link(entry.path(), links)?
        } else if kind.is_file() {
            self.read(entry.path())
        } else {
            Err(TreeError::NotRegular)
        };
        Some(TreeFile { path, content })
    }

    /// `None` when the walk meets the target by itself.
    fn link(&mut self, link: &Path, links: &mut HashSet<PathBuf>) -> Option<Result<Vec<u8>, TreeError>> {
        let Ok(target) = link.canonicalize() else { return Some(Err(TreeError::LinkBroken)) };
        let Ok(inside) = target.strip_prefix(&self.canonical) else { return Some(Err(TreeError::LinkOutside)) };
        if target.is_dir() {
            return None;
        }
        let hidden = inside.iter().any(|part| part.to_str().is_some_and(is_hidden));
        let met = !hidden && is_manifest(&inside.to_string_lossy());
        (!met && links.insert(target.clone())).then(|| self.read(&target))
    }

    /// Refuses by size before reading, and reads no more than was admitted even if the file grows meanwhile.
    fn read(&mut self, path: &Path) -> Result<Vec<u8>, TreeError> {
        let unreadable = |e: std::io::Error| TreeError::Unreadable(e.kind());
        // Asked before opening: opening a named pipe would wait for a writer.
        if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err(TreeError::NotRegular);
        }
        let file = File::open(path).map_err(unreadable)?;
        let size = file.metadata().map_err(unreadable)?.len();
        self.budget.admit(size)?;
        let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        file.take(size).read_to_end(&mut content).map_err(unreadable)?;
        Ok(content)
    }
}

/// Lists the regular files below `root` in the byte order of their names, hidden ones too, without `.git`; with
/// `all` unset also without what Git ignores. What Git tracks it does not ignore, whatever `.gitignore` says: such files
/// follow at the end, where the `git` program is there to name them. A `root` that is a file is listed as it is. Symbolic links are passed over:
/// what they lead to inside the tree is met by itself.
///
/// What cannot be listed is an error of that path alone.
pub fn list(root: &Path, all: bool) -> Vec<Result<PathBuf, (PathBuf, TreeError)>> {
    if root.is_file() {
        return vec![Ok(root.to_owned())];
    }
    let mut found = Vec::new();
    let entries = ignore::WalkBuilder::new(root)
        .hidden(false)
        .ignore(false)
        .parents(!all)
        .git_ignore(!all)
        .git_exclude(!all)
        .git_global(!all)
        .filter_entry(|entry| entry.file_name() != ".git")
        .sort_by_file_name(Ord::cmp)
        .build();
    for entry in entries {
        match entry {
            Ok(entry) if entry.file_type().is_some_and(|kind| kind.is_file()) => found.push(Ok(entry.into_path())),
            Ok(_) => {}
            Err(error) => {
                let TreeFile { path, content } = unreadable(root, &error);
                let missing = !root.exists();
                let error = content.err().filter(|_| !missing).unwrap_or(TreeError::NoSuchPath);
                found.push(Err((root.join(path), error)));
            }
        }
        if found.len() > limits::FILES_PER_TREE {
            found.push(Err((root.to_owned(), TreeError::TooManyFiles { max: limits::FILES_PER_TREE })));
            return found;
        }
    }
    if !all {
        let mut tracked = tracked_though_ignored(root);
        if !tracked.is_empty() {
            // The walk and Git may read a pattern differently.
            let met: HashSet<&PathBuf> = found.iter().flatten().collect();
            tracked.retain(|path| !met.contains(path));
        }
        found.extend(tracked.into_iter().map(Ok));
    }
    found
}

/// Regular files below `root` that are in Git's index and match a rule of `.gitignore`. None outside a repository.
fn tracked_though_ignored(root: &Path) -> Vec<PathBuf> {
    let listed = Command::new("git")
        // The settings of a repository that is only looked at must not start a program.
        .args(["-c", "core.fsmonitor=false", "ls-files", "-z", "--cached", "--ignored", "--exclude-standard"])
        .current_dir(root)
        .stderr(Stdio::null())
        .stdin(Stdio::null())
        .output();
    let Some(listed) = listed.ok().filter(|output| output.status.success()) else { return Vec::new() };
    let paths = listed.stdout.split(|byte| *byte == 0).filter(|path| !path.is_empty());
    paths
        .take(limits::FILES_PER_TREE)
        .map(|path| root.join(OsStr::from_bytes(path)))
        .filter(|path| std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file()))
        .collect()
}

/// Reads one file.
///
/// # Errors
/// A file above [`limits::FILE_BYTES`], which is not read, and whatever the system says.
pub fn read(path: &Path) -> Result<Vec<u8>, TreeError> {
    Walk { budget: TreeBudget::default(), canonical: PathBuf::new() }.read(path)
}

fn unreadable(root: &Path, error: &ignore::Error) -> TreeFile {
    let path = match error {
        ignore::Error::WithPath { path, .. } => relative(root, path),
        ignore::Error::WithDepth { err, .. } => return unreadable(root, err),
        _ => String::new(),
    };
    let kind = error.io_error().map_or(std::io::ErrorKind::Other, std::io::Error::kind);
    TreeFile { path, content: Err(TreeError::Unreadable(kind)) }
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn write(root: &Path, path: &str, content: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().expect("below root")).expect("directory");
        std::fs::write(path, content).expect("file");
    }

    fn paths(root: &Path) -> Vec<(String, Result<String, TreeError>)> {
        let mut found = vec![];
        walk(root, |file| {
            found.push((file.path, file.content.map(|bytes| String::from_utf8(bytes).expect("text"))));
            true
        });
        found
    }

    #[test]
    fn manifests_come_in_order_and_the_rest_is_not_opened() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let root = dir.path();
        for path in ["b.yaml", "a/z.json", "a/b/c.yml", "README.md", ".sops.yaml", ".git/config.yaml", "a/.x/y.yaml"] {
            write(root, path, path);
        }
        std::fs::create_dir(root.join("dir.yaml")).expect("directory");
        let found: Vec<_> = paths(root).into_iter().map(|(path, content)| (path, content.expect("read"))).collect();
        let expected: Vec<_> = ["a/b/c.yml", "a/z.json", "b.yaml"].map(|p| (p.to_owned(), p.to_owned())).into();
        assert_eq!(found, expected);
    }

    #[test]
    fn links_out_of_the_tree_are_errors_of_that_file_alone() {
        let outer = tempfile::tempdir().expect("temporary directory");
        write(outer.path(), "outside.yaml", "no");
        let root = outer.path().join("repo");
        write(&root, "a.yaml", "a");
        write(&root, ".data/hidden.yaml", "shown");
        write(&root, "notes.txt", "text");
        symlink("../outside.yaml", root.join("out.yaml")).expect("link");
        symlink("/etc/hostname", root.join("out2.yaml")).expect("link");
        symlink("nowhere.yaml", root.join("broken.yaml")).expect("link");
        symlink("a.yaml", root.join("same.yaml")).expect("link");
        symlink(".data/hidden.yaml", root.join("mounted.yaml")).expect("link");
        symlink("..", root.join("loop")).expect("link");
        symlink("..", root.join("loop.yaml")).expect("link");
        let found = paths(&root);
        let expected = [
            ("a.yaml", Ok("a")),
            ("broken.yaml", Err(TreeError::LinkBroken)),
            ("loop.yaml", Err(TreeError::LinkOutside)),
            ("mounted.yaml", Ok("shown")),
            ("out.yaml", Err(TreeError::LinkOutside)),
            ("out2.yaml", Err(TreeError::LinkOutside)),
        ];
        let expected: Vec<_> = expected.map(|(p, c)| (p.to_owned(), c.map(str::to_owned))).into();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_large_file_is_refused_without_reading_it() {
        let dir = tempfile::tempdir().expect("temporary directory");
        write(dir.path(), "a.yaml", "a");
        let size = 100 * 1024 * 1024;
        // Sparse: nothing of it is on disk.
        File::create(dir.path().join("b.yaml")).and_then(|f| f.set_len(size)).expect("file");
        let found = paths(dir.path());
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].1, Err(TreeError::TooLarge { bytes: size, max: limits::FILE_BYTES }));
    }

    #[test]
    fn a_file_or_nothing_may_be_named_instead_of_a_directory() {
        let dir = tempfile::tempdir().expect("temporary directory");
        write(dir.path(), "any.txt", "text");
        assert_eq!(paths(&dir.path().join("any.txt")), [(String::new(), Ok("text".to_owned()))]);
        assert_eq!(paths(&dir.path().join("none")), [(String::new(), Err(TreeError::NoSuchPath))]);
    }

    #[test]
    fn a_repository_is_listed_as_git_sees_it() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let root = dir.path();
        for path in ["b.yaml", ".env", "a/key.pem", ".git/HEAD", "out/x.yaml", "a/.sops.yaml"] {
            write(root, path, path);
        }
        write(root, ".gitignore", "out/\n");
        symlink("b.yaml", root.join("link.yaml")).expect("link");
        let names = |all| -> Vec<String> {
            let found = list(root, all).into_iter().map(|path| relative(root, &path.expect("listed")));
            found.collect()
        };
        assert_eq!(names(false), [".env", ".gitignore", "a/.sops.yaml", "a/key.pem", "b.yaml"]);
        assert_eq!(names(true), [".env", ".gitignore", "a/.sops.yaml", "a/key.pem", "b.yaml", "out/x.yaml"]);
        let none = root.join("none");
        assert!(matches!(list(&none, false).as_slice(), [Err((path, TreeError::NoSuchPath))] if *path == none));
        assert_eq!(list(&root.join("b.yaml"), false).len(), 1);
    }

    #[test]
    fn the_visitor_can_stop() {
        let dir = tempfile::tempdir().expect("temporary directory");
        write(dir.path(), "a.yaml", "a");
        write(dir.path(), "b.yaml", "b");
        let mut seen = 0;
        walk(dir.path(), |_| {
            seen += 1;
            false
        });
        assert_eq!(seen, 1);
    }
}
