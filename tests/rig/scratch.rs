//! Temporary folders that go away with the test process, however it ends.

use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

struct Root {
    path: PathBuf,
    // Held open for the life of the process: the janitor removes the folder when the kernel closes it.
    _janitor: (Child, Option<ChildStdin>),
}

static ROOT: OnceLock<Root> = OnceLock::new();
static NEXT: AtomicU32 = AtomicU32::new(0);

fn root() -> &'static Path {
    &ROOT
        .get_or_init(|| {
            let path = tempfile::Builder::new().prefix("latchwork-rig.").tempdir().expect("temporary folder").keep();
            // A destructor would not run for a static, nor after SIGKILL. The janitor outlives us by a moment; it
            // ignores the signals of a terminal and tries again while a dying server still writes.
            let mut janitor = Command::new("sh")
                .arg("-c")
                .arg("trap '' INT TERM HUP; cat >/dev/null; for i in 1 2 3 4 5; do rm -rf -- \"$1\" && break; sleep 0.2; done")
                .arg("janitor")
                .arg(&path)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("sh starts");
            let stdin = janitor.stdin.take();
            Root { path, _janitor: (janitor, stdin) }
        })
        .path
}

/// A new, empty folder of mode 0700. It is removed when the test process ends.
pub fn dir(name: &str) -> PathBuf {
    let path = root().join(format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    std::fs::create_dir(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    path
}

/// Writes `content` to a new file `name` in a new folder.
pub fn file(name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = dir("file").join(name);
    std::fs::write(&path, content).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    path
}
