//! `latchwork keys`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams};
use serde_json::json;

use super::complain;
use crate::adapters::k8s::{Cluster, secrets};
use crate::pure::crd::sealed_secret::SealedSecret;
use crate::pure::desired::SEALING_KEY_LABEL;
use crate::pure::error::Explain as _;
use crate::pure::queue::ObjectKey;
use crate::pure::sealed::inventory::Inventory;
use crate::pure::sealed::keys::{SealingKey, SealingKeys};
use crate::pure::sealed::{Hints, KeyOrder};

/// Objects asked for at a time: the API server's usual page.
const PAGE: u32 = 500;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

/// List the sealing keys of a cluster, with what each of them still opens.
///
/// Needs to read the key Secrets and to list SealedSecrets. Every entry is opened to find its key; no value is shown.
#[derive(Args)]
pub struct KeysArgs {
    /// Kubeconfig file [default: $KUBECONFIG, ~/.kube/config, or the pod's service account]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long)]
    context: Option<String>,
    /// Namespace that holds the sealing keys [default: the context's]
    #[arg(long, short, env = "POD_NAMESPACE", value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Look only at the SealedSecrets of this namespace
    #[arg(long, value_name = "NAMESPACE")]
    objects_in: Option<String>,
    /// Which time makes a key the current one: its certificate's or its Secret's
    #[arg(long, value_name = "ORDER", default_value = "cert")]
    order: Order,
    /// Output format
    #[arg(long, short, default_value = "table")]
    output: Output,
}

#[derive(Clone, Copy, ValueEnum)]
enum Order {
    Cert,
    Secret,
}

/// Runs the verb.
pub fn run(args: &KeysArgs) -> anyhow::Result<ExitCode> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a thread")?;
    let (keys, objects) = runtime.block_on(read(args))?;
    let inventory = inventory(&keys, &objects);
    let text = match args.output {
        Output::Table => table(&keys, &inventory),
        Output::Json => format!("{:#}\n", as_json(&keys, &inventory)),
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

async fn read(args: &KeysArgs) -> anyhow::Result<(SealingKeys, Vec<SealedSecret>)> {
    let cluster = Cluster::connect(args.kubeconfig.as_deref(), args.context.as_deref()).await?;
    let namespace = args.namespace.as_deref().unwrap_or(cluster.default_namespace());
    let mut keys = SealingKeys::ordered_by(match args.order {
        Order::Cert => KeyOrder::CertNotBefore,
        Order::Secret => KeyOrder::SecretCreationTimestamp,
    });
    for secret in secrets::list(&cluster, namespace, SEALING_KEY_LABEL).await? {
        match SealingKey::from_secret(&secret, false) {
            Ok((key, problem)) => {
                problem.iter().for_each(|problem| complain(&format!("warning: {}", problem.line())));
                keys.add(key);
            }
            Err(error) => complain(&format!("warning: {}", error.line())),
        }
    }
    if keys.is_empty() {
        anyhow::bail!("no sealing key in namespace {namespace}; name the namespace of the keys with --namespace");
    }
    Ok((keys, list(&cluster, args.objects_in.as_deref()).await?))
}

/// All SealedSecrets. One that cannot be read is named on standard error and left out.
async fn list(cluster: &Cluster, namespace: Option<&str>) -> anyhow::Result<Vec<SealedSecret>> {
    let resource = ApiResource::erase::<SealedSecret>(&());
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(cluster.client(), namespace, &resource),
        None => Api::all_with(cluster.client(), &resource),
    };
    let (mut objects, mut params) = (vec![], ListParams::default().limit(PAGE));
    loop {
        let page = cluster.call("the SealedSecrets", api.list(&params)).await?;
        for object in page.items {
            let meta = &object.metadata;
            let key = ObjectKey::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
            match serde_json::to_value(&object).and_then(serde_json::from_value) {
                Ok(object) => objects.push(object),
                Err(_) => complain(&format!("warning: SealedSecret {key} cannot be read and is left out")),
            }
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(objects),
        }
    }
}

/// Opens everything, on all cores: one entry costs milliseconds per key tried.
fn inventory(keys: &SealingKeys, objects: &[SealedSecret]) -> Inventory {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = objects.len().div_ceil(cores).max(1);
    let mut all = Inventory::default();
    std::thread::scope(|scope| {
        let parts: Vec<_> = objects
            .chunks(share)
            .map(|part| {
                scope.spawn(move || {
                    let mut inventory = Inventory::default();
                    for object in part {
                        inventory.add(object, keys, &Hints::default());
                    }
                    inventory
                })
            })
            .collect();
        for part in parts {
            if let Ok(part) = part.join() {
                all.merge(part);
            }
        }
    });
    all
}

fn table(keys: &SealingKeys, inventory: &Inventory) -> String {
    let mut rows = vec![["KEY", "STATE", "NOT BEFORE", "NOT AFTER", "ENTRIES", "OBJECTS"].map(str::to_owned)];
    for key in keys.iter() {
        let current = keys.current().is_some_and(|current| current.name() == key.name());
        let date = |time: Option<jiff::Timestamp>| time.map_or("-".into(), |t| t.strftime("%Y-%m-%d").to_string());
        let objects = inventory.objects(key.fingerprint()).count();
        rows.push([
            key.name().to_owned(),
            if current { format!("{} (current)", key.state()) } else { key.state().to_string() },
            date(key.certificate().map(|certificate| certificate.not_before())),
            date(key.certificate().map(|certificate| certificate.not_after())),
            inventory.entries(key.fingerprint()).to_string(),
            objects.to_string(),
        ]);
    }
    let widths: Vec<usize> = (0..6)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    let mut details = keys.iter();
    for (index, row) in rows.iter().enumerate() {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
        let Some(key) = (index > 0).then(|| details.next()).flatten() else { continue };
        let _ = writeln!(text, "  {}", key.fingerprint());
        for (object, entries) in inventory.objects(key.fingerprint()) {
            let _ = writeln!(text, "  {object}: {}", entries.join(", "));
        }
    }
    if !inventory.unopened.is_empty() {
        let _ = writeln!(text, "opened by no key:");
        for (object, entries) in &inventory.unopened {
            let _ = writeln!(text, "  {object}: {}", entries.join(", "));
        }
    }
    text
}

fn as_json(keys: &SealingKeys, inventory: &Inventory) -> serde_json::Value {
    let object = |(object, entries): (&ObjectKey, &[String])| json!({ "namespace": object.namespace, "name": object.name, "entries": entries });
    let current = keys.current().map(|key| key.name().to_owned());
    let list: Vec<_> = keys
        .iter()
        .map(|key| {
            json!({
                "name": key.name(),
                "fingerprint": &**key.fingerprint(),
                "state": key.state().to_string(),
                "current": current.as_deref() == Some(key.name()),
                "notBefore": key.certificate().map(|c| c.not_before().to_string()),
                "notAfter": key.certificate().map(|c| c.not_after().to_string()),
                "entries": inventory.entries(key.fingerprint()),
                "objects": inventory.objects(key.fingerprint()).map(object).collect::<Vec<_>>(),
            })
        })
        .collect();
    let unopened: Vec<_> = inventory.unopened.iter().map(|(key, entries)| object((key, entries.as_slice()))).collect();
    json!({ "keys": list, "unopened": unopened })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pure::sealed::keys::KeyState;

    fn vector(name: &str) -> Vec<u8> {
        let path = format!("{}/tests/vectors/sealed/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    #[test]
    fn the_table_says_what_each_key_still_opens() {
        let mut keys = SealingKeys::new();
        for (name, state) in [("old", "compromised"), ("current", "active")] {
            let (pem, cert) = (vector(&format!("keys/{name}.key")), vector(&format!("keys/{name}.crt")));
            let (key, _) = SealingKey::parse(name, &pem, Some(&cert), KeyState::from_label(state), None).unwrap();
            keys.add(key);
        }
        let object = |file: &str| -> SealedSecret {
            serde_saphyr::from_str(std::str::from_utf8(&vector(file)).unwrap()).unwrap()
        };
        let two = object("sealed/two-keys.yaml");
        let mut renamed = object("sealed/strict.yaml");
        renamed.metadata.name = Some("renamed".into());
        let inventory = inventory(&keys, &[two, renamed]);

        let text = table(&keys, &inventory);
        let lines: Vec<_> = text.lines().map(str::trim_end).collect();
        assert!(lines[0].starts_with("KEY      STATE             NOT BEFORE  NOT AFTER"), "{text}");
        assert!(lines[1].starts_with("current  active (current)"), "{text}");
        assert!(lines[1].ends_with("1        1"), "{text}");
        assert!(lines[2].starts_with("  SHA256:"));
        assert_eq!(lines[3], "  team/db: token");
        assert!(lines[4].starts_with("old      compromised"), "{text}");
        assert_eq!(
            lines[6..],
            ["  team/db: bin, empty, password", "opened by no key:", "  team/renamed: bin, empty, password"]
        );

        let json = as_json(&keys, &inventory);
        assert_eq!(json["keys"][1]["state"], "compromised");
        assert_eq!(json["keys"][1]["entries"], 3);
        assert_eq!(json["unopened"][0]["name"], "renamed");
    }
}
