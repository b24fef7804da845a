//! Where the record of a leader election is kept: in a Lease, or in an annotation of a Secret for roles that grant no
//! Leases. The Sealed Secrets controller's role is one: it may create and update Secrets, and nothing else that would do.

use http::Method;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use super::client::Cluster;
use super::error::ApiError;
use super::secrets::path;

/// Annotation of the Secret that carries the record, as JSON of a Lease's `spec`.
const RECORD: &str = "latchwork.dev/leader";

/// Type of the Secret, so that people see what it is for.
const TYPE: &str = "latchwork.dev/leader-election";

/// What holds the record. All replicas must be told the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// A Lease of group `coordination.k8s.io`.
    Lease,
    /// A Secret without data.
    Secret,
}

/// The record as it was read, and what a replacement of it must name.
pub(super) struct Held {
    pub(super) spec: LeaseSpec,
    metadata: ObjectMeta,
}

/// One record.
pub(super) struct Lock {
    pub(super) cluster: Cluster,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) kind: LockKind,
}

impl Lock {
    /// The record, or `None` when there is none yet.
    pub(super) async fn read(&self) -> Result<Option<Held>, ApiError> {
        let read = match self.kind {
            LockKind::Lease => {
                let lease = self.cluster.call(&self.what(), self.leases().get(&self.name)).await;
                lease.map(|lease| Held { spec: lease.spec.unwrap_or_default(), metadata: lease.metadata })
            }
            LockKind::Secret => {
                let one = path(&self.namespace, Some(&self.name));
                self.cluster
                    .raw(&self.what(), Method::GET, &one, None, vec![])
                    .await
                    .and_then(|body| self.decode(&body))
            }
        };
        match read {
            Ok(held) => Ok(Some(held)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes the record. A conflict when somebody else was first.
    pub(super) async fn create(&self, spec: LeaseSpec) -> Result<(), ApiError> {
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..Default::default() };
        match self.kind {
            LockKind::Lease => {
                let lease = Lease { metadata, spec: Some(spec) };
                let api = self.leases();
                self.cluster.call(&self.what(), api.create(&PostParams::default(), &lease)).await.map(drop)
            }
            LockKind::Secret => self.send(Method::POST, &path(&self.namespace, None), metadata, &spec).await,
        }
    }

    /// Replaces the record that was read. A conflict when it has changed since.
    pub(super) async fn replace(&self, held: &Held, spec: LeaseSpec) -> Result<(), ApiError> {
        let metadata = held.metadata.clone();
        match self.kind {
            LockKind::Lease => {
                let lease = Lease { metadata, spec: Some(spec) };
                let api = self.leases();
                self.cluster.call(&self.what(), api.replace(&self.name, &PostParams::default(), &lease)).await.map(drop)
            }
            LockKind::Secret => self.send(Method::PUT, &path(&self.namespace, Some(&self.name)), metadata, &spec).await,
        }
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.cluster.client(), &self.namespace)
    }

    fn what(&self) -> String {
        format!("{:?} {}/{}", self.kind, self.namespace, self.name)
    }

    fn decode(&self, body: &str) -> Result<Held, ApiError> {
        let unreadable = |why: &str| ApiError::Decode { what: self.what(), why: why.into() };
        let mut secret: Value = serde_json::from_str(body).map_err(|_| unreadable("it is not JSON"))?;
        // Somebody else's Secret of that name is left alone.
        if secret.get("type").and_then(Value::as_str) != Some(TYPE) {
            return Err(unreadable("it is a Secret of another type"));
        }
        let metadata = secret.get_mut("metadata").map(Value::take).unwrap_or_default();
        let metadata: ObjectMeta = serde_json::from_value(metadata).map_err(|_| unreadable("its metadata"))?;
        let record = metadata.annotations.as_ref().and_then(|annotations| annotations.get(RECORD));
        // A record that cannot be read is one that nobody holds.
        let spec = record.and_then(|record| serde_json::from_str(record).ok()).unwrap_or_default();
        Ok(Held { spec, metadata })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        mut metadata: ObjectMeta,
        spec: &LeaseSpec,
    ) -> Result<(), ApiError> {
        let why = |e: serde_json::Error| ApiError::Decode { what: self.what(), why: e.to_string() };
        let record = serde_json::to_string(spec).map_err(why)?;
        metadata.annotations.get_or_insert_default().insert(RECORD.into(), record);
        metadata.managed_fields = None;
        let secret = json!({ "apiVersion": "v1", "kind": "Secret", "type": TYPE, "metadata": metadata });
        let body = secret.to_string().into_bytes();
        self.cluster.raw(&self.what(), method, path, Some("application/json"), body).await.map(drop)
    }
}
