//! The vendors' own Python libraries against the fake cloud: what they take for the real thing, ours may be held against.

use super::identities::azure_identities;
use crate::rig::process::{command, run_ok};
use crate::rig::{cloud, scratch, tools};

const AZURE: &str = r#"
import os
from azure.identity import EnvironmentCredential
from azure.keyvault.keys import KeyClient
from azure.keyvault.keys.crypto import CryptographyClient, EncryptionAlgorithm
credential = EnvironmentCredential()
key = KeyClient(os.environ["VAULT"], credential).get_key("vendors")
assert key.properties.version == os.environ["VERSION"], key.properties.version
client = CryptographyClient(key, credential)
sealed = client.encrypt(EncryptionAlgorithm.rsa_oaep_256, b"a data key").ciphertext
assert client.decrypt(EncryptionAlgorithm.rsa_oaep_256, sealed).plaintext == b"a data key"
print("azure agrees")
"#;

const GOOGLE: &str = r#"
import os
from google.cloud import kms
from google.api_core.exceptions import NotFound
client = kms.KeyManagementServiceClient(transport="rest")
name = os.environ["KEY"]
sealed = client.encrypt(request={"name": name, "plaintext": b"a data key"}).ciphertext
assert client.decrypt(request={"name": name, "ciphertext": sealed}).plaintext == b"a data key"
try:
    client.encrypt(request={"name": name[:-3] + "missing", "plaintext": b"x"})
except NotFound:
    print("google agrees")
"#;

const AZURE_IDENTITIES: &str = r#"
import os
from azure.identity import DefaultAzureCredential
from azure.keyvault.keys import KeyClient
credential = DefaultAzureCredential(exclude_cli_credential=True, exclude_developer_cli_credential=True,
    exclude_powershell_credential=True, exclude_shared_token_cache_credential=True)
assert KeyClient(os.environ["VAULT"], credential).get_key("vendors-identities").properties.version
print("azure agrees")
"#;

fn python(script: &str, environment: &[(&'static str, String)], more: &[(&str, &str)]) -> String {
    let file = scratch::file("vendor.py", script);
    let mut command = command(tools::path("clouds-python"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", scratch::dir("home"));
    command.arg(file).envs(environment.iter().map(|(name, value)| (name, value))).envs(more.iter().copied());
    run_ok(command, b"")
}

#[test]
fn azures_library_takes_the_fake_for_a_key_vault() {
    let cloud = cloud();
    let version = cloud.new_vault_key("vendors");
    let more = [("VAULT", cloud::VAULT), ("VERSION", version.as_str())];
    assert_eq!(python(AZURE, &cloud.azure_environment(), &more).trim(), "azure agrees");
    assert!(cloud.seen().iter().any(|request| request.ends_with(&format!("/keys/vendors/{version}/decrypt"))));
}

#[test]
fn the_vendors_libraries_take_the_fakes_of_machines_and_pods() {
    let cloud = cloud();
    cloud.new_vault_key("vendors-identities");
    for more in azure_identities(cloud) {
        let environment = [cloud.environment(), more].concat();
        assert_eq!(python(AZURE_IDENTITIES, &environment, &[("VAULT", cloud::VAULT)]).trim(), "azure agrees");
    }
    let sources = [
        cloud.google_machine(),
        cloud.google_federation(false),
        cloud.google_federation(true),
        cloud.google_impersonation(),
    ];
    for more in sources {
        let environment = [cloud.environment(), more].concat();
        // Without the name of a project the library asks yet another service for it.
        let more = [("KEY", cloud::GCP_KEY), ("GOOGLE_CLOUD_PROJECT", "test")];
        assert_eq!(python(GOOGLE, &environment, &more).trim(), "google agrees");
    }
}

#[test]
fn googles_library_takes_the_fake_for_cloud_kms() {
    let cloud = cloud();
    assert_eq!(python(GOOGLE, &cloud.google_environment(), &[("KEY", cloud::GCP_KEY)]).trim(), "google agrees");
}
