//! A key that retires by itself, as the KeyRing allows: unused for long, and in a backup that was verified.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use latchwork::pure::crd::key_ring::{KeyPhase, KeyRing, KeyRingStatus, KeyStatus};
use latchwork::pure::crd::sealed_secret::SealedSecret;

use crate::rig;
use crate::rig::control_plane::{ControlPlane, Options};
use crate::rig::operator::Operator;
use crate::rig::process::run_ok;
use crate::rig::scratch;
use crate::rig::wait::{SOON, eventually};

use super::keys::{
    KEYS, LABEL, certificate, create_namespace, in_state, key_secret, keys, offline_identity, opened, operator, ring,
    seal, status,
};

fn of<'a>(status: &'a KeyRingStatus, name: &str) -> Option<&'a KeyStatus> {
    status.keys.iter().find(|key| key.name == name)
}

/// A backup. That it was written or verified is noted on the keys, so that the operator looks at once.
struct Backup {
    file: String,
    identity: String,
    recipient: String,
}

impl Backup {
    fn new() -> Self {
        let (identity, recipient) = offline_identity();
        let file = scratch::dir("backup").join("keys.age").display().to_string();
        Self { file, identity: identity.display().to_string(), recipient }
    }

    /// Returns when the operator has seen it.
    async fn write(&self, plane: &ControlPlane, operator: &Operator, key: &str) {
        let written = |status: &KeyRingStatus| of(status, key).and_then(|key| key.backed_up.clone());
        let before = ring(plane, operator, "a status", |_| true).await;
        eventually(SOON, "the next second, since the time of a backup has no fraction", || async {
            let last = written(&before).and_then(|time| time.parse::<Timestamp>().ok());
            let now = Timestamp::now();
            if last.is_none_or(|last| now.as_second() > last.as_second()) { Ok(()) } else { Err(now.to_string()) }
        })
        .await;
        run_ok(keys(plane, &["backup", "-r", &self.recipient, "-o", &self.file, "--force"]), b"");
        ring(plane, operator, "the backup", |status| written(status) != written(&before)).await;
    }

    /// The same, with what is noted when it was verified.
    async fn verify(&self, plane: &ControlPlane, operator: &Operator, key: &str) {
        let verified = |status: &KeyRingStatus| of(status, key).and_then(|key| key.backup_verified.clone());
        let before = ring(plane, operator, "a status", |_| true).await;
        run_ok(keys(plane, &["verify-backup", &self.file, "-i", &self.identity]), b"");
        ring(plane, operator, "the verified backup", |status| verified(status) != verified(&before)).await;
    }
}

/// Has the status say that the key opens nothing since that long: the shortest wait that a KeyRing admits is a day.
async fn unused_for(plane: &ControlPlane, name: &str, hours: i64) {
    let rings = Api::<KeyRing>::all(plane.client().await);
    let mut status = rings.get("default").await.expect("readable").status.expect("a status");
    let key = status.keys.iter_mut().find(|key| key.name == name).expect("the key");
    key.unused_since = Some((Timestamp::now() - SignedDuration::from_hours(hours)).to_string());
    let patch = Patch::Merge(json!({ "status": { "keys": status.keys } }));
    rings.patch_status("default", &PatchParams::default(), &patch).await.expect("patched");
}

#[tokio::test]
async fn an_old_key_retires_once_it_was_unused_for_long_and_stands_in_a_verified_backup() {
    rig::require_sandbox("the operator's address");
    let plane = ControlPlane::start(Options::default()).await;
    plane.install_crds();
    create_namespace(&plane, KEYS);
    create_namespace(&plane, "team");
    let certificates = ["key-a", "key-b"].map(|name| {
        let (secret, certificate) = key_secret(name, "active");
        plane.apply(&secret);
        (name, certificate)
    });
    let ring_spec = |spec: Value| {
        let metadata = json!({ "name": "default" });
        json!({ "apiVersion": "latchwork.dev/v1alpha1", "kind": "KeyRing", "metadata": metadata, "spec": spec })
            .to_string()
    };
    plane.apply(&ring_spec(json!({ "renewal": { "after": "0s" }, "retirement": { "unusedFor": "24h" } })));
    let operator = operator(&plane, &[]).await;
    let old = in_state(&status(&plane), "retiring").remove(0);
    let old_certificate = &certificates.iter().find(|(name, _)| *name == old).expect("one of them").1;
    let label = || async {
        let secrets = Api::<Secret>::namespaced(plane.client().await, KEYS);
        secrets.get(&old).await.expect("readable").metadata.labels.expect("labels")[LABEL].clone()
    };

    // Something needs it: however long the status says that it was unused, it stays.
    plane.apply(&seal(old_certificate, "team", "db", "hunter2"));
    opened(&plane, &operator, "team", "db", "hunter2").await;
    ring(&plane, &operator, "the entry on the old key", |s| of(s, &old).is_some_and(|key| key.entries == 1)).await;
    let backup = Backup::new();
    backup.write(&plane, &operator, &old).await;
    backup.verify(&plane, &operator, &old).await;
    unused_for(&plane, &old, 1000).await;
    backup.write(&plane, &operator, &old).await;
    ring(&plane, &operator, "the forged time to be gone", |s| of(s, &old).is_some_and(|k| k.unused_since.is_none()))
        .await;
    assert_eq!(label().await, "active");

    // Nothing needs it, and not for long enough.
    plane.apply(&seal(&certificate(&operator).await, "team", "db", "hunter3"));
    opened(&plane, &operator, "team", "db", "hunter3").await;
    ring(&plane, &operator, "an unused key", |s| of(s, &old).is_some_and(|key| key.unused_since.is_some())).await;
    unused_for(&plane, &old, 23).await;
    backup.write(&plane, &operator, &old).await;
    assert_eq!(label().await, "active");

    // An object that nothing opens may turn out to need any key.
    plane.apply(&seal(old_certificate, "team", "elsewhere", "x").replace("\"elsewhere\"", "\"renamed\""));
    ring(&plane, &operator, "the entry that nothing opens", |s| s.entries_unopened == 1).await;
    unused_for(&plane, &old, 25).await;
    backup.write(&plane, &operator, &old).await;
    assert_eq!(label().await, "active");
    run_ok(plane.kubectl(&["delete", "sealedsecret", "renamed", "-n", "team"]), b"");

    // Long enough: it is marked, told of, and opens nothing any more; the active one stays.
    ring(&plane, &operator, "the retirement", |s| of(s, &old).is_some_and(|key| key.state == KeyPhase::Retired)).await;
    assert_eq!(label().await, "retired");
    assert_eq!(in_state(&status(&plane), "retired"), std::slice::from_ref(&old));
    assert_eq!(in_state(&status(&plane), "active").len(), 1);
    let events = Api::<Event>::all(plane.client().await);
    eventually(SOON, "the event", || async {
        let all = events.list(&ListParams::default()).await.map_err(|e| e.to_string())?.items;
        let told = all.iter().any(|event| {
            let (about, message) = (&event.involved_object, event.message.as_deref().unwrap_or_default());
            event.reason.as_deref() == Some("KeyRetired")
                && about.name.as_deref() == Some("default")
                && message.contains(&old)
        });
        if told { Ok(()) } else { Err(format!("{} other events", all.len())) }
    })
    .await;
    plane.apply(&seal(old_certificate, "team", "late", "v"));
    let objects = Api::<SealedSecret>::namespaced(plane.client().await, "team");
    eventually(SOON, "the reason", || async {
        let status = objects.get("late").await.map_err(|e| e.to_string())?.status.unwrap_or_default();
        match status.synced() {
            Some(synced) if synced.reason == "RetiredKey" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    // The label undoes it: what waited for the key opens at once.
    plane.apply(&ring_spec(json!({ "renewal": { "after": "0s" } })));
    run_ok(plane.kubectl(&["label", "secret", &old, "-n", KEYS, "--overwrite", &format!("{LABEL}=active")]), b"");
    opened(&plane, &operator, "team", "late", "v").await;
}
