//! Child processes whose output is kept and whose life is bounded by ours.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::wait::{SOON, eventually};

/// A running child. Dropping it kills it.
pub struct Proc {
    name: String,
    child: Mutex<Child>,
    pid: u32,
    stdout: Output,
    stderr: Output,
}

/// What one of a child's outputs held so far, and the thread that reads on until the child closes it.
struct Output {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Output {
    fn of(mut from: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&bytes);
        let reader = std::thread::spawn(move || {
            let mut chunk = [0; 8192];
            while let Ok(n) = from.read(&mut chunk) {
                if n == 0 {
                    break;
                }
                lock(&shared).extend_from_slice(&chunk[..n]);
            }
        });
        Self { bytes, reader }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&lock(&self.bytes)).into_owned()
    }
}

/// `program`, to be killed by the kernel when the thread that starts it ends. So start what many tests share from a
/// thread that stays (see `shared`), and what one test needs from the test itself.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// The program that is tried: the one that was just built, or the one that LATCHWORK_PROGRAM names (what `make dist` made,
/// say).
pub fn program() -> PathBuf {
    std::env::var_os("LATCHWORK_PROGRAM").map_or_else(|| env!("CARGO_BIN_EXE_latchwork").into(), PathBuf::from)
}

/// Our own program, with an environment that holds nothing of the user's: PATH, TMPDIR and a HOME of its own.
pub fn latchwork() -> Command {
    let mut command = command(program());
    command.env_clear().env("HOME", super::scratch::dir("home")).env("RUST_BACKTRACE", "1");
    for keep in ["PATH", "TMPDIR"] {
        if let Some(value) = std::env::var_os(keep) {
            command.env(keep, value);
        }
    }
    command
}

/// The path of our program under another name.
pub fn called(name: &str) -> PathBuf {
    let link = super::scratch::dir("bin").join(name);
    std::os::unix::fs::symlink(program(), &link).expect("link");
    link
}

/// `latchwork operator` against the API server of `kubeconfig`; add arguments and environment before `Proc::spawn`.
pub fn operator(kubeconfig: &Path) -> Command {
    let mut command = latchwork();
    command.arg("operator").env("KUBECONFIG", kubeconfig);
    command
}

impl Proc {
    /// Starts `command` (made by [`command`], so that it cannot outlive the test) with no input and its output kept.
    pub fn spawn(name: &str, mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{name} does not start: {e}"));
        let stdout = Output::of(child.stdout.take().expect("piped"));
        let stderr = Output::of(child.stderr.take().expect("piped"));
        Self { name: name.to_owned(), pid: child.id(), child: Mutex::new(child), stdout, stderr }
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What it wrote to standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Both outputs, for searches that must not miss one (the canary test).
    pub fn output(&self) -> String {
        self.stdout() + &self.stderr()
    }

    /// The last `lines` of both outputs, for messages.
    pub fn tail(&self, lines: usize) -> String {
        let output = self.output();
        let all: Vec<&str> = output.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Its exit status, if it has ended and all that it wrote has been read: an end is seen before its last words are.
    pub fn ended(&self) -> Option<ExitStatus> {
        let status = lock(&self.child).try_wait().expect("own child")?;
        (self.stdout.reader.is_finished() && self.stderr.reader.is_finished()).then_some(status)
    }

    /// # Panics
    /// When it has ended, with the end of its output.
    pub fn assert_running(&self) {
        if let Some(status) = self.ended() {
            panic!("{} ended with {status}:\n{}", self.name, self.tail(30));
        }
    }

    /// Waits until one of the outputs holds `needle`.
    pub async fn wait_for_log(&self, needle: &str) {
        eventually(SOON, &format!("{needle:?} in the output of {}", self.name), || async {
            // Asked first: what has ended says nothing more.
            let ended = self.ended();
            match (self.output().contains(needle), ended) {
                (true, _) => Ok(()),
                (false, Some(status)) => panic!("{} ended with {status}:\n{}", self.name, self.tail(30)),
                (false, None) => Err(self.tail(15)),
            }
        })
        .await;
    }

    /// Sends a signal by name (`TERM`, `STOP`, `CONT`, `KILL`).
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").arg(format!("-{signal}")).arg(self.pid.to_string()).status().expect("kill");
        assert!(status.success(), "kill -{signal} of {}: {status}", self.name);
    }

    /// Waits for its end.
    pub async fn wait(&self) -> ExitStatus {
        eventually(SOON, &format!("the end of {}", self.name), || async { self.ended().ok_or_else(|| self.tail(15)) })
            .await
    }

    /// SIGTERM, then waits for its end.
    pub async fn stop(&self) -> ExitStatus {
        self.assert_running();
        self.signal("TERM");
        self.wait().await
    }

    /// SIGKILL, and waits: a crash, without a chance to clean up.
    pub fn kill(&self) {
        let mut child = lock(&self.child);
        // An error means that it has ended already.
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The result of a program that was run to its end.
pub struct Ran {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `command` to its end, with `input` on standard input.
pub fn run(mut command: Command, input: &[u8]) -> Ran {
    use std::io::Write;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?} does not start: {e}"));
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // On a thread: a child that writes before it has read all would block against us.
    let feeder = std::thread::spawn(move || {
        // A child may end without reading its input; its status says whether that was an error.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().expect("own child");
    feeder.join().expect("feeder");
    Ran {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs `command` and requires success; returns its standard output.
pub fn run_ok(command: Command, input: &[u8]) -> String {
    let shown = format!("{command:?}");
    let ran = run(command, input);
    assert!(ran.status.success(), "{shown}: {}\n{}{}", ran.status, ran.stdout, ran.stderr);
    ran.stdout
}

/// SIGSTOP, then waits until each thread of the process has stopped: the signal alone returns while some still run.
pub async fn freeze(pid: u32) {
    let status = Command::new("kill").arg("-STOP").arg(pid.to_string()).status().expect("kill");
    assert!(status.success(), "kill -STOP {pid}: {status}");
    eventually(SOON, &format!("process {pid} to stand still"), || async {
        let states: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/task"))
            .expect("tasks")
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok())
            // The state follows the name, which stands in parentheses and may hold any character.
            .filter_map(|stat| Some(stat.rsplit_once(") ")?.1.chars().next()?.to_string()))
            .collect();
        if states.iter().all(|state| state == "T") { Ok(()) } else { Err(states.concat()) }
    })
    .await;
}

/// Wall time of one command that succeeds, its output thrown away.
pub fn timed(mut command: Command) -> Duration {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let started = Instant::now();
    let status = command.status().expect("starts");
    assert!(status.success(), "{command:?}: {status}");
    started.elapsed()
}
