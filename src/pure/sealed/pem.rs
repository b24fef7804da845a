//! PEM in and out, over buffers that are wiped: private keys pass through here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rsa::pkcs8::PrivateKeyInfo;
use zeroize::Zeroizing;

/// One block.
pub struct Block<'a> {
    /// What stands after `BEGIN`.
    pub label: &'a str,
    /// The bytes.
    pub der: Zeroizing<Vec<u8>>,
}

/// The readable blocks of a text, in order. What is not PEM, and blocks that do not decode, are skipped.
pub fn blocks(text: &[u8]) -> impl Iterator<Item = Block<'_>> {
    let mut rest = std::str::from_utf8(text).unwrap_or_default();
    std::iter::from_fn(move || {
        loop {
            let (_, after) = rest.split_once("-----BEGIN ")?;
            let (label, body) = after.split_once("-----")?;
            rest = after;
            let end = format!("-----END {label}-----");
            let Some((body, after)) = body.split_once(end.as_str()) else { continue };
            // Headers (encrypted keys have them) contain a colon, which is not base64: such a block is skipped.
            let compact = Zeroizing::new(body.split_ascii_whitespace().collect::<String>());
            let mut der = Zeroizing::new(vec![0; compact.len() / 4 * 3 + 3]);
            let Ok(length) = STANDARD.decode_slice(compact.as_bytes(), &mut der) else { continue };
            der.truncate(length);
            rest = after;
            return Some(Block { label, der });
        }
    })
}

/// A PEM block with lines of 64 characters and a final line end. For public things; see [`encode_private`].
pub fn encode(label: &str, der: &[u8]) -> String {
    encode_private(label, der).to_string()
}

/// The same, wiped when dropped.
pub fn encode_private(label: &str, der: &[u8]) -> Zeroizing<String> {
    let base64 = Zeroizing::new(STANDARD.encode(der));
    let mut text = Zeroizing::new(String::with_capacity(base64.len() + base64.len() / 64 + 128));
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

/// PKCS#8 around a PKCS#1 RSA key: aws-lc reads only the former, the incumbent writes only the latter.
pub fn wrap_pkcs1(pkcs1: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    use rsa::pkcs8::der::Encode as _;
    let info = PrivateKeyInfo::new(rsa::pkcs1::ALGORITHM_ID, pkcs1);
    let length = usize::try_from(info.encoded_len().ok()?).ok()?;
    let mut room = Zeroizing::new(vec![0; length]);
    info.encode_to_slice(&mut room).ok()?;
    Some(room)
}

/// The PKCS#1 key inside a PKCS#8 one.
pub fn unwrap_pkcs1(pkcs8: &[u8]) -> Option<&[u8]> {
    PrivateKeyInfo::try_from(pkcs8).ok().map(|info| info.private_key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_among_other_text() {
        let one = encode("CERTIFICATE", &[7; 100]);
        assert!(one.lines().all(|line| line.len() <= 64));
        let text = format!(
            "subject: x\r\n{}\n-----BEGIN BROKEN-----\n*\n-----END BROKEN-----\n-----BEGIN OPEN-----\n{}",
            one.replace('\n', "\r\n"),
            encode("RSA PRIVATE KEY", b"key"),
        );
        let found: Vec<_> = blocks(text.as_bytes()).map(|b| (b.label, b.der.to_vec())).collect();
        assert_eq!(found, [("CERTIFICATE", vec![7; 100]), ("RSA PRIVATE KEY", b"key".to_vec())]);
        for none in
            [&b""[..], b"\xff", b"-----BEGIN ", b"-----BEGIN A-----", b"-----BEGIN A-----\nAAAA\n-----END B-----"]
        {
            assert_eq!(blocks(none).count(), 0);
        }
    }
}
