//! The table, the summary, and the same as JSON.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::work::{Action, FileReport, Item};
use crate::pure::keys::KeyRef;
use crate::pure::sops::KeyChange;

/// Characters of a key that the table shows at each end: enough to tell keys apart; the full text stands below it.
const KEY_ENDS: usize = 10;

/// Numbers of a run.
pub(super) struct Summary {
    looked_at: usize,
    current: usize,
    written: bool,
    /// Objects that would change and were not changed.
    pub to_change: usize,
    changed: usize,
    left: usize,
    /// Objects that failed.
    pub failed: usize,
}

impl Summary {
    pub(super) fn of(reports: &[FileReport], looked_at: usize, written: bool) -> Self {
        let count = |test: &dyn Fn(&Action) -> bool| {
            reports.iter().flat_map(|report| &report.items).filter(|item| test(&item.action)).count()
        };
        let changes = count(&Action::changes);
        Self {
            looked_at,
            written,
            current: count(&|action| matches!(action, Action::Current)),
            to_change: if written { 0 } else { changes },
            changed: if written { changes } else { 0 },
            left: count(&|action| matches!(action, Action::Left(_))),
            failed: count(&|action| matches!(action, Action::Failed(_))),
        }
    }

    fn line(&self) -> String {
        let mut parts = Vec::new();
        for (count, what) in [
            (self.changed, "changed"),
            (self.to_change, "to change"),
            (self.current, "on the present keys"),
            (self.left, "left alone"),
            (self.failed, "failed"),
        ] {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        if parts.is_empty() {
            parts.push("nothing encrypted found".into());
        }
        format!("{} (in {} files)\n", parts.join(", "), self.looked_at)
    }
}

fn verb(action: &Action, written: bool) -> &'static str {
    match (action, written) {
        (Action::Current, _) => "none",
        (Action::Rewrap(_), false) => "rewrap",
        (Action::Rewrap(_), true) => "rewrapped",
        (Action::Rotate(_), false) => "rotate",
        (Action::Rotate(_), true) => "rotated",
        (Action::Reseal { .. }, false) => "reseal",
        (Action::Reseal { .. }, true) => "resealed",
        (Action::Left(_), _) => "left alone",
        (Action::Failed(_), _) => "FAILED",
    }
}

/// The rows of what is not current, the keys that come and go in full, and the summary.
pub(super) fn table(reports: &[FileReport], summary: &Summary, written: bool) -> String {
    let mut rows = vec![["FILE", "OBJECT", "ACTION", "DETAIL"].map(str::to_owned)];
    let mut keys: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for report in reports {
        for Item { object, action } in report.items.iter().filter(|item| !matches!(item.action, Action::Current)) {
            if let Action::Rewrap(change) | Action::Rotate(change) = action {
                for (sign, list) in [("+", &change.added), ("-", &change.removed)] {
                    list.iter().for_each(|key| *keys.entry((sign, full(key))).or_default() += 1);
                }
            }
            let object = if object.is_empty() { "-" } else { object };
            let file = shown(report);
            rows.push([file, object.to_owned(), verb(action, written).to_owned(), detail(action)]);
        }
    }
    let mut out = String::new();
    if rows.len() > 1 {
        let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
        let (a, b, c) = (width(0), width(1), width(2));
        for [file, object, action, detail] in &rows {
            out.push_str(format!("{file:a$}  {object:b$}  {action:c$}  {detail}").trim_end());
            out.push('\n');
        }
    }
    for ((sign, key), count) in keys {
        out.push_str(&format!("{sign} {key} ({count})\n"));
    }
    out + &summary.line()
}

/// The path as a person would name it.
fn shown(report: &FileReport) -> String {
    report.path.strip_prefix(".").unwrap_or(&report.path).display().to_string()
}

fn full(key: &KeyRef) -> String {
    format!("{} {key}", key.kind())
}

fn short(key: &KeyRef) -> String {
    let text = key.to_string();
    let characters: Vec<char> = text.chars().collect();
    if characters.len() <= 3 * KEY_ENDS {
        return text;
    }
    let end = characters.len() - KEY_ENDS;
    let (head, tail) = (characters.get(..KEY_ENDS), characters.get(end..));
    format!("{}…{}", head.into_iter().flatten().collect::<String>(), tail.into_iter().flatten().collect::<String>())
}

fn detail(action: &Action) -> String {
    match action {
        Action::Current => String::new(),
        Action::Rewrap(change) | Action::Rotate(change) => change_text(change),
        Action::Reseal { entries, ask, total } => {
            let by = if ask.is_empty() { "" } else { ", by the cluster" };
            format!("{} of {total} entries: {}{by}", entries.len(), entries.join(", "))
        }
        Action::Left(why) | Action::Failed(why) => why.clone(),
    }
}

fn change_text(change: &KeyChange) -> String {
    let mut words: Vec<String> = change.added.iter().map(|key| format!("+{}", short(key))).collect();
    words.extend(change.removed.iter().map(|key| format!("-{}", short(key))));
    if change.differs && words.is_empty() {
        words.push(format!("{} key groups, threshold {}", change.groups.len(), change.threshold));
    }
    if words.is_empty() { "same keys".into() } else { words.join(" ") }
}

/// One object for programs.
pub(super) fn json(reports: &[FileReport], summary: &Summary) -> String {
    let objects: Vec<Value> =
        reports.iter().flat_map(|report| report.items.iter().map(|item| object(&shown(report), item))).collect();
    let value = json!({
        "objects": objects,
        "written": summary.written,
        "filesLookedAt": summary.looked_at,
        "current": summary.current,
        "toChange": summary.to_change,
        "changed": summary.changed,
        "leftAlone": summary.left,
        "failed": summary.failed,
    });
    format!("{value:#}\n")
}

fn object(file: &str, item: &Item) -> Value {
    let action = match &item.action {
        Action::Current => "none",
        Action::Rewrap(_) => "rewrap",
        Action::Rotate(_) => "rotate",
        Action::Reseal { .. } => "reseal",
        Action::Left(_) => "left",
        Action::Failed(_) => "failed",
    };
    let mut value = json!({ "file": file, "object": item.object, "action": action });
    let Some(fields) = value.as_object_mut() else { return value };
    let texts = |keys: &[KeyRef]| Value::from(keys.iter().map(full).collect::<Vec<_>>());
    match &item.action {
        Action::Rewrap(change) | Action::Rotate(change) => {
            fields.insert("added".into(), texts(&change.added));
            fields.insert("removed".into(), texts(&change.removed));
            fields.insert("groups".into(), change.groups.len().into());
            fields.insert("threshold".into(), change.threshold.into());
        }
        Action::Reseal { entries, ask, total } => {
            fields.insert("entries".into(), entries.clone().into());
            fields.insert("byCluster".into(), ask.clone().into());
            fields.insert("total".into(), (*total).into());
        }
        Action::Left(why) | Action::Failed(why) => {
            fields.insert("message".into(), why.clone().into());
        }
        Action::Current => {}
    }
    value
}
