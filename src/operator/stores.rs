//! From a store's name to a client that may be asked: the SecretStore, who may use it, its credentials, its client.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Api;

use super::part::Context;
use crate::adapters::k8s::secrets;
use crate::adapters::k8s::seen::Entry;
use crate::adapters::k8s::watch::{self, Change, Store as Cache};
use crate::adapters::stores::aws::{AwsConfig, AwsStore};
use crate::adapters::stores::fake::FakeStore;
use crate::adapters::stores::vault::{VaultConfig, VaultStore};
use crate::adapters::stores::{Answer, CALL_TIMEOUT, OnCall, Store, StoreError, Want};
use crate::pure::crd::external_secret::StoreKind;
use crate::pure::crd::secret_store::{
    AwsProvider, AwsService, CaProvider, CaProviderKind, ClusterSecretStore, SecretKeySelector, SecretStore, StoreSpec,
    StoreStatus, VaultProvider,
};
use crate::pure::error::one_line;
use crate::pure::external::store::{self, Repeats};
use crate::pure::external::{ExternalError, Fetch, Fetched, StoreId};
use crate::pure::queue::ObjectKey;
use crate::pure::secret::Plaintext;

/// Longest time that a client is used: what it was built from may have changed without a watch telling us (a ConfigMap
/// with certificate authorities).
const CLIENT_AGE: Duration = Duration::from_secs(300);
/// Clients kept; one holds a connection pool and a TLS configuration, some hundred kilobytes.
const CLIENTS: usize = 512;
/// Reads of one ExternalSecret that are under way at a time.
const READS: usize = 8;
/// Variable with the address of Secrets Manager in place of the region's own; the incumbent's name.
const AWS_ENDPOINT: &str = "AWS_SECRETSMANAGER_ENDPOINT";

/// A client with what it was built from.
struct Connected {
    stamp: String,
    since: Instant,
    client: Arc<dyn Store>,
}

/// All stores of the cluster, and the clients that are connected.
pub struct Stores {
    context: Arc<Context>,
    namespaced: Arc<Cache<Entry<SecretStore>>>,
    cluster: Arc<Cache<Entry<ClusterSecretStore>>>,
    clients: Mutex<HashMap<(StoreId, String), Connected>>,
    on_call: OnCall,
    aws_endpoint: Option<String>,
}

/// One store as the watches know it.
pub struct Known {
    /// Its specification.
    pub spec: StoreSpec,
    /// Its status.
    pub status: Option<StoreStatus>,
    /// UID.
    pub uid: String,
    /// UID and generation.
    pub version: String,
}

/// What is new about a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It came, went, or its spec changed.
    Spec,
    /// Only whether it is ready.
    Readiness,
}

impl Stores {
    /// Empty until [`Stores::watch`] runs.
    pub fn new(context: &Arc<Context>, on_call: OnCall) -> Arc<Self> {
        Arc::new(Self {
            context: context.clone(),
            namespaced: Arc::default(),
            cluster: Arc::default(),
            clients: Mutex::default(),
            on_call,
            aws_endpoint: std::env::var(AWS_ENDPOINT).ok().filter(|endpoint| !endpoint.is_empty()),
        })
    }

    /// Keeps the stores up to date until the stop, and calls `on` for each of which something is new.
    pub async fn watch(self: Arc<Self>, on: impl Fn(StoreId, News) + Send + Sync + Clone) {
        let namespaced = {
            let on = on.clone();
            move |change: Change<'_, Entry<SecretStore>>| {
                let parts = |object: &SecretStore| (object.spec.clone(), object.status.clone());
                if let Some(news) = news(&change, parts) {
                    on(id(StoreKind::SecretStore, change.key), news);
                }
            }
        };
        let cluster = move |change: Change<'_, Entry<ClusterSecretStore>>| {
            let parts = |object: &ClusterSecretStore| (object.spec.0.clone(), object.status.clone());
            if let Some(news) = news(&change, parts) {
                on(id(StoreKind::ClusterSecretStore, change.key), news);
            }
        };
        let (context, stop) = (&self.context, self.context.stop.clone());
        // Cluster-scoped objects have no namespace to watch.
        let everywhere = watch::Scope::default();
        tokio::join!(
            watch::objects(context.cluster.clone(), context.scope(), self.namespaced.clone(), namespaced, stop.clone()),
            watch::objects(context.cluster.clone(), everywhere, self.cluster.clone(), cluster, stop),
        );
    }

    /// Whether the first lists have arrived.
    pub fn ready(&self) -> Result<(), String> {
        if self.namespaced.is_settled() && self.cluster.is_settled() {
            Ok(())
        } else {
            Err("the first list of stores has not arrived".into())
        }
    }

    /// One store, unless it is not there or cannot be read.
    pub fn get(&self, id: &StoreId) -> Option<Known> {
        let key = ObjectKey::new(id.namespace.clone(), id.name.clone());
        let known = |spec, status, meta: &kube::api::ObjectMeta| {
            let uid = meta.uid.clone().unwrap_or_default();
            let version = format!("{uid}/{}", meta.generation.unwrap_or_default());
            Known { spec, status, uid, version }
        };
        match id.kind {
            StoreKind::SecretStore => {
                let entry = self.namespaced.get(&key)?;
                let object = entry.object.as_ref().ok()?;
                Some(known(object.spec.clone(), object.status.clone(), entry.meta()))
            }
            StoreKind::ClusterSecretStore => {
                let entry = self.cluster.get(&key)?;
                let object = entry.object.as_ref().ok()?;
                Some(known(object.spec.0.clone(), object.status.clone(), entry.meta()))
            }
        }
    }

    /// Stores that refer to a Secret, for the moment at which it changes, each with the namespace whose ExternalSecrets
    /// it concerns if not all: a cluster store may take its credentials from whoever asks.
    pub fn that_use(&self, secret: &ObjectKey) -> Vec<(StoreId, Option<String>)> {
        let named = |spec: &StoreSpec, pick: &dyn Fn(Option<&str>) -> bool| {
            store::secret_references(spec).iter().any(|selector| {
                let namespace = selector.namespace.as_deref().filter(|namespace| !namespace.is_empty());
                selector.name.as_deref() == Some(secret.name.as_str()) && pick(namespace)
            })
        };
        let here = |namespace: Option<&str>| namespace == Some(secret.namespace.as_str());
        let namespaced = self.namespaced.keys_where(|key, entry| {
            let own = key.namespace == secret.namespace;
            let uses = |spec| named(spec, &|namespace| here(namespace) || own && namespace.is_none());
            entry.object.as_ref().is_ok_and(|object| uses(&object.spec))
        });
        let cluster = |pick: &dyn Fn(Option<&str>) -> bool| {
            self.cluster.keys_where(|_, entry| entry.object.as_ref().is_ok_and(|object| named(&object.spec.0, pick)))
        };
        let all = namespaced.iter().map(|key| (id(StoreKind::SecretStore, key), None));
        let of_all = cluster(&here);
        let of_tenant = cluster(&|namespace| namespace.is_none());
        all.chain(of_all.iter().map(|key| (id(StoreKind::ClusterSecretStore, key), None)))
            .chain(
                of_tenant
                    .iter()
                    .filter(|key| !of_all.contains(key))
                    .map(|key| (id(StoreKind::ClusterSecretStore, key), Some(secret.namespace.clone()))),
            )
            .collect()
    }

    /// Carries out a plan on behalf of namespace `tenant`: each value is read once, some at a time. The outer error is
    /// about a store as a whole; the answers are in the order of the plan.
    pub async fn fetch(&self, tenant: &str, plan: &[Fetch]) -> Result<Vec<Answer>, ExternalError> {
        let mut clients: HashMap<&StoreId, Arc<dyn Store>> = HashMap::new();
        for fetch in plan {
            if !clients.contains_key(&fetch.store) {
                self.admit(&fetch.store, tenant).await?;
                let client = self.connect(&fetch.store, tenant).await;
                let client = client.map_err(|source| ExternalError::Store { place: fetch.place.clone(), source })?;
                clients.insert(&fetch.store, client);
            }
        }
        let mut wanted: BTreeMap<(&StoreId, &Want), Vec<usize>> = BTreeMap::new();
        for (index, fetch) in plan.iter().enumerate() {
            wanted.entry((&fetch.store, &fetch.want)).or_default().push(index);
        }
        let mut reads: Vec<BoxFuture<'_, (Vec<usize>, Answer)>> = vec![];
        for ((store, want), places) in wanted {
            let Some(client) = clients.get(store).cloned() else { continue };
            reads.push(Box::pin(async move { (places, client.read(want).await) }));
        }
        let mut answers: Vec<Option<Answer>> = plan.iter().map(|_| None).collect();
        let mut reads = futures::stream::iter(reads).buffer_unordered(READS);
        while let Some((places, answer)) = reads.next().await {
            for place in places {
                if let Some(slot) = answers.get_mut(place) {
                    *slot = Some(share(&answer));
                }
            }
        }
        // Every index was wanted once, so that every slot is filled.
        Ok(answers.into_iter().flatten().collect())
    }

    /// Refuses a store that is not ready, and a cluster store whose conditions keep the namespace out.
    async fn admit(&self, id: &StoreId, tenant: &str) -> Result<(), ExternalError> {
        let missing =
            || StoreError::Config { store: id.to_string(), detail: "it does not exist or cannot be read".into() };
        let known = self.get(id).ok_or_else(|| ExternalError::Store { place: "spec".into(), source: missing() })?;
        if id.kind == StoreKind::ClusterSecretStore {
            let conditions = &known.spec.conditions;
            let labels = if store::needs_labels(conditions) { self.labels(id, tenant).await? } else { BTreeMap::new() };
            if !store::allows(conditions, tenant, &labels) {
                let (store, namespace) = (id.name.clone(), tenant.to_owned());
                return Err(ExternalError::StoreNotAllowed { store, namespace });
            }
        }
        if store::is_ready(known.status.as_ref()) {
            Ok(())
        } else {
            Err(ExternalError::NotReady { store: id.to_string() })
        }
    }

    async fn labels(&self, id: &StoreId, namespace: &str) -> Result<BTreeMap<String, String>, ExternalError> {
        let api: Api<Namespace> = Api::all(self.context.cluster.client());
        let what = format!("Namespace {namespace}");
        let found = self.context.cluster.call(&what, api.get(namespace)).await;
        let found = found.map_err(|error| ExternalError::Store {
            place: "spec".into(),
            source: StoreError::Config { store: id.to_string(), detail: one_line(&error.to_string()) },
        })?;
        Ok(found.metadata.labels.unwrap_or_default())
    }

    /// A client for a store on behalf of a namespace: the last one, while nothing that it was built from has changed.
    pub async fn connect(&self, id: &StoreId, tenant: &str) -> Result<Arc<dyn Store>, StoreError> {
        let Some(known) = self.get(id) else {
            let detail = "it does not exist or cannot be read".into();
            return Err(StoreError::Config { store: id.to_string(), detail });
        };
        let stamp = self.stamp(id, tenant, &known);
        let slot = (id.clone(), tenant.to_owned());
        if let Some(connected) = self.clients.lock().unwrap_or_else(PoisonError::into_inner).get(&slot)
            && connected.stamp == stamp
            && connected.since.elapsed() < CLIENT_AGE
        {
            return Ok(connected.client.clone());
        }
        let client = self.build(id, tenant, &known.spec).await?;
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.len() >= CLIENTS {
            clients.clear();
        }
        clients.insert(slot, Connected { stamp, since: Instant::now(), client: client.clone() });
        Ok(client)
    }

    /// Version of the store and of every Secret it refers to.
    fn stamp(&self, id: &StoreId, tenant: &str, known: &Known) -> String {
        let mut stamp = known.version.clone();
        for selector in store::secret_references(&known.spec) {
            let Ok(reference) = store::resolve(id, tenant, &selector, "-") else { continue };
            let secret = self.context.secrets.get(&ObjectKey::new(reference.namespace, reference.name));
            stamp.push('/');
            stamp.push_str(secret.as_ref().map(|meta| meta.resource_version.as_str()).unwrap_or_default());
        }
        stamp
    }

    async fn build(&self, id: &StoreId, tenant: &str, spec: &StoreSpec) -> Result<Arc<dyn Store>, StoreError> {
        let unsupported = |what: String| Err(StoreError::Unsupported { store: id.to_string(), what });
        let bad = |detail: &str| StoreError::Config { store: id.to_string(), detail: detail.into() };
        let repeats = store::repeats(spec).map_err(bad)?;
        match (spec.provider.names().as_slice(), &spec.provider) {
            (["vault"], provider) if let Some(vault) = &provider.vault => self.vault(id, tenant, vault, repeats).await,
            (["aws"], provider) if let Some(aws) = &provider.aws => self.aws(id, tenant, aws, repeats).await,
            (["fake"], provider) if let Some(fake) = &provider.fake => {
                Ok(Arc::new(FakeStore::new(id.clone(), fake.clone())))
            }
            ([name], _) => unsupported(format!("provider {name}")),
            _ => Err(StoreError::Config { store: id.to_string(), detail: "it needs exactly one provider".into() }),
        }
    }

    async fn vault(
        &self,
        id: &StoreId,
        tenant: &str,
        vault: &VaultProvider,
        repeats: Option<Repeats>,
    ) -> Result<Arc<dyn Store>, StoreError> {
        let unsupported = |what: String| Err(StoreError::Unsupported { store: id.to_string(), what });
        if vault.tls.is_some() {
            return unsupported("a client certificate (provider.vault.tls)".into());
        }
        let token = match &vault.auth {
            None => None,
            Some(auth) => match (&auth.token_secret_ref, auth.unsupported().first()) {
                (Some(selector), _) => Some(self.entry(id, tenant, selector).await?),
                (None, Some(method)) => return unsupported(format!("provider.vault.auth.{method}")),
                (None, None) => None,
            },
        };
        let ca_pem = match (&vault.ca_bundle, &vault.ca_provider) {
            (Some(bundle), _) if !bundle.is_empty() => {
                let detail = "provider.vault.caBundle is not base64".into();
                let pem = STANDARD.decode(bundle.trim());
                Some(pem.map_err(|_| StoreError::Config { store: id.to_string(), detail })?)
            }
            (_, Some(provider)) => Some(self.authorities(id, tenant, provider).await?),
            _ => None,
        };
        let mut headers: Vec<(String, String)> = vault.headers.clone().into_iter().collect();
        if vault.read_your_writes == Some(true) && vault.forward_inconsistent == Some(true) {
            headers.push(("X-Vault-Inconsistent".into(), "forward-active-node".into()));
        }
        let config = VaultConfig {
            store: id.clone(),
            server: vault.server.clone(),
            mount: vault.path.clone(),
            version: vault.version.unwrap_or_default(),
            namespace: vault.namespace.clone(),
            headers,
            ca_pem,
            token,
            timeout: repeats.map_or(CALL_TIMEOUT, |repeats| repeats.limit(CALL_TIMEOUT)),
            repeats,
        };
        Ok(Arc::new(VaultStore::new(config, self.on_call.clone())?))
    }

    async fn aws(
        &self,
        id: &StoreId,
        tenant: &str,
        aws: &AwsProvider,
        repeats: Option<Repeats>,
    ) -> Result<Arc<dyn Store>, StoreError> {
        let unsupported = |what: &str| Err(StoreError::Unsupported { store: id.to_string(), what: what.into() });
        match aws.service {
            AwsService::SecretsManager => {}
            AwsService::ParameterStore => return unsupported("provider.aws.service ParameterStore"),
            AwsService::CertificateManager => return unsupported("provider.aws.service CertificateManager"),
        }
        if aws.role.is_some() || !aws.additional_roles.is_empty() {
            return unsupported("provider.aws.role");
        }
        let auth = aws.auth.as_ref();
        let Some(keys) = auth.and_then(|auth| auth.secret_ref.as_ref()) else {
            return match auth.and_then(|auth| auth.jwt.as_ref()) {
                Some(_) => unsupported("provider.aws.auth.jwt"),
                None => unsupported("the operator's own AWS credentials (provider.aws without auth.secretRef)"),
            };
        };
        let missing = |what: &str| StoreError::Config {
            store: id.to_string(),
            detail: format!("provider.aws.auth.secretRef lacks {what}"),
        };
        let access = keys.access_key_id.as_ref().ok_or_else(|| missing("accessKeyIDSecretRef"))?;
        let secret = keys.secret_access_key.as_ref().ok_or_else(|| missing("secretAccessKeySecretRef"))?;
        let session_token = match &keys.session_token {
            Some(selector) => Some(self.entry(id, tenant, selector).await?),
            None => None,
        };
        let config = AwsConfig {
            store: id.clone(),
            region: aws.region.clone(),
            endpoint: self.aws_endpoint.clone(),
            access_key_id: self.entry(id, tenant, access).await?,
            secret_access_key: self.entry(id, tenant, secret).await?,
            session_token,
            prefix: aws.prefix.clone().unwrap_or_default(),
            timeout: repeats.map_or(CALL_TIMEOUT, |repeats| repeats.limit(CALL_TIMEOUT)),
            repeats,
        };
        Ok(Arc::new(AwsStore::new(config, self.on_call.clone())?))
    }

    /// One entry of a Secret that the store may refer to.
    async fn entry(&self, id: &StoreId, tenant: &str, selector: &SecretKeySelector) -> Result<Plaintext, StoreError> {
        let at = store::resolve(id, tenant, selector, "")?;
        let refuse = |detail: String| StoreError::Config { store: id.to_string(), detail };
        let secret = secrets::get(&self.context.cluster, &at.namespace, &at.name).await;
        let secret = secret
            .map_err(|error| refuse(one_line(&error.to_string())))?
            .ok_or_else(|| refuse(format!("Secret {}/{} does not exist", at.namespace, at.name)))?;
        let value = secret.data.get(&at.key).filter(|value| !value.is_empty());
        value
            .map(Plaintext::duplicate)
            .ok_or_else(|| refuse(format!("Secret {}/{} has no entry \"{}\"", at.namespace, at.name, at.key)))
    }

    async fn authorities(&self, id: &StoreId, tenant: &str, provider: &CaProvider) -> Result<Vec<u8>, StoreError> {
        let selector = SecretKeySelector {
            name: Some(provider.name.clone()),
            key: provider.key.clone(),
            namespace: provider.namespace.clone(),
        };
        if provider.kind == CaProviderKind::Secret {
            return self.entry(id, tenant, &selector).await.map(|pem| pem.expose().to_vec());
        }
        let at = store::resolve(id, tenant, &selector, "")?;
        let refuse = |detail: String| StoreError::Config { store: id.to_string(), detail };
        let api: Api<ConfigMap> = Api::namespaced(self.context.cluster.client(), &at.namespace);
        let what = format!("ConfigMap {}/{}", at.namespace, at.name);
        let found = self.context.cluster.call(&what, api.get(&at.name)).await;
        let found = found.map_err(|error| refuse(one_line(&error.to_string())))?;
        let text = found.data.and_then(|mut data| data.remove(&at.key));
        text.map(String::into_bytes).ok_or_else(|| refuse(format!("{what} has no entry \"{}\"", at.key)))
    }
}

/// The answer once more: values are shared, and matches are needed in one place each.
fn share(answer: &Answer) -> Answer {
    match answer {
        Ok(Fetched::Value(value, dialect)) => Ok(Fetched::Value(value.clone(), *dialect)),
        Ok(Fetched::Matches(data)) => Ok(Fetched::Matches(data.duplicate())),
        Err(error) => Err(error.clone()),
    }
}

fn id(kind: StoreKind, key: &ObjectKey) -> StoreId {
    StoreId { kind, namespace: key.namespace.clone(), name: key.name.clone() }
}

fn news<K: kube::Resource>(
    change: &Change<'_, Entry<K>>,
    parts: impl Fn(&K) -> (StoreSpec, Option<StoreStatus>),
) -> Option<News> {
    let (Some(old), Some(new)) = (change.old, change.new) else { return Some(News::Spec) };
    if old.meta().uid != new.meta().uid || old.meta().generation != new.meta().generation {
        return Some(News::Spec);
    }
    let ready = |entry: &Entry<K>| entry.object.as_ref().ok().map(|object| store::is_ready(parts(object).1.as_ref()));
    (ready(old) != ready(new)).then_some(News::Readiness)
}
