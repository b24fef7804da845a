//! Ways to be somebody on an API server: kubeconfig files for a certificate user or a service account.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use super::control_plane::ControlPlane;
use super::{scratch, tls};

/// A kubeconfig (JSON is YAML) for the server at `url`.
pub fn kubeconfig(url: &str, ca_pem: &str, namespace: &str, user: Value) -> PathBuf {
    let ca = base64::engine::general_purpose::STANDARD.encode(ca_pem);
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority-data": ca}}],
        "users": [{"name": "test", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": namespace}}],
    });
    scratch::file("kubeconfig", config.to_string())
}

/// The `user` entry of a client certificate.
pub fn certificate_user(pair: &tls::Pair) -> Value {
    let encode = |pem: &str| base64::engine::general_purpose::STANDARD.encode(pem);
    json!({"client-certificate-data": encode(&pair.certificate_pem), "client-key-data": encode(&pair.key_pem)})
}

/// A client of the current runtime for a kubeconfig. It does not retry by itself, so a test sees each failure, and no
/// call but a watch takes longer than ten seconds to connect.
pub async fn client(kubeconfig: &Path) -> kube::Client {
    tls::install_provider();
    let config = Kubeconfig::read_from(kubeconfig).expect("kubeconfig");
    let mut config =
        kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.expect("kubeconfig");
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(10));
    kube::Client::try_from(config).expect("client")
}

impl ControlPlane {
    /// A kubeconfig for a certificate user in these groups: no rights but those that RBAC gives.
    pub fn user_kubeconfig(&self, user: &str, groups: &[&str]) -> PathBuf {
        let user = certificate_user(&self.ca.client(user, groups));
        kubeconfig(&self.url, &self.ca.certificate_pem, "default", user)
    }

    /// A token of a service account (which must exist), from the TokenRequest API, good for an hour. With no audience it
    /// is for the API server itself.
    pub async fn service_account_token(&self, namespace: &str, name: &str, audiences: &[&str]) -> String {
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: audiences.iter().map(|a| (*a).to_owned()).collect(),
                expiration_seconds: Some(3600),
                bound_object_ref: None,
            },
            ..TokenRequest::default()
        };
        let accounts = Api::<ServiceAccount>::namespaced(self.client().await, namespace);
        let answer = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await
            .unwrap_or_else(|e| panic!("token of {namespace}/{name}: {e}"));
        answer.status.expect("the API server fills the status").token
    }

    /// A kubeconfig for a service account (which must exist); its context's namespace is the account's.
    pub async fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> PathBuf {
        let token = self.service_account_token(namespace, name, &[]).await;
        kubeconfig(&self.url, &self.ca.certificate_pem, namespace, json!({"token": token}))
    }
}
