//! A folder for plaintext: its owner's alone, and gone when the program ends, also by a signal.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use tempfile::TempDir;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// See the module's text.
pub struct PrivateFolder(TempDir);

impl PrivateFolder {
    /// Makes it, with mode 0700, below the folder for temporary files.
    pub fn new() -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        remove_on_signal(folder.path().to_owned())?;
        Ok(Self(folder))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Ctrl-C, SIGTERM and a terminal that is closed end the program, as ever, with the folder removed before.
fn remove_on_signal(folder: PathBuf) -> io::Result<()> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(wait(&folder, &tell)),
        Err(error) => drop(tell.send(Err(error))),
    });
    // Not before the handlers are there may anything be put into the folder.
    told.recv().unwrap_or_else(|_| Err(io::Error::other("signals cannot be waited for")))
}

async fn wait(folder: &Path, tell: &mpsc::Sender<io::Result<()>>) {
    let handlers = || -> io::Result<[Signal; 3]> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        Ok([interrupt?, terminate?, hangup?])
    };
    let [mut interrupt, mut terminate, mut hangup] = match handlers() {
        Ok(handlers) => handlers,
        Err(error) => return drop(tell.send(Err(error))),
    };
    if tell.send(Ok(())).is_err() {
        return;
    }
    let kind = tokio::select! {
        _ = interrupt.recv() => SignalKind::interrupt(),
        _ = terminate.recv() => SignalKind::terminate(),
        _ = hangup.recv() => SignalKind::hangup(),
    };
    let _ = fs::remove_dir_all(folder);
    std::process::exit(128 + kind.as_raw_value());
}
