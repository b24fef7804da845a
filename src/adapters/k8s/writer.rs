//! The one writer of Secrets. It takes only what passed the guards, and writes only while this replica leads, and in the
//! very term in which the pass began that decided.

use http::Method;

use super::client::Cluster;
use super::error::ApiError;
use super::lease::Leadership;
use super::secrets::{decode, path, segment};
use crate::pure::desired::{DesiredSecret, ObservedSecret, SecretAction, WriteMode};
use crate::pure::sealed::generate::KeySecret;

/// See the module's text.
#[derive(Clone)]
pub struct Writer {
    cluster: Cluster,
    leadership: Leadership,
}

/// What the writer did.
pub enum Written {
    /// Nothing: the decision was to keep.
    Kept,
    /// The Secret as the API server stored it.
    Stored(Box<ObservedSecret>),
    /// It is gone, or was not there.
    Deleted,
}

impl Writer {
    /// A writer that obeys `leadership`.
    pub fn new(cluster: Cluster, leadership: Leadership) -> Self {
        Self { cluster, leadership }
    }

    /// Carries out a decision.
    pub async fn carry_out(&self, action: &SecretAction) -> Result<Written, ApiError> {
        match action {
            SecretAction::Keep => Ok(Written::Kept),
            SecretAction::Write { secret, how } => self.write(secret, how).await.map(|s| Written::Stored(Box::new(s))),
            SecretAction::Delete { namespace, name, uid } => {
                self.delete(namespace, name, uid).await.map(|()| Written::Deleted)
            }
        }
    }

    /// Writes one Secret and returns what was stored.
    pub async fn write(&self, secret: &DesiredSecret, how: &WriteMode) -> Result<ObservedSecret, ApiError> {
        self.must_lead()?;
        let what = format!("Secret {}/{}", secret.namespace(), secret.name());
        let one = path(secret.namespace(), Some(secret.name()));
        const JSON: Option<&str> = Some("application/json");
        let body = match how {
            WriteMode::Create { manager } => {
                let path = format!("{}?fieldManager={}", path(secret.namespace(), None), segment(manager));
                self.cluster.raw(&what, Method::POST, &path, JSON, secret.manifest(None).to_vec()).await?
            }
            WriteMode::Replace { manager, resource_version } => {
                let path = format!("{one}?fieldManager={}", segment(manager));
                let manifest = secret.manifest(Some(resource_version)).to_vec();
                self.cluster.raw(&what, Method::PUT, &path, JSON, manifest).await?
            }
            WriteMode::Apply { manager, force } => {
                let path = format!("{one}?fieldManager={}&force={force}", segment(manager));
                let apply = Some("application/apply-patch+yaml");
                self.cluster.raw(&what, Method::PATCH, &path, apply, secret.manifest(None).to_vec()).await?
            }
        };
        decode(&what, &body)
    }

    /// Creates the Secret of a new sealing key under a name that the server completes, and returns that name.
    pub async fn create_sealing_key(&self, key: &KeySecret) -> Result<String, ApiError> {
        self.must_lead()?;
        let what = format!("the sealing key Secret in {}", key.namespace());
        let path = path(key.namespace(), None);
        let body =
            self.cluster.raw(&what, Method::POST, &path, Some("application/json"), key.manifest().to_vec()).await?;
        decode(&what, &body).map(|secret| secret.name)
    }

    /// Sets labels and annotations of a sealing key's Secret, and nothing else of it. `key` is the Secret as it was read:
    /// one that somebody changed or replaced since is a conflict. Needs the verb `patch`.
    pub async fn mark_sealing_key(
        &self,
        key: &ObservedSecret,
        labels: &[(&str, &str)],
        annotations: &[(&str, &str)],
    ) -> Result<ObservedSecret, ApiError> {
        self.must_lead()?;
        let what = format!("Secret {}/{}", key.namespace, key.name);
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect::<serde_json::Map<_, _>>()
        };
        let body = serde_json::json!({ "metadata": {
            "uid": key.uid, "resourceVersion": key.resource_version,
            "labels": map(labels), "annotations": map(annotations),
        }});
        let (path, body) = (path(&key.namespace, Some(&key.name)), body.to_string().into_bytes());
        let merge = Some("application/merge-patch+json");
        let stored = self.cluster.raw(&what, Method::PATCH, &path, merge, body).await?;
        decode(&what, &stored)
    }

    /// Deletes exactly the object with this UID. One that is gone already is fine; one that was replaced is a conflict.
    pub async fn delete(&self, namespace: &str, name: &str, uid: &str) -> Result<(), ApiError> {
        self.must_lead()?;
        let what = format!("Secret {namespace}/{name}");
        let body = serde_json::json!({
            "apiVersion": "v1", "kind": "DeleteOptions",
            "preconditions": {"uid": uid}, "propagationPolicy": "Background",
        });
        let body = body.to_string().into_bytes();
        match self
            .cluster
            .raw(&what, Method::DELETE, &path(namespace, Some(name)), Some("application/json"), body)
            .await
        {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn must_lead(&self) -> Result<(), ApiError> {
        if self.leadership.may_write() { Ok(()) } else { Err(ApiError::NotLeading) }
    }
}
