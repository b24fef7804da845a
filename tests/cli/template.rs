//! `latchwork template render` as a pipeline runs it.

use std::path::PathBuf;

use crate::rig::process::{self, Ran, run};
use crate::rig::scratch;

struct Folder(PathBuf);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(scratch::dir("templates"));
        for (name, text) in files {
            std::fs::write(folder.0.join(name), text).expect("writes");
        }
        folder
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = process::latchwork();
        command.args(["template", "render"]).args(arguments).current_dir(&self.0);
        run(command, b"")
    }

    fn renders(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.status.code(), Some(0), "{}", ran.stderr);
        ran.stdout
    }

    /// What a run that must fail says.
    fn fails(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!((ran.status.code(), ran.stdout.as_str()), (Some(1), ""), "{}", ran.stderr);
        ran.stderr
    }
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("JSON")
}

const VALUES: &str = "user: ann\npassword: canary-password\n";

#[test]
fn a_bare_template_is_rendered_byte_for_byte() {
    let folder = Folder::new(&[
        ("plain", "{{ .user | upper }}\n\n{{- .n }}"),
        ("own", "{{ toYaml (fromYaml \"a: 1\") }}{{ filterPEM \"X\" \"\" }}"),
        ("values.yaml", "user: ann\nn: 3\n"),
        ("secret.yaml", "kind: Secret\ndata: {user: Ym9i}\nstringData: {n: clear}\n"),
    ]);
    assert_eq!(folder.renders(&["plain", "--data", "values.yaml"]), "ANN3");
    assert_eq!(folder.renders(&["plain", "--data", "values.yaml", "--secret", "secret.yaml"]), "BOBclear");
    let said = folder.fails(&["own"]);
    assert!(said.contains("template: own:1: function"), "SealedSecrets have no such function: {said}");
    assert_eq!(folder.renders(&["own", "--flavour", "external"]), "a: 1");
}

#[test]
fn errors_have_line_and_column_and_no_value() {
    let folder = Folder::new(&[
        ("broken", "a\n{{ .user "),
        ("fails", "a\n  {{ index .password 9999 }}"),
        ("values.yaml", VALUES),
    ]);
    for (file, place) in [("broken", "template: broken:2: "), ("fails", "template: fails:2:5: executing")] {
        let said = folder.fails(&[file, "--data", "values.yaml"]);
        assert!(said.contains(place) && !said.contains("canary"), "{said}");
    }
    assert!(folder.fails(&["absent"]).contains("absent"));
}

#[test]
fn every_template_of_a_sealed_secret_is_rendered() {
    let manifest = |text: &str| {
        format!(
            "kind: SealedSecret\nspec:\n  encryptedData: {{user: AgA=}}\n  template:\n    data:\n      url: 'db://{{{{ .user }}}}'\n      two: '{text}'\n"
        )
    };
    let good = manifest("{{ .none }}");
    let bad = manifest("{{ .user | nofunction }}");
    let folder = Folder::new(&[("good.yaml", &good), ("bad.yaml", &bad), ("values.yaml", VALUES)]);
    let out = json(&folder.renders(&["good.yaml", "--data", "values.yaml"]));
    assert_eq!(out, serde_json::json!({"url": "db://ann", "two": "<no value>"}));
    let out = json(&folder.renders(&["good.yaml", "--make-up"]));
    assert_eq!(out.pointer("/url"), Some(&"db://<user>".into()));
    assert!(folder.fails(&["bad.yaml", "--make-up"]).contains("template: two:1: function \"nofunction\" not defined"));
}

const EXTERNAL: &str = r#"kind: ExternalSecret
spec:
  data: [{secretKey: user, remoteRef: {key: k}}]
  target:
    template:
      data: {url: "db://{{ .user }}"}
      metadata: {labels: {who: "{{ .user }}"}}
      templateFrom:
      - configMap: {name: texts, items: [{key: conf}, {key: many, templateAs: KeysAndValues}]}
      - secret: {name: hidden, items: [{key: inner}]}
      - literal: "a: '{{ .user }}'"
"#;

const TEXTS: &str =
    "kind: ConfigMap\nmetadata: {name: texts}\ndata: {conf: 'u={{ .user }}', many: 'x: \"{{ .user }}\"'}\n";

fn hidden(text: &str) -> String {
    format!("kind: Secret\nmetadata: {{name: hidden}}\nstringData: {{inner: '{text}'}}\n")
}

#[test]
fn every_template_of_an_external_secret_is_rendered_also_those_kept_elsewhere() {
    let folder =
        Folder::new(&[("es.yaml", EXTERNAL), ("texts.yaml", TEXTS), ("hidden.yaml", &hidden("i {{ .user }}"))]);
    let both = ["--config-map", "texts.yaml", "--secret", "hidden.yaml"];
    let out = json(&folder.renders(&[&["es.yaml", "--make-up"], both.as_slice()].concat()));
    let want = serde_json::json!({
        "url": "db://<user>", "metadata.labels.who": "<user>", "templateFrom[0].conf": "u=<user>",
        "templateFrom[0].many": "x: \"<user>\"", "templateFrom[1].inner": "i <user>", "templateFrom[2]": "a: '<user>'",
    });
    assert_eq!(out, want, "the Secret of templates gives no values");
    let said = folder.fails(&[&["es.yaml"], both.as_slice()].concat());
    assert!(said.contains("template: url:1:") && said.contains("map has no entry for key"), "{said}");
}

#[test]
fn what_is_missing_is_named_and_a_template_in_a_secret_is_not_quoted() {
    let broken = hidden("{{ fail \"canary-text\" }}");
    let folder = Folder::new(&[
        ("es.yaml", EXTERNAL),
        ("texts.yaml", TEXTS),
        ("empty.yaml", "kind: ConfigMap\nmetadata: {name: texts}\n"),
        ("broken.yaml", &broken),
        ("map.yaml", "kind: ExternalSecret\nspec: {target: {template: {templateFrom: [{literal: 'no map'}]}}}\n"),
    ]);
    let said = folder.fails(&["es.yaml", "--make-up"]);
    assert!(
        said.contains(r#"templateFrom[0]: ConfigMap "texts" is missing; give its manifest with --config-map FILE"#)
    );
    assert!(said.contains(r#"templateFrom[1]: Secret "hidden" is missing; give its manifest with --secret FILE"#));
    let said = folder.fails(&["es.yaml", "--make-up", "--config-map", "empty.yaml", "--secret", "broken.yaml"]);
    assert!(said.contains(r#"ConfigMap "texts" has no text at "conf""#), "{said}");
    assert!(said.contains("template: templateFrom[1].inner:1:3: ") && !said.contains("canary"), "{said}");
    assert!(folder.fails(&["es.yaml", "--config-map", "broken.yaml"]).contains("not the manifest of a ConfigMap"));
    assert!(folder.fails(&["map.yaml"]).contains("templateFrom[0]: the rendered text is not a YAML map of strings"));
}
