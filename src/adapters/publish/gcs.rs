//! Google Cloud Storage: one upload per file, `POST upload/storage/v1/b/{bucket}/o?uploadType=media&name=…`.

use http::{HeaderMap, HeaderValue, header};
use reqwest::{Client, Method, Request, Url};
use serde::Deserialize;

use super::PublishError;

const ENDPOINT: &str = "https://storage.googleapis.com";

/// Buckets.
pub struct Gcs {
    http: Client,
}

impl Gcs {
    /// Makes a client; nothing is contacted.
    ///
    /// # Errors
    /// No HTTP client can be made.
    pub fn new() -> Result<Self, PublishError> {
        Ok(Self { http: super::client()? })
    }

    /// Writes an object. `authorization` are the headers that prove who asks.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn put(
        &self,
        bucket: &str,
        name: &str,
        bytes: &[u8],
        authorization: &HeaderMap,
    ) -> Result<(), PublishError> {
        let mut request = Request::new(Method::POST, address(bucket, name)?);
        *request.headers_mut() = authorization.clone();
        // Encrypted files are text; the real tool finds the same by looking at them.
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        *request.body_mut() = Some(bytes.to_vec().into());
        let answer = super::call(&self.http, request).await?;
        if answer.status.is_success() {
            return Ok(());
        }
        let body: Option<Refusal> = serde_json::from_slice(answer.body.expose()).ok();
        let reason = body.and_then(|body| body.error.errors.into_iter().next()).map(|error| error.reason);
        Err(super::refusal(&answer, reason.as_deref()))
    }
}

#[derive(Deserialize)]
struct Refusal {
    error: RefusalBody,
}

#[derive(Deserialize)]
struct RefusalBody {
    #[serde(default)]
    errors: Vec<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    #[serde(default)]
    reason: String,
}

fn address(bucket: &str, name: &str) -> Result<Url, PublishError> {
    let settings = |detail: &str| PublishError::Settings { detail: detail.into() };
    if bucket.is_empty() || !bucket.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        return Err(settings("gcs_bucket is not the name of a bucket"));
    }
    let mut url = Url::parse(ENDPOINT).map_err(|_| settings("no address"))?;
    url.set_path(&format!("/upload/storage/v1/b/{bucket}/o"));
    url.query_pairs_mut().append_pair("uploadType", "media").append_pair("name", name);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_part_of_the_address() {
        let url = address("b-1.x", "p/a&name=é b").map(String::from);
        let expected =
            "https://storage.googleapis.com/upload/storage/v1/b/b-1.x/o?uploadType=media&name=p%2Fa%26name%3D%C3%A9+b";
        assert_eq!(url.as_deref(), Ok(expected));
        for bucket in ["", "a/b", "a?b", "a b"] {
            assert!(address(bucket, "n").is_err(), "{bucket}");
        }
    }
}
