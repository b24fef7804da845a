//! Credentials that nobody types: of machines, containers, pods and logins. Each comes from a local fake of the service
//! that hands it out, and is the only one that the program can find; the real sops takes the same, and the vendors' own
//! libraries do too (`vendors.rs`).

use serde_json::json;

use super::command_line::{Environment, both_directions};
use crate::rig::cloud::{CLIENT, Cloud, FEDERATED, GCP_KEY, TENANT, VAULT};
use crate::rig::http1::{Answer, Reply, Request, Server};
use crate::rig::moto::REGION;
use crate::rig::{self, scratch};

const IMDS_TOKEN: &str = "imds-token";
const CONTAINER_TOKEN: &str = "container-token";
const LOGIN_TOKEN: &str = "login-token";

/// The addresses that hand out AWS credentials: of an instance (version 2 alone), of a container, of a login.
fn aws_identities(request: &Request) -> Reply {
    let header = |name: &str| request.header(name).unwrap_or_default();
    let json =
        |value: serde_json::Value| Reply::new(200, value.to_string()).with_header("Content-Type", "application/json");
    let keys = json!({
        "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2024-01-01T00:00:00Z", "Expiration": "2099-01-01T00:00:00Z",
        "AccessKeyId": "ASIATEST", "SecretAccessKey": "secret", "Token": "session",
    });
    let refused = Reply::new(401, "");
    let role = "/latest/meta-data/iam/security-credentials";
    match (request.method.as_str(), request.path.trim_end_matches('/')) {
        ("PUT", "/latest/api/token") if !header("x-aws-ec2-metadata-token-ttl-seconds").is_empty() => {
            Reply::new(200, IMDS_TOKEN).with_header("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
        }
        ("GET", path) if path.starts_with("/latest/") && header("x-aws-ec2-metadata-token") != IMDS_TOKEN => refused,
        ("GET", path) if path == role => Reply::new(200, "sops"),
        ("GET", path) if path == format!("{role}/sops") => json(keys),
        ("GET", "/container") if header("authorization") == CONTAINER_TOKEN => json(keys),
        ("GET", "/container") => refused,
        ("GET", "/federation/credentials") if header("x-amz-sso_bearer_token") == LOGIN_TOKEN => {
            let expiration = 4_070_908_800_000_u64;
            json(json!({"roleCredentials": {"accessKeyId": "ASIATEST", "secretAccessKey": "secret",
                "sessionToken": "session", "expiration": expiration}}))
        }
        ("GET", "/federation/credentials") => refused,
        _ => Reply::new(404, ""),
    }
}

#[tokio::test]
async fn aws_credentials_of_machines_containers_pods_and_logins_are_taken() {
    let moto = rig::moto();
    let arn = moto.create_key(REGION).await;
    let server = Server::start(|request| Answer::Reply(aws_identities(&request)));
    let url = server.url();
    let kms = ("AWS_ENDPOINT_URL_KMS", moto.url.clone());
    let nowhere = ("AWS_EC2_METADATA_DISABLED", "true".to_owned());
    let home = scratch::dir("home");
    let write = |path: &str, text: &str| {
        let path = home.join(path);
        std::fs::create_dir_all(path.parent().expect("below")).expect("folder");
        std::fs::write(path, text).expect("writes");
    };
    write(
        ".aws/config",
        "[default]\nsso_session = team\nsso_account_id = 123456789012\nsso_role_name = sops\n\n[sso-session team]\n\
         sso_region = eu-central-1\nsso_start_url = https://team.awsapps.com/start\nsso_registration_scopes = sso:account:access\n",
    );
    // As `aws sso login` leaves it: the name is the SHA-1 of the session's.
    let login = json!({"startUrl": "https://team.awsapps.com/start", "region": "eu-central-1",
        "accessToken": LOGIN_TOKEN, "expiresAt": "2099-01-01T00:00:00Z"});
    write(".aws/sso/cache/d25187dc137f35c88bc80ec8c3ffbdb17b5eb873.json", &login.to_string());
    let pod = scratch::file("token", "a.web.identity").display().to_string();
    let sources: Vec<Environment> = vec![
        vec![("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.clone())],
        vec![
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{url}/container")),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN", CONTAINER_TOKEN.to_owned()),
            nowhere.clone(),
        ],
        // EKS Pod Identity: the same with a file.
        vec![
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{url}/container")),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", scratch::file("token", CONTAINER_TOKEN).display().to_string()),
            nowhere.clone(),
        ],
        // IRSA.
        vec![
            ("AWS_WEB_IDENTITY_TOKEN_FILE", pod),
            ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/sops".to_owned()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_ENDPOINT_URL_STS", moto.url.clone()),
            nowhere.clone(),
        ],
        vec![("HOME", home.display().to_string()), ("AWS_ENDPOINT_URL_SSO", url.clone()), nowhere],
    ];
    for mut environment in sources {
        environment.push(kms.clone());
        both_directions(&["--kms", &arn], &environment);
    }
}

#[test]
fn google_credentials_of_machines_and_pods_are_taken() {
    let cloud = rig::cloud();
    for more in [
        cloud.google_machine(),
        cloud.google_federation(false),
        cloud.google_federation(true),
        cloud.google_impersonation(),
    ] {
        let mut environment = cloud.environment();
        environment.extend(more);
        both_directions(&["--gcp-kms", GCP_KEY], &environment);
    }
}

/// Where Azure hands out tokens without a secret.
pub fn azure_identities(cloud: &Cloud) -> [Environment; 3] {
    let pod = scratch::file("token", FEDERATED).display().to_string();
    let names = [("AZURE_TENANT_ID", TENANT.to_owned()), ("AZURE_CLIENT_ID", CLIENT.to_owned())];
    [
        // A virtual machine: its address is fixed, so it is played behind the proxy.
        vec![("HTTP_PROXY", cloud.url()), ("http_proxy", cloud.url())],
        vec![
            ("IDENTITY_ENDPOINT", format!("{}/msi/token", cloud.url())),
            ("IDENTITY_HEADER", "app-service".to_owned()),
        ],
        [&names[..], &[("AZURE_FEDERATED_TOKEN_FILE", pod)]].concat(),
    ]
}

#[test]
fn azure_credentials_of_machines_and_pods_are_taken() {
    let cloud = rig::cloud();
    cloud.new_vault_key("identities");
    let mut all = azure_identities(cloud).to_vec();
    let certificate = scratch::file("client.pem", cloud.new_certificate()).display().to_string();
    all.push(vec![
        ("AZURE_TENANT_ID", TENANT.to_owned()),
        ("AZURE_CLIENT_ID", CLIENT.to_owned()),
        ("AZURE_CLIENT_CERTIFICATE_PATH", certificate),
    ]);
    for more in all {
        let mut environment = cloud.environment();
        environment.extend(more);
        both_directions(&["--azure-kv", &format!("{VAULT}/keys/identities")], &environment);
    }
}
