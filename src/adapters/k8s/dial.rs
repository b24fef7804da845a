//! Why no answer came over the network, in the words of Go's programs: as far as the error has the facts for them.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};

use http::Uri;
use rustls::CertificateError;
use rustls::pki_types::{ServerName, UnixTime};

/// What went wrong on the way to `server`, when Go has a sentence for it and the error says what stands in it.
pub async fn fault(error: &(dyn Error + 'static), server: &Uri) -> Option<String> {
    for cause in causes(error) {
        if let Some(rustls::Error::InvalidCertificate(why)) = cause.downcast_ref() {
            return Some(format!("tls: failed to verify certificate: x509: {}", certificate(why)?));
        }
        if let Some(error) = cause.downcast_ref::<io::Error>()
            && let Some(what) = refusal(error)
        {
            return Some(format!("dial tcp {}: {what}", address(server).await?));
        }
        // What the resolver says has no kind of its own: glibc's and musl's words.
        let text = cause.to_string();
        if ["Name or service not known", "Name does not resolve"].iter().any(|words| text.ends_with(words)) {
            return Some(format!("dial tcp: lookup {}: no such host", server.host()?));
        }
    }
    None
}

/// An error and its causes. A cause that an [`io::Error`] wraps is left out by its own `source`.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        wrapped.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source())
    })
}

fn refusal(error: &io::Error) -> Option<&'static str> {
    Some(match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused",
        io::ErrorKind::HostUnreachable => "connect: no route to host",
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable",
        io::ErrorKind::TimedOut => "i/o timeout",
        _ => return None,
    })
}

/// The first address of a server, which is the one that Go names.
async fn address(server: &Uri) -> Option<SocketAddr> {
    let port = server.port_u16().unwrap_or(if server.scheme_str() == Some("http") { 80 } else { 443 });
    let host = server.host()?.trim_matches(['[', ']']);
    match host.parse::<IpAddr>() {
        Ok(host) => Some(SocketAddr::new(host, port)),
        Err(_) => tokio::net::lookup_host((host, port)).await.ok()?.next(),
    }
}

fn certificate(why: &CertificateError) -> Option<String> {
    let dated = |time: &UnixTime, word: &str, end: &UnixTime| {
        let date = |time: &UnixTime| jiff::Timestamp::from_second(i64::try_from(time.as_secs()).ok()?).ok();
        Some(format!(
            "certificate has expired or is not yet valid: current time {} is {word} {}",
            date(time)?,
            date(end)?
        ))
    };
    match why {
        CertificateError::UnknownIssuer => Some("certificate signed by unknown authority".into()),
        CertificateError::ExpiredContext { time, not_after } => dated(time, "after", not_after),
        CertificateError::NotValidYetContext { time, not_before } => dated(time, "before", not_before),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let kind = if matches!(expected, ServerName::IpAddress(_)) { "IpAddress(" } else { "DnsName(" };
            let names = presented.iter().filter_map(|name| name.strip_prefix(kind)?.strip_suffix(')'));
            let names: Vec<_> = names.map(|name| name.trim_matches('"')).collect();
            let expected = expected.to_str();
            Some(match (names.as_slice(), kind) {
                ([], "DnsName(") => format!("certificate is not valid for any names, but wanted to match {expected}"),
                ([], _) => {
                    format!("cannot validate certificate for {expected} because it doesn't contain any IP SANs")
                }
                (names, _) if names.len() >= 100 => {
                    format!("certificate is valid for {} names, but none matched {expected}", names.len())
                }
                (names, _) => format!("certificate is valid for {}, not {expected}", names.join(", ")),
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(error: impl Error + Send + Sync + 'static, server: &str) -> Option<String> {
        // As the libraries wrap it.
        let outer = io::Error::other(io::Error::other(error));
        fault(&outer, &server.parse().expect("a server")).await
    }

    #[tokio::test]
    async fn addresses_are_those_that_were_dialled() {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        for (server, address) in [
            ("https://192.0.2.1:6443/path", "192.0.2.1:6443"),
            ("https://192.0.2.1", "192.0.2.1:443"),
            ("http://192.0.2.1", "192.0.2.1:80"),
            ("http://[2001:db8::1]:1", "[2001:db8::1]:1"),
        ] {
            let wanted = format!("dial tcp {address}: connect: connection refused");
            assert_eq!(told(refused(), server).await, Some(wanted));
        }
        let unknown = io::Error::other("failed to lookup address information: Name or service not known");
        let wanted = "dial tcp: lookup api.test: no such host";
        assert_eq!(told(unknown, "https://api.test:6443").await.as_deref(), Some(wanted));
        assert_eq!(told(io::Error::other("anything else"), "https://api.test").await, None);
    }

    #[tokio::test]
    async fn certificates_are_refused_in_gos_words() {
        let time = |seconds| UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let name = |expected: &str, presented: &[&str]| CertificateError::NotValidForNameContext {
            expected: ServerName::try_from(expected.to_owned()).expect("a name"),
            presented: presented.iter().map(|name| (*name).to_owned()).collect(),
        };
        let both = ["DnsName(\"a.test\")", "DnsName(\"*.b.test\")", "IpAddress(192.0.2.1)"];
        for (why, wanted) in [
            (CertificateError::UnknownIssuer, "certificate signed by unknown authority"),
            (
                CertificateError::ExpiredContext { time: time(1_700_000_000), not_after: time(0) },
                "certificate has expired or is not yet valid: current time 2023-11-14T22:13:20Z is after 1970-01-01T00:00:00Z",
            ),
            (
                CertificateError::NotValidYetContext { time: time(0), not_before: time(60) },
                "certificate has expired or is not yet valid: current time 1970-01-01T00:00:00Z is before 1970-01-01T00:01:00Z",
            ),
            (name("c.test", &both), "certificate is valid for a.test, *.b.test, not c.test"),
            (name("192.0.2.2", &both), "certificate is valid for 192.0.2.1, not 192.0.2.2"),
            (name("c.test", &both[2..]), "certificate is not valid for any names, but wanted to match c.test"),
            (
                name("192.0.2.2", &both[..2]),
                "cannot validate certificate for 192.0.2.2 because it doesn't contain any IP SANs",
            ),
        ] {
            let told = told(rustls::Error::InvalidCertificate(why), "https://192.0.2.1").await;
            assert_eq!(told, Some(format!("tls: failed to verify certificate: x509: {wanted}")));
        }
    }
}
