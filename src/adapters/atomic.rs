//! Replacing a file as a whole or not at all.
//!
//! What is written may be plaintext (`decrypt -i`), so a process that is killed should leave none of it behind. On Linux
//! the bytes go into a file without a name, which the kernel frees with the process; only when it is whole and on the
//! disk does it get a name, and with the very next call that name is the target's. File systems without nameless files
//! get a named one from the start. Whatever a kill leaves under such a name is removed by the next replacement in the
//! folder: a file that is being written is locked, a leftover is not.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{FlockOperation, OFlags, flock};
use tempfile::{Builder, NamedTempFile};

/// Names of files on their way: this, and [`RANDOM`] letters or digits.
const PREFIX: &str = ".latchwork-";
const RANDOM: usize = 6;

/// Writes `bytes` to a new file in the folder of `path`, flushes it to the disk, reads it back, renames it over `path`
/// and flushes the folder. Mode and, where the system lets us, owner of an existing file stay; a new one is readable by
/// its owner only. A symbolic link stays and its target is replaced.
///
/// # Errors
/// Any failure before the rename leaves the old file as it was.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    flush(&take_place(path, bytes)?)
}

/// Replacements of many files, from many threads. Each file is whole and on the disk before it takes its place, as with
/// [`replace`]; that the places are taken is on the disk after [`Replacements::finish`], which flushes each folder once.
#[derive(Default)]
pub struct Replacements(Mutex<BTreeSet<PathBuf>>);

impl Replacements {
    /// [`replace`] without the flush of the folder.
    ///
    /// # Errors
    /// As [`replace`].
    pub fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let folder = take_place(path, bytes)?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(folder);
        Ok(())
    }

    /// Flushes the folders. Returns those that could not be flushed: after a power failure, files in them may be the old
    /// ones.
    pub fn finish(self) -> Vec<(PathBuf, io::Error)> {
        let folders = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        folders.into_iter().filter_map(|folder| flush(&folder).err().map(|error| (folder, error))).collect()
    }
}

fn flush(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// All of a replacement but the flush of the folder, which it returns.
fn take_place(path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    let target = if path.is_symlink() { path.canonicalize()? } else { path.to_owned() };
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    remove_leftovers_once(folder);
    put(&target, folder, bytes, nameless(folder))?;
    Ok(folder.to_owned())
}

fn put(target: &Path, folder: &Path, bytes: &[u8], nameless: Option<File>) -> io::Result<()> {
    let old = fs::metadata(target).ok();
    let mut builder = Builder::new();
    builder.prefix(PREFIX).rand_bytes(RANDOM);
    let linked = match nameless {
        Some(mut file) => {
            fill(&mut file, bytes, old.as_ref())?;
            // The file stays open, and so locked, until it has its last name.
            builder.make_in(folder, |name| link(&file, name)).ok().map(|named| (named.into_temp_path(), file))
        }
        None => None,
    };
    let (name, _open) = match linked {
        Some(linked) => linked,
        None => {
            let mut named: NamedTempFile = builder.tempfile_in(folder)?;
            fill(named.as_file_mut(), bytes, old.as_ref())?;
            let (file, name) = named.into_parts();
            (name, file)
        }
    };
    name.persist(target).map_err(|error| error.error)
}

/// A file without a name, where the file system has such; what else stands in the way is met again, and told, with a
/// named one.
fn nameless(folder: &Path) -> Option<File> {
    #[cfg(target_os = "linux")]
    {
        // Not `create`: the kernel refuses it together with a nameless file.
        let flags = i32::try_from(OFlags::TMPFILE.bits()).ok()?;
        OpenOptions::new().read(true).write(true).mode(0o600).custom_flags(flags).open(folder).ok()
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// Gives a nameless file its name; one that exists is an error.
fn link(file: &File, name: &Path) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;

    use rustix::fs::{AtFlags, CWD, linkat};
    // By its entry in /proc, as open(2) says: to name it by its descriptor alone takes a capability.
    let open = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(linkat(CWD, open, CWD, name, AtFlags::SYMLINK_FOLLOW)?)
}

/// Writes and checks the content; locked, so that nobody takes it for a leftover.
fn fill(file: &mut File, bytes: &[u8], old: Option<&Metadata>) -> io::Result<()> {
    // Where a file system has no locks, nobody removes leftovers either.
    let _ = flock(&*file, FlockOperation::LockExclusive);
    if let Some(old) = old {
        // A superuser who edits someone's file does not take it from them. Others cannot give files away.
        let _ = std::os::unix::fs::fchown(&*file, Some(old.uid()), Some(old.gid()));
        file.set_permissions(old.permissions())?;
    }
    file.write_all(bytes)?;
    file.sync_all()?;
    let mut written = zeroize::Zeroizing::new(Vec::with_capacity(bytes.len()));
    file.rewind()?;
    file.read_to_end(&mut written)?;
    if written.as_slice() != bytes {
        return Err(io::Error::other("what was written does not read back"));
    }
    Ok(())
}

/// Once per folder and process: a run over a whole tree must not list each folder for each file.
fn remove_leftovers_once(folder: &Path) {
    static DONE: Mutex<Option<HashSet<PathBuf>>> = Mutex::new(None);
    let mut done = DONE.lock().unwrap_or_else(PoisonError::into_inner);
    if done.get_or_insert_default().insert(folder.to_owned()) {
        drop(done);
        remove_leftovers(folder);
    }
}

/// Removes what a killed process left: a file of such a name that nobody has locked. One without content may be of a
/// process that has not locked it yet. What cannot be looked at stays.
fn remove_leftovers(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let random = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let is_ours = random.is_some_and(|r| r.len() == RANDOM && r.bytes().all(|b| b.is_ascii_alphanumeric()));
        if !is_ours || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or(0);
        let Ok(file) = OpenOptions::new().read(true).write(true).custom_flags(flags).open(entry.path()) else {
            continue;
        };
        let is_left = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
        if is_left && file.metadata().is_ok_and(|meta| meta.len() > 0) {
            // Its name is gone already if its process ended in between: names are not used twice.
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    /// Both ways: without a name until the end, and with one from the start.
    fn ways(folder: &Path) -> [Option<File>; 2] {
        [nameless(folder), None]
    }

    #[test]
    fn mode_and_link_stay_and_nothing_is_left_behind() {
        let folder = tempfile::tempdir().expect("folder");
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "old").expect("writes");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("sets");
        symlink("file", &link).expect("links");
        replace(&link, b"new").expect("replaces");
        assert_eq!(fs::read(&file).expect("reads"), b"new");
        assert!(link.is_symlink());
        for (round, way) in ways(folder.path()).into_iter().enumerate() {
            let text = format!("round {round}");
            put(&file, folder.path(), text.as_bytes(), way).expect("replaces");
            assert_eq!(fs::read_to_string(&file).expect("reads"), text);
            assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o640);
            let fresh = folder.path().join("fresh");
            put(&fresh, folder.path(), b"x", ways(folder.path()).into_iter().nth(round).flatten()).expect("makes");
            assert_eq!(fs::metadata(&fresh).expect("there").permissions().mode() & 0o777, 0o600);
            fs::remove_file(fresh).expect("removes");
        }
        assert_eq!(fs::read_dir(folder.path()).expect("reads").count(), 2);
        assert!(replace(&folder.path().join("no/such"), b"x").is_err());
    }

    #[test]
    fn many_files_take_their_places_before_the_folders_are_flushed() {
        let (one, two) = (tempfile::tempdir().expect("folder"), tempfile::tempdir().expect("folder"));
        let files = [one.path().join("a"), one.path().join("b"), two.path().join("a")];
        let all = Replacements::default();
        for file in &files {
            all.replace(file, b"new").expect("replaces");
            assert_eq!(fs::read(file).expect("reads"), b"new");
        }
        assert!(all.replace(&one.path().join("no/such"), b"x").is_err());
        two.close().expect("removes");
        let failed: Vec<_> = all.finish().into_iter().map(|(folder, error)| (folder, error.kind())).collect();
        assert_eq!(failed, [(files[2].parent().expect("a folder").to_owned(), io::ErrorKind::NotFound)]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn until_it_is_whole_the_file_has_no_name() {
        let folder = tempfile::tempdir().expect("folder");
        let mut file = nameless(folder.path()).expect("this file system has nameless files");
        fill(&mut file, b"plaintext", None).expect("writes");
        assert_eq!(fs::read_dir(folder.path()).expect("reads").count(), 0);
        assert_eq!(file.metadata().expect("open").nlink(), 0);
    }

    #[test]
    fn leftovers_of_killed_processes_go_and_what_is_being_written_stays() {
        let folder = tempfile::tempdir().expect("folder");
        let path = |name: &str| folder.path().join(name);
        for name in [".latchwork-abc123", ".latchwork-abc124", ".latchwork-recipients", ".latchwork-abc12~", "other"] {
            fs::write(path(name), "text").expect("writes");
        }
        fs::write(path(".latchwork-abc125"), "").expect("writes");
        symlink("other", path(".latchwork-abc126")).expect("links");
        let written = File::open(path(".latchwork-abc124")).expect("opens");
        flock(&written, FlockOperation::LockExclusive).expect("locks");
        replace(&path("new"), b"x").expect("writes");
        let mut left: Vec<_> = fs::read_dir(folder.path()).expect("reads").flatten().map(|e| e.file_name()).collect();
        left.sort();
        let [locked, empty, link] = [".latchwork-abc124", ".latchwork-abc125", ".latchwork-abc126"];
        assert_eq!(left, [locked, empty, link, ".latchwork-abc12~", ".latchwork-recipients", "new", "other"]);
    }
}
