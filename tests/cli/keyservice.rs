//! Where `sops keyservice` listens, beside the real sops.

use std::net::TcpListener;
use std::path::Path;

use super::sops::{BOTH, ours, recipients, text, theirs};
use crate::rig::process::{Proc, run, run_ok};
use crate::rig::{ports, scratch};

/// What a service at this address opens for both programs.
fn serves(address: &str) {
    let only = ["--enable-local-keyservice=false", "--keyservice", address];
    for (name, program) in BOTH {
        let plain = text(&scratch::file("f.yaml", "a: hello\n"));
        run_ok(theirs(&["encrypt", "-i", "--age", &recipients()[0], &plain]), b"");
        let opened = run_ok(program(&[&["decrypt"][..], &only, &[&plain]].concat()), b"");
        assert_eq!(opened, "a: hello\n", "{name} asks {address}");
    }
}

#[tokio::test]
async fn the_key_service_listens_where_it_is_told_to() {
    let mut places = vec![
        (vec![], ":PORT", "127.0.0.1:PORT"),
        (vec![], "127.0.0.1:PORT", "127.0.0.1:PORT"),
        (vec!["--network", "tcp"], "localhost:PORT", "127.0.0.1:PORT"),
        (vec!["--network", "tcp4"], ":PORT", "127.0.0.1:PORT"),
        (vec!["--network", "tcp4"], "127.0.0.1:PORT", "127.0.0.1:PORT"),
    ];
    if TcpListener::bind("[::1]:0").is_ok() {
        places.push((vec!["--network", "tcp6"], ":PORT", "[::1]:PORT"));
        places.push((vec!["--net", "tcp6"], "[::1]:PORT", "[::1]:PORT"));
        places.push((vec![], ":PORT", "[::1]:PORT"));
    }
    for (network, listen, reach) in places {
        let port = ports::free().to_string();
        let (listen, reach) = (listen.replace("PORT", &port), reach.replace("PORT", &port));
        let server = ours(&[&["keyservice"], network.as_slice(), &["--address", &listen]].concat());
        let server = Proc::spawn("latchwork sops keyservice", server);
        server.wait_for_log("Listening on").await;
        serves(&format!("tcp://{reach}"));
        let loopback = !listen.starts_with(':');
        assert_eq!(server.output().contains("warning"), !loopback, "{network:?} {listen}: {}", server.output());
        assert!(server.stop().await.success());
    }
}

#[tokio::test]
async fn without_an_address_the_key_service_listens_where_sops_does() {
    // Someone else on this machine may have the port; then it says so.
    let free = TcpListener::bind("127.0.0.1:5000").is_ok();
    let server = Proc::spawn("latchwork sops keyservice", ours(&["keyservice"]));
    server
        .wait_for_log(if free { "Listening on tcp://127.0.0.1:5000" } else { "cannot listen on 127.0.0.1:5000" })
        .await;
    if free {
        serves("tcp://127.0.0.1:5000");
        assert!(server.stop().await.success());
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_socket_without_a_file_is_one_here_too() {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixStream};

    let name = format!("latchwork-test-{}", std::process::id());
    let mut server = ours(&["keyservice", "--network", "unix", "--address", &format!("@{name}")]);
    let folder = scratch::dir("here");
    server.current_dir(&folder);
    let server = Proc::spawn("latchwork sops keyservice", server);
    server.wait_for_log("Listening on").await;
    let address = SocketAddr::from_abstract_name(&name).expect("an address");
    UnixStream::connect_addr(&address).expect("somebody listens");
    assert!(server.output().contains("warning: everybody on this machine"), "{}", server.output());
    assert!(server.stop().await.success());
    assert!(UnixStream::connect_addr(&address).is_err(), "nobody listens any more");
    assert_eq!(Path::new(&folder).read_dir().expect("lists").count(), 0, "no file");
}

#[test]
fn addresses_that_are_none_end_the_key_service() {
    for line in [
        &["--address", "localhost"][..],
        &["--address", "localhost:no-such-service"],
        &["--address", "127.0.0.1:99999"],
        &["--address", "127.0.0.1:-1"],
        &["--address", "::1:5311"],
        &["--address", "192.0.2.1:0"],
        &["--network", "tcp4", "--address", "[::1]:0"],
        &["--network", "tcp6", "--address", "127.0.0.1:0"],
        &["--network", "udp", "--address", "127.0.0.1:0"],
        &["--network", "TCP", "--address", "127.0.0.1:0"],
        &["--network", "unix", "--address", "none/s"],
    ] {
        let [theirs, ours] =
            BOTH.map(|(_, program)| run(program(&[&["keyservice"], line].concat()), b"").status.code());
        assert_eq!((theirs, ours), (Some(1), Some(1)), "{line:?}");
    }
}
