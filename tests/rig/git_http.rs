//! Bare git repositories behind git's own smart-HTTP program, `git http-backend`, through a small CGI bridge.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;

use super::http1::{Answer, Reply, Request, Server};
use super::process::{run, run_ok};
use super::tls::Ca;
use super::{scratch, tools};

/// What the server asks of a client.
#[derive(Clone, Default)]
pub struct Access {
    /// User name and password (Basic); without it everybody may read.
    pub basic: Option<(String, String)>,
}

pub struct GitServer {
    server: Server,
    root: PathBuf,
}

/// One repository: a bare one that is served, and a work tree to commit from.
pub struct GitRepo {
    pub url: String,
    pub bare: PathBuf,
    work: PathBuf,
}

impl GitServer {
    pub fn start() -> Self {
        Self::start_with(None, Access::default())
    }

    /// Over TLS when a `ca` is given.
    pub fn start_with(ca: Option<&Ca>, access: Access) -> Self {
        let root = scratch::dir("git-server");
        let served = root.clone();
        let handler = move |request: Request| Answer::Reply(answer(&served, &access, &request));
        let server = match ca {
            None => Server::start(handler),
            Some(ca) => Server::start_tls(ca, handler),
        };
        Self { server, root }
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    /// A new, empty repository `name.git` whose branch is `main`.
    pub fn repo(&self, name: &str) -> GitRepo {
        let bare = self.root.join(format!("{name}.git"));
        let work = scratch::dir("git-work");
        git(&self.root, &["init", "--quiet", "--bare", "--initial-branch=main", &format!("{name}.git")]);
        git(&work, &["init", "--quiet", "--initial-branch=main"]);
        git(&work, &["remote", "add", "origin", &bare.display().to_string()]);
        GitRepo { url: format!("{}/{name}.git", self.url()), bare, work }
    }
}

impl GitRepo {
    /// The work tree: change files here (also symlinks and large ones), then `commit`.
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// Writes `content` to `path` in the work tree, with its folders.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.work.join(path);
        std::fs::create_dir_all(path.parent().expect("inside the work tree")).expect("folder");
        std::fs::write(&path, content).expect("file");
        self
    }

    /// Removes `path` (file or folder) from the work tree.
    pub fn remove(&self, path: &str) -> &Self {
        let path = self.work.join(path);
        let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        removed.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        self
    }

    /// Commits the work tree as it is and pushes it to the served repository; returns the commit id.
    pub fn commit(&self, message: &str) -> String {
        git(&self.work, &["add", "--all"]);
        git(&self.work, &["commit", "--quiet", "--allow-empty", "--message", message]);
        git(&self.work, &["push", "--quiet", "--force", "origin", "HEAD"]);
        git(&self.work, &["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// Makes (or moves to) `branch` in the work tree; the next commit goes there.
    pub fn branch(&self, branch: &str) {
        git(&self.work, &["checkout", "--quiet", "-B", branch]);
    }

    /// Tags the last commit.
    pub fn tag(&self, tag: &str) {
        git(&self.work, &["tag", "--force", tag]);
        git(&self.work, &["push", "--quiet", "--force", "origin", tag]);
    }
}

fn base(folder: &Path) -> Command {
    let mut command = Command::new(tools::path("git"));
    command
        .current_dir(folder)
        .env_remove("GIT_DIR")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0");
    command
}

/// Runs git in `folder` without the user's settings; returns its output.
pub fn git(folder: &Path, arguments: &[&str]) -> String {
    let mut command = base(folder);
    command.args(arguments);
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "Test").env(format!("GIT_{who}_EMAIL"), "test@example.com");
    }
    run_ok(command, b"")
}

fn answer(root: &Path, access: &Access, request: &Request) -> Reply {
    if let Some((user, password)) = &access.basic {
        let token = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        if request.header("authorization") != Some(&format!("Basic {token}")) {
            return Reply::new(401, "credentials needed").with_header("WWW-Authenticate", "Basic realm=\"git\"");
        }
    }
    let mut command = base(root);
    command
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", &request.method)
        .env("PATH_INFO", &request.path)
        .env("QUERY_STRING", &request.query)
        .env("CONTENT_TYPE", request.header("content-type").unwrap_or_default())
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .env("REMOTE_ADDR", "127.0.0.1");
    // Protocol version and compression travel in headers, which CGI hands over as variables.
    for (header, variable) in [("git-protocol", "GIT_PROTOCOL"), ("content-encoding", "HTTP_CONTENT_ENCODING")] {
        if let Some(value) = request.header(header) {
            command.env(variable, value);
        }
    }
    let (head, body) = {
        let mut output = cgi(command, &request.body);
        let Some(end) = output.windows(4).position(|w| w == b"\r\n\r\n") else {
            return Reply::new(500, "git http-backend gave no header");
        };
        let body = output.split_off(end + 4);
        (String::from_utf8_lossy(&output).into_owned(), body)
    };
    let mut reply = Reply::new(200, body);
    for line in head.lines().filter(|l| !l.is_empty()) {
        let Some((name, value)) = line.split_once(": ") else { continue };
        if name.eq_ignore_ascii_case("status") {
            reply.status = value.split(' ').next().and_then(|s| s.parse().ok()).unwrap_or(500);
        } else {
            reply.headers.push((name.to_owned(), value.to_owned()));
        }
    }
    reply
}

/// Runs a CGI program; the output is bytes, unlike [`run`]'s.
fn cgi(mut command: Command, input: &[u8]) -> Vec<u8> {
    use std::io::Write;
    use std::process::Stdio;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("git http-backend starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || {
        // It does not read the body of a request that it refuses.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().expect("own child");
    feeder.join().expect("feeder");
    output.stdout
}

/// Clones `url` into a new folder with the real git; `Err` is what git said.
pub fn clone(url: &str) -> Result<PathBuf, String> {
    clone_trusting(url, None)
}

/// The same, with a certificate authority for `https`.
pub fn clone_trusting(url: &str, ca: Option<&Ca>) -> Result<PathBuf, String> {
    let target = scratch::dir("git-clone");
    let mut command = base(&target);
    if let Some(ca) = ca {
        command.env("GIT_SSL_CAINFO", scratch::file("ca.crt", &ca.certificate_pem));
    }
    command.args(["clone", "--quiet", url, "."]);
    let ran = run(command, b"");
    if ran.status.success() { Ok(target) } else { Err(ran.stderr) }
}
