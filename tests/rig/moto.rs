//! moto's server: AWS' APIs, with any credentials.

use serde_json::{Value, json};

use super::process::{Proc, command};
use super::wait::{PATIENCE, SOON, eventually};
use super::{ports, scratch, tls, tools};

pub struct Moto {
    /// `http://127.0.0.1:PORT`, for `AWS_ENDPOINT_URL` and its kin.
    pub url: String,
    pub process: Proc,
}

pub const REGION: &str = "eu-central-1";
/// Any are taken; regions and accounts are isolated from each other.
pub const ACCESS_KEY_ID: &str = "AKIATESTTESTTESTTEST";
pub const SECRET_ACCESS_KEY: &str = "test-secret-access-key";

impl Moto {
    /// Starts a server of its own; it keeps its data in memory and ends with the calling thread.
    pub async fn start() -> Self {
        let port = ports::free();
        let mut moto = command(tools::path("moto_server"));
        moto.args(["-H", "127.0.0.1", "-p", &port.to_string()]).env("HOME", scratch::dir("moto"));
        let server = Self { url: format!("http://127.0.0.1:{port}"), process: Proc::spawn("moto_server", moto) };
        let http = Self::http();
        // A Python program on a machine that compiles: half a second at best.
        eventually(SOON, "moto to answer", || async {
            server.process.assert_running();
            let answer = http.get(format!("{}/moto-api/", server.url)).send().await.map_err(|e| e.to_string())?;
            if answer.status().is_success() { Ok(()) } else { Err(answer.status().to_string()) }
        })
        .await;
        server
    }

    fn http() -> reqwest::Client {
        tls::install_provider();
        reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().expect("HTTP client")
    }

    /// One call of Secrets Manager, such as `CreateSecret`: status and body.
    pub async fn secrets_manager(&self, region: &str, action: &str, body: &Value) -> (u16, Value) {
        self.json(region, "secretsmanager", &format!("secretsmanager.{action}"), body).await
    }

    /// One call of a service that speaks JSON.
    async fn json(&self, region: &str, service: &str, target: &str, body: &Value) -> (u16, Value) {
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={ACCESS_KEY_ID}/20260101/{region}/{service}/aws4_request, \
             SignedHeaders=host, Signature=0"
        );
        let request = Self::http()
            .post(&self.url)
            .header("Content-Type", "application/x-amz-json-1.1")
            .header("X-Amz-Target", target)
            .header("Authorization", authorization)
            .body(body.to_string());
        let answer = request.send().await.expect("moto answers");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("body");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// One call of S3 about `path`, which is `bucket` or `bucket/name`: status, content type and body.
    async fn s3(&self, method: reqwest::Method, path: &str) -> (u16, String, Vec<u8>) {
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={ACCESS_KEY_ID}/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, \
             Signature=0"
        );
        let request =
            Self::http().request(method, format!("{}/{path}", self.url)).header("Authorization", authorization);
        let answer = request.send().await.expect("moto answers");
        let status = answer.status().as_u16();
        let kind =
            answer.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
        (status, kind, answer.bytes().await.expect("body").to_vec())
    }

    /// Makes a bucket. Tests that share a server take names of their own.
    pub async fn create_bucket(&self, name: &str) {
        let (status, _, body) = self.s3(reqwest::Method::PUT, name).await;
        assert_eq!(status, 200, "CreateBucket: {}", String::from_utf8_lossy(&body));
    }

    /// Content type and bytes of an object, `bucket/name`; `None` when there is none.
    pub async fn object(&self, path: &str) -> Option<(String, Vec<u8>)> {
        match self.s3(reqwest::Method::GET, path).await {
            (200, kind, body) => Some((kind, body)),
            (404, ..) => None,
            (status, _, body) => panic!("GetObject {path}: {status} {}", String::from_utf8_lossy(&body)),
        }
    }

    /// Makes a KMS key in a region; returns its ARN.
    pub async fn create_key(&self, region: &str) -> String {
        let (status, answer) = self.json(region, "kms", "TrentService.CreateKey", &json!({})).await;
        assert_eq!(status, 200, "CreateKey: {answer}");
        answer["KeyMetadata"]["Arn"].as_str().expect("ARN").to_owned()
    }

    async fn must(&self, action: &str, body: &Value) -> Value {
        let (status, answer) = self.secrets_manager(REGION, action, body).await;
        assert_eq!(status, 200, "{action}: {answer}");
        answer
    }

    /// Makes a secret in [`REGION`]; returns its ARN. Tests that share a server take names of their own.
    pub async fn create_secret(&self, name: &str, value: &str) -> String {
        let answer = self.must("CreateSecret", &json!({"Name": name, "SecretString": value})).await;
        answer["ARN"].as_str().expect("ARN").to_owned()
    }

    /// Puts a new version of a secret and makes it the current one.
    pub async fn put_secret(&self, name: &str, value: &str) {
        self.must("PutSecretValue", &json!({"SecretId": name, "SecretString": value})).await;
    }

    /// The current value.
    pub async fn get_secret(&self, name: &str) -> String {
        let answer = self.must("GetSecretValue", &json!({"SecretId": name})).await;
        answer["SecretString"].as_str().expect("a string").to_owned()
    }
}
