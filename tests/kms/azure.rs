//! Azure Key Vault, against the fake cloud.

use latchwork::adapters::kms::KeyService as _;
use latchwork::adapters::kms::azure::{AzureCredentials, AzureKeyVault};
use latchwork::pure::keys::KeyRef;
use latchwork::pure::secret::Plaintext;

use super::{both_ways, refused, wrapped};
use crate::rig;
use crate::rig::cloud::{CLIENT, CLIENT_SECRET, Cloud, TENANT, VAULT};
use crate::rig::wait::PATIENCE;

fn credentials(secret: &str) -> AzureCredentials {
    let secret = Plaintext::from(format!("{secret}\n"));
    AzureCredentials::Secret { tenant: TENANT.into(), client: CLIENT.into(), secret, authority: None }
}

fn vault(cloud: &Cloud, credentials: AzureCredentials) -> AzureKeyVault {
    AzureKeyVault::new(credentials).with_client(cloud.client()).with_timeout(PATIENCE)
}

fn key(name: &str, version: &str) -> KeyRef {
    KeyRef::AzureKv { vault_url: VAULT.into(), name: name.into(), version: version.into() }
}

#[tokio::test]
async fn a_vaults_key_wraps_and_unwraps_as_the_real_sops_does() {
    let cloud = rig::cloud();
    let first = cloud.new_vault_key("both-ways");
    let environment = cloud.azure_environment();
    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let service = vault(cloud, credentials(CLIENT_SECRET));
    let url = format!("{VAULT}/keys/both-ways");
    let found = both_ways(&service, &["--azure-kv", &url], &environment).await;
    assert_eq!(found.key, key("both-ways", &first), "the real sops looked the version up");
    assert_eq!(service.complete(&key("both-ways", "")).await.unwrap(), found.key, "and so does ours");
    // After a rotation the old version still opens what it wrapped.
    let second = cloud.new_vault_key("both-ways");
    assert_eq!(service.complete(&key("both-ways", "")).await.unwrap(), key("both-ways", &second));
    assert_eq!(service.complete(&found.key).await.unwrap(), found.key);
    both_ways(&service, &["--azure-kv", &format!("{url}/{first}")], &environment).await;
}

#[tokio::test]
async fn a_certificate_stands_for_the_secret() {
    let cloud = rig::cloud();
    let version = cloud.new_vault_key("certified");
    let with = |pem: String| {
        let pem = Plaintext::from(pem);
        vault(
            cloud,
            AzureCredentials::Certificate { tenant: TENANT.into(), client: CLIENT.into(), pem, authority: None },
        )
    };
    let secret = Plaintext::from("data key".to_owned());
    let service = with(cloud.new_certificate());
    let enc = service.wrap(&key("certified", &version), &secret).await.unwrap();
    let opened = service.unwrap(&wrapped(key("certified", &version), &enc)).await.unwrap();
    assert!(opened.same_as(&secret));
    for (pem, says) in [("not PEM", "no certificate in PEM"), (cloud.ca.certificate_pem.as_str(), "no RSA private key")]
    {
        let text = refused(with(pem.to_owned()).wrap(&key("certified", &version), &secret).await, &["data key"]);
        assert!(text.contains(says), "{text}");
    }
}

#[tokio::test]
async fn refusals_of_a_vault_say_what_was_asked_and_why() {
    let cloud = rig::cloud();
    let version = cloud.new_vault_key("refusals");
    let other = cloud.new_vault_key("refusals-other");
    let secret = Plaintext::from("thirty-two bytes of a data key!!".to_owned());
    let secrets = ["thirty-two", CLIENT_SECRET, "must-not-show"];
    let service = vault(cloud, credentials(CLIENT_SECRET));
    let at = key("refusals", &version);
    let enc = service.wrap(&at, &secret).await.unwrap();

    let text = refused(vault(cloud, credentials("wrong-must-not-show")).wrap(&at, &secret).await, &secrets);
    assert!(text.contains("no credentials") && text.contains("client secret"), "{text}");
    assert!(refused(service.wrap(&key("missing", ""), &secret).await, &secrets).contains("KeyNotFound"));
    assert!(refused(service.complete(&key("missing", "")).await, &secrets).contains("KeyNotFound"));
    let text = refused(service.unwrap(&wrapped(key("refusals-other", &other), &enc)).await, &secrets);
    assert!(text.contains("decrypt with") && text.contains("400 BadParameter"), "{text}");
    assert!(refused(service.unwrap(&wrapped(at, "not base64 !")).await, &secrets).contains("damaged"));
    let foreign = KeyRef::AzureKv { vault_url: "https://evil.test".into(), name: "k".into(), version: "1".into() };
    assert!(refused(service.wrap(&foreign, &secret).await, &secrets).contains("not at an address of Azure's"));
    assert!(!cloud.seen().iter().any(|request| request.contains("evil.test")));
}
