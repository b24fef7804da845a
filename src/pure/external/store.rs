//! Rules of stores: who may use them, what they refer to, how often they are validated, and what their status says.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::Timestamp;
use regex::RegexBuilder;

use super::decide::set_ready;
use super::{StoreError, StoreId};
use crate::pure::crd::external_secret::StoreKind;
use crate::pure::crd::secret_store::{
    CaProviderKind, Capabilities, SecretKeySelector, StoreCondition, StoreSpec, StoreStatus,
};
use crate::pure::duration;

/// How often a store is validated when it does not say.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(300);
/// Class of the controller that External Secrets Operator has unless told otherwise.
pub const CONTROLLER_CLASS: &str = "default";

/// Whether the store is meant for this program: no class, or the default one.
pub fn is_ours(spec: &StoreSpec) -> bool {
    matches!(spec.controller.as_deref(), None | Some("" | CONTROLLER_CLASS))
}

/// Whether [`allows`] needs the labels of the namespace.
pub fn needs_labels(conditions: &[StoreCondition]) -> bool {
    conditions.iter().any(|condition| condition.namespace_selector.is_some())
}

/// Whether a namespace may use a ClusterSecretStore: any selector, name or expression of any condition. An expression
/// that cannot be read allows nothing.
pub fn allows(conditions: &[StoreCondition], namespace: &str, labels: &BTreeMap<String, String>) -> bool {
    conditions.is_empty()
        || conditions.iter().any(|condition| {
            condition.namespaces.iter().any(|name| name == namespace)
                || condition.namespace_selector.as_ref().is_some_and(|selector| selects(selector, labels))
                || condition.namespace_regexes.iter().any(|pattern| {
                    let regex = RegexBuilder::new(pattern).size_limit(1024 * 1024).build();
                    regex.is_ok_and(|regex| regex.is_match(namespace))
                })
        })
}

/// Kubernetes' rule for label selectors: all parts must hold; an operator that is not known holds for nothing.
fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let equal = selector.match_labels.iter().flatten().all(|(name, value)| labels.get(name) == Some(value));
    equal
        && selector.match_expressions.iter().flatten().all(|rule| {
            let found = labels.get(&rule.key);
            let listed = |value: &String| rule.values.iter().flatten().any(|wanted| wanted == value);
            match rule.operator.as_str() {
                "In" => found.is_some_and(listed),
                "NotIn" => !found.is_some_and(listed),
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        })
}

/// One entry of a Secret or ConfigMap that a store refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Namespace, resolved.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Entry.
    pub key: String,
}

/// Resolves a reference of a store on behalf of `tenant`. A SecretStore reaches its own namespace only; a
/// ClusterSecretStore without a namespace means that of the ExternalSecret.
pub fn resolve(
    store: &StoreId,
    tenant: &str,
    selector: &SecretKeySelector,
    default_key: &str,
) -> Result<Reference, StoreError> {
    let refuse = |detail: &str| StoreError::Config { store: store.to_string(), detail: detail.to_owned() };
    let named = selector.namespace.as_deref().filter(|namespace| !namespace.is_empty());
    let namespace = match (store.kind, named) {
        (StoreKind::SecretStore, Some(namespace)) if namespace != tenant => {
            return Err(refuse("a SecretStore may refer to Secrets of its own namespace only"));
        }
        (_, Some(namespace)) => namespace,
        (_, None) => tenant,
    };
    let name = selector.name.as_deref().unwrap_or_default();
    let key = selector.key.as_deref().filter(|key| !key.is_empty()).unwrap_or(default_key);
    if name.is_empty() || key.is_empty() {
        return Err(refuse("a reference to a Secret lacks its name or key"));
    }
    if namespace.is_empty() {
        return Err(refuse("a reference to a Secret lacks its namespace"));
    }
    Ok(Reference { namespace: namespace.into(), name: name.into(), key: key.into() })
}

/// Every Secret entry that a store refers to.
pub fn secret_references(spec: &StoreSpec) -> Vec<SecretKeySelector> {
    let mut found = vec![];
    if let Some(vault) = &spec.provider.vault {
        found.extend(vault.auth.as_ref().and_then(|auth| auth.token_secret_ref.clone()));
        if let Some(ca) = vault.ca_provider.as_ref().filter(|ca| ca.kind == CaProviderKind::Secret) {
            let (name, key) = (Some(ca.name.clone()), ca.key.clone());
            found.push(SecretKeySelector { name, key, namespace: ca.namespace.clone() });
        }
    }
    if let Some(keys) = spec.provider.aws.as_ref().and_then(|aws| aws.auth.as_ref()?.secret_ref.as_ref()) {
        found
            .extend([&keys.access_key_id, &keys.secret_access_key, &keys.session_token].into_iter().flatten().cloned());
    }
    found
}

/// Whether a ClusterSecretStore takes credentials from the namespace of each ExternalSecret: there is nothing to
/// validate before one asks.
pub fn is_referent(store: &StoreId, spec: &StoreSpec) -> bool {
    store.kind == StoreKind::ClusterSecretStore
        && secret_references(spec).iter().any(|selector| selector.namespace.as_deref().is_none_or(str::is_empty))
}

/// How often a store is validated.
pub fn interval(spec: &StoreSpec) -> Result<Duration, &'static str> {
    let seconds = match &spec.refresh_interval {
        None => return Ok(DEFAULT_INTERVAL),
        Some(IntOrString::Int(seconds)) => i64::from(*seconds) * 1_000_000_000,
        Some(IntOrString::String(text)) => duration::of_go(text.as_bytes())
            .map_err(|_| "spec.refreshInterval is neither a duration such as 5m nor a number of seconds")?,
    };
    match u64::try_from(seconds) {
        Err(_) => Err("spec.refreshInterval is negative"),
        Ok(0) => Ok(DEFAULT_INTERVAL),
        Ok(nanos) => Ok(Duration::from_nanos(nanos)),
    }
}

/// How calls to a provider are repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeats {
    /// Tries after the first; `None` leaves it to the provider's own default with settings.
    pub retries: Option<u32>,
    /// Wait between two tries.
    pub wait: Option<Duration>,
}

/// Most repeats of one call, whatever a store says: what goes on for longer is the queue's affair.
const MOST_REPEATS: u32 = 10;
/// Longest wait between two repeats.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

impl Repeats {
    /// Longest time for one call that takes `usual` without repeats: that and the waits, but no more than a minute.
    pub fn limit(&self, usual: Duration) -> Duration {
        let waits = self.wait.unwrap_or_default().saturating_mul(self.retries.unwrap_or_default());
        (usual + waits).min(usual.max(Duration::from_secs(60)))
    }
}

/// `retrySettings` of a store, if it has them.
pub fn repeats(spec: &StoreSpec) -> Result<Option<Repeats>, &'static str> {
    let Some(settings) = &spec.retry_settings else { return Ok(None) };
    let retries = match settings.max_retries.map(u32::try_from) {
        None => None,
        Some(Ok(retries)) => Some(retries.min(MOST_REPEATS)),
        Some(Err(_)) => return Err("spec.retrySettings.maxRetries is negative"),
    };
    let wait = match settings.retry_interval.as_deref().map(|text| duration::of_go(text.as_bytes())) {
        None => None,
        Some(Ok(nanos)) => {
            let nanos = u64::try_from(nanos).map_err(|_| "spec.retrySettings.retryInterval is negative")?;
            Some(Duration::from_nanos(nanos).min(LONGEST_WAIT))
        }
        Some(Err(_)) => return Err("spec.retrySettings.retryInterval is not a duration such as 10s"),
    };
    Ok(Some(Repeats { retries, wait }))
}

/// What validation of a store found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validation {
    /// It can be used.
    Valid,
    /// It cannot be told.
    Unknown,
    /// No client can be made from it.
    NoClient,
    /// It does not answer as it should.
    Failed,
}

impl Validation {
    /// Status, reason and message of the condition.
    pub fn condition(self) -> (bool, &'static str, &'static str) {
        match self {
            Self::Valid => (true, "Valid", "store validated"),
            Self::Unknown => (true, "ValidationUnknown", "could not determine validation status"),
            Self::NoClient => (false, "InvalidProviderConfig", "unable to create client"),
            Self::Failed => (false, "InvalidProviderConfig", "unable to validate store"),
        }
    }
}

/// Status of a store after a validation.
pub fn conclude(before: Option<&StoreStatus>, validation: Validation, now: Timestamp) -> StoreStatus {
    let mut status = before.cloned().unwrap_or_default();
    let (ready, reason, message) = validation.condition();
    set_ready(&mut status.conditions, ready, reason, message, now);
    // What the incumbent says of all three providers.
    if validation != Validation::NoClient {
        status.capabilities = Some(Capabilities::ReadWrite);
    }
    status
}

/// Whether ExternalSecrets may use the store: its last validation did not fail.
pub fn is_ready(status: Option<&StoreStatus>) -> bool {
    status.is_some_and(|status| status.conditions.iter().any(|c| c.kind == "Ready" && c.status == "True"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(kind: StoreKind) -> StoreId {
        let namespace = if kind == StoreKind::SecretStore { "team" } else { "" };
        StoreId { kind, namespace: namespace.into(), name: "s".into() }
    }

    #[test]
    fn any_condition_opens_a_cluster_store() {
        let labels = BTreeMap::from([("tier".to_owned(), "web".to_owned())]);
        for (conditions, want) in [
            (serde_json::json!([]), true),
            (serde_json::json!([{"namespaces": ["other"]}]), false),
            (serde_json::json!([{"namespaces": ["other"]}, {"namespaces": ["team"]}]), true),
            (serde_json::json!([{"namespaceRegexes": ["ea"]}]), true),
            (serde_json::json!([{"namespaceRegexes": ["^ea"]}]), false),
            (serde_json::json!([{"namespaceRegexes": ["("]}]), false),
            (serde_json::json!([{"namespaceSelector": {"matchLabels": {"tier": "web"}}}]), true),
            (serde_json::json!([{"namespaceSelector": {"matchLabels": {"tier": "db"}}}]), false),
            (serde_json::json!([{"namespaceSelector": {}}]), true),
            (
                serde_json::json!([{"namespaceSelector": {"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["db"]}]}}]),
                true,
            ),
            (
                serde_json::json!([{"namespaceSelector": {"matchExpressions": [{"key": "x", "operator": "Exists"}]}}]),
                false,
            ),
            (
                serde_json::json!([{"namespaceSelector": {"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]}}]),
                true,
            ),
            (
                serde_json::json!([{"namespaceSelector": {"matchExpressions": [{"key": "tier", "operator": "Guess"}]}}]),
                false,
            ),
        ] {
            let conditions: Vec<StoreCondition> = serde_json::from_value(conditions).expect("conditions");
            assert_eq!(allows(&conditions, "team", &labels), want, "{conditions:?}");
        }
    }

    #[test]
    fn a_secret_store_reaches_its_own_namespace_only() {
        let selector = |namespace: Option<&str>| SecretKeySelector {
            name: Some("token".into()),
            key: None,
            namespace: namespace.map(str::to_owned),
        };
        let own = id(StoreKind::SecretStore);
        let cluster = id(StoreKind::ClusterSecretStore);
        let namespace = |result: Result<Reference, StoreError>| result.ok().map(|r| r.namespace);
        assert_eq!(namespace(resolve(&own, "team", &selector(None), "token")).as_deref(), Some("team"));
        assert_eq!(namespace(resolve(&own, "team", &selector(Some("team")), "token")).as_deref(), Some("team"));
        assert_eq!(namespace(resolve(&own, "team", &selector(Some("vault")), "token")), None);
        assert_eq!(namespace(resolve(&cluster, "team", &selector(Some("vault")), "token")).as_deref(), Some("vault"));
        assert_eq!(namespace(resolve(&cluster, "team", &selector(None), "token")).as_deref(), Some("team"));
        assert_eq!(namespace(resolve(&own, "team", &selector(None), "")), None);
    }

    #[test]
    fn repeats_are_bounded() {
        let of = |settings: serde_json::Value| {
            let spec = serde_json::json!({"provider": {}, "retrySettings": settings});
            repeats(&serde_json::from_value(spec).expect("a spec"))
        };
        let some = |retries, wait| Ok(Some(Repeats { retries, wait }));
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(repeats(&StoreSpec::default()), Ok(None));
        assert_eq!(of(serde_json::json!({})), some(None, None));
        assert_eq!(of(serde_json::json!({"maxRetries": 3, "retryInterval": "10s"})), some(Some(3), seconds(10)));
        assert_eq!(of(serde_json::json!({"maxRetries": 99, "retryInterval": "1h"})), some(Some(10), seconds(30)));
        for bad in [serde_json::json!({"maxRetries": -1}), serde_json::json!({"retryInterval": "soon"})] {
            assert!(of(bad.clone()).is_err(), "{bad}");
        }
        let limit = |retries, wait| Repeats { retries, wait }.limit(Duration::from_secs(15)).as_secs();
        assert_eq!([limit(None, None), limit(Some(2), seconds(10)), limit(Some(9), seconds(30))], [15, 35, 60]);
    }

    #[test]
    fn intervals_are_durations_or_seconds() {
        for (value, want) in [
            (serde_json::json!(null), Ok(300)),
            (serde_json::json!(0), Ok(300)),
            (serde_json::json!(30), Ok(30)),
            (serde_json::json!("10m"), Ok(600)),
            (serde_json::json!("soon"), Err(())),
            (serde_json::json!(-1), Err(())),
            (serde_json::json!("-1s"), Err(())),
        ] {
            let spec = StoreSpec {
                refresh_interval: serde_json::from_value(value.clone()).expect("value"),
                ..Default::default()
            };
            assert_eq!(interval(&spec).map(|d| d.as_secs()).map_err(drop), want, "{value}");
        }
    }

    #[test]
    fn referents_and_readiness() {
        let spec: StoreSpec =
            serde_json::from_value(serde_json::json!({"provider": {"aws": {"service": "SecretsManager",
            "region": "r", "auth": {"secretRef": {"accessKeyIDSecretRef": {"name": "a", "key": "k", "namespace": "n"},
            "secretAccessKeySecretRef": {"name": "a", "key": "s"}}}}}}))
            .expect("spec");
        assert_eq!(secret_references(&spec).len(), 2);
        assert!(is_referent(&id(StoreKind::ClusterSecretStore), &spec));
        assert!(!is_referent(&id(StoreKind::SecretStore), &spec));
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().expect("time");
        for (validation, ready) in [
            (Validation::Valid, true),
            (Validation::Unknown, true),
            (Validation::NoClient, false),
            (Validation::Failed, false),
        ] {
            assert_eq!(is_ready(Some(&conclude(None, validation, now))), ready, "{validation:?}");
        }
        assert!(!is_ready(None));
    }
}
