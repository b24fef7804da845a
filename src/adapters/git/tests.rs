use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use super::*;
use crate::pure::gitops::tree::TreeError;

/// A repository with a work tree, served by the `git` program itself.
struct Repository {
    directory: tempfile::TempDir,
}

impl Repository {
    fn new() -> Self {
        let repository = Self { directory: tempfile::tempdir().expect("temporary directory") };
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        repository
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().expect("below root")).expect("directory");
        std::fs::write(path, content).expect("file");
    }

    fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example", "-c", "commit.gpgsign=false"])
            .args(arguments)
            .current_dir(self.directory.path())
            .output()
            .expect("git runs");
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn commit(&self) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message=test"]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn request(&self, reference: Reference, path: &str) -> Request {
        request(&format!("file://{}", self.directory.path().display()), reference, path)
    }
}

fn request(url: &str, reference: Reference, path: &str) -> Request {
    Request {
        url: url.into(),
        reference,
        path: path.into(),
        credentials: None,
        ca: None,
        client_certificate: None,
        timeout: Duration::from_secs(60),
        known_commit: None,
    }
}

fn listing(fetched: Fetched) -> Vec<(String, Result<String, TreeError>)> {
    let text = |bytes| String::from_utf8(bytes).expect("text");
    fetched.files.expect("fetched").into_iter().map(|file| (file.path, file.content.map(text))).collect()
}

#[tokio::test]
async fn one_commit_is_read_by_the_rules_of_a_directory_on_disk() {
    let repository = Repository::new();
    for path in ["a.yaml", "deploy/b.yaml", "deploy/x/c.json", "deploy/notes.txt", "deploy/.h/d.yaml", "deploy-2.yaml"]
    {
        repository.write(path, path);
    }
    for (link, target) in [
        ("deploy/in.yaml", "../a.yaml"),
        ("deploy/out.yaml", "../../etc/passwd"),
        ("deploy/same.yaml", "b.yaml"),
        ("deploy/broken.yaml", "none.yaml"),
        ("deploy/mounted.yaml", ".h/d.yaml"),
        ("deploy/chain.yaml", "in.yaml"),
        ("deploy/dir.yaml", "x"),
    ] {
        symlink(target, repository.path(link)).expect("link");
    }
    let large = limits::FILE_BYTES + 1;
    repository.write("deploy/large.yaml", &"x".repeat(large));
    let commit = repository.commit();
    let fetched = fetch(repository.request(Reference::Head, "./deploy/")).await.expect("fetched");
    assert_eq!(fetched.revision, format!("main@sha1:{commit}"));
    assert_eq!(fetched.commit, commit);
    let expected = [
        ("deploy/b.yaml", Ok("deploy/b.yaml")),
        ("deploy/broken.yaml", Err(TreeError::LinkBroken)),
        ("deploy/chain.yaml", Err(TreeError::LinkBroken)),
        ("deploy/in.yaml", Ok("a.yaml")),
        ("deploy/large.yaml", Err(TreeError::TooLarge { bytes: large as u64, max: limits::FILE_BYTES })),
        ("deploy/mounted.yaml", Ok("deploy/.h/d.yaml")),
        ("deploy/out.yaml", Err(TreeError::LinkOutside)),
        ("deploy/x/c.json", Ok("deploy/x/c.json")),
    ];
    let expected: Vec<_> = expected.map(|(p, c)| (p.to_owned(), c.map(str::to_owned))).into();
    assert_eq!(listing(fetched), expected);
}

#[tokio::test]
async fn every_kind_of_reference_finds_its_commit() {
    let repository = Repository::new();
    repository.write("a.yaml", "1");
    let first = repository.commit();
    repository.git(&["tag", "light"]);
    repository.git(&["tag", "--annotate", "--message=m", "heavy"]);
    repository.git(&["branch", "old"]);
    repository.write("a.yaml", "2");
    let second = repository.commit();
    repository.git(&["update-ref", "refs/pull/7/head", &first]);
    repository.git(&["config", "uploadpack.allowAnySHA1InWant", "true"]);
    for (reference, revision, commit) in [
        (Reference::Head, format!("main@sha1:{second}"), &second),
        (Reference::Branch("old".into()), format!("old@sha1:{first}"), &first),
        (Reference::Tag("light".into()), format!("light@sha1:{first}"), &first),
        (Reference::Tag("heavy".into()), format!("heavy@sha1:{first}"), &first),
        (Reference::Name("refs/pull/7/head".into()), format!("refs/pull/7/head@sha1:{first}"), &first),
        (Reference::Commit(first.clone()), format!("sha1:{first}"), &first),
    ] {
        let text = reference.to_string();
        let fetched = fetch(repository.request(reference, "")).await.unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!((&fetched.revision, &fetched.commit), (&revision, commit), "{text}");
        let content = if *commit == first { "1" } else { "2" };
        assert_eq!(listing(fetched), [("a.yaml".to_owned(), Ok(content.to_owned()))], "{text}");
    }
    let mut known = repository.request(Reference::Head, "");
    known.known_commit = Some(second);
    assert!(fetch(known).await.expect("asked").files.is_none(), "an unchanged commit is not fetched");
    let error = fetch(repository.request(Reference::Branch("none".into()), "")).await.err();
    assert_eq!(error, Some(GitError::NoReference("branch none".into())));
    let missing = listing(fetch(repository.request(Reference::Head, "nowhere")).await.expect("fetched"));
    assert_eq!(missing, [("nowhere".to_owned(), Err(TreeError::NoSuchPath))]);
}

#[tokio::test]
async fn unusable_addresses_are_refused_before_anything_is_sent() {
    for (url, reason) in [
        ("https://user:pass@git.example/a", "InvalidURL"),
        ("ssh://git.example/a", "InvalidURL"),
        ("not a url", "InvalidURL"),
    ] {
        let error = fetch(request(url, Reference::Head, "")).await.err().expect("refused");
        assert_eq!(error.reason(), reason, "{url}");
        assert!(!error.line().contains("pass@"), "{url}");
    }
}

/// Answers each connection with `answer`, and returns the URL and what was asked.
fn server(answer: impl Fn(&str, &mut TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("port");
    let url = format!("http://{}/repo.git", listener.local_addr().expect("address"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut head = vec![];
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                head.push(byte[0]);
            }
            answer(&String::from_utf8_lossy(&head), &mut stream);
        }
    });
    url
}

async fn error_of(url: &str, timeout: Duration) -> GitError {
    let mut request = request(url, Reference::Head, "");
    request.timeout = timeout;
    request.credentials = Some(Credentials::Basic { username: "u".into(), password: Plaintext::from("p".to_owned()) });
    fetch(request).await.err().expect("fails")
}

#[tokio::test]
async fn statuses_of_a_server_become_clear_errors() {
    for (head, expected) in [
        ("401 Unauthorized\r\n", GitError::Denied(401)),
        ("403 Forbidden\r\n", GitError::Denied(403)),
        ("404 Not Found\r\n", GitError::NoRepository),
        ("500 Oops\r\n", GitError::Status(500)),
        ("302 Found\r\nlocation: /login?next=1\r\n", GitError::Redirect(String::new())),
    ] {
        let url = server(move |_, stream| {
            let _ = stream.write_all(format!("HTTP/1.1 {head}content-length: 0\r\n\r\n").as_bytes());
        });
        let error = error_of(&url, Duration::from_secs(20)).await;
        assert_eq!(error.reason(), expected.reason(), "{head}: {error}");
    }
    let url = server(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\nhi");
    });
    assert_eq!(error_of(&url, Duration::from_secs(20)).await.reason(), "GitProtocolError");
    let closed = TcpListener::bind("127.0.0.1:0").expect("port").local_addr().expect("address");
    assert_eq!(error_of(&format!("http://{closed}/r"), Duration::from_secs(20)).await.reason(), "GitUnreachable");
}

#[tokio::test]
async fn a_server_that_hangs_or_drips_costs_a_bounded_time() {
    let started = Instant::now();
    let timeout = Duration::from_secs(1);
    let hanging = server(|_, stream| {
        let _ = stream.read(&mut [0; 1]);
    });
    assert_eq!(error_of(&hanging, timeout).await, GitError::Timeout(timeout));
    let dripping = server(|_, stream| {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-git-upload-pack-advertisement\r\n\r\n";
        let mut next = stream.write_all(head.as_bytes());
        // A reference list that never ends.
        while next.is_ok() {
            next = stream.write_all(b"003f0000000000000000000000000000000000000000 refs/heads/abcdefghi\n");
        }
    });
    let error = error_of(&dripping, timeout).await;
    assert!(matches!(error, GitError::Timeout(_) | GitError::TooLarge(_) | GitError::Protocol(_)), "{error}");
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
}

#[tokio::test]
async fn credentials_go_to_their_own_origin_and_not_along_a_redirect() {
    let (sender, seen) = std::sync::mpsc::channel();
    let other = sender.clone();
    let elsewhere = server(move |head, stream| {
        let _ = other.send(("elsewhere", head.to_ascii_lowercase().contains("authorization:")));
        let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
    });
    let first = server(move |head, stream| {
        let _ = sender
            .send(("first", head.contains("authorization: Basic dTpw") || head.contains("Authorization: Basic dTpw")));
        let answer = format!(
            "HTTP/1.1 301 Moved\r\nlocation: {elsewhere}/info/refs?service=git-upload-pack\r\ncontent-length: 0\r\n\r\n"
        );
        let _ = stream.write_all(answer.as_bytes());
    });
    assert_eq!(error_of(&first, Duration::from_secs(20)).await, GitError::NoRepository);
    assert_eq!(seen.iter().take(2).collect::<Vec<_>>(), [("first", true), ("elsewhere", false)]);
}
