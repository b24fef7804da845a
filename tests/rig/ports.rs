//! Ports for servers that must be told their port before they start.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below Linux's ephemeral range (32768 and up), where an outgoing connection could take the port between our look and
/// the server's bind.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port that nothing listens on, and that no other call in this process is given.
pub fn free() -> u16 {
    // Outside the sandbox two runs may share the loopback: start at different places.
    let offset = (std::process::id() % 37) as u16 * 300;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + offset.wrapping_add(step) % COUNT;
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}
