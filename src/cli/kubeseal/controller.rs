//! Talking to the controller through the API server's service proxy.

use std::path::Path;

use anyhow::bail;
use http::{Method, StatusCode};
use zeroize::Zeroizing;

use super::args::KubesealArgs;
use crate::adapters::k8s::service_proxy::{self, Answer, call, port_name};
use crate::adapters::k8s::{ApiError, Cluster, Overrides};
use crate::pure::crd::sealed_secret::SealedSecret;
use crate::pure::duration;
use crate::pure::error::one_line;
use crate::pure::sealed::{KEEP_HEADER, TOKEN_HEADER};

/// The controller behind its Service.
pub(in crate::cli) struct Controller {
    cluster: Cluster,
    namespace: String,
    service: String,
    port: String,
}

impl Controller {
    pub(super) async fn connect(args: &KubesealArgs) -> anyhow::Result<Self> {
        let overrides = args.cluster.overrides();
        // Ours are bounded anyway; a value that is none is an error as it is there.
        let timeout = args.cluster.request_timeout.as_deref().filter(|text| !text.is_empty());
        if timeout.is_some_and(|text| text.parse::<u32>().is_err() && duration::of_go(text.as_bytes()).is_err()) {
            bail!(
                "Invalid timeout value. Timeout must be a single integer in seconds, or an integer followed by a corresponding time unit (e.g. 1s | 2m | 3h)"
            );
        }
        Self::reach(args.kubeconfig.as_deref(), &overrides, &args.controller_namespace, &args.controller_name).await
    }

    /// Finds the Service of the controller.
    pub(in crate::cli) async fn reach(
        kubeconfig: Option<&Path>,
        overrides: &Overrides,
        namespace: &str,
        service: &str,
    ) -> anyhow::Result<Self> {
        let cluster = Cluster::connect_with(kubeconfig, overrides).await?;
        let (namespace, service) = (namespace.to_owned(), service.to_owned());
        let failed = |why: String| {
            anyhow::anyhow!(
                "cannot get sealed secret service: {why}.\nPlease, use the flag --controller-name and --controller-namespace to set up the name and namespace of the sealed secrets controller"
            )
        };
        let found = service_proxy::service(&cluster, &namespace, &service).await.map_err(|e| failed(e.to_string()))?;
        if !found.status.is_success() {
            return Err(failed(described(&found, "get", &service)));
        }
        let port = port_name(&found).map_err(|_| failed("the API server's answer cannot be read".into()))?;
        Ok(Self { cluster, namespace, service, port })
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        headers: &[(&str, &str)],
    ) -> Result<Answer, ApiError> {
        let to = (self.namespace.as_str(), self.service.as_str(), self.port.as_str());
        let answer = call(&self.cluster, to, method.clone(), path, body.clone(), headers).await?;
        if !asks_for_token(&answer) {
            return Ok(answer);
        }
        // The incumbent's controller never asks, and never gets one.
        let given = std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty()).map(Zeroizing::new);
        let token = match given {
            Some(token) => Some(token),
            None => self.cluster.bearer().await,
        };
        let Some(token) = token else { return Ok(answer) };
        let bearer = Zeroizing::new(format!("Bearer {}", *token));
        let headers = [headers, &[(TOKEN_HEADER, bearer.as_str())]].concat();
        call(&self.cluster, to, method, path, body, &headers).await
    }

    fn described(&self, answer: &Answer, verb: &str) -> String {
        described(answer, verb, &format!("http:{}:{}", self.service, self.port))
    }

    /// The certificate as the controller serves it.
    pub(in crate::cli) async fn certificate(&self) -> anyhow::Result<Vec<u8>> {
        match self.call(Method::GET, "/v1/cert.pem", vec![], &[]).await {
            Ok(answer) if answer.status.is_success() => Ok(answer.body),
            Ok(answer) => bail!("cannot fetch certificate: {}", self.described(&answer, "get")),
            Err(error) => bail!("cannot fetch certificate: {error}"),
        }
    }

    /// Asks whether each object opens; silent when all do.
    pub(super) async fn validate(&self, objects: &[SealedSecret]) -> anyhow::Result<()> {
        for object in objects {
            match self.call(Method::POST, "/v1/verify", serde_json::to_vec(object)?, &[]).await {
                Ok(answer) if answer.status.is_success() => {}
                Ok(answer) if answer.status == StatusCode::CONFLICT => {
                    bail!("unable to decrypt sealed secret: {}", object.metadata.name.as_deref().unwrap_or_default())
                }
                Ok(answer) => bail!("cannot validate sealed secret: {}", self.described(&answer, "post")),
                Err(error) => bail!("cannot validate sealed secret: {error}"),
            }
        }
        Ok(())
    }

    /// Every object sealed anew to the controller's present key, as the incumbent's command does.
    pub(super) async fn re_encrypt(&self, objects: &[SealedSecret]) -> anyhow::Result<Vec<SealedSecret>> {
        self.rotate(objects, &[]).await
    }

    /// The same, with the values that are on it already as they stand, where the controller is ours.
    pub(in crate::cli) async fn re_encrypt_old(&self, objects: &[SealedSecret]) -> anyhow::Result<Vec<SealedSecret>> {
        self.rotate(objects, &[(KEEP_HEADER, "true")]).await
    }

    async fn rotate(&self, objects: &[SealedSecret], headers: &[(&str, &str)]) -> anyhow::Result<Vec<SealedSecret>> {
        let mut made = vec![];
        for object in objects {
            match self.call(Method::POST, "/v1/rotate", serde_json::to_vec(object)?, headers).await {
                Ok(answer) if answer.status.is_success() => {
                    // The incumbent's answer leaves out apiVersion and kind, which the type does not ask for.
                    let mut value: serde_json::Value = serde_json::from_slice(&answer.body)?;
                    if let Some(fields) = value.as_object_mut() {
                        fields.insert("apiVersion".into(), "bitnami.com/v1alpha1".into());
                        fields.insert("kind".into(), "SealedSecret".into());
                    }
                    made.push(serde_json::from_value(value)?);
                }
                Ok(answer) if answer.status == StatusCode::CONFLICT => bail!("unable to rotate secret"),
                Ok(answer) => bail!("cannot re-encrypt secret: {}", self.described(&answer, "post")),
                Err(error) => bail!("cannot re-encrypt secret: {error}"),
            }
        }
        Ok(made)
    }
}

/// Bearer token for a controller that asks who calls, for those whose kubeconfig has none, or who would rather show one that
/// is good for nothing else.
const TOKEN_VARIABLE: &str = "LATCHWORK_SEALED_TOKEN";

/// Whether the controller itself, and not the API server, wants to know who calls.
fn asks_for_token(answer: &Answer) -> bool {
    answer.status == StatusCode::UNAUTHORIZED && String::from_utf8_lossy(&answer.body).contains(TOKEN_HEADER)
}

/// A refusal: the API server's message where it is one of its objects, else what client-go says for the status.
fn described(answer: &Answer, verb: &str, service: &str) -> String {
    let text = String::from_utf8_lossy(&answer.body);
    let status: Option<serde_json::Value> = serde_json::from_str(&text).ok().filter(|_| !answer.text);
    let failure = status.as_ref().filter(|status| status.get("status").is_some_and(|word| word == "Failure"));
    if let Some(message) = failure.and_then(|failure| failure.get("message")?.as_str()) {
        return one_line(&crate::pure::error::clip(message, 2000));
    }
    let said = if answer.text { text.trim() } else { "unknown" };
    let said = one_line(&crate::pure::error::clip(said, 500));
    let code = answer.status.as_u16();
    let mut message = match code {
        400 => "the server rejected our request for an unknown reason".to_owned(),
        401 => "the server has asked for the client to provide credentials".to_owned(),
        403 | 415 => said.clone(),
        404 => "the server could not find the requested resource".to_owned(),
        405 => "the server does not allow this method on the requested resource".to_owned(),
        406 if said.is_empty() || said == "unknown" => {
            "the server was unable to respond with a content type that the client supports".to_owned()
        }
        406 => said.clone(),
        409 => "the server reported a conflict".to_owned(),
        422 => "the server rejected our request due to an error in our request".to_owned(),
        429 => "the server has received too many requests and has asked us to try again later".to_owned(),
        503 => "the server is currently unable to handle the request".to_owned(),
        504 => {
            "the server was unable to return a response in the time allotted, but may still be processing the request"
                .to_owned()
        }
        500.. => format!("an error on the server ({said:?}) has prevented the request from succeeding"),
        _ => format!("the server responded with the status code {code} but did not return more information"),
    };
    message.push_str(&format!(" ({verb} services {service})"));
    // Only the controller itself answers these with a text; it says what is missing.
    if matches!(code, 401 | 503) && answer.text && !said.is_empty() {
        message.push_str(&format!(": {said}"));
    }
    if asks_for_token(answer) {
        message.push_str("; kubeseal sends the token of the kubeconfig, or the one in ");
        message.push_str(TOKEN_VARIABLE);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_controller_that_names_the_header_gets_a_token() {
        let answer = |status: StatusCode, text: &str| Answer { status, body: text.into(), text: true };
        let asking = "send it as Authorization (through the API server's service proxy: as X-Latchwork-Authorization)";
        assert!(asks_for_token(&answer(StatusCode::UNAUTHORIZED, asking)));
        // The API server itself, an ingress, the incumbent.
        assert!(!asks_for_token(&answer(StatusCode::UNAUTHORIZED, r#"{"kind":"Status","message":"Unauthorized"}"#)));
        assert!(!asks_for_token(&answer(StatusCode::FORBIDDEN, asking)));
        assert!(!asks_for_token(&answer(StatusCode::CONFLICT, "")));
        let refused = described(&answer(StatusCode::UNAUTHORIZED, asking), "post", "http:a:http");
        let words = "the server has asked for the client to provide credentials (post services http:a:http): send it";
        assert!(refused.starts_with(words) && refused.ends_with(TOKEN_VARIABLE), "{refused}");
    }
}
