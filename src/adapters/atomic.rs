//! Replacing a file as a whole or not at all.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

/// Writes `bytes` to a temporary file beside `path`, flushes it to the disk, reads it back, renames it over `path` and
/// flushes the folder. The mode of an existing file stays; a new one is readable by its owner only. A symbolic link
/// stays and its target is replaced.
///
/// # Errors
/// Any failure before the rename leaves the old file as it was.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let target = if path.is_symlink() { path.canonicalize()? } else { path.to_owned() };
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".latchwork-").tempfile_in(folder)?;
    if let Ok(old) = fs::metadata(&target) {
        file.as_file().set_permissions(old.permissions())?;
    }
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    let mut written = zeroize::Zeroizing::new(Vec::with_capacity(bytes.len()));
    File::open(file.path())?.read_to_end(&mut written)?;
    if written.as_slice() != bytes {
        return Err(io::Error::other("what was written does not read back"));
    }
    file.persist(&target).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

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
        assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o640);
        replace(&folder.path().join("fresh"), b"x").expect("makes");
        let mode = fs::metadata(folder.path().join("fresh")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).expect("reads").count(), 3);
        assert!(replace(&folder.path().join("no/such"), b"x").is_err());
    }
}
