//! TCP addresses to listen on, written as Go's `net.Listen` takes them.

use std::io::{Error, ErrorKind, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

/// Connections that may wait to be accepted; the system caps it.
const BACKLOG: u32 = 4096;

/// Which addresses count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Those of both versions of IP.
    Any,
    /// Version 4 alone.
    V4,
    /// Version 6 alone.
    V6,
}

/// Names of ports that are known without a table of them.
const PORTS: [(&str, u16); 4] = [("http", 80), ("https", 443), ("ssh", 22), ("telnet", 23)];

/// Listens on `HOST:PORT`, `:PORT` for every address of the machine, or a port that is free where there is none. A port
/// may be the name of a service. Of a host with several addresses the first of version 4 counts.
///
/// # Errors
/// An address that is none, a host or service that nobody knows, or what the system says.
pub async fn on_named(address: &str, family: Family) -> Result<TcpListener> {
    let (host, port) = host_and_port(address)?;
    let port = port_number(port)?;
    if host.is_empty() {
        let all = if family == Family::V4 { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
        return on(SocketAddr::new(all, port), family).await;
    }
    let host = without_idle_zone(host);
    if is_short_number(host) {
        return Err(bad("no such host"));
    }
    let mut found: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
    found.retain(|address| match family {
        Family::Any => true,
        Family::V4 => address.is_ipv4(),
        Family::V6 => address.is_ipv6(),
    });
    let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
    on(*first.ok_or_else(|| bad("no suitable address found"))?, family).await
}

/// Listens on an address; port 0 takes a free one. `[::]` means both versions of IP where the machine has both, but for
/// [`Family::V6`].
///
/// # Errors
/// What the system says.
pub async fn on(address: SocketAddr, family: Family) -> Result<TcpListener> {
    let is_all = address.ip() == Ipv6Addr::UNSPECIFIED;
    match bind(address, is_all.then_some(family == Family::V6)) {
        Err(error) if is_all && family == Family::Any && error.kind() != ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        other => other,
    }
}

fn bind(address: SocketAddr, only_v6: Option<bool>) -> Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A listener that was just stopped keeps no port from its successor.
    socket.set_reuseaddr(true)?;
    if let Some(only) = only_v6 {
        rustix::net::sockopt::set_ipv6_v6only(&socket, only)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn bad(what: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, what.to_owned())
}

/// The address without a zone that says nothing: only addresses of one link need it. Systems refuse the others with one.
fn without_idle_zone(host: &str) -> &str {
    let Some((address, zone)) = host.split_once('%') else { return host };
    let is_of_link = |address: Ipv6Addr| address.is_unicast_link_local() || address.is_multicast();
    match address.parse::<Ipv6Addr>() {
        Ok(parsed) if !zone.is_empty() && !is_of_link(parsed) => address,
        _ => host,
    }
}

/// `127.1`, `0x7f000001`: systems take these for addresses, Go for names, which nobody has.
fn is_short_number(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or(host);
    let is_hex = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    let is_number = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()) || hex.is_some_and(is_hex);
    is_number && host.parse::<IpAddr>().is_err()
}

fn host_and_port(address: &str) -> Result<(&str, &str)> {
    if address.is_empty() {
        return Ok(("", ""));
    }
    let (host, port) = address.rsplit_once(':').ok_or_else(|| bad("missing port in address"))?;
    let Some(inner) = host.strip_prefix('[') else {
        return if host.contains(':') { Err(bad("too many colons in address")) } else { Ok((host, port)) };
    };
    match inner.strip_suffix(']') {
        Some(inner) if !inner.contains(['[', ']']) => Ok((inner, port)),
        _ if port.ends_with(']') => Err(bad("missing port in address")),
        _ => Err(bad("the brackets in the address do not fit")),
    }
}

fn port_number(port: &str) -> Result<u16> {
    let digits = port.strip_prefix(['+', '-']).unwrap_or(port);
    if port.is_empty() {
        return Ok(0);
    }
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return port.parse().map_err(|_| bad("invalid port"));
    }
    let known = PORTS.iter().find(|(name, _)| name.eq_ignore_ascii_case(port)).map(|(_, port)| *port);
    // A machine without the table knows no other names.
    let table = std::fs::read_to_string("/etc/services").unwrap_or_default();
    known.or_else(|| of_service(&table, port)).ok_or_else(|| bad("unknown port"))
}

/// The port of a service in the lines of `/etc/services`: `name 80/tcp other-name # comment`.
fn of_service(table: &str, name: &str) -> Option<u16> {
    table.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_ascii_whitespace();
        let (first, port) = (words.next()?, words.next()?.strip_suffix("/tcp")?);
        let is_named = std::iter::once(first).chain(words).any(|word| word.eq_ignore_ascii_case(name));
        is_named.then(|| port.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart_as_go_does() {
        for (address, parts) in [
            ("", Some(("", ""))),
            (":80", Some(("", "80"))),
            ("localhost:http-alt", Some(("localhost", "http-alt"))),
            ("localhost:", Some(("localhost", ""))),
            ("[::1]:80", Some(("::1", "80"))),
            ("[::1%lo]:80", Some(("::1%lo", "80"))),
            ("localhost", None),
            ("::1:80", None),
            ("[::1]", None),
            ("[::1:80", None),
            ("[[::1]]:80", None),
        ] {
            assert_eq!(host_and_port(address).ok(), parts, "{address}");
        }
    }

    #[test]
    fn hosts_are_addresses_or_names_as_go_takes_them() {
        for (host, plain) in [
            ("::1%lo", "::1"),
            ("::%x", "::"),
            ("fe80::1%lo", "fe80::1%lo"),
            ("::1%", "::1%"),
            ("127.0.0.1%lo", "127.0.0.1%lo"),
            ("host", "host"),
        ] {
            assert_eq!(without_idle_zone(host), plain, "{host}");
        }
        for host in ["127.1", "1", "2130706433", "0x7f000001", "127.000.0.1", "127.0.0.0x1"] {
            assert!(is_short_number(host), "{host}");
        }
        for host in ["127.0.0.1", "::1", "host1", "host.a1", "0xhost", "1.host", "fe80::1%lo"] {
            assert!(!is_short_number(host), "{host}");
        }
    }

    #[test]
    fn ports_are_numbers_or_names() {
        let ports = ["", "0", "05317", "+5316", "HTTPS"].map(|port| port_number(port).expect("a port"));
        assert_eq!(ports, [0, 0, 5317, 5316, 443]);
        for port in ["65536", "-1", "no-such-service-here", "1x"] {
            assert!(port_number(port).is_err(), "{port}");
        }
        let table = "# c\nntp 123/udp\nntp 124/tcp # ntp2\nhttp-alt\t8080/tcp\twebcache # c\nbroken\n";
        assert_eq!(of_service(table, "ntp"), Some(124));
        assert_eq!(of_service(table, "WebCache"), Some(8080));
        assert_eq!(of_service(table, "ntp2"), None);
    }

    #[tokio::test]
    async fn a_family_keeps_the_other_out() {
        let listens = |address: &'static str, family| async move {
            let listener = on_named(address, family).await?;
            listener.local_addr()
        };
        let all = listens(":0", Family::V4).await.expect("listens").ip();
        assert_eq!(all, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        assert_eq!(listens("localhost:", Family::V4).await.expect("listens").ip(), Ipv4Addr::LOCALHOST);
        assert!(listens("127.0.0.1:0", Family::V6).await.is_err());
        assert!(listens("[::1]:0", Family::V4).await.is_err());
        let any = listens("", Family::Any).await.expect("listens").ip();
        // A machine without version 6 has the other one alone.
        if any == Ipv6Addr::UNSPECIFIED {
            let six = on_named(":0", Family::V6).await.expect("listens");
            let port = six.local_addr().expect("an address").port();
            // Nobody of version 4 is in the way, so the port is free there.
            assert!(on(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), Family::V4).await.is_ok());
        }
    }
}
