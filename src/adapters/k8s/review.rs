//! Asking the API server who a caller is and what they may do. Needs `create` of `tokenreviews` and
//! `subjectaccessreviews`, which the built-in ClusterRole `system:auth-delegator` grants.

use std::collections::BTreeMap;

use http::Method;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;
use serde::Deserialize;

use super::client::Cluster;
use super::error::ApiError;

/// A user, as the API server knows them.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Caller {
    /// User name.
    pub username: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

/// What a caller wants to do.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the names are those of the API")]
pub struct Wish<'a> {
    pub verb: &'a str,
    pub group: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
}

#[derive(Deserialize)]
struct Reviewed {
    #[serde(default)]
    status: ReviewStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ReviewStatus {
    authenticated: bool,
    user: Caller,
}

/// Whose `token` this is; `None` when the API server does not take it. With an `audience` only a token made for it counts,
/// without one only a token for the API server itself.
pub async fn authenticate(cluster: &Cluster, token: &str, audience: Option<&str>) -> Result<Option<Caller>, ApiError> {
    const WHAT: &str = "the review of a bearer token";
    let mut spec = serde_json::json!({ "token": token });
    if let (Some(audience), Some(spec)) = (audience, spec.as_object_mut()) {
        spec.insert("audiences".into(), serde_json::json!([audience]));
    }
    let body = serde_json::json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec });
    let path = "/apis/authentication.k8s.io/v1/tokenreviews";
    let json = Some("application/json");
    // Raw: neither the token nor an answer that repeats it may reach a log.
    let answer = cluster.raw(WHAT, Method::POST, path, json, body.to_string().into_bytes()).await?;
    let reviewed: Reviewed = serde_json::from_str(&answer).map_err(|e| ApiError::Decode {
        what: WHAT.into(),
        why: format!("{:?} at column {}", e.classify(), e.column()),
    })?;
    Ok(Some(reviewed.status).filter(|status| status.authenticated).map(|status| status.user))
}

/// Whether `caller` may do it.
pub async fn allowed(cluster: &Cluster, caller: &Caller, wish: Wish<'_>) -> Result<bool, ApiError> {
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: text(&caller.username),
            uid: text(&caller.uid),
            groups: Some(caller.groups.clone()),
            extra: Some(caller.extra.clone()),
            resource_attributes: Some(ResourceAttributes {
                verb: text(wish.verb),
                group: text(wish.group),
                resource: text(wish.resource),
                subresource: text(wish.subresource),
                namespace: text(wish.namespace),
                name: text(wish.name),
                ..Default::default()
            }),
            ..Default::default()
        },
        ..Default::default()
    };
    let api: Api<SubjectAccessReview> = Api::all(cluster.client());
    let what = format!("the access review of {}", caller.username);
    let answer = cluster.call(&what, api.create(&PostParams::default(), &review)).await?;
    Ok(answer.status.is_some_and(|status| status.allowed && status.denied != Some(true)))
}
