//! The key services of one source. Its files name keys and addresses, and whoever may write the repository writes those:
//! what the administrator's lists do not cover is not contacted.
//!
//! Credentials are the entries that Flux reads from the Secret of `decryption.secretRef`. Where a source brings none, the
//! operator's own identity is used for what `--kms-ambient` grants to its namespace, and for nothing else.

use std::borrow::Cow;
use std::sync::Arc;

use aws_credential_types::Credentials;
use serde::Deserialize;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::adapters::kms::KeyService;
use crate::adapters::kms::aws::{AwsCredentials, AwsKms, AwsKmsConfig};
use crate::adapters::kms::azure::{AzureCredentials, AzureKeyVault};
use crate::adapters::kms::environment::made;
use crate::adapters::kms::gcp::{GcpCredentials, GcpKms, GcpKmsConfig};
use crate::adapters::kms::guard::Guarded;
use crate::adapters::kms::hckms::Huawei;
use crate::adapters::kms::vault::{Addresses, Transit, TransitConfig};
use crate::operator::settings::KeyServiceSettings;
use crate::pure::keys::KeyKind;
use crate::pure::secret::{Plaintext, SecretData};

const AWS: &str = "sops.aws-kms";
const AZURE: &str = "sops.azure-kv";
const GCP: &str = "sops.gcp-kms";
const VAULT: &str = "sops.vault-token";
/// Login addresses of Azure's clouds; another one would be told the secret.
const AUTHORITIES: [&str; 4] = [
    "https://login.microsoftonline.com",
    "https://login.microsoftonline.us",
    "https://login.chinacloudapi.cn",
    "https://login.partner.microsoftonline.cn",
];

const ALLOW: &str = "--kms-allow of the operator";
const AMBIENT: &str = "--kms-ambient of the operator";

/// Whether an entry of the key Secret holds credentials of a key service.
pub(super) fn is_entry(name: &str) -> bool {
    [AWS, AZURE, GCP, VAULT].contains(&name)
}

/// One service per kind for a source in `namespace`. A kind for which the operator's own environment is wrong says so when
/// a file has such a key; the others work.
///
/// # Errors
/// The entry that cannot be used, and why; never its value.
pub(super) fn services(
    entries: &SecretData,
    namespace: &str,
    settings: &KeyServiceSettings,
) -> Result<Vec<Arc<dyn KeyService>>, String> {
    let ambient = settings.ambient(namespace);
    let own = settings.allowed.with(&ambient);
    let entry = |name: &'static str| entries.get(name).map(|value| (name, value));
    let bad = |(name, what): (&str, String)| format!("entry {name}: {what}");
    let mut services: Vec<Arc<dyn KeyService>> = vec![Arc::new(Huawei)];
    let mut add = |service: Arc<dyn KeyService>, is_own: bool| {
        let (list, by) = if is_own { (own.clone(), ALLOW) } else { (ambient.clone(), AMBIENT) };
        services.push(Arc::new(Guarded::new(service, list, by)));
    };

    let (credentials, is_own) = match entry(AWS) {
        Some((name, value)) => (aws(value).map_err(|what| bad((name, what)))?, true),
        None => (AwsCredentials::ChainWithoutProfiles, false),
    };
    let config = AwsKmsConfig { credentials, ..AwsKmsConfig::from_environment() };
    add(made(KeyKind::Kms, AwsKms::new(config).map_err(of_operator)), is_own);

    let (credentials, is_own) = match entry(GCP) {
        Some((_, value)) => (GcpCredentials::ServiceAccountOnly(value.duplicate()), true),
        None => (GcpCredentials::Default, false),
    };
    add(made(KeyKind::GcpKms, GcpKms::new(GcpKmsConfig::new(credentials)).map_err(of_operator)), is_own);

    let (credentials, is_own) = match entry(AZURE) {
        Some((name, value)) => azure(value).map_err(|what| bad((name, what)))?,
        None => (AzureCredentials::Chain, false),
    };
    add(Arc::new(AzureKeyVault::new(credentials)), is_own);

    let token = entry(VAULT).map(|(_, value)| value.duplicate());
    let is_own = token.is_some();
    let (list, by) = if is_own { (own.clone(), ALLOW) } else { (ambient.clone(), AMBIENT) };
    let transit = TransitConfig::from_environment().and_then(|mut config| {
        config.token = token.or(config.token);
        // The list goes in as well: it decides about redirects.
        config.addresses = Addresses { list: Some(list), by };
        Transit::new(config)
    });
    add(made(KeyKind::HcVault, transit.map_err(of_operator)), is_own);
    Ok(services)
}

fn of_operator(what: String) -> String {
    format!("the operator's environment: {what}")
}

#[derive(Deserialize, ZeroizeOnDrop)]
struct AwsEntry {
    aws_access_key_id: String,
    aws_secret_access_key: String,
    #[serde(default)]
    aws_session_token: String,
}

fn aws(value: &Plaintext) -> Result<AwsCredentials, String> {
    let what = "it is not YAML with aws_access_key_id and aws_secret_access_key";
    let entry: AwsEntry = value.expose_str().and_then(|text| serde_saphyr::from_str(text).ok()).ok_or(what)?;
    let token = Some(entry.aws_session_token.clone()).filter(|token| !token.is_empty());
    let (id, secret) = (entry.aws_access_key_id.clone(), entry.aws_secret_access_key.clone());
    Ok(AwsCredentials::Static(Credentials::new(id, secret, token, None, "EncryptedSource")))
}

/// The forms that Flux reads; `az` names the same things otherwise.
#[derive(Deserialize, ZeroizeOnDrop)]
#[serde(rename_all = "camelCase")]
struct AzureEntry {
    #[serde(default, alias = "tenant")]
    tenant_id: String,
    #[serde(default, alias = "appId")]
    client_id: String,
    #[serde(default, alias = "password")]
    client_secret: String,
    #[serde(default)]
    client_certificate: String,
    #[serde(default)]
    client_certificate_password: String,
    #[serde(default)]
    authority_host: String,
}

/// Credentials, and whether they are the source's own: an identity of this machine is not, whoever names it.
fn azure(value: &Plaintext) -> Result<(AzureCredentials, bool), String> {
    let what = "it is not YAML or JSON with tenantId, clientId and clientSecret or clientCertificate";
    let text = decode(value.expose()).ok_or(what)?;
    let entry: AzureEntry = serde_saphyr::from_str(&text).map_err(|_| what)?;
    let authority = entry.authority_host.trim_end_matches('/');
    if !authority.is_empty() && !AUTHORITIES.contains(&authority) {
        return Err("authorityHost is not a login address of Azure's".into());
    }
    let authority = Some(authority.to_owned()).filter(|authority| !authority.is_empty());
    let (tenant, client) = (entry.tenant_id.clone(), entry.client_id.clone());
    let pem = Plaintext::copy_of(entry.client_certificate.as_bytes());
    let secret = Plaintext::copy_of(entry.client_secret.as_bytes());
    match (tenant.is_empty(), client.is_empty(), secret.is_empty(), pem.is_empty()) {
        (false, false, false, _) => Ok((AzureCredentials::Secret { tenant, client, secret, authority }, true)),
        (false, false, true, false) if !entry.client_certificate_password.is_empty() => {
            Err("a clientCertificate with a password is not read; store it without one".into())
        }
        (false, false, true, false) => Ok((AzureCredentials::Certificate { tenant, client, pem, authority }, true)),
        (true, false, true, true) => Ok((AzureCredentials::ManagedIdentity(Some(client)), false)),
        _ => Err(what.into()),
    }
}

/// UTF-8, or UTF-16 with a mark of its byte order, which is what PowerShell writes.
fn decode(bytes: &[u8]) -> Option<Cow<'_, str>> {
    let wide = |bytes: &[u8], of: fn([u8; 2]) -> u16| {
        let units: Zeroizing<Vec<u16>> =
            Zeroizing::new(bytes.chunks_exact(2).filter_map(|pair| Some(of(pair.try_into().ok()?))).collect());
        String::from_utf16(&units).ok().map(Cow::Owned)
    };
    match bytes {
        [0xFF, 0xFE, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => wide(rest, u16::from_be_bytes),
        [0xEF, 0xBB, 0xBF, rest @ ..] => std::str::from_utf8(rest).ok().map(Cow::Borrowed),
        _ => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(AzureCredentials, bool), String> {
        azure(&Plaintext::from(text.to_owned()))
    }

    #[test]
    fn fluxs_forms_of_azure_credentials_are_read() {
        let own = |text: &str| matches!(read(text), Ok((AzureCredentials::Secret { .. }, true)));
        assert!(own("tenantId: t\nclientId: c\nclientSecret: s\n"));
        assert!(own(r#"{"appId": "c", "tenant": "t", "password": "s", "displayName": "x"}"#));
        let certificate = "tenantId: t\nclientId: c\nclientCertificate: |\n  pem\n";
        assert!(matches!(read(certificate), Ok((AzureCredentials::Certificate { .. }, true))));
        // This machine's identity is nobody's own.
        assert!(matches!(read("clientId: c\n"), Ok((AzureCredentials::ManagedIdentity(Some(_)), false))));
        let wide: Vec<u8> =
            [0xFF, 0xFE].into_iter().chain("clientId: c".encode_utf16().flat_map(u16::to_le_bytes)).collect();
        assert!(azure(&Plaintext::new(wide)).is_ok());
        for bad in [
            "",
            "tenantId: t\n",
            "tenantId: t\nclientId: c\n",
            "- a",
            "authorityHost: https://evil.test\nclientId: c\n",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn errors_name_the_entry_and_not_the_value() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut entries = SecretData::new();
        entries.insert(AWS, Plaintext::from("aws_access_key_id: canary\n".to_owned()));
        let error = services(&entries, "team", &KeyServiceSettings::default()).err().unwrap();
        assert!(error.starts_with("entry sops.aws-kms:") && !error.contains("canary"), "{error}");
    }

    #[test]
    fn a_grant_of_the_operators_identity_is_a_namespaces_own() {
        let settings =
            KeyServiceSettings::parse(&[], &["https://all.test".into(), "team=https://team.test".into()]).unwrap();
        let allows = |namespace: &str, address: &str| settings.ambient(namespace).allows_address(address);
        assert!(allows("team", "https://team.test/v1/x") && allows("team", "https://all.test/v1/x"));
        assert!(!allows("other", "https://team.test/v1/x") && allows("other", "https://all.test/v1/x"));
        assert!(settings.allowed.is_empty());
        assert!(KeyServiceSettings::parse(&["nonsense".into()], &[]).is_err());
    }
}
