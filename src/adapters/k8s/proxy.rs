//! The proxy that the environment names, by the rules of Go's programs. kube reads the same variables, but for every server,
//! and holds NO_PROXY against the proxy's own name.

use std::net::IpAddr;

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;

/// The proxy for `server`: HTTPS_PROXY, or HTTP_PROXY where the server has no TLS, unless NO_PROXY covers the server or it is
/// on this machine; the names in small letters where those are not set. `variable` gives what is set and not empty.
pub(super) fn of_environment(server: &Uri, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let named = |upper: &str, lower: &str| variable(upper).or_else(|| variable(lower));
    let proxy = match server.scheme_str() {
        Some("http") => named("HTTP_PROXY", "http_proxy"),
        _ => named("HTTPS_PROXY", "https_proxy"),
    }?;
    let host = server.host()?.trim_matches(['[', ']']);
    if host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()) {
        return None;
    }
    let exempt = named("NO_PROXY", "no_proxy").unwrap_or_default();
    Matcher::builder().all(proxy.as_str()).no(exempt).build().intercept(server)?;
    Some(if proxy.contains("://") { proxy } else { format!("http://{proxy}") })
}

/// Whether `proxy` is one that the environment names for other servers.
pub(super) fn is_of_environment(proxy: &Uri, variable: impl Fn(&str) -> Option<String>) -> bool {
    let named = ["HTTPS_PROXY", "https_proxy"].into_iter().filter_map(variable);
    named.filter_map(|text| text.parse::<Uri>().ok()).any(|uri| uri == *proxy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_names_a_proxy_for_servers_elsewhere() {
        let proxy = |server: &str, set: &[(&str, &str)]| {
            let variable = |name: &str| set.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
            of_environment(&server.parse().expect("a server"), variable)
        };
        let https = ("HTTPS_PROXY", "http://proxy:3128");
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(proxy("https://api.example:6443", &[]), None);
        assert_eq!(proxy("https://api.example:6443", &[https]), some("http://proxy:3128"));
        assert_eq!(
            proxy("https://api.example", &[("https_proxy", "user:word@proxy:1")]),
            some("http://user:word@proxy:1")
        );
        assert_eq!(proxy("https://api.example", &[https, ("https_proxy", "http://other")]), some("http://proxy:3128"));
        assert_eq!(proxy("http://api.example", &[https]), None);
        assert_eq!(proxy("http://api.example", &[("HTTP_PROXY", "socks5://proxy:1")]), some("socks5://proxy:1"));
        for here in ["https://localhost:6443", "https://127.0.0.1:6443", "https://[::1]:6443"] {
            assert_eq!(proxy(here, &[https]), None, "{here}");
        }
        for (exempt, server, expected) in [
            ("api.example", "https://api.example", None),
            (".example", "https://api.example", None),
            ("10.0.0.0/8", "https://10.96.0.1:443", None),
            ("*", "https://api.example", None),
            ("proxy", "https://api.example", some("http://proxy:3128")),
            ("other.example, 10.1.0.0/16", "https://10.96.0.1:443", some("http://proxy:3128")),
        ] {
            assert_eq!(proxy(server, &[https, ("NO_PROXY", exempt)]), expected, "{exempt}");
            assert_eq!(proxy(server, &[https, ("no_proxy", exempt)]), expected, "{exempt}");
        }
    }
}
