//! Talking to the controller through the API server's service proxy.

use std::path::Path;

use anyhow::bail;
use http::{Method, StatusCode};
use zeroize::Zeroizing;

use super::args::KubesealArgs;
use crate::adapters::k8s::service_proxy::{Answer, call, port_name};
use crate::adapters::k8s::{ApiError, Cluster, Overrides};
use crate::pure::crd::sealed_secret::SealedSecret;
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
        let port = port_name(&cluster, &namespace, &service).await.map_err(|error| {
            let error = match error {
                ApiError::NotFound { what } => format!("{what} not found"),
                other => other.to_string(),
            };
            anyhow::anyhow!(
                "cannot get sealed secret service: {error}.\nPlease, use the flag --controller-name and --controller-namespace to set up the name and namespace of the sealed secrets controller"
            )
        })?;
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

    /// The certificate as the controller serves it.
    pub(in crate::cli) async fn certificate(&self) -> anyhow::Result<Vec<u8>> {
        match self.call(Method::GET, "/v1/cert.pem", vec![], &[]).await {
            Ok(answer) if answer.status.is_success() => Ok(answer.body),
            Ok(answer) => bail!("cannot fetch certificate: {}", described(&answer)),
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
                Ok(answer) => bail!("cannot validate sealed secret: {}", described(&answer)),
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
                Ok(answer) => bail!("cannot re-encrypt secret: {}", described(&answer)),
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

/// Status and text of a refusal: the API server's message where it is one of its objects.
fn described(answer: &Answer) -> String {
    let text = String::from_utf8_lossy(&answer.body);
    let status: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    let message = status.as_ref().and_then(|status| status.get("message")?.as_str()).unwrap_or(&text);
    let mut message = one_line(&crate::pure::error::clip(message, 500));
    if asks_for_token(answer) {
        message.push_str("; kubeseal sends the token of the kubeconfig, or the one in ");
        message.push_str(TOKEN_VARIABLE);
    }
    if message.is_empty() { answer.status.to_string() } else { format!("{message} ({})", answer.status) }
}

/// Namespace of the kubeconfig's context (`default` where it names none), or of the pod; empty without either. No
/// connection is made.
pub(super) fn context_namespace(kubeconfig: Option<&Path>, context: Option<&str>) -> String {
    let context = crate::adapters::k8s::kubeconfig(kubeconfig).ok().flatten().and_then(|file| {
        let current = context.map(str::to_owned).or(file.current_context)?;
        file.contexts.into_iter().find(|context| context.name == current)?.context
    });
    let pod = || std::fs::read_to_string("/var/run/secrets/kubernetes.io/serviceaccount/namespace").ok();
    match context {
        Some(context) => context.namespace.filter(|name| !name.is_empty()).unwrap_or_else(|| "default".into()),
        None => pod().map(|text| text.trim().to_owned()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_controller_that_names_the_header_gets_a_token() {
        let answer = |status: StatusCode, text: &str| Answer { status, body: text.into() };
        let asking = "send it as Authorization (through the API server's service proxy: as X-Latchwork-Authorization)";
        assert!(asks_for_token(&answer(StatusCode::UNAUTHORIZED, asking)));
        // The API server itself, an ingress, the incumbent.
        assert!(!asks_for_token(&answer(StatusCode::UNAUTHORIZED, r#"{"kind":"Status","message":"Unauthorized"}"#)));
        assert!(!asks_for_token(&answer(StatusCode::FORBIDDEN, asking)));
        assert!(!asks_for_token(&answer(StatusCode::CONFLICT, "")));
    }
}
