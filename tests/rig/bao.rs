//! OpenBao in development mode: Vault's API, KV version 2 at `secret/`.

use serde_json::{Value, json};

use super::process::{Proc, command};
use super::wait::{PATIENCE, SOON, eventually};
use super::{ports, scratch, tls, tools};

pub struct Bao {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    pub process: Proc,
}

/// The token of full rights.
pub const ROOT_TOKEN: &str = "root";

impl Bao {
    /// Starts a server of its own; it keeps its data in memory and ends with the calling thread.
    pub async fn start() -> Self {
        let port = ports::free();
        // It takes the next port for its cluster listener: nobody else may be given that one.
        let _ = ports::free();
        let url = format!("http://127.0.0.1:{port}");
        let mut bao = command(tools::path("bao"));
        bao.args(["server", "-dev", "-dev-no-store-token", "-log-level=warn"]);
        bao.args([&format!("-dev-root-token-id={ROOT_TOKEN}"), &format!("-dev-listen-address=127.0.0.1:{port}")]);
        bao.env("HOME", scratch::dir("bao"));
        let server = Self { url, process: Proc::spawn("bao", bao) };
        eventually(SOON, "OpenBao to be unsealed", || async {
            server.process.assert_running();
            let answer = server.request("GET", "sys/health", None, ROOT_TOKEN).await?;
            if answer.0 == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
        })
        .await;
        // The development server mounts `secret/` a moment after it is unsealed.
        eventually(SOON, "OpenBao's KV version 2", || async {
            let answer = server.request("GET", "secret/config", None, ROOT_TOKEN).await?;
            if answer.0 == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
        })
        .await;
        server
    }

    /// One call of the HTTP API: status and body.
    pub async fn request(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        token: &str,
    ) -> Result<(u16, Value), String> {
        tls::install_provider();
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("method");
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().expect("HTTP client");
        let mut request = http.request(method, format!("{}/v1/{path}", self.url)).header("X-Vault-Token", token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(|e| e.to_string())?;
        let status = answer.status().as_u16();
        let text = answer.text().await.map_err(|e| e.to_string())?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
    }

    /// A call with full rights that must succeed.
    pub async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let (status, answer) = self.request(method, path, body, ROOT_TOKEN).await.expect("OpenBao answers");
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// Mounts a KV version 1 engine at `mount`. Tests that share a server take names of their own.
    pub async fn enable_kv1(&self, mount: &str) {
        self.call("POST", &format!("sys/mounts/{mount}"), Some(&json!({"type": "kv", "options": {"version": "1"}})))
            .await;
    }

    pub async fn enable_kv2(&self, mount: &str) {
        self.call("POST", &format!("sys/mounts/{mount}"), Some(&json!({"type": "kv", "options": {"version": "2"}})))
            .await;
        // A new version 2 mount refuses writes while it sets itself up.
        eventually(SOON, "the new KV version 2 mount", || async {
            let answer = self.request("GET", &format!("{mount}/config"), None, ROOT_TOKEN).await?;
            if answer.0 == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
        })
        .await;
    }

    pub async fn write_kv1(&self, mount: &str, path: &str, data: &Value) {
        self.call("POST", &format!("{mount}/{path}"), Some(data)).await;
    }

    /// Writes a new version.
    pub async fn write_kv2(&self, mount: &str, path: &str, data: &Value) {
        self.call("POST", &format!("{mount}/data/{path}"), Some(&json!({ "data": data }))).await;
    }

    /// A token that may do what `policy` (HCL) says. `name` must be new on this server.
    pub async fn token_with_policy(&self, name: &str, policy: &str) -> String {
        self.call("PUT", &format!("sys/policies/acl/{name}"), Some(&json!({ "policy": policy }))).await;
        let answer = self.call("POST", "auth/token/create", Some(&json!({"policies": [name], "ttl": "1h"}))).await;
        answer["auth"]["client_token"].as_str().expect("token").to_owned()
    }

    /// Seals it: every request but the health check then fails with 503. For servers of one test only.
    pub async fn seal(&self) {
        self.call("PUT", "sys/seal", None).await;
    }
}
