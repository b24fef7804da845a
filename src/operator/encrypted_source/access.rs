//! Keys and credentials of a source: Secrets of its own namespace, with Flux's entry names.

use std::sync::Arc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::key_services;

use crate::adapters::git::{Credentials, DEFAULT_TIMEOUT, Reference, Request};
use crate::adapters::k8s::{ApiError, secrets};
use crate::adapters::kms::DataKeys;
use crate::operator::part::Context;
use crate::pure::crd::encrypted_source::{EncryptedSourceSpec, GitSpec};
use crate::pure::desired::{ObservedSecret, SEALING_KEY_LABEL};
use crate::pure::duration;
use crate::pure::error::Explain as _;
use crate::pure::gitops::conclude::Blocked;
use crate::pure::keys::Identities;
use crate::pure::sealed::{SealingKey, SealingKeys};
use crate::pure::secret::{Plaintext, SecretData};
use crate::pure::sops::DecryptionOrder;

fn blocked(reason: &'static str, message: String) -> Blocked {
    // A watch sees the Secret come or change; until then waiting is what there is to do.
    Blocked { reason, message, stalled: false }
}

async fn read(
    context: &Context,
    namespace: &str,
    name: &str,
    field: &str,
) -> Result<Result<ObservedSecret, Blocked>, ApiError> {
    Ok(match secrets::get(&context.cluster, namespace, name).await? {
        Some(secret) => Ok(secret),
        None => {
            Err(blocked("SecretNotFound", format!("Secret {namespace}/{name} of {field} does not exist; create it")))
        }
    })
}

/// How long data keys that key services opened are kept: a right that was taken away counts after that.
const KEYS_KEPT: Duration = Duration::from_secs(3600);

/// The keys of a source, and what they were made of.
pub(super) struct SourceKeys {
    secret: String,
    since: Instant,
    keys: Arc<DataKeys<Identities>>,
}

/// The keys of `decryption.secretRef`, with remarks about entries that are not used. What key services answered is kept
/// in `known` as long as the Secret stays the same.
pub(super) async fn keys(
    context: &Context,
    namespace: &str,
    spec: &EncryptedSourceSpec,
    known: &mut Option<SourceKeys>,
) -> Result<Result<(Arc<DataKeys<Identities>>, Vec<String>), Blocked>, ApiError> {
    let (mut identities, mut services, mut remarks) = (Identities::new(), SecretData::new(), vec![]);
    let mut version = String::new();
    if let Some(reference) = spec.decryption.as_ref().and_then(|decryption| decryption.secret_ref.as_ref()) {
        let secret = match read(context, namespace, &reference.name, "decryption.secretRef").await? {
            Ok(secret) => secret,
            Err(blocked) => return Ok(Err(blocked)),
        };
        for (entry, value) in secret.data.iter() {
            let place = format!("entry {entry} of Secret {namespace}/{}", reference.name);
            if key_services::is_entry(entry) {
                services.insert(entry, value.duplicate());
                continue;
            }
            if !entry.ends_with(".agekey") && !entry.ends_with(".asc") {
                remarks.push(format!("{place} is not used: only *.agekey, *.asc and Flux's sops.* are read"));
                continue;
            }
            match value.expose_str().map(|text| Identities::parse(text, &place)) {
                Some(Ok(more)) => identities.extend(more),
                Some(Err(error)) => return Ok(Err(blocked(error.reason(), error.line()))),
                None => return Ok(Err(blocked("InvalidIdentity", format!("{place} is not text")))),
            }
        }
        if identities.is_empty() && services.is_empty() {
            let message = format!(
                "Secret {namespace}/{} holds no private key and no credentials of a key service; put an age identity under \
                 a name that ends in .agekey, or an armoured PGP key under one that ends in .asc",
                reference.name
            );
            return Ok(Err(blocked("NoIdentity", message)));
        }
        version = format!("{} {}", secret.uid, secret.resource_version);
    }
    if let Some(known) = known.as_ref().filter(|known| known.secret == version && known.since.elapsed() < KEYS_KEPT) {
        known.keys.begin_run();
        return Ok(Ok((Arc::clone(&known.keys), remarks)));
    }
    let made = match key_services::services(&services, namespace, &context.settings.key_services) {
        Ok(made) => made,
        Err(what) => return Ok(Err(blocked("InvalidKeyService", format!("decryption.secretRef: {what}")))),
    };
    let connect = Box::new(move || made.clone());
    let handle = tokio::runtime::Handle::current();
    let keys = Arc::new(DataKeys::new(identities, DecryptionOrder::default(), Some(handle), connect));
    *known = Some(SourceKeys { secret: version, since: Instant::now(), keys: Arc::clone(&keys) });
    Ok(Ok((keys, remarks)))
}

/// The sealing keys of the operator's namespace.
pub(super) async fn sealing_keys(context: &Context) -> Result<SealingKeys, ApiError> {
    let mut keys = SealingKeys::ordered_by(context.settings.sealing.key_order);
    for secret in secrets::list(&context.cluster, &context.namespace, SEALING_KEY_LABEL).await? {
        // What is wrong with a key is said by those who maintain them.
        if let Ok((key, _)) = SealingKey::from_secret(&secret, false) {
            keys.add(key);
        }
    }
    Ok(keys)
}

/// Everything that a fetch needs.
pub(super) async fn request(
    context: &Context,
    namespace: &str,
    spec: &EncryptedSourceSpec,
    known_commit: Option<String>,
) -> Result<Result<Request, Blocked>, ApiError> {
    let git = &spec.git;
    let timeout = git.timeout.as_deref().and_then(duration::of_schema).unwrap_or(DEFAULT_TIMEOUT);
    let mut request = Request {
        url: git.url.clone(),
        reference: reference(git),
        path: spec.path.clone().unwrap_or_default(),
        credentials: None,
        ca: None,
        client_certificate: None,
        timeout,
        known_commit,
    };
    let Some(reference) = &git.secret_ref else { return Ok(Ok(request)) };
    let secret = match read(context, namespace, &reference.name, "git.secretRef").await? {
        Ok(secret) => secret,
        Err(blocked) => return Ok(Err(blocked)),
    };
    let entry = |name: &str| secret.data.get(name).filter(|value| !value.is_empty());
    request.credentials = match (entry("username"), entry("password"), entry("bearerToken")) {
        (None, None, Some(token)) => Some(Credentials::Bearer(token.duplicate())),
        (Some(username), Some(password), _) => {
            let username = username.expose_str().map(|name| name.trim().to_owned()).unwrap_or_default();
            // A file that was put into a Secret often ends in a line break.
            let password = password.expose_str().map_or_else(
                || password.duplicate(),
                |p| Plaintext::copy_of(p.trim_end_matches(['\n', '\r']).as_bytes()),
            );
            Some(Credentials::Basic { username, password })
        }
        (None, None, None) => None,
        _ => {
            let message = format!("Secret {namespace}/{} holds only one of username and password", reference.name);
            return Ok(Err(blocked("InvalidCredentials", message)));
        }
    };
    request.ca = entry("ca.crt").or_else(|| entry("caFile")).map(|pem| pem.expose().to_vec());
    if let (Some(certificate), Some(key)) = (entry("tls.crt"), entry("tls.key")) {
        let mut pem = Zeroizing::new(Vec::with_capacity(certificate.len() + key.len() + 1));
        pem.extend_from_slice(certificate.expose());
        pem.push(b'\n');
        pem.extend_from_slice(key.expose());
        request.client_certificate = Some(pem);
    }
    Ok(Ok(request))
}

/// Flux's order: commit, name, tag, branch.
fn reference(git: &GitSpec) -> Reference {
    let Some(wanted) = &git.reference else { return Reference::Head };
    if let Some(commit) = &wanted.commit {
        Reference::Commit(commit.clone())
    } else if let Some(name) = &wanted.name {
        Reference::Name(name.clone())
    } else if let Some(tag) = &wanted.tag {
        Reference::Tag(tag.clone())
    } else {
        wanted.branch.clone().map_or(Reference::Head, Reference::Branch)
    }
}
