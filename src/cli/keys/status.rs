//! `latchwork keys status`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde_json::json;

use super::held::{Held, Holdings, TreeArgs};
use super::ring::{ClusterArgs, Ring};
use crate::cli::keys_at_hand;
use crate::pure::crd::key_ring::{KeyPhase, KeyRingStatus};
use crate::pure::sealed::keys::{Certificate, SealingKey, SealingKeys};
use crate::pure::sealed::ring::phase;

/// Objects shown below a key without --all.
const SHOWN: usize = 10;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

/// Show each sealing key, where it stands and what it still opens.
///
/// STATE: `active` is served and seals; `retiring` was superseded and still opens; `retired` and `compromised` open
/// nothing in the cluster. Below a key that is not the active one stand the SealedSecrets that still need it.
///
/// Every entry is opened to find its key, so this works without the operator and without a KeyRing. It needs to read the
/// key Secrets and to list SealedSecrets. With --sealing-key no cluster is asked: it is about the files of --tree.
#[derive(Args)]
pub struct StatusArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    tree: TreeArgs,
    /// Look only at the SealedSecrets of this namespace of the cluster
    #[arg(long, value_name = "NAMESPACE")]
    objects_in: Option<String>,
    /// Without a cluster: a private key in PEM, a Secret as kubectl prints it, or a directory of these; may be repeated
    #[arg(long, value_name = "FILE|DIR", requires = "tree")]
    sealing_key: Vec<PathBuf>,
    /// Show every object of every key
    #[arg(long)]
    all: bool,
    /// Output format
    #[arg(long, short, default_value = "table")]
    output: Output,
    /// Short for --output json
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let mut places = args.tree.places()?;
    let (keys, known) = if args.sealing_key.is_empty() {
        let ring = Ring::read(&args.cluster).await?;
        places.extend(ring.objects(args.objects_in.as_deref(), false).await?);
        let known = ring.status().await;
        (ring.keys, known)
    } else {
        (keys_at_hand::sealing_keys(&args.sealing_key)?, None)
    };
    let holdings = Holdings::find(&keys, &places);
    let view = View { keys: &keys, holdings: &holdings, known: known.as_ref(), all: args.all };
    let text = match args.json || args.output == Output::Json {
        true => format!("{:#}\n", view.as_json()),
        false => view.table(),
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

struct View<'a> {
    keys: &'a SealingKeys,
    holdings: &'a Holdings,
    known: Option<&'a KeyRingStatus>,
    all: bool,
}

fn date(time: Option<Timestamp>) -> String {
    time.map_or("-".into(), |time| time.strftime("%Y-%m-%d").to_string())
}

impl View<'_> {
    fn unused_since(&self, key: &SealingKey) -> Option<Timestamp> {
        let known = self.known?.keys.iter().find(|known| *known.fingerprint == **key.fingerprint())?;
        known.unused_since.as_deref()?.parse().ok()
    }

    fn row(&self, key: &SealingKey) -> [String; 8] {
        let entries = self.holdings.entries(key.fingerprint());
        let last_use = if entries > 0 { "in use".into() } else { date(self.unused_since(key)) };
        let marks = key.backups();
        let backup = match (&marks.written, marks.verified) {
            (None, None) => "none".into(),
            (written, None) => date(written.as_ref().map(|mark| mark.time)),
            (written, Some(_)) => {
                format!("{} verified", date(written.as_ref().map(|mark| mark.time).or(marks.verified)))
            }
        };
        [
            key.name().to_owned(),
            phase(key, self.keys).word().to_owned(),
            date(key.certificate().map(Certificate::not_before).or(key.created())),
            date(key.certificate().map(Certificate::not_after)),
            entries.to_string(),
            self.holdings.of(key.fingerprint()).len().to_string(),
            last_use,
            backup,
        ]
    }

    fn table(&self) -> String {
        let heads = ["KEY", "STATE", "VALID FROM", "VALID UNTIL", "ENTRIES", "OBJECTS", "LAST USE", "BACKUP"];
        let mut rows = vec![heads.map(str::to_owned)];
        rows.extend(self.keys.iter().map(|key| self.row(key)));
        let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..heads.len()).map(width).collect();
        let (mut text, mut keys) = (String::new(), self.keys.iter());
        for (index, row) in rows.iter().enumerate() {
            let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}", cells.join("  ").trim_end());
            let Some(key) = (index > 0).then(|| keys.next()).flatten() else { continue };
            let _ = writeln!(text, "  {}", key.fingerprint());
            if self.all || phase(key, self.keys) != KeyPhase::Active {
                self.list(&mut text, self.holdings.of(key.fingerprint()));
            }
        }
        if !self.holdings.unopened.is_empty() {
            let _ = writeln!(text, "opened by no key:");
            self.list(&mut text, &self.holdings.unopened);
        }
        text
    }

    fn list(&self, text: &mut String, held: &[Held]) {
        let shown = if self.all { held.len() } else { SHOWN };
        for held in held.iter().take(shown) {
            let _ = writeln!(text, "  {held}");
        }
        if held.len() > shown {
            let _ = writeln!(text, "  and {} more; --all shows them", held.len() - shown);
        }
    }

    fn as_json(&self) -> serde_json::Value {
        let list = self.keys.iter().map(|key| {
            let held = self.holdings.of(key.fingerprint());
            let marks = key.backups();
            json!({
                "name": key.name(),
                "fingerprint": &**key.fingerprint(),
                "state": phase(key, self.keys).word(),
                "created": key.created().map(|time| time.to_string()),
                "validFrom": key.certificate().map(|c| c.not_before().to_string()),
                "validUntil": key.certificate().map(|c| c.not_after().to_string()),
                "entries": self.holdings.entries(key.fingerprint()),
                "objects": held.iter().map(Held::as_json).collect::<Vec<_>>(),
                "unusedSince": self.unused_since(key).filter(|_| held.is_empty()).map(|time| time.to_string()),
                "backup": marks.written,
                "backupVerified": marks.verified.map(|time| time.to_string()),
            })
        });
        let unopened: Vec<_> = self.holdings.unopened.iter().map(Held::as_json).collect();
        json!({ "keys": list.collect::<Vec<_>>(), "unopened": unopened })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::keys::held::Place;
    use crate::pure::crd::sealed_secret::SealedSecret;
    use crate::pure::sealed::keys::KeyState;

    fn vector(name: &str) -> Vec<u8> {
        let path = format!("{}/tests/vectors/sealed/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    fn place(file: Option<&str>, vector_name: &str, name: &str) -> Place {
        let text = vector(vector_name);
        let mut object: SealedSecret = serde_saphyr::from_str(std::str::from_utf8(&text).unwrap()).unwrap();
        object.metadata.name = Some(name.into());
        Place { file: file.map(str::to_owned), object }
    }

    #[test]
    fn the_table_says_what_each_key_still_opens() {
        let mut keys = SealingKeys::new();
        for (name, state) in [("old", "compromised"), ("current", "active")] {
            let (pem, cert) = (vector(&format!("keys/{name}.key")), vector(&format!("keys/{name}.crt")));
            let (key, _) = SealingKey::parse(name, &pem, Some(&cert), KeyState::from_label(state), None).unwrap();
            keys.add(key);
        }
        let places = [
            place(None, "sealed/two-keys.yaml", "db"),
            place(None, "sealed/strict.yaml", "renamed"),
            place(Some("a/b.yaml"), "sealed/two-keys.yaml", "db"),
        ];
        let holdings = Holdings::find(&keys, &places);
        let view = View { keys: &keys, holdings: &holdings, known: None, all: false };

        let text = view.table();
        let lines: Vec<_> = text.lines().map(str::trim_end).collect();
        assert!(
            lines[0].starts_with("KEY      STATE        VALID FROM  VALID UNTIL  ENTRIES  OBJECTS  LAST USE  BACKUP"),
            "{text}"
        );
        assert!(lines[1].starts_with("current  active "), "{text}");
        assert!(lines[1].ends_with("2        2        in use    none"), "{text}");
        assert!(lines[2].starts_with("  SHA256:"));
        assert!(lines[3].starts_with("old      compromised"), "{text}");
        let listed = [
            "  team/db: bin, empty, password",
            "  a/b.yaml: team/db: bin, empty, password",
            "opened by no key:",
            "  team/renamed: bin, empty, password",
        ];
        assert_eq!(lines[5..], listed);
        assert!(View { all: true, ..view }.table().contains("  team/db: token\n"));

        let json = view.as_json();
        assert_eq!(json["keys"][1]["state"], "compromised");
        assert_eq!(json["keys"][1]["entries"], 6);
        assert_eq!(json["keys"][1]["objects"][1]["file"], "a/b.yaml");
        assert_eq!(json["unopened"][0]["name"], "renamed");
    }
}
