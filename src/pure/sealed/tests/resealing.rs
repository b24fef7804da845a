//! Bringing an object to the present key.

use super::*;

#[test]
fn resealing_what_is_old_leaves_the_rest_byte_for_byte() {
    let keys = vector_keys(&["old", "current"]);
    let certificate = keys.current().and_then(|key| key.certificate()).expect("certificate");
    let object = vector("sealed/two-keys.yaml");
    let opened = || open_entries(&object, &keys, &Hints::default(), UnsealOptions::default()).expect("opens");
    let old = |found: &super::super::hints::Found| found.key != *certificate.fingerprint();
    let made = super::super::reseal::reseal_old(&object, opened(), certificate).expect("seals");
    for found in opened().found {
        let text = |object: &SealedSecret| object.spec.encrypted_data.0[&found.entry].clone();
        assert_eq!(text(&made) != text(&object), old(&found), "{}", found.entry);
    }
    assert_eq!(made.spec.encrypted_data.0.len(), 4);
    assert!(unseal(&made, &vector_keys(&["current"]), &Hints::default(), now()).is_ok());
}

#[test]
fn resealing_keeps_scope_and_template_and_never_widens() {
    let keys = vector_keys(&["old", "current"]);
    let certificate = keys.current().and_then(|key| key.certificate()).expect("certificate");
    let only_current = vector_keys(&["current"]);
    for path in ["old-key.yaml", "namespace-wide.yaml", "cluster-wide.yaml", "deprecated.json"] {
        let mut object = vector(&format!("sealed/{path}"));
        let scope = object_scope(&object);
        if path == "deprecated.json" {
            // Its own metadata is sealed, and says app=web too: only what the request shows may go out in clear.
            object.metadata.labels = Some([("app".to_owned(), "shown".to_owned())].into());
        }
        let label = if path == "deprecated.json" { "shown" } else { "web" };
        // An attacker's template asks for a wider scope, and renders something.
        if let crate::pure::crd::sealed_secret::Template::Read(template) = &mut object.spec.template {
            template.metadata.annotations.insert("sealedsecrets.bitnami.com/cluster-wide".into(), "true".into());
            template.data = Some([("t".to_owned(), Some("{{ .password }}".to_owned()))].into());
        }
        let opened = open_entries(&object, &keys, &Hints::default(), UnsealOptions::default()).expect("opens");
        let made = super::super::reseal::reseal(&object, opened, certificate).expect("seals");
        assert_eq!(object_scope(&made), scope, "{path}");
        let template = made.spec.template.get().expect("read");
        assert_eq!(Scope::of(&template.metadata.annotations), scope, "{path}");
        assert_eq!(template.kind, "example.com/kind");
        assert_eq!(template.metadata.labels.get("app").map(String::as_str), Some(label), "{path}");
        assert_eq!(template.data.as_ref().and_then(|data| data.get("t")), Some(&Some("{{ .password }}".into())));
        let opened = open_entries(&made, &only_current, &Hints::default(), UnsealOptions::default()).expect("opens");
        assert_eq!(text(&opened.data, "password"), Some("correct horse"), "{path}");
        let mut other = made.clone();
        other.metadata.name = Some("other".into());
        let opens = open_entries(&other, &only_current, &Hints::default(), UnsealOptions::default()).is_ok();
        assert_eq!(opens, scope != Scope::Strict, "{path}");
    }
}
