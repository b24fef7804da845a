//! Vault and OpenBao, the KV engine: what is there is read first, and nothing is written when it is the same already.

use http::{HeaderMap, HeaderValue, header};
use reqwest::{Client, Method, Request, Url};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::PublishError;
use crate::adapters::exchange::Answer;
use crate::pure::crd::secret_store::VaultVersion;
use crate::pure::external::vault::document;
use crate::pure::secret::Plaintext;

/// A server, with what its calls need.
pub struct Kv {
    /// A client that follows no redirect.
    pub http: Client,
    /// Address of the server.
    pub server: Url,
    /// Token, namespace and what else goes into each request.
    pub headers: HeaderMap,
}

/// What became of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It was the same already.
    Same,
    /// It was written.
    Written,
    /// It was written, without a look at what was there: that is not allowed, or failed.
    WrittenUnseen,
}

impl Kv {
    /// Writes a map of values. `path` is the whole path below `v1/`, with `data/` in it for version 2 of the engine.
    ///
    /// # Errors
    /// See [`PublishError`]. A value that cannot be read is written all the same, as the real tool does.
    pub async fn put(&self, path: &str, version: VaultVersion, values: &Plaintext) -> Result<Put, PublishError> {
        let url = self.url(path)?;
        let seen = self.same(url.clone(), version, values).await;
        if let Ok(true) = seen {
            return Ok(Put::Same);
        }
        let text = values.expose_str().ok_or(PublishError::Answer { detail: "the values are not text" })?;
        let body = Zeroizing::new(match version {
            VaultVersion::V1 => text.to_owned(),
            VaultVersion::V2 => format!("{{\"data\":{text}}}"),
        });
        let mut request = self.request(Method::PUT, url);
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // The client's own copy of the body is not zeroised; it is freed with the request.
        *request.body_mut() = Some(body.to_string().into());
        let answer = super::call(&self.http, request).await?;
        match (answer.status.is_success(), seen) {
            (true, Ok(_)) => Ok(Put::Written),
            (true, Err(_)) => Ok(Put::WrittenUnseen),
            (false, _) => Err(refusal(&answer)),
        }
    }

    /// Whether the same values are there.
    async fn same(&self, url: Url, version: VaultVersion, values: &Plaintext) -> Result<bool, PublishError> {
        let answer = super::call(&self.http, self.request(Method::GET, url)).await?;
        match answer.status.as_u16() {
            200 => {}
            404 => return Ok(false),
            _ => return Err(refusal(&answer)),
        }
        let Some(stored) = document(version, answer.body.expose()) else { return Ok(false) };
        let bad = |_| PublishError::Answer { detail: "it is not the JSON of this call" };
        let stored: Map<String, Value> = serde_json::from_slice(stored.expose()).map_err(bad)?;
        let wanted: Map<String, Value> = serde_json::from_slice(values.expose()).map_err(bad)?;
        Ok(stored == wanted)
    }

    fn url(&self, path: &str) -> Result<Url, PublishError> {
        let settings = |detail: &str| PublishError::Settings { detail: detail.into() };
        let mut url = self.server.clone();
        if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
            return Err(settings("the address of Vault is not of the form https://host[:port]"));
        }
        if path.split('/').any(|part| part == "." || part == "..") {
            return Err(settings("the path of the value climbs"));
        }
        {
            let mut segments = url.path_segments_mut().map_err(|()| settings("the address of Vault has no path"))?;
            // What is special in an address is encoded, not obeyed.
            segments.pop_if_empty().push("v1").extend(path.split('/').filter(|part| !part.is_empty()));
        }
        Ok(url)
    }

    fn request(&self, method: Method, url: Url) -> Request {
        let mut request = Request::new(method, url);
        *request.headers_mut() = self.headers.clone();
        request
    }
}

fn refusal(answer: &Answer) -> PublishError {
    let says = |text: &str| answer.body.expose_str().is_some_and(|body| body.contains(text));
    match answer.status.as_u16() {
        // A standby that has not caught up.
        412 | 472 | 473 => PublishError::Unavailable { code: answer.status.as_u16().to_string() },
        404 if says("Invalid path for a versioned") || says("no handler for route") => {
            PublishError::NotFound { code: "404: no KV engine of this version is mounted there".into() }
        }
        _ => super::refusal(answer, None),
    }
}
