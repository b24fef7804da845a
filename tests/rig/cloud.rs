//! Azure and Google as far as SOPS needs them: a fake behind a proxy, so that programs use the clouds' own addresses. The
//! keys inside are real, requests without a valid token are refused, and the vendors' own Python libraries take it for
//! the real thing (`tests/kms/vendors.rs`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aes_gcm::aead::{Aead as _, Payload};
use aes_gcm::{Aes256Gcm, KeyInit as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rsa::pkcs1v15::VerifyingKey;
use rsa::pkcs8::{EncodePrivateKey as _, LineEnding};
use rsa::signature::Verifier as _;
use rsa::traits::PublicKeyParts as _;
use rsa::{Oaep, RsaPrivateKey, RsaPublicKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::http1::{Answer, Reply, Request, Server};
use super::scratch;
use super::tls::{self, Ca};

pub const TENANT: &str = "11111111-2222-3333-4444-555555555555";
pub const CLIENT: &str = "66666666-7777-8888-9999-000000000000";
pub const CLIENT_SECRET: &str = "client-secret-that-must-not-show";
pub const VAULT: &str = "https://latchwork-test.vault.azure.net";
pub const GCP_KEY: &str = "projects/test/locations/global/keyRings/ring/cryptoKeys/key";
const AZURE_TOKEN: &str = "azure-token-that-must-not-show";
const GOOGLE_TOKEN: &str = "google-token-that-must-not-show";
/// The token of a pod, which the directories exchange for one of theirs.
pub const FEDERATED: &str = "pod-token-that-must-not-show";
/// What the exchange gives; with impersonation it opens nothing but the way to the service account.
const GOOGLE_FEDERATED_TOKEN: &str = "google-federated-token-that-must-not-show";
const POOL: &str = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pod/providers/cluster";
const IMPERSONATED: &str = "/v1/projects/-/serviceAccounts/sops@test.iam.gserviceaccount.com:generateAccessToken";
const HOSTS: [&str; 8] = [
    "sts.googleapis.com",
    "iamcredentials.googleapis.com",
    "login.microsoftonline.com",
    "latchwork-test.vault.azure.net",
    "cloudkms.googleapis.com",
    "oauth2.googleapis.com",
    "storage.googleapis.com",
    "www.googleapis.com",
];

pub struct Cloud {
    server: Server,
    pub ca: Ca,
    /// The authority as a file, for SSL_CERT_FILE and its kin.
    pub ca_file: String,
    state: Arc<Mutex<State>>,
    service_account: RsaPrivateKey,
}

struct State {
    /// Versions of the vault's keys, oldest first.
    vault_keys: HashMap<String, Vec<(String, RsaPrivateKey)>>,
    /// DER of the certificates that may sign assertions.
    certificates: Vec<Vec<u8>>,
    service_account: RsaPublicKey,
    /// Content type and bytes by `bucket/name`.
    objects: HashMap<String, (String, Vec<u8>)>,
    seen: Vec<String>,
}

fn new_key() -> RsaPrivateKey {
    RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).expect("RSA key")
}

impl Cloud {
    pub fn start() -> Self {
        tls::install_provider();
        let ca = Ca::new("clouds");
        let service_account = new_key();
        let state = Arc::new(Mutex::new(State {
            vault_keys: HashMap::new(),
            certificates: vec![],
            service_account: service_account.to_public_key(),
            objects: HashMap::new(),
            seen: vec![],
        }));
        let shared = Arc::clone(&state);
        let server = Server::start_proxy(&ca, &HOSTS, move |request| {
            Answer::Reply(shared.lock().unwrap_or_else(PoisonError::into_inner).answer(&request))
        });
        let ca_file = scratch::file("clouds.pem", &ca.certificate_pem).display().to_string();
        Self { server, ca, ca_file, state, service_account }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client of ours that goes through the proxy and trusts it.
    pub fn client(&self) -> reqwest::Client {
        let authority = reqwest::Certificate::from_pem(self.ca.certificate_pem.as_bytes()).expect("PEM");
        reqwest::Client::builder()
            .proxy(reqwest::Proxy::all(self.server.url()).expect("address"))
            .tls_certs_only([authority])
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("HTTP client")
    }

    /// What makes a program go through the proxy and trust it.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let proxy = self.server.url();
        vec![
            ("HTTPS_PROXY", proxy.clone()),
            ("https_proxy", proxy),
            ("SSL_CERT_FILE", self.ca_file.clone()),
            ("REQUESTS_CA_BUNDLE", self.ca_file.clone()),
        ]
    }

    /// The variables of Azure's environment credential.
    pub fn azure_environment(&self) -> Vec<(&'static str, String)> {
        let mut all = self.environment();
        all.extend([
            ("AZURE_TENANT_ID", TENANT.to_owned()),
            ("AZURE_CLIENT_ID", CLIENT.to_owned()),
            ("AZURE_CLIENT_SECRET", CLIENT_SECRET.to_owned()),
        ]);
        all
    }

    /// The address of the proxy, at which the services of machines are played too.
    pub fn url(&self) -> String {
        self.server.url()
    }

    fn credentials(json: &Value) -> Vec<(&'static str, String)> {
        let file = scratch::file("credentials.json", json.to_string()).display().to_string();
        vec![("GOOGLE_APPLICATION_CREDENTIALS", file), ("SOPS_GCP_KMS_CLIENT_TYPE", "rest".to_owned())]
    }

    /// A machine of Google's with a service account.
    pub fn google_machine(&self) -> Vec<(&'static str, String)> {
        let host = self.server.address.to_string();
        // Python's library looks for the machine at the second address first.
        vec![
            ("GCE_METADATA_HOST", host.clone()),
            ("GCE_METADATA_IP", host),
            ("SOPS_GCP_KMS_CLIENT_TYPE", "rest".to_owned()),
        ]
    }

    /// A pod elsewhere whose token Google trusts, by itself or as the service account.
    pub fn google_federation(&self, impersonates: bool) -> Vec<(&'static str, String)> {
        let token = scratch::file("token", FEDERATED).display().to_string();
        let mut json = json!({
            "type": "external_account", "audience": POOL, "universe_domain": "googleapis.com",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": "https://sts.googleapis.com/v1/token", "credential_source": {"file": token},
        });
        if impersonates {
            json["service_account_impersonation_url"] =
                format!("https://iamcredentials.googleapis.com{IMPERSONATED}").into();
        }
        Self::credentials(&json)
    }

    /// What `gcloud auth application-default login --impersonate-service-account` leaves.
    pub fn google_impersonation(&self) -> Vec<(&'static str, String)> {
        let source: Value = serde_json::from_str(&self.service_account_json()).expect("JSON");
        Self::credentials(&json!({
            "type": "impersonated_service_account", "delegates": [], "source_credentials": source,
            "service_account_impersonation_url": format!("https://iamcredentials.googleapis.com{IMPERSONATED}"),
        }))
    }

    /// A new version of a vault's key; returns the version.
    pub fn new_vault_key(&self, name: &str) -> String {
        let key = new_key();
        let version = hex::encode(&Sha256::digest(key.n().to_bytes_be())[..16]);
        self.state().vault_keys.entry(name.to_owned()).or_default().push((version.clone(), key));
        version
    }

    /// A certificate with its key in one PEM, known to the directory.
    pub fn new_certificate(&self) -> String {
        let key = new_key();
        let pem = key.to_pkcs8_pem(LineEnding::LF).expect("PKCS#8").to_string();
        let pair = rcgen::KeyPair::from_pem(&pem).expect("RSA key pair");
        let certificate = rcgen::CertificateParams::default().self_signed(&pair).expect("certificate");
        self.state().certificates.push(certificate.der().to_vec());
        format!("{pem}{}", certificate.pem())
    }

    /// The key file of a service account.
    pub fn service_account_json(&self) -> String {
        let private_key = self.service_account.to_pkcs8_pem(LineEnding::LF).expect("PKCS#8").to_string();
        json!({
            "type": "service_account", "project_id": "test", "private_key_id": "1", "private_key": private_key,
            "client_email": "sops@test.iam.gserviceaccount.com", "client_id": "1",
            "token_uri": "https://oauth2.googleapis.com/token", "universe_domain": "googleapis.com",
        })
        .to_string()
    }

    /// Google's credentials file for every program that reads one.
    pub fn google_environment(&self) -> Vec<(&'static str, String)> {
        let file = scratch::file("service-account.json", self.service_account_json()).display().to_string();
        let mut all = self.environment();
        all.extend([
            ("GOOGLE_CREDENTIALS", file.clone()),
            ("GOOGLE_APPLICATION_CREDENTIALS", file),
            // The real sops speaks gRPC unless told otherwise.
            ("SOPS_GCP_KMS_CLIENT_TYPE", "rest".to_owned()),
        ]);
        all
    }

    /// Content type and bytes of an uploaded object: `bucket/name`. The bucket `locked` takes none.
    pub fn object(&self, name: &str) -> Option<(String, Vec<u8>)> {
        self.state().objects.get(name).cloned()
    }

    /// Method, host and path of all requests so far.
    pub fn seen(&self) -> Vec<String> {
        self.state().seen.clone()
    }
}

fn reply(status: u16, body: &Value) -> Reply {
    Reply::new(status, body.to_string()).with_header("Content-Type", "application/json; charset=utf-8")
}

impl State {
    fn answer(&mut self, request: &Request) -> Reply {
        let host = request.header("host").unwrap_or_default().trim_end_matches(":443").to_owned();
        // Through a proxy without TLS the whole address is named.
        let whole = format!("http://{host}");
        let path = request.path.strip_prefix(&whole).unwrap_or(&request.path).to_owned();
        self.seen.push(format!("{} {host}{path}", request.method));
        let header = |name: &str| request.header(name).unwrap_or_default();
        match (host.as_str(), path.as_str()) {
            ("169.254.169.254", "/metadata/identity/oauth2/token") => {
                return azure_machine(request, header("metadata") == "true");
            }
            (_, "/msi/token") => return azure_machine(request, header("x-identity-header") == "app-service"),
            (_, path) if path == "/" || path.starts_with("/computeMetadata/v1/") => {
                return google_machine(path, header("metadata-flavor") == "Google");
            }
            ("sts.googleapis.com", "/v1/token") => return google_exchange(request),
            ("iamcredentials.googleapis.com", path) => return self.google_impersonate(request, path),
            _ => {}
        }
        match host.as_str() {
            "login.microsoftonline.com" => self.entra(request),
            "latchwork-test.vault.azure.net" => self.vault(request, &host),
            "oauth2.googleapis.com" => self.google_token(request),
            "cloudkms.googleapis.com" => self.google_kms(request),
            "storage.googleapis.com" | "www.googleapis.com" => self.storage(request),
            _ => reply(404, &json!({"error": {"code": 404, "message": "no such host"}})),
        }
    }

    fn entra(&self, request: &Request) -> Reply {
        let base = format!("https://login.microsoftonline.com/{TENANT}");
        if request.path.ends_with("/discovery/instance") {
            return reply(
                200,
                &json!({
                    "tenant_discovery_endpoint": format!("{base}/v2.0/.well-known/openid-configuration"),
                    "api-version": "1.1",
                    "metadata": [{"preferred_network": "login.microsoftonline.com",
                        "preferred_cache": "login.windows.net", "aliases": ["login.microsoftonline.com"]}],
                }),
            );
        }
        if request.path.ends_with("/.well-known/openid-configuration") {
            return reply(
                200,
                &json!({
                    "token_endpoint": format!("{base}/oauth2/v2.0/token"),
                    "authorization_endpoint": format!("{base}/oauth2/v2.0/authorize"),
                    "issuer": format!("{base}/v2.0"),
                    "jwks_uri": format!("{base}/discovery/v2.0/keys"),
                }),
            );
        }
        if request.path != format!("/{TENANT}/oauth2/v2.0/token") {
            return reply(404, &json!({"error": "invalid_request", "error_codes": [90002]}));
        }
        let form: HashMap<String, String> =
            reqwest::Url::parse(&format!("http://x/?{}", String::from_utf8_lossy(&request.body)))
                .expect("form")
                .query_pairs()
                .into_owned()
                .collect();
        let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        let asserted = || self.certificates.iter().any(|der| assertion_is_good(der, field("client_assertion"), &base));
        let federated = || field("client_assertion") == FEDERATED && field("client_assertion_type") == JWT_BEARER;
        let known = field("client_secret") == CLIENT_SECRET || federated() || asserted();
        let scope = field("scope").split(' ').any(|scope| scope == "https://vault.azure.net/.default");
        if field("client_id") != CLIENT || field("grant_type") != "client_credentials" || !known || !scope {
            let description = "AADSTS7000215: Invalid client secret provided.";
            return reply(
                401,
                &json!({"error": "invalid_client", "error_description": description, "error_codes": [7000215]}),
            );
        }
        let token =
            json!({"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": AZURE_TOKEN});
        reply(200, &token)
    }

    fn vault(&self, request: &Request, host: &str) -> Reply {
        if request.header("authorization") != Some(&format!("Bearer {AZURE_TOKEN}")) {
            let challenge = format!(
                "Bearer authorization=\"https://login.microsoftonline.com/{TENANT}\", resource=\"https://vault.azure.net\""
            );
            let body = json!({"error": {"code": "Unauthorized", "message": "AKV10000: Request is missing a token."}});
            return reply(401, &body).with_header("WWW-Authenticate", &challenge);
        }
        let parts: Vec<&str> = request.path.trim_matches('/').split('/').collect();
        let missing = || reply(404, &json!({"error": {"code": "KeyNotFound", "message": "A key was not found"}}));
        let Some(["keys", name]) = parts.get(..2) else { return missing() };
        let versions = self.vault_keys.get(*name).map(Vec::as_slice).unwrap_or_default();
        let call = parts.last().filter(|last| matches!(**last, "encrypt" | "decrypt")).copied();
        let version = parts.get(2).filter(|version| Some(**version) != call && !version.is_empty());
        let found = match version {
            Some(version) => versions.iter().find(|(known, _)| known == version),
            None => versions.last(),
        };
        let Some((version, key)) = found else { return missing() };
        let kid = format!("https://{host}/keys/{name}/{version}");
        let bad = |what: &str| reply(400, &json!({"error": {"code": "BadParameter", "message": what}}));
        let Some(call) = call else {
            let number = |n: &rsa::BigUint| URL_SAFE_NO_PAD.encode(n.to_bytes_be());
            let operations = ["encrypt", "decrypt", "wrapKey", "unwrapKey"];
            let key =
                json!({"kid": kid, "kty": "RSA", "key_ops": operations, "n": number(key.n()), "e": number(key.e())});
            return reply(200, &json!({"key": key, "attributes": {"enabled": true, "created": 1, "updated": 1}}));
        };
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        if request.method != "POST" || body["alg"] != "RSA-OAEP-256" {
            return bad("alg");
        }
        let Ok(value) = URL_SAFE_NO_PAD.decode(body["value"].as_str().unwrap_or_default()) else { return bad("value") };
        let padding = Oaep::new::<rsa::sha2::Sha256>();
        let result = match call {
            "encrypt" => key.to_public_key().encrypt(&mut rsa::rand_core::OsRng, padding, &value),
            _ => key.decrypt(padding, &value),
        };
        match result {
            Ok(result) => reply(200, &json!({"kid": kid, "value": URL_SAFE_NO_PAD.encode(result)})),
            Err(_) => bad("The parameter is incorrect."),
        }
    }

    /// An issued token, or a statement that the service account signed itself.
    fn is_google_caller(&self, request: &Request) -> bool {
        let Some(token) = request.header("authorization").and_then(|text| text.strip_prefix("Bearer ")) else {
            return false;
        };
        // The federated one comes first in the exchange and opens the key where nobody is impersonated.
        token == GOOGLE_TOKEN || token == GOOGLE_FEDERATED_TOKEN || signed_by(&self.service_account, token)
    }

    fn google_impersonate(&self, request: &Request, path: &str) -> Reply {
        if path != IMPERSONATED || !self.is_google_caller(request) {
            return reply(403, &json!({"error": {"code": 403, "status": "PERMISSION_DENIED"}}));
        }
        reply(200, &json!({"accessToken": GOOGLE_TOKEN, "expireTime": "2099-01-01T00:00:00Z"}))
    }

    fn google_token(&self, request: &Request) -> Reply {
        let form = reqwest::Url::parse(&format!("http://x/?{}", String::from_utf8_lossy(&request.body))).expect("form");
        let assertion = form.query_pairs().find(|(name, _)| name == "assertion").map(|(_, text)| text.into_owned());
        if !assertion.is_some_and(|assertion| signed_by(&self.service_account, &assertion)) {
            return reply(400, &json!({"error": "invalid_grant", "error_description": "Invalid JWT Signature."}));
        }
        reply(200, &json!({"access_token": GOOGLE_TOKEN, "expires_in": 3599, "token_type": "Bearer"}))
    }

    fn google_kms(&self, request: &Request) -> Reply {
        let error = |code: u16, status: &str| {
            reply(code, &json!({"error": {"code": code, "message": "as the real one words it", "status": status}}))
        };
        if !self.is_google_caller(request) {
            return error(401, "UNAUTHENTICATED");
        }
        let Some((name, call)) = request.path.trim_start_matches("/v1/").rsplit_once(':') else {
            return error(404, "NOT_FOUND");
        };
        // One key ring, any number of keys; each has an AES key of its own.
        if !name.starts_with("projects/test/locations/global/keyRings/ring/cryptoKeys/") || name.ends_with("/missing") {
            return error(404, "NOT_FOUND");
        }
        let cipher = Aes256Gcm::new_from_slice(&Sha256::digest(format!("key of {name}"))).expect("32 bytes");
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let field = |name: &str| STANDARD.decode(body[name].as_str().unwrap_or_default()).ok();
        match call {
            "encrypt" => {
                let Some(plain) = field("plaintext") else { return error(400, "INVALID_ARGUMENT") };
                let mut nonce = [0; 12];
                getrandom::fill(&mut nonce).expect("randomness");
                let payload = Payload { msg: &plain, aad: name.as_bytes() };
                let sealed = cipher.encrypt(&nonce.into(), payload).expect("small");
                let ciphertext = STANDARD.encode([&nonce[..], &sealed].concat());
                let version = format!("{name}/cryptoKeyVersions/1");
                let body = json!({"name": version, "ciphertext": ciphertext, "protectionLevel": "SOFTWARE"});
                reply(200, &body)
            }
            "decrypt" => {
                let opened = field("ciphertext").and_then(|all| {
                    let (nonce, sealed) = all.split_at_checked(12)?;
                    let nonce: [u8; 12] = nonce.try_into().ok()?;
                    cipher.decrypt(&nonce.into(), Payload { msg: sealed, aad: name.as_bytes() }).ok()
                });
                match opened {
                    Some(plain) => reply(200, &json!({"plaintext": STANDARD.encode(plain), "usedPrimary": true})),
                    None => error(400, "INVALID_ARGUMENT"),
                }
            }
            _ => error(404, "NOT_FOUND"),
        }
    }

    /// An upload of an object: its bytes alone, or behind a part that describes it, as Google's libraries send it.
    fn storage(&mut self, request: &Request) -> Reply {
        if !self.is_google_caller(request) {
            return reply(401, &json!({"error": {"code": 401, "message": "Invalid Credentials"}}));
        }
        let bucket = request.path.strip_prefix("/upload/storage/v1/b/").and_then(|rest| rest.strip_suffix("/o"));
        let query: HashMap<String, String> = reqwest::Url::parse(&format!("http://x/?{}", request.query))
            .expect("query")
            .query_pairs()
            .into_owned()
            .collect();
        let kind = request.header("content-type").unwrap_or_default();
        let upload = match query.get("uploadType").map(String::as_str) {
            Some("media") => query.get("name").map(|name| (name.clone(), kind.to_owned(), request.body.clone())),
            Some("multipart") => related_parts(kind, &request.body),
            _ => None,
        };
        let error = |code: u16, reason: &str| {
            let errors = json!([{"domain": "global", "reason": reason, "message": "as the real one words it"}]);
            reply(code, &json!({"error": {"code": code, "message": "as the real one words it", "errors": errors}}))
        };
        match (request.method.as_str(), bucket, upload) {
            ("POST", Some("locked"), Some(_)) => error(403, "forbidden"),
            ("POST", Some(bucket), Some((name, kind, bytes))) => {
                let answer = json!({"kind": "storage#object", "bucket": bucket, "name": &name, "contentType": &kind});
                self.objects.insert(format!("{bucket}/{name}"), (kind, bytes));
                reply(200, &answer)
            }
            _ => error(404, "notFound"),
        }
    }
}

/// Name, content type and bytes of an upload in two parts.
fn related_parts(kind: &str, body: &[u8]) -> Option<(String, String, Vec<u8>)> {
    let boundary = format!("--{}", kind.split_once("boundary=")?.1.trim_matches('"'));
    let text = std::str::from_utf8(body).ok()?;
    let mut parts = text.split(boundary.as_str()).skip(1).filter_map(|part| part.split_once("\r\n\r\n"));
    let described: Value = serde_json::from_str(parts.next()?.1).ok()?;
    let (head, content) = parts.next()?;
    let kind = head
        .lines()
        .find_map(|line| line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("content-type")));
    let content = content.strip_suffix("\r\n").unwrap_or(content);
    Some((described["name"].as_str()?.to_owned(), kind?.1.to_owned(), content.as_bytes().to_vec()))
}

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

fn query(text: &str) -> HashMap<String, String> {
    reqwest::Url::parse(&format!("http://x/?{text}")).expect("form").query_pairs().into_owned().collect()
}

/// Azure's token service of a virtual machine, or of an application with a secret header.
fn azure_machine(request: &Request, allowed: bool) -> Reply {
    let resource = query(&request.query).remove("resource").unwrap_or_default();
    if !allowed || resource.trim_end_matches('/') != "https://vault.azure.net" {
        return reply(
            400,
            &json!({"error": "invalid_request", "error_description": "Required metadata header not specified"}),
        );
    }
    reply(
        200,
        &json!({"access_token": AZURE_TOKEN, "client_id": CLIENT, "expires_in": "86400", "expires_on": "4070908800",
            "not_before": "1700000000", "resource": resource, "token_type": "Bearer"}),
    )
}

/// Google's metadata server.
fn google_machine(path: &str, asked: bool) -> Reply {
    let answer = |kind: &str, text: String| {
        Reply::new(200, text).with_header("Metadata-Flavor", "Google").with_header("Content-Type", kind)
    };
    let text = |text: &str| answer("application/text", text.to_owned());
    let json = |value: Value| answer("application/json", value.to_string());
    let account = "/computeMetadata/v1/instance/service-accounts/default";
    match path.trim_end_matches('/') {
        "" => text("computeMetadata/"),
        _ if !asked => Reply::new(403, "Missing Metadata-Flavor:Google header."),
        "/computeMetadata/v1/project/project-id" => text("test"),
        "/computeMetadata/v1/universe/universe-domain" => text("googleapis.com"),
        path if path == account => {
            json(json!({"aliases": ["default"], "email": "sops@test.iam.gserviceaccount.com", "scopes": []}))
        }
        path if path == format!("{account}/email") => text("sops@test.iam.gserviceaccount.com"),
        path if path == format!("{account}/token") => {
            json(json!({"access_token": GOOGLE_TOKEN, "expires_in": 3599, "token_type": "Bearer"}))
        }
        _ => Reply::new(404, ""),
    }
}

/// A pod's token for one of Google's.
fn google_exchange(request: &Request) -> Reply {
    let form = query(&String::from_utf8_lossy(&request.body));
    let is = |name: &str, value: &str| form.get(name).is_some_and(|found| found == value);
    let exchange = "urn:ietf:params:oauth:grant-type:token-exchange";
    if !is("grant_type", exchange) || !is("subject_token", FEDERATED) || !is("audience", POOL) {
        return reply(400, &json!({"error": "invalid_grant", "error_description": "the token is not known"}));
    }
    reply(
        200,
        &json!({"access_token": GOOGLE_FEDERATED_TOKEN, "expires_in": 3599, "token_type": "Bearer",
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token"}),
    )
}

/// The three parts of a statement: what is signed, its claims, the signature.
fn statement(token: &str) -> Option<(&str, Value, Vec<u8>)> {
    let (signed, signature) = token.rsplit_once('.')?;
    let claims = URL_SAFE_NO_PAD.decode(signed.split_once('.')?.1).ok()?;
    Some((signed, serde_json::from_slice(&claims).ok()?, URL_SAFE_NO_PAD.decode(signature).ok()?))
}

fn signed_by(key: &RsaPublicKey, token: &str) -> bool {
    let Some((signed, claims, signature)) = statement(token) else { return false };
    let Ok(signature) = rsa::pkcs1v15::Signature::try_from(signature.as_slice()) else { return false };
    claims["iss"] == "sops@test.iam.gserviceaccount.com"
        && VerifyingKey::<rsa::sha2::Sha256>::new(key.clone()).verify(signed.as_bytes(), &signature).is_ok()
}

/// PS256 over a statement of the client for this directory, with the digest of the certificate that verifies it.
fn assertion_is_good(certificate: &[u8], token: &str, base: &str) -> bool {
    let Some((signed, claims, signature)) = statement(token) else { return false };
    let header = signed.split_once('.').and_then(|(header, _)| URL_SAFE_NO_PAD.decode(header).ok()).unwrap_or_default();
    let header: Value = serde_json::from_slice(&header).unwrap_or_default();
    // The standard says base64url; Go's library, and so the directory, knows the other base64 as well.
    let (digest, thumbprint) =
        (Sha256::digest(certificate), header["x5t#S256"].as_str().unwrap_or_default().to_owned());
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else { return false };
    let key = <RsaPublicKey as rsa::pkcs8::DecodePublicKey>::from_public_key_der(parsed.public_key().raw);
    let (Ok(key), Ok(signature)) = (key, rsa::pss::Signature::try_from(signature.as_slice())) else { return false };
    header["alg"] == "PS256"
        && [URL_SAFE_NO_PAD.encode(digest), STANDARD.encode(digest)].contains(&thumbprint)
        && claims["aud"] == format!("{base}/oauth2/v2.0/token")
        && claims["iss"] == CLIENT
        && claims["sub"] == CLIENT
        && claims["exp"].as_u64() > claims["iat"].as_u64()
        && rsa::pss::VerifyingKey::<rsa::sha2::Sha256>::new(key).verify(signed.as_bytes(), &signature).is_ok()
}
