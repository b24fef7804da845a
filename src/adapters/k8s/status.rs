//! Writing the status of a custom resource.

use kube::Api;
use kube::Resource;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ClusterResourceScope, NamespaceResourceScope};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::client::Cluster;
use super::error::ApiError;

/// Field manager of status writes.
const MANAGER: &str = "latchwork";

/// Merges `status` into the object's status subresource. Needs the verb `patch`.
///
/// A merge patch keeps fields that it does not name: send every field that may have to go, as null.
pub async fn patch<K>(cluster: &Cluster, namespace: &str, name: &str, status: &impl Serialize) -> Result<(), ApiError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(cluster.client(), namespace);
    let what = format!("{} {namespace}/{name}", K::kind(&()));
    let body = serde_json::json!({ "status": status });
    let params = PatchParams { field_manager: Some(MANAGER.into()), ..Default::default() };
    cluster.call(&what, api.patch_status(name, &params, &Patch::Merge(&body))).await.map(drop)
}

/// Replaces the status subresource. Needs only the verb `update`, which is all that the incumbent's role grants.
///
/// The API server takes nothing but the status from the body; `resource_version` makes a stale write a conflict.
pub async fn replace<K>(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    resource_version: &str,
    status: &impl Serialize,
) -> Result<(), ApiError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    let resource = ApiResource::erase::<K>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.client(), namespace, &resource);
    let what = format!("{} {namespace}/{name}", resource.kind);
    put(cluster, &api, &what, DynamicObject::new(name, &resource).within(namespace), resource_version, status).await
}

/// [`replace`] for a kind without namespaces.
pub async fn replace_cluster_wide<K>(
    cluster: &Cluster,
    name: &str,
    resource_version: &str,
    status: &impl Serialize,
) -> Result<(), ApiError>
where
    K: Resource<DynamicType = (), Scope = ClusterResourceScope>,
{
    let resource = ApiResource::erase::<K>(&());
    let api: Api<DynamicObject> = Api::all_with(cluster.client(), &resource);
    let what = format!("{} {name}", resource.kind);
    put(cluster, &api, &what, DynamicObject::new(name, &resource), resource_version, status).await
}

async fn put(
    cluster: &Cluster,
    api: &Api<DynamicObject>,
    what: &str,
    mut object: DynamicObject,
    resource_version: &str,
    status: &impl Serialize,
) -> Result<(), ApiError> {
    let name = object.metadata.name.clone().unwrap_or_default();
    object.metadata.resource_version = Some(resource_version.into());
    object.data = serde_json::json!({ "status": status });
    cluster.call(what, api.replace_status(&name, &PostParams::default(), &object)).await.map(drop)
}
