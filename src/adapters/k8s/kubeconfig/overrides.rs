//! What a command line says about the cluster and its user.

use std::path::PathBuf;

use zeroize::Zeroizing;

/// What a command line may put in the place of the kubeconfig's values; the names are kubectl's.
#[derive(Clone, Default)]
#[allow(missing_docs, reason = "the names are the documentation")]
pub struct Overrides {
    pub context: Option<String>,
    pub cluster: Option<String>,
    pub user: Option<String>,
    pub server: Option<String>,
    pub token: Option<Zeroizing<String>>,
    pub username: Option<String>,
    pub password: Option<Zeroizing<String>>,
    pub impersonate: Option<String>,
    pub impersonate_uid: Option<String>,
    pub impersonate_groups: Vec<String>,
    pub client_certificate: Option<String>,
    pub client_key: Option<String>,
    pub certificate_authority: Option<PathBuf>,
    pub insecure: bool,
    pub tls_server_name: Option<String>,
    pub proxy_url: Option<String>,
    pub disable_compression: bool,
}

impl Overrides {
    pub(super) fn apply_to(&self, auth: &mut kube::config::AuthInfo) {
        if let Some(token) = &self.token {
            auth.token = Some(token.as_str().to_owned().into());
            auth.token_file = None;
        }
        if let Some(password) = &self.password {
            auth.password = Some(password.as_str().to_owned().into());
        }
        auth.username = self.username.clone().or(auth.username.take());
        auth.impersonate = self.impersonate.clone().or(auth.impersonate.take());
        auth.impersonate_uid = self.impersonate_uid.clone().or(auth.impersonate_uid.take());
        if !self.impersonate_groups.is_empty() {
            auth.impersonate_groups = Some(self.impersonate_groups.clone());
        }
        if let Some(path) = &self.client_certificate {
            auth.client_certificate = Some(path.clone());
            auth.client_certificate_data = None;
        }
        if let Some(path) = &self.client_key {
            auth.client_key = Some(path.clone());
            auth.client_key_data = None;
        }
    }

    /// Whether anything is said about the cluster itself.
    pub(super) fn name_a_cluster(&self) -> bool {
        let texts = [&self.server, &self.tls_server_name, &self.proxy_url];
        texts.iter().any(|text| text.is_some())
            || self.certificate_authority.is_some()
            || self.insecure
            || self.disable_compression
    }

    pub(super) fn apply_to_cluster(&self, cluster: &mut kube::config::Cluster) {
        // Who trusts anybody, or another authority, does not mean the file's authority; who names another server, not the
        // name of the file's.
        if self.insecure || self.certificate_authority.is_some() {
            cluster.insecure_skip_tls_verify = Some(self.insecure);
            cluster.certificate_authority =
                self.certificate_authority.as_ref().map(|path| path.to_string_lossy().into_owned());
            cluster.certificate_authority_data = None;
        }
        if self.server.is_some() || self.tls_server_name.is_some() {
            cluster.tls_server_name.clone_from(&self.tls_server_name);
        }
        cluster.server = self.server.clone().or(cluster.server.take());
        cluster.proxy_url = self.proxy_url.clone().or(cluster.proxy_url.take());
        if self.disable_compression {
            cluster.disable_compression = Some(true);
        }
    }
}
