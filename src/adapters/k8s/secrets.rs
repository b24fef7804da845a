//! Reading Secret bodies. The only other place that sees one is [`super::writer`].

use http::Method;

use super::client::Cluster;
use super::error::ApiError;
use crate::pure::desired::ObservedSecret;

/// Path of one namespace's Secrets, or of one Secret in it.
pub(super) fn path(namespace: &str, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("/api/v1/namespaces/{}/secrets/{}", segment(namespace), segment(name)),
        None => format!("/api/v1/namespaces/{}/secrets", segment(namespace)),
    }
}

/// Percent-encodes everything but the characters of a Kubernetes name, so that no name can leave its path segment.
pub(super) fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => out.push(char::from(byte)),
            b'.' if text != "." && text != ".." => out.push('.'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// One Secret, or `None` when there is none.
pub async fn get(cluster: &Cluster, namespace: &str, name: &str) -> Result<Option<ObservedSecret>, ApiError> {
    let what = format!("Secret {namespace}/{name}");
    match cluster.raw(&what, Method::GET, &path(namespace, Some(name)), None, vec![]).await {
        Ok(body) => decode(&what, &body).map(Some),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The Secrets of one namespace that carry a label. Meant for few: sealing keys, decryption keys.
pub async fn list(cluster: &Cluster, namespace: &str, label_selector: &str) -> Result<Vec<ObservedSecret>, ApiError> {
    let what = format!("the Secrets labelled {label_selector} in {namespace}");
    let path = format!("{}?labelSelector={}", path(namespace, None), segment(label_selector));
    let body = cluster.raw(&what, Method::GET, &path, None, vec![]).await?;
    ObservedSecret::list_from_json(body.as_bytes()).map_err(|e| ApiError::Decode { what, why: e.to_string() })
}

pub(super) fn decode(what: &str, body: &str) -> Result<ObservedSecret, ApiError> {
    ObservedSecret::from_json(body.as_bytes()).map_err(|e| ApiError::Decode { what: what.into(), why: e.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_segment() {
        assert_eq!(path("a", Some("b.c-d")), "/api/v1/namespaces/a/secrets/b.c-d");
        assert_eq!(path("a/../b", Some("..")), "/api/v1/namespaces/a%2F..%2Fb/secrets/%2E%2E");
        assert_eq!(segment("k=v,x?y"), "k%3Dv%2Cx%3Fy");
    }
}
