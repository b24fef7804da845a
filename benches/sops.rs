//! `latchwork sops` beside the real `sops`, each row in one run: start-up, one small file, 10,000 values, 1,000 files,
//! `updatekeys` and `rekey` on 1,000 files, 300 files on a Vault and on a key service over gRPC that take 200 ms. Prints a
//! table. Alone: `cargo bench --bench sops`.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
#![allow(clippy::print_stderr, clippy::indexing_slicing)]

#[path = "../tests/rig/mod.rs"]
#[allow(unused_imports)]
mod rig;

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use latchwork::adapters::kms::KeyService;
use latchwork::adapters::kms::grpc::{Listener, Server};
use latchwork::pure::keys::{KeyRef, Unwrapped, Wrapped, WrappedKey};
use latchwork::pure::secret::Plaintext;
use rig::process::{program, run_ok, timed};
use rig::{scratch, tools};

const FILES: usize = 1000;
const VALUES: usize = 10_000;
const SLOW_FILES: usize = 300;
const SLOW_MILLISECONDS: u64 = 200;

/// What is compared, and the two identities that it needs.
struct Bench {
    identity: PathBuf,
    recipients: [String; 2],
    link: PathBuf,
    /// Address of the key service that takes the place of local keys and logins, if one does.
    key_service: Option<String>,
}

impl Bench {
    fn prepared(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).env_clear().env("HOME", self.link.parent().expect("a folder"));
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("SOPS_AGE_KEY_FILE", &self.identity).env("SOPS_DISABLE_VERSION_CHECK", "1");
        command.env("VAULT_TOKEN", "bench");
        if let Some(address) = &self.key_service {
            command.env("SOPS_KEYSERVICE", address).env("SOPS_ENABLE_LOCAL_KEYSERVICE", "false");
        }
        command
    }

    fn ours(&self, arguments: &[&str]) -> Command {
        self.prepared(&self.link, arguments)
    }

    fn theirs(&self, arguments: &[&str]) -> Command {
        self.prepared(&tools::path("sops"), arguments)
    }

    /// The best of `times` runs of each, in turns: anything slower is the machine's doing.
    fn row(&self, what: &str, times: usize, arguments: &[&str]) {
        let mut best = [Duration::MAX; 2];
        for _ in 0..times {
            best[0] = best[0].min(timed(self.ours(arguments)));
            best[1] = best[1].min(timed(self.theirs(arguments)));
        }
        print_row(what, best);
    }
}

fn print_row(what: &str, [ours, theirs]: [Duration; 2]) {
    let (ours, theirs) = (ours.as_secs_f64() * 1000.0, theirs.as_secs_f64() * 1000.0);
    println!("| {what} | {ours:.1} ms | {theirs:.1} ms | {:.1} |", theirs / ours);
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn prepare() -> Bench {
    let folder = scratch::dir("bench");
    let identity = folder.join("keys.txt");
    let mut recipients = Vec::new();
    let mut keys = String::new();
    for _ in 0..2 {
        let made = run_ok(Command::new(tools::path("age-keygen")), b"");
        recipients.push(made.lines().find_map(|line| line.strip_prefix("# public key: ")).expect("one").to_owned());
        keys.push_str(&made);
    }
    std::fs::write(&identity, keys).expect("own folder");
    let link = folder.join("sops");
    std::os::unix::fs::symlink(program(), &link).expect("own folder");
    Bench { identity, recipients: recipients.try_into().expect("two"), link, key_service: None }
}

/// Distinct files, each with a data key of its own, wrapped to `key` (a flag and its value).
fn repository(bench: &Bench, files: usize, key: [&str; 2]) -> (PathBuf, Vec<String>) {
    let folder = scratch::dir("repository");
    let file = |n: usize| {
        let path = folder.join(format!("secret-{n:04}.yaml"));
        let plain = format!("kind: Secret\nmetadata:\n  name: s{n}\nstringData:\n  user: u{n}\n  password: p{n}\n");
        std::fs::write(&path, plain).expect("own folder");
        let path = text(&path);
        let pattern = "^(data|stringData)$";
        let arguments = ["encrypt", "-i", "--encrypted-regex", pattern, key[0], key[1], &path];
        run_ok(bench.ours(&arguments), b"");
        path
    };
    let files = (0..files).map(file).collect();
    (folder, files)
}

fn rules(folder: &Path, key: &str) -> String {
    let path = folder.join(".sops.yaml");
    std::fs::write(&path, format!("creation_rules:\n  - {key}\n")).expect("own folder");
    text(&path)
}

/// What it wraps is what it was given. Each call takes as many milliseconds as the counter says.
struct Slow(Arc<AtomicU64>);

impl Slow {
    async fn wait(&self) {
        tokio::time::sleep(Duration::from_millis(self.0.load(Ordering::Relaxed))).await;
    }
}

#[async_trait]
impl KeyService for Slow {
    fn serves(&self, _: &KeyRef) -> bool {
        true
    }

    async fn wrap(&self, _: &KeyRef, secret: &Plaintext) -> Wrapped {
        self.wait().await;
        Ok(STANDARD.encode(secret.expose()))
    }

    async fn unwrap(&self, key: &WrappedKey) -> Unwrapped {
        self.wait().await;
        Ok(Plaintext::new(STANDARD.decode(&key.enc).expect("what it wrapped")))
    }
}

/// [`Slow`] as `sops keyservice` serves it, and its counter.
fn key_service() -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = format!("tcp://{}", listener.local_addr().expect("bound"));
    let delay = Arc::new(AtomicU64::new(0));
    let server = Server::new(Arc::new(Slow(Arc::clone(&delay))), None);
    std::thread::spawn(move || {
        listener.set_nonblocking(true).expect("own socket");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("own socket");
            server.serve(Listener::Tcp(listener), std::future::pending()).await
        })
    });
    (address, delay)
}

/// A transit engine of one address: what it wraps is what it was given. Each call takes as long as the counter says.
fn transit() -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let delay = Arc::new(AtomicU64::new(0));
    let shared = Arc::clone(&delay);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let delay = Arc::clone(&shared);
            std::thread::spawn(move || serve(stream, &delay));
        }
    });
    (address, delay)
}

/// Answers the requests of one connection. `None` when it is closed.
fn serve(stream: TcpStream, delay: &AtomicU64) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let (mut line, mut length) = (String::new(), 0);
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let encrypt = line.contains("/encrypt/");
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            let header = header.trim().to_ascii_lowercase();
            if let Some(number) = header.strip_prefix("content-length:") {
                length = number.trim().parse().ok()?;
            }
            if header.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        std::thread::sleep(Duration::from_millis(delay.load(Ordering::Relaxed)));
        let body: serde_json::Value = serde_json::from_slice(&body).ok()?;
        let field = |name: &str| body.get(name).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
        let data = match encrypt {
            true => serde_json::json!({"ciphertext": format!("vault:v1:{}", field("plaintext"))}),
            false => serde_json::json!({"plaintext": field("ciphertext").trim_start_matches("vault:v1:")}),
        };
        let text = serde_json::json!({"data": data}).to_string();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ";
        write!(stream, "{head}{}\r\n\r\n{text}", text.len()).ok()?;
    }
}

/// Brings all files to the other key and back, one process each time.
fn updatekeys(bench: &Bench, folder: &Path, files: &[String], [here, there]: [&str; 2]) -> [Duration; 2] {
    let run = |command: fn(&Bench, &[&str]) -> Command, key: &str| {
        let rules = rules(folder, key);
        let mut all = vec!["--config", rules.as_str(), "updatekeys", "-y"];
        all.extend(files.iter().map(String::as_str));
        timed(command(bench, &all))
    };
    [run(Bench::ours, there), run(Bench::theirs, here)]
}

/// `latchwork rekey` over the tree, and back with a process of `sops updatekeys` for each file.
fn rekey(bench: &Bench, folder: &Path, files: &[String], [here, there]: [&str; 2]) -> [Duration; 2] {
    rules(folder, there);
    let mut command = bench.prepared(&program(), &["rekey", "--yes", "."]);
    command.current_dir(folder);
    let ours = timed(command);
    let rules = rules(folder, here);
    let one = |file: &String| timed(bench.theirs(&["--config", &rules, "updatekeys", "-y", file]));
    [ours, files.iter().map(one).sum()]
}

/// `updatekeys` on files whose data keys a service at `address` wraps, from when on it takes its time.
fn slow(bench: &Bench, service: &str, address: &str, delay: &AtomicU64) {
    let uris = ["one", "two"].map(|key| format!("{address}/v1/transit/keys/{key}"));
    let (folder, files) = repository(bench, SLOW_FILES, ["--hc-vault-transit", &uris[0]]);
    delay.store(SLOW_MILLISECONDS, Ordering::Relaxed);
    let keys = uris.each_ref().map(|uri| format!("hc_vault_transit_uri: {uri}"));
    let keys = [keys[0].as_str(), keys[1].as_str()];
    let what =
        format!("`updatekeys` on {SLOW_FILES} files, one process, a {service} that takes {SLOW_MILLISECONDS} ms");
    print_row(&what, updatekeys(bench, &folder, &files, keys));
}

fn main() {
    let mut bench = prepare();
    let recipient = bench.recipients[0].as_str();
    let (folder, files) = repository(&bench, FILES, ["--age", recipient]);
    let mut large = String::new();
    for n in 0..VALUES {
        let _ = writeln!(large, "key_{n}:\n  user: user-{n}");
    }
    let plain = text(&scratch::file("large.yaml", &large));
    let sealed = run_ok(bench.ours(&["encrypt", "--age", recipient, &plain]), b"");
    let sealed = text(&scratch::file("large.yaml", sealed));

    println!("\n## `latchwork sops` beside sops 3.13.3, age recipient\n");
    println!("| | latchwork | sops | times sooner |");
    println!("|---|---|---|---|");
    bench.row("start-up (`--version`)", 30, &["--version"]);
    bench.row("decrypt one small file, whole process", 30, &["decrypt", &files[0]]);
    bench.row("encrypt 10,000 values", 3, &["encrypt", "--age", recipient, &plain]);
    bench.row("decrypt 10,000 values", 3, &["decrypt", &sealed]);
    bench.row("decrypt 10,000 values as JSON", 3, &["decrypt", "--output-type", "json", &sealed]);
    let each = |command: fn(&Bench, &[&str]) -> Command| -> Duration {
        files.iter().map(|file| timed(command(&bench, &["decrypt", file]))).sum()
    };
    let theirs = each(Bench::theirs);
    print_row("decrypt 1,000 files, a process each", [each(Bench::ours), theirs]);
    let tree = bench.prepared(&program(), &["render", &text(&folder), "--identity", &text(&bench.identity)]);
    print_row("decrypt 1,000 files: `latchwork render`, and a process of `sops` each", [timed(tree), theirs]);
    let age = bench.recipients.each_ref().map(|recipient| format!("age: {recipient}"));
    let keys = [age[0].as_str(), age[1].as_str()];
    print_row("`updatekeys` on 1,000 files, one process", updatekeys(&bench, &folder, &files, keys));
    let what = "`latchwork rekey` over 1,000 files, and a process of `sops updatekeys` each";
    print_row(what, rekey(&bench, &folder, &files, keys));

    let (address, delay) = transit();
    slow(&bench, "Vault", &address, &delay);
    let (address, delay) = key_service();
    bench.key_service = Some(address);
    slow(&bench, "key service over gRPC", "https://vault.invalid", &delay);
}
