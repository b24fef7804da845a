//! AWS KMS, against moto.

use std::time::Duration;

use aws_credential_types::Credentials;
use latchwork::adapters::kms::KeyService as _;
use latchwork::adapters::kms::aws::{AwsCredentials, AwsKms, AwsKmsConfig};
use latchwork::pure::keys::KeyRef;
use latchwork::pure::secret::Plaintext;

use super::{both_ways, refused, wrapped};
use crate::rig::fault_http::{Fault, FaultServer};
use crate::rig::moto::{ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY};
use crate::rig::wait::PATIENCE;
use crate::rig::{self, tls};

const ROLE: &str = "arn:aws:iam::123456789012:role/sops";

fn kms(endpoint: &str) -> AwsKms {
    kms_that_waits(endpoint, PATIENCE)
}

fn kms_that_waits(endpoint: &str, timeout: Duration) -> AwsKms {
    tls::install_provider();
    let credentials = Credentials::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY, None, None, "test");
    AwsKms::new(AwsKmsConfig {
        credentials: AwsCredentials::Static(credentials),
        endpoint: Some(endpoint.to_owned()),
        host: "test".into(),
        timeout,
    })
    .unwrap()
}

fn key(arn: &str, context: &[(&str, &str)]) -> KeyRef {
    let context = context.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    KeyRef::Kms { arn: arn.into(), role: String::new(), context, profile: String::new() }
}

#[tokio::test]
async fn a_kms_key_wraps_and_unwraps_as_the_real_sops_does() {
    let moto = rig::moto();
    let service = kms(&moto.url);
    let environment = [
        ("AWS_ENDPOINT_URL", moto.url.as_str()),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID),
        ("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY),
    ];
    // The region is that of the ARN, whatever the environment says.
    for region in [REGION, "us-west-2"] {
        let arn = moto.create_key(region).await;
        both_ways(&service, &["--kms", &arn], &environment).await;
        let context = ["--kms", &arn, "--encryption-context", "team:a,stage:prod"];
        let found = both_ways(&service, &context, &environment).await;
        assert_eq!(found.key, key(&arn, &[("stage", "prod"), ("team", "a")]));
        both_ways(&service, &["--kms", &format!("{arn}+{ROLE}")], &environment).await;
    }
}

#[tokio::test]
async fn refusals_of_kms_say_what_was_asked_and_why() {
    let moto = rig::moto();
    let service = kms(&moto.url);
    let secret = Plaintext::from("thirty-two bytes of a data key!!".to_owned());
    let secrets = ["thirty-two", SECRET_ACCESS_KEY];
    let arn = moto.create_key(REGION).await;
    let enc = service.wrap(&key(&arn, &[("team", "a")]), &secret).await.unwrap();
    let unwrap = |key: KeyRef, enc: &str| {
        let wrapped = wrapped(key, enc);
        let service = &service;
        async move { service.unwrap(&wrapped).await }
    };
    let text = refused(unwrap(key(&arn, &[("team", "b")]), &enc).await, &secrets);
    assert!(text.contains("decrypt with") && text.contains(&arn) && text.contains("InvalidCiphertext"), "{text}");
    assert!(refused(unwrap(key(&arn, &[]), "bm90IGEgY2lwaGVydGV4dA==").await, &secrets).contains("refuses"));
    assert!(refused(unwrap(key(&arn, &[]), "not base64!").await, &secrets).contains("damaged"));
    let missing = format!("arn:aws:kms:{REGION}:123456789012:key/00000000-0000-0000-0000-000000000000");
    assert!(refused(service.wrap(&key(&missing, &[]), &secret).await, &secrets).contains("no such key"));
    let bad = key("arn:aws:kms:eu.evil.test/:1:key/1", &[]);
    assert!(refused(service.wrap(&bad, &secret).await, &secrets).contains("not an ARN"));
}

#[tokio::test]
async fn a_kms_in_trouble_is_asked_for_a_bounded_time() {
    let server = FaultServer::status(503);
    let service = kms(&server.url());
    let secret = Plaintext::from("data key".to_owned());
    let arn = "arn:aws:kms:eu-central-1:111122223333:key/1";
    let at = key(arn, &[]);
    let ask = || service.wrap(&at, &secret);
    assert!(refused(ask().await, &[SECRET_ACCESS_KEY]).contains("unavailable"));
    assert_eq!(server.count(), 3);
    server.set(Fault::Hang);
    let hurried = kms_that_waits(&server.url(), Duration::from_secs(3));
    assert!(refused(hurried.wrap(&at, &secret).await, &[SECRET_ACCESS_KEY]).contains("no answer within 3 s"));
    server.set_status(403);
    assert!(refused(ask().await, &[SECRET_ACCESS_KEY]).contains("denied"));
    // A role is assumed with the same credentials; the answer to that call counts.
    let role = KeyRef::Kms { arn: arn.into(), role: ROLE.into(), context: vec![], profile: String::new() };
    let text = refused(service.wrap(&role, &secret).await, &[SECRET_ACCESS_KEY]);
    assert!(text.contains("no credentials") && text.contains("role"), "{text}");
}
