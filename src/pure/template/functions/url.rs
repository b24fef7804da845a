//! `urlParse` and `urlJoin`, by the rules of Go's `net/url`, which are not those of WHATWG.

use std::collections::BTreeMap;

use super::super::bytes::ByteStr;
use super::super::error::Fault;
use super::super::runes::quoted;
use super::super::types::{MAP_ANY, Type};
use super::super::value::{Map, Value};
use super::lists::nil_dereference;
use super::strings::find;
use super::{Arguments, Context, Function, Result, text};

pub(super) const TABLE: &[Function] =
    &[Function::new("urlParse", &[Type::Str], url_parse), Function::new("urlJoin", &[MAP_ANY], url_join)];

/// What part of a URL is being escaped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Path,
    User,
    Host,
    Zone,
    Fragment,
}

/// A URL in pieces, unescaped.
#[derive(Default)]
struct Url {
    scheme: Vec<u8>,
    opaque: Vec<u8>,
    user: Option<(Vec<u8>, Option<Vec<u8>>)>,
    host: Vec<u8>,
    path: Vec<u8>,
    query: Vec<u8>,
    fragment: Vec<u8>,
}

type Parsed<T> = std::result::Result<T, String>;

fn is_plain(byte: u8, part: Part) -> bool {
    if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
        return true;
    }
    match part {
        Part::Host | Part::Zone => b"!$&'()*+,;=:[]<>\"".contains(&byte),
        Part::Path => b"$&+,/:;=@".contains(&byte),
        Part::User => b"$&+,;=".contains(&byte),
        Part::Fragment => b"$&+,/:;=?@!()*".contains(&byte),
    }
}

/// A path as Go writes it into a URL; what is escaped already is escaped again.
pub(crate) fn escaped_path(path: &[u8]) -> Vec<u8> {
    escape(path, Part::Path)
}

fn escape(bytes: &[u8], part: Part) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for byte in bytes {
        if is_plain(*byte, part) {
            out.push(*byte);
        } else {
            out.extend(format!("%{byte:02X}").into_bytes());
        }
    }
    out
}

fn unescape(bytes: &[u8], part: Part) -> Parsed<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at).copied() {
        if byte == b'%' {
            let digits = bytes.get(at + 1..at + 3).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
            let code = digits.and_then(|digits| hex::decode(digits).ok()).and_then(|code| code.first().copied());
            let refused = |shown: &[u8]| Err(format!("invalid URL escape {}", quoted(shown)));
            let Some(code) = code else {
                let end = (at + 3).min(bytes.len());
                return refused(bytes.get(at..end).unwrap_or_default());
            };
            let shown = bytes.get(at..at + 3).unwrap_or_default();
            if part == Part::Host && code < 0x80 && shown != b"%25" {
                return refused(shown);
            }
            if part == Part::Zone && shown != b"%25" && code != b' ' && !is_plain(code, Part::Host) {
                return refused(shown);
            }
            out.push(code);
            at += 3;
            continue;
        }
        if matches!(part, Part::Host | Part::Zone) && byte < 0x80 && !is_plain(byte, part) {
            return Err(format!("invalid character {} in host name", quoted(&[byte])));
        }
        out.push(byte);
        at += 1;
    }
    Ok(out)
}

fn cut(bytes: &[u8], at: u8) -> (&[u8], Option<&[u8]>) {
    match bytes.iter().position(|byte| *byte == at) {
        Some(place) => (bytes.get(..place).unwrap_or_default(), bytes.get(place + 1..)),
        None => (bytes, None),
    }
}

fn scheme_of(bytes: &[u8]) -> Parsed<(Vec<u8>, &[u8])> {
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' if at == 0 => return Err("missing protocol scheme".to_owned()),
            b':' => {
                let scheme = bytes.get(..at).unwrap_or_default().to_ascii_lowercase();
                return Ok((scheme, bytes.get(at + 1..).unwrap_or_default()));
            }
            _ => break,
        }
    }
    Ok((Vec::new(), bytes))
}

fn valid_port(port: &[u8]) -> Parsed<()> {
    match port {
        [] => Ok(()),
        [b':', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => Ok(()),
        _ => Err(format!("invalid port {} after host", quoted(port))),
    }
}

fn host_of(scheme: &[u8], host: &[u8]) -> Parsed<Vec<u8>> {
    let open = host.iter().rposition(|byte| *byte == b'[');
    match open {
        Some(0) => {}
        Some(_) => return Err("invalid IP-literal".to_owned()),
        None => {
            if let Some(first) = host.iter().position(|byte| *byte == b':') {
                let last = host.iter().rposition(|byte| *byte == b':').unwrap_or(first);
                let strict = scheme == b"http" || scheme == b"https";
                valid_port(host.get(if strict { first } else { last }..).unwrap_or_default())?;
            }
            return unescape(host, Part::Host);
        }
    }
    let close = host.iter().rposition(|byte| *byte == b']').ok_or("missing ']' in host")?;
    let port = host.get(close + 1..).unwrap_or_default();
    valid_port(port)?;
    let name = host.get(1..close).unwrap_or_default();
    let name = match find(name, b"%25") {
        Some(zone) => {
            let (address, zone) = name.split_at(zone);
            [unescape(address, Part::Host)?, unescape(zone, Part::Zone)?].concat()
        }
        None => unescape(name, Part::Host)?,
    };
    let address = cut(&name, b'%').0;
    let parsed = std::str::from_utf8(address).ok().and_then(|text| text.parse::<core::net::Ipv6Addr>().ok());
    if parsed.is_none() {
        return Err("invalid host: it is no IPv6 address".to_owned());
    }
    Ok([b"[", name.as_slice(), b"]", port].concat())
}

fn user_of(userinfo: &[u8]) -> Parsed<(Vec<u8>, Option<Vec<u8>>)> {
    if !userinfo.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(byte)) {
        return Err("net/url: invalid userinfo".to_owned());
    }
    let (name, password) = cut(userinfo, b':');
    let password = password.map(|password| unescape(password, Part::User)).transpose()?;
    Ok((unescape(name, Part::User)?, password))
}

impl Url {
    fn parse(whole: &[u8]) -> Parsed<Self> {
        let (before, fragment) = cut(whole, b'#');
        let mut url = Self::parse_without_fragment(before)?;
        url.fragment = unescape(fragment.unwrap_or_default(), Part::Fragment)?;
        Ok(url)
    }

    fn parse_without_fragment(whole: &[u8]) -> Parsed<Self> {
        let mut url = Self::default();
        if whole.iter().any(|byte| *byte < b' ' || *byte == 0x7f) {
            return Err("net/url: invalid control character in URL".to_owned());
        }
        if whole == b"*" {
            url.path = whole.to_vec();
            return Ok(url);
        }
        let (scheme, rest) = scheme_of(whole)?;
        url.scheme = scheme;
        let (mut rest, query) = cut(rest, b'?');
        url.query = query.unwrap_or_default().to_vec();
        if !rest.starts_with(b"/") {
            if !url.scheme.is_empty() {
                url.opaque = rest.to_vec();
                return Ok(url);
            }
            if cut(rest, b'/').0.contains(&b':') {
                return Err("first path segment in URL cannot contain colon".to_owned());
            }
        }
        if let Some(tail) = rest.strip_prefix(b"//")
            && (!url.scheme.is_empty() || !tail.starts_with(b"/"))
        {
            let end = tail.iter().position(|byte| *byte == b'/').unwrap_or(tail.len());
            let (authority, path) = tail.split_at(end);
            rest = path;
            let at = authority.iter().rposition(|byte| *byte == b'@');
            url.host = host_of(&url.scheme, authority.get(at.map_or(0, |at| at + 1)..).unwrap_or_default())?;
            if let Some(at) = at {
                url.user = Some(user_of(authority.get(..at).unwrap_or_default())?);
            }
        }
        url.path = unescape(rest, Part::Path)?;
        Ok(url)
    }

    fn userinfo(&self) -> Vec<u8> {
        match &self.user {
            None => Vec::new(),
            Some((name, None)) => escape(name, Part::User),
            Some((name, Some(password))) => [escape(name, Part::User), escape(password, Part::User)].join(&b':'),
        }
    }

    fn hostname(&self) -> &[u8] {
        let host = self.host.as_slice();
        if let Some(inner) = host.strip_prefix(b"[") {
            return inner.iter().position(|byte| *byte == b']').and_then(|end| inner.get(..end)).unwrap_or(host);
        }
        match host.iter().rposition(|byte| *byte == b':') {
            Some(colon) if host.get(colon + 1..).is_some_and(|port| port.iter().all(u8::is_ascii_digit)) => {
                host.get(..colon).unwrap_or(host)
            }
            _ => host,
        }
    }

    fn text(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.scheme.is_empty() {
            out.extend(&self.scheme);
            out.push(b':');
        }
        if self.opaque.is_empty() {
            let authority = !self.scheme.is_empty() || !self.host.is_empty() || self.user.is_some();
            if authority && (!self.host.is_empty() || !self.path.is_empty() || self.user.is_some()) {
                out.extend(b"//");
            }
            if self.user.is_some() {
                out.extend(self.userinfo());
                out.push(b'@');
            }
            out.extend(escape(&self.host, Part::Host));
            let path = if self.path == b"*" { self.path.clone() } else { escaped_path(&self.path) };
            if !path.is_empty() && !path.starts_with(b"/") && !self.host.is_empty() {
                out.push(b'/');
            }
            if out.is_empty() && cut(&path, b'/').0.contains(&b':') {
                out.extend(b"./");
            }
            out.extend(path);
        } else {
            out.extend(&self.opaque);
        }
        if !self.query.is_empty() {
            out.push(b'?');
            out.extend(&self.query);
        }
        if !self.fragment.is_empty() {
            out.push(b'#');
            out.extend(escape(&self.fragment, Part::Fragment));
        }
        out
    }
}

fn url_parse(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    // Go's text holds the whole URL, which may hold a password.
    let url = Url::parse(args.bytes(0)).map_err(|_| Fault::withheld("unable to parse url"))?;
    let userinfo = url.userinfo();
    let entries: BTreeMap<ByteStr, Value> = [
        ("scheme", url.scheme.as_slice()),
        ("host", &url.host),
        ("hostname", url.hostname()),
        ("path", &url.path),
        ("query", &url.query),
        ("opaque", &url.opaque),
        ("fragment", &url.fragment),
        ("userinfo", &userinfo),
    ]
    .into_iter()
    .map(|(name, value)| (ByteStr::from(name), Value::string(value.to_vec())))
    .collect();
    Ok(Value::map_any(entries))
}

fn entry(map: &Map, name: &str) -> std::result::Result<Vec<u8>, Fault> {
    match map.get(name.as_bytes()) {
        None => Ok(Vec::new()),
        Some(Value::Str(value)) => Ok(value.to_vec()),
        Some(other) if other.is_nil() => Err(nil_dereference()),
        Some(other) => {
            let kind = other.kind();
            Err(Fault::plain(format!("unable to parse {name} key, must be of type string, but {kind} found")))
        }
    }
}

fn url_join(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let map = match args.at(0) {
        Value::Map(map) => map.clone(),
        _ => Map::nil(Type::Any),
    };
    let mut url = Url {
        scheme: entry(&map, "scheme")?,
        host: entry(&map, "host")?,
        path: entry(&map, "path")?,
        query: entry(&map, "query")?,
        opaque: entry(&map, "opaque")?,
        fragment: entry(&map, "fragment")?,
        user: None,
    };
    let userinfo = entry(&map, "userinfo")?;
    if !userinfo.is_empty() {
        let probe = [b"proto://", userinfo.as_slice(), b"@host"].concat();
        url.user = Url::parse(&probe).map_err(|_| Fault::withheld("unable to parse userinfo in dict"))?.user;
    }
    text(url.text())
}
