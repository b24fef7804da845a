//! etcd, kube-apiserver and kube-controller-manager: a cluster without nodes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};

use super::process::{self, Proc, command, run_ok};
use super::tls::{self, Ca};
use super::wait::{PATIENCE, SOON, eventually};
use super::{NODE_ADDRESS, credentials, ports, scratch, tools};

/// What a test may want other than the usual cluster.
#[derive(Clone, Default)]
pub struct Options {
    /// More flags for kube-apiserver, such as `--emulated-version=1.33`.
    pub api_server: Vec<String>,
    /// Leave kube-controller-manager out: no garbage collection, no default service account.
    pub no_controller_manager: bool,
}

pub struct ControlPlane {
    pub url: String,
    pub port: u16,
    pub ca: Ca,
    /// Full rights.
    pub kubeconfig: PathBuf,
    dir: PathBuf,
    api_arguments: Vec<String>,
    api: Mutex<Option<Proc>>,
    _etcd: Proc,
    controller_manager: Mutex<Option<Proc>>,
}

static NAMESPACES: AtomicU32 = AtomicU32::new(0);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write(dir: &Path, name: &str, content: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, content).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    path.display().to_string()
}

fn write_pair(dir: &Path, name: &str, pair: &tls::Pair) -> (String, String) {
    (write(dir, &format!("{name}.crt"), &pair.certificate_pem), write(dir, &format!("{name}.key"), &pair.key_pem))
}

fn start_etcd(dir: &Path) -> (Proc, String) {
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let (client, peer) = (url(ports::free()), url(ports::free()));
    let mut etcd = command(tools::path("etcd"));
    etcd.arg("--data-dir").arg(dir.join("etcd"));
    // The data are gone with the test, so nothing needs to survive a power cut.
    etcd.args(["--unsafe-no-fsync", "--log-level", "warn"]);
    etcd.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
    etcd.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
    etcd.args(["--initial-cluster", &format!("default={peer}")]);
    (Proc::spawn("etcd", etcd), client)
}

impl ControlPlane {
    /// Starts a cluster of its own, and waits until it serves. Its processes end with the calling thread.
    pub async fn start(options: Options) -> Self {
        let dir = scratch::dir("control-plane");
        let ca = Ca::new("latchwork-test");
        let port = ports::free();
        let url = format!("https://127.0.0.1:{port}");
        let (etcd, etcd_url) = start_etcd(&dir);

        let ca_file = write(&dir, "ca.crt", &ca.certificate_pem);
        let server = ca.server(&["kubernetes.default.svc", "localhost", "127.0.0.1", NODE_ADDRESS, "10.96.0.1"]);
        let (server_cert, server_key) = write_pair(&dir, "api", &server);
        let (proxy_cert, proxy_key) = write_pair(&dir, "front-proxy", &ca.client("front-proxy-client", &[]));
        // RSA, because token services of clouds and their emulators expect RS256.
        let account_key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("RSA key");
        let account_key = write(&dir, "service-account.key", &account_key.serialize_pem());

        let admin = credentials::certificate_user(&ca.client("admin", &["system:masters"]));
        let kubeconfig = credentials::kubeconfig(&url, &ca.certificate_pem, "default", admin);
        let mut api_arguments: Vec<String> = [
            format!("--etcd-servers={etcd_url}"),
            "--bind-address=127.0.0.1".into(),
            // Without a default route the server finds no address by itself and exits.
            format!("--advertise-address={NODE_ADDRESS}"),
            format!("--secure-port={port}"),
            format!("--tls-cert-file={server_cert}"),
            format!("--tls-private-key-file={server_key}"),
            format!("--client-ca-file={ca_file}"),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            format!("--service-account-key-file={account_key}"),
            format!("--service-account-signing-key-file={account_key}"),
            format!("--requestheader-client-ca-file={ca_file}"),
            "--requestheader-allowed-names=front-proxy-client".into(),
            "--requestheader-username-headers=X-Remote-User".into(),
            "--requestheader-group-headers=X-Remote-Group".into(),
            "--requestheader-extra-headers-prefix=X-Remote-Extra-".into(),
            format!("--proxy-client-cert-file={proxy_cert}"),
            format!("--proxy-client-key-file={proxy_key}"),
            "--authorization-mode=RBAC".into(),
            "--service-cluster-ip-range=10.96.0.0/16".into(),
            "--endpoint-reconciler-type=none".into(),
            "--profiling=false".into(),
        ]
        .into();
        api_arguments.extend(options.api_server);

        let plane = Self {
            url,
            port,
            ca,
            kubeconfig,
            dir,
            api_arguments,
            api: Mutex::new(None),
            _etcd: etcd,
            controller_manager: Mutex::new(None),
        };
        plane.start_api_server().await;
        if !options.no_controller_manager {
            let manager = plane.start_controller_manager(&ca_file, &account_key);
            *lock(&plane.controller_manager) = Some(manager);
            plane.wait_for_default_account().await;
        }
        plane
    }

    fn start_controller_manager(&self, ca_file: &str, account_key: &str) -> Proc {
        let user = credentials::certificate_user(&self.ca.client("system:kube-controller-manager", &[]));
        let config = credentials::kubeconfig(&self.url, &self.ca.certificate_pem, "default", user);
        let mut manager = command(tools::path("kube-controller-manager"));
        for flag in ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"] {
            manager.arg(format!("--{flag}={}", config.display()));
        }
        manager.args(["--bind-address=127.0.0.1", &format!("--secure-port={}", ports::free()), "--leader-elect=false"]);
        // The manager's own user is denied the deletes of the garbage collector and the namespace controller.
        manager.arg("--use-service-account-credentials=true");
        manager
            .args([&format!("--service-account-private-key-file={account_key}"), &format!("--root-ca-file={ca_file}")]);
        manager.arg(concat!(
            "--controllers=garbage-collector-controller,namespace-controller,serviceaccount-controller,",
            "root-ca-certificate-publisher-controller,endpointslice-mirroring-controller"
        ));
        Proc::spawn("kube-controller-manager", manager)
    }

    async fn wait_for_default_account(&self) {
        let accounts = Api::<ServiceAccount>::namespaced(self.client().await, "default");
        eventually(SOON, "the default service account", || async {
            if let Some(manager) = &*lock(&self.controller_manager) {
                manager.assert_running();
            }
            accounts.get("default").await.map(drop).map_err(|e| e.to_string())
        })
        .await;
    }

    /// Starts kube-apiserver (again) on the same port, and waits until it is ready.
    pub async fn start_api_server(&self) {
        let mut api = command(tools::path("kube-apiserver"));
        api.args(&self.api_arguments);
        *lock(&self.api) = Some(Proc::spawn("kube-apiserver", api));
        self.wait_ready().await;
    }

    /// Ends kube-apiserver at once, as a crash would; etcd stays.
    pub fn kill_api_server(&self) {
        lock(&self.api).take().expect("kube-apiserver runs").kill();
    }

    /// Freezes kube-apiserver: connections stay open and nothing is answered.
    pub async fn pause_api_server(&self) {
        let pid = lock(&self.api).as_ref().expect("kube-apiserver runs").pid();
        process::freeze(pid).await;
    }

    pub fn resume_api_server(&self) {
        lock(&self.api).as_ref().expect("kube-apiserver runs").signal("CONT");
    }

    /// Waits until `/readyz` answers 200.
    pub async fn wait_ready(&self) {
        let ca = reqwest::Certificate::from_pem(self.ca.certificate_pem.as_bytes()).expect("certificate");
        tls::install_provider();
        let http = reqwest::Client::builder().tls_certs_only([ca]).no_proxy().timeout(PATIENCE).build();
        let http = http.expect("HTTP client");
        eventually(SOON, "kube-apiserver to be ready", || async {
            if let Some(api) = &*lock(&self.api) {
                api.assert_running();
            }
            let answer = http.get(format!("{}/readyz", self.url)).send().await.map_err(|e| format!("{e:?}"))?;
            let status = answer.status();
            if status.is_success() {
                Ok(())
            } else {
                Err(format!("{status} {}", answer.text().await.unwrap_or_default()))
            }
        })
        .await;
    }

    /// A client with full rights. It belongs to the calling test's runtime: never share one between tests.
    pub async fn client(&self) -> Client {
        credentials::client(&self.kubeconfig).await
    }

    /// Makes a namespace that no other test has, and returns its name. It is not deleted: the cluster goes as a whole.
    pub async fn namespace(&self, prefix: &str) -> String {
        let name = format!("{prefix}-{}", NAMESPACES.fetch_add(1, Ordering::Relaxed));
        let namespace = Namespace {
            metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
            ..Namespace::default()
        };
        let namespaces = Api::<Namespace>::all(self.client().await);
        namespaces.create(&PostParams::default(), &namespace).await.unwrap_or_else(|e| panic!("namespace {name}: {e}"));
        name
    }

    /// A kubectl command with full rights and a cache of its own, for [`super::process::run`].
    pub fn kubectl(&self, arguments: &[&str]) -> Command {
        let mut kubectl = Command::new(tools::path("kubectl"));
        kubectl.args(arguments).env("KUBECONFIG", &self.kubeconfig).env("HOME", &self.dir);
        kubectl
    }

    /// Applies manifests (YAML or JSON text) by server-side apply with full rights.
    pub fn apply(&self, manifests: &str) {
        run_ok(self.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "-"]), manifests.as_bytes());
    }

    /// Applies a Secret with these entries.
    pub fn apply_secret(&self, namespace: &str, name: &str, entries: &[(&str, &str)]) {
        let entries: BTreeMap<_, _> = entries.iter().copied().collect();
        let secret = serde_json::json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace}, "stringData": entries,
        });
        self.apply(&secret.to_string());
    }

    /// Applies a folder with a kustomization, given relative to the repository.
    pub fn apply_kustomization(&self, folder: &str) {
        let folder = tools::repository().join(folder).display().to_string();
        run_ok(self.kubectl(&["apply", "--server-side", "--force-conflicts", "-k", &folder]), b"");
    }

    /// Applies the CRDs of this repository and waits until they are served. Safe to call from several tests at a time.
    pub fn install_crds(&self) {
        self.apply_kustomization("crds");
        run_ok(self.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=240s"]), b"");
    }
}
