//! Google Cloud KMS, against the fake cloud.

use latchwork::adapters::kms::KeyService as _;
use latchwork::adapters::kms::gcp::{GcpCredentials, GcpKms, GcpKmsConfig};
use latchwork::pure::keys::KeyRef;
use latchwork::pure::secret::Plaintext;

use super::{both_ways, refused, wrapped};
use crate::rig;
use crate::rig::cloud::{Cloud, GCP_KEY};
use crate::rig::wait::PATIENCE;

fn kms(cloud: &Cloud, credentials: GcpCredentials) -> GcpKms {
    let mut config = GcpKmsConfig::new(credentials);
    config.timeout = PATIENCE;
    GcpKms::new(config).unwrap().with_client(cloud.client())
}

fn key(name: &str) -> KeyRef {
    KeyRef::GcpKms { resource_id: name.into() }
}

#[tokio::test]
async fn a_cloud_kms_key_wraps_and_unwraps_as_the_real_sops_does() {
    let cloud = rig::cloud();
    let environment = cloud.google_environment();
    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    for credentials in [GcpCredentials::Json, GcpCredentials::ServiceAccountOnly] {
        let service = kms(cloud, credentials(Plaintext::from(cloud.service_account_json())));
        both_ways(&service, &["--gcp-kms", GCP_KEY], &environment).await;
    }
}

#[tokio::test]
async fn refusals_of_cloud_kms_say_what_was_asked_and_why() {
    let cloud = rig::cloud();
    let secret = Plaintext::from("thirty-two bytes of a data key!!".to_owned());
    let secrets = ["thirty-two", "must-not-show", "as the real one words it", "PRIVATE KEY"];
    let service = kms(cloud, GcpCredentials::Json(Plaintext::from(cloud.service_account_json())));
    let enc = service.wrap(&key(GCP_KEY), &secret).await.unwrap();

    let stranger = kms(cloud, GcpCredentials::Token(Plaintext::from("wrong-must-not-show".to_owned())));
    let text = refused(stranger.wrap(&key(GCP_KEY), &secret).await, &secrets);
    assert!(text.contains(GCP_KEY) && text.contains("denied (401 UNAUTHENTICATED)"), "{text}");
    let short = refused(service.wrap(&key("projects/test"), &secret).await, &secrets);
    assert!(short.contains("not of the form"), "{short}");
    let missing = key("projects/test/locations/global/keyRings/ring/cryptoKeys/missing");
    assert!(refused(service.wrap(&missing, &secret).await, &secrets).contains("404 NOT_FOUND"));
    let other = key("projects/test/locations/global/keyRings/ring/cryptoKeys/other");
    let text = refused(service.unwrap(&wrapped(other, &enc)).await, &secrets);
    assert!(text.contains("400 INVALID_ARGUMENT") && text.contains("another key"), "{text}");
    assert!(refused(service.unwrap(&wrapped(key(GCP_KEY), "not base64 !")).await, &secrets).contains("damaged"));
    for (json, says) in [
        ("{", "neither a file that exists nor JSON"),
        ("{}", "their type is not one of"),
        (r#"{"type":"service_account","private_key":"must-not-show"}"#, "lack an entry"),
    ] {
        let service = kms(cloud, GcpCredentials::Json(Plaintext::from(json.to_owned())));
        let text = refused(service.wrap(&key(GCP_KEY), &secret).await, &secrets);
        assert!(text.contains("no credentials") && text.contains(says), "{text}");
    }
}
