//! Which cluster, user and namespace a kubeconfig and a command line choose: with client-go's rules, and its words for
//! what is wrong, which scripts read.

use std::path::Path;

use kube::config::{AuthInfo, Cluster, Context, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext};

use super::overrides::Overrides;
use crate::pure::error::{causes, system};

/// Why no cluster can be chosen.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::adapters::k8s) enum Unusable {
    /// Nothing names a server: a pod's account may be what is left.
    Empty,
    /// Something is named that is not there, or cannot be used.
    Wrong(String),
}

/// What is chosen.
#[derive(Debug)]
pub(in crate::adapters::k8s) struct Chosen {
    context: Context,
    cluster: Cluster,
    user: AuthInfo,
    /// Everything that is wrong with it.
    faults: Vec<String>,
    /// Whether all that is wrong is that nothing names a server.
    empty: bool,
    /// The first name of the command line that the file does not have.
    missing: Option<String>,
}

/// Name of the one context, cluster and user that are handed on.
const ONLY: &str = "chosen";

fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

impl Chosen {
    /// Chooses; what is wrong with the choice is told by [`Chosen::usable`] and [`Chosen::namespace`].
    pub(in crate::adapters::k8s) fn of(file: &Kubeconfig, overrides: &Overrides) -> Self {
        let mut missing = None;
        let mut faults = vec![];
        let wanted = given(&overrides.context).or(given(&file.current_context)).unwrap_or_default();
        let named = file.contexts.iter().find(|context| context.name == wanted);
        if named.is_none() && !wanted.is_empty() {
            faults.push(format!("context was not found for specified context: {wanted}"));
        }
        let absent_context = named.is_none().then(|| given(&overrides.context)).flatten();
        let context = named.and_then(|named| named.context.clone()).unwrap_or_default();

        let user_name = given(&overrides.user).or(given(&context.user)).unwrap_or_default().to_owned();
        let found = file.auth_infos.iter().find(|user| user.name == user_name);
        let absent_user = found.is_none() && given(&overrides.user).is_some();
        let mut user = found.and_then(|found| found.auth_info.clone()).unwrap_or_default();
        if absent_user {
            missing = Some(format!("auth info {user_name:?} does not exist"));
        } else {
            overrides.apply_to(&mut user);
            faults.extend(user_faults(&user_name, &user));
        }
        if let (None, Some(name)) = (&missing, absent_context) {
            missing = Some(format!("context {name:?} does not exist"));
        }

        let cluster_name = given(&overrides.cluster).unwrap_or(&context.cluster).to_owned();
        let found = file.clusters.iter().find(|cluster| cluster.name == cluster_name);
        let absent_cluster = found.is_none() && given(&overrides.cluster).is_some();
        let mut cluster = found.and_then(|found| found.cluster.clone()).unwrap_or_default();
        let mut empty = false;
        if absent_cluster {
            missing.get_or_insert(format!("cluster {cluster_name:?} does not exist"));
            faults.push(format!("no server found for cluster {cluster_name:?}"));
        } else {
            let nothing = found.is_none() && !overrides.name_a_cluster();
            overrides.apply_to_cluster(&mut cluster);
            empty = nothing && faults.is_empty();
            faults.extend(if nothing {
                vec!["cluster has no server defined".to_owned()]
            } else {
                cluster_faults(&cluster_name, &cluster)
            });
        }
        Self { context, cluster, user, faults, empty, missing }
    }

    fn confirm(&self) -> Result<(), Unusable> {
        if self.empty {
            return Err(Unusable::Empty);
        }
        let mut faults: Vec<&str> = vec![];
        for fault in &self.faults {
            if !faults.contains(&fault.as_str()) {
                faults.push(fault);
            }
        }
        if faults.is_empty() {
            return Ok(());
        }
        Err(Unusable::Wrong(format!("invalid configuration: {}", causes(&faults))))
    }

    /// The namespace of the context, `default` where it names none, and whether it is named.
    pub(in crate::adapters::k8s) fn namespace(&self) -> Result<(String, bool), Unusable> {
        self.confirm()?;
        Ok(match given(&self.context.namespace) {
            Some(namespace) => (namespace.to_owned(), true),
            None => ("default".to_owned(), false),
        })
    }

    /// A kubeconfig of nothing but this choice.
    pub(in crate::adapters::k8s) fn usable(mut self) -> Result<Kubeconfig, Unusable> {
        if let Some(missing) = self.missing {
            return Err(Unusable::Wrong(missing));
        }
        self.confirm()?;
        let server = self.cluster.server.take().unwrap_or_default();
        let server = absolute(&server, &self.cluster, &self.user)?;
        if server.starts_with("http://") {
            // Credentials are not sent in clear.
            self.user = AuthInfo {
                impersonate: self.user.impersonate,
                impersonate_uid: self.user.impersonate_uid,
                impersonate_groups: self.user.impersonate_groups,
                impersonate_user_extra: self.user.impersonate_user_extra,
                ..AuthInfo::default()
            };
        }
        self.cluster.server = Some(server);
        let name = || ONLY.to_owned();
        let context =
            Context { cluster: name(), user: Some(name()), namespace: self.context.namespace, ..Context::default() };
        Ok(Kubeconfig {
            current_context: Some(name()),
            contexts: vec![NamedContext { name: name(), context: Some(context), ..NamedContext::default() }],
            clusters: vec![NamedCluster { name: name(), cluster: Some(self.cluster), ..NamedCluster::default() }],
            auth_infos: vec![NamedAuthInfo { name: name(), auth_info: Some(self.user), ..NamedAuthInfo::default() }],
            ..Kubeconfig::default()
        })
    }
}

/// A server with its scheme: where it has none, that of what is known about it.
fn absolute(server: &str, cluster: &Cluster, user: &AuthInfo) -> Result<String, Unusable> {
    if server.parse::<http::Uri>().is_ok_and(|uri| uri.scheme().is_some() && uri.host().is_some()) {
        return Ok(server.to_owned());
    }
    let tls = given(&cluster.certificate_authority).or(given(&cluster.certificate_authority_data)).is_some()
        || given(&user.client_certificate).or(given(&user.client_certificate_data)).is_some()
        || cluster.insecure_skip_tls_verify == Some(true);
    let whole = format!("{}://{server}", if tls { "https" } else { "http" });
    match whole.parse::<http::Uri>() {
        Ok(uri) if uri.host().is_some() && matches!(uri.path(), "" | "/") => Ok(whole),
        _ => Err(Unusable::Wrong(format!("host must be a URL or a host:port pair: {server:?}"))),
    }
}

fn unreadable(path: &str) -> Option<String> {
    std::fs::File::open(Path::new(path)).err().map(|error| format!("open {path}: {}", system(&error)))
}

fn cluster_faults(name: &str, cluster: &Cluster) -> Vec<String> {
    let mut faults = vec![];
    if given(&cluster.server).is_none() {
        faults.push(match name {
            "" => "default cluster has no server defined".to_owned(),
            name => format!("no server found for cluster {name:?}"),
        });
    }
    if let Some(proxy) = given(&cluster.proxy_url) {
        let scheme = proxy.split_once("://").map_or("", |(scheme, _)| scheme);
        if !["http", "https", "socks5"].contains(&scheme) {
            faults.push(format!(
                "invalid 'proxy-url' {proxy:?} for cluster {name:?}: unsupported scheme {scheme:?}, must be http, https, or socks5"
            ));
        }
    }
    if let Some(path) = given(&cluster.certificate_authority) {
        if given(&cluster.certificate_authority_data).is_some() {
            faults.push(format!(
                "certificate-authority-data and certificate-authority are both specified for {name}. certificate-authority-data will override."
            ));
        }
        if let Some(why) = unreadable(path) {
            faults.push(format!("unable to read certificate-authority {path} for {name} due to {why}"));
        }
    }
    faults
}

fn user_faults(name: &str, user: &AuthInfo) -> Vec<String> {
    let mut faults = vec![];
    let certificate = given(&user.client_certificate);
    let key = given(&user.client_key);
    let certificate_data = given(&user.client_certificate_data).is_some();
    if certificate.is_some() || certificate_data {
        if certificate.is_some() && certificate_data {
            faults.push(format!(
                "client-cert-data and client-cert are both specified for {name}. client-cert-data will override."
            ));
        }
        if key.is_none() && user.client_key_data.is_none() {
            faults.push(format!(
                "client-key-data or client-key must be specified for {name} to use the clientCert authentication method."
            ));
        }
        for (what, path) in [("client-cert", certificate), ("client-key", key)] {
            if let Some((path, why)) = path.and_then(|path| Some((path, unreadable(path)?))) {
                faults.push(format!("unable to read {what} {path} for {name} due to {why}"));
            }
        }
    }
    if user.token.is_some() && given(&user.username).is_some() {
        faults.push(format!(
            "more than one authentication method found for {name}; found [token basicAuth], only one is allowed"
        ));
    }
    let groups = user.impersonate_groups.as_ref().is_some_and(|groups| !groups.is_empty());
    let extra = user.impersonate_user_extra.as_ref().is_some_and(|extra| !extra.is_empty());
    if (groups || extra || given(&user.impersonate_uid).is_some()) && given(&user.impersonate).is_none() {
        faults.push(format!("requesting uid, groups or user-extra for {name} without impersonating a user"));
    }
    faults
}
