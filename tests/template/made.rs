//! What differs on each run (keys, certificates, PKCS#12 files) is compared by what it is: one side makes it, and the
//! other side, `openssl` and `keytool` take it apart.

use std::process::Command;

use latchwork::pure::template::Value;

use super::corpus::{self, Case};
use super::oracle::{Answer, Oracle};

/// A case over the data `p12`, with more entries.
fn case(flavour: &str, template: &str, more: &[(&str, &str)]) -> Case {
    let mut data = corpus::data()["p12"].clone();
    for (name, value) in more {
        data["v"][*name] = (*value).into();
    }
    Case::new(template, flavour, data)
}

fn ours(template: &str, more: &[(&str, &str)]) -> String {
    let case = case("external", template, more);
    let dot: Value = case.value();
    match super::ours(&case, &dot) {
        Ok(out) => String::from_utf8(out).unwrap(),
        Err(error) => panic!("{template}: {error}"),
    }
}

fn go(template: &str, more: &[(&str, &str)]) -> String {
    match Oracle::start().ask(&case("probe", template, more)) {
        Answer::Out(out) => String::from_utf8(out).unwrap(),
        Answer::Fail(text) => panic!("{template}: {text}"),
    }
}

const KEYS: [&str; 4] = ["rsa_pem", "ec_pem", "ecp8_pem", "ed_pem"];

#[test]
fn pkcs12_files_open_on_the_other_side() {
    for key in KEYS {
        for (password, chain) in [("", "leaf_pem"), ("pä s", "leaf_pem"), ("x", "chain_pem")] {
            let make = format!("{{{{fullPemToPkcs12Pass .{chain} .{key} \"{password}\"}}}}");
            let open = format!(
                "{{{{pkcs12keyPass \"{password}\" (.made | b64dec)}}}}{{{{pkcs12certPass \"{password}\" (.made | b64dec)}}}}"
            );
            let (our_file, go_file) = (ours(&make, &[]), go(&make, &[]));
            let want = go(&open, &[("made", &go_file)]);
            assert_eq!(go(&open, &[("made", &our_file)]), want, "Go opens ours: {key} {password}");
            assert_eq!(ours(&open, &[("made", &go_file)]), want, "we open Go's: {key} {password}");
        }
        for profile in ["rc2", "des", "modern", "passwordless"] {
            let password = if profile == "passwordless" { "" } else { "pässword" };
            let made = go(&format!("{{{{madeP12 \"{profile}\" .chain_pem .{key} \"{password}\"}}}}"), &[]);
            let open = format!(
                "{{{{pkcs12keyPass \"{password}\" (.made | b64dec)}}}}{{{{pkcs12certPass \"{password}\" (.made | b64dec)}}}}"
            );
            let more = [("made", made.as_str())];
            assert_eq!(ours(&open, &more), go(&open, &more), "{profile} {key}");
        }
    }
}

/// What a program prints on a file; fails the test if the program fails.
fn run(program: &str, args: &[&str]) -> String {
    let out = Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

fn saved(folder: &tempfile::TempDir, name: &str, base64: &str) -> String {
    use base64::Engine;
    let path = folder.path().join(name);
    std::fs::write(&path, base64::engine::general_purpose::STANDARD.decode(base64).unwrap()).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The blocks of a PEM text, without what stands between them.
fn blocks(text: &str) -> String {
    let mut inside = false;
    let mut out = String::new();
    for line in text.lines() {
        inside |= line.starts_with("-----BEGIN");
        if inside {
            out.push_str(line);
            out.push('\n');
        }
        inside &= !line.starts_with("-----END");
    }
    out
}

#[test]
fn openssl_opens_our_pkcs12_files() {
    let folder = tempfile::tempdir().unwrap();
    for (index, key) in KEYS.into_iter().enumerate() {
        let file = ours(&format!("{{{{fullPemToPkcs12Pass .chain_pem .{key} \"pä s\"}}}}"), &[]);
        let path = saved(&folder, &format!("{index}.p12"), &file);
        let shown = run("openssl", &["pkcs12", "-in", &path, "-nodes", "-passin", "pass:pä s"]);
        let want = ours("{{.chain_pem}}{{pkcs12keyPass \"pä s\" (.made | b64dec)}}", &[("made", &file)]);
        assert_eq!(blocks(&shown), blocks(&want), "{key}");
    }
    let file = ours("{{pemTruststoreToPKCS12Pass (print .chain_pem .odd_pem) \"changeit\"}}", &[]);
    let path = saved(&folder, "trust.p12", &file);
    let shown = run("openssl", &["pkcs12", "-in", &path, "-nokeys", "-passin", "pass:changeit"]);
    assert_eq!(blocks(&shown), blocks(&ours("{{.chain_pem}}{{.odd_pem}}", &[])));
    // The aliases and Java's mark are what Go's library writes.
    let file = go("{{pemTruststoreToPKCS12Pass (print .chain_pem .odd_pem) \"changeit\"}}", &[]);
    let path = saved(&folder, "go.p12", &file);
    assert_eq!(shown, run("openssl", &["pkcs12", "-in", &path, "-nokeys", "-passin", "pass:changeit"]));
}

#[test]
fn java_trusts_our_trust_stores() {
    if Command::new("keytool").arg("-help").output().is_err() {
        // Go and openssl say the same about these files above.
        eprintln!("no keytool on this machine");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let list = |name: &str, file: &str| {
        let path = saved(&folder, name, file);
        let args = ["-list", "-keystore", &path, "-storetype", "PKCS12", "-storepass", "changeit"];
        let shown = run("keytool", &[args.as_slice(), &["-J-Duser.language=en", "-J-Duser.timezone=UTC"]].concat());
        let mut entries: Vec<String> =
            shown.lines().filter(|line| line.contains("trustedCertEntry")).map(str::to_owned).collect();
        entries.sort();
        entries
    };
    let make = "{{pemTruststoreToPKCS12Pass (print .chain_pem .odd_pem) \"changeit\"}}";
    let (theirs, mine) = (list("go.p12", &go(make, &[])), list("ours.p12", &ours(make, &[])));
    assert_eq!(mine.len(), 4, "{mine:?}");
    assert_eq!(mine, theirs);
}

#[test]
fn go_reads_our_trust_stores() {
    for (chain, password) in [("leaf_pem", ""), ("chain_pem", "changeit"), ("odd_pem", "ü")] {
        let make = format!("{{{{pemTruststoreToPKCS12Pass .{chain} \"{password}\"}}}}");
        let open = format!("{{{{openTrust \"{password}\" (.made | b64dec)}}}}");
        assert_eq!(go(&open, &[("made", &ours(&make, &[]))]), go(&open, &[("made", &go(&make, &[]))]));
    }
}

/// Certificates and their keys, by what is in them.
#[test]
fn certificates_have_the_structure_that_go_gives_them() {
    let names = r#"(list "10.0.0.1" "2001:db8::1") (list "a.example" "*.b.example")"#;
    let own = [
        r#"genCA "My CA" 365"#.to_owned(),
        r#"genCA "" 1"#.to_owned(),
        r#"genCA "é" 3650"#.to_owned(),
        format!(r#"genSelfSignedCert "srv" {names} 30"#),
        r#"genSelfSignedCert "srv" nil nil 30"#.to_owned(),
        r#"genSelfSignedCert "srv" (list) (list "only.example") 1"#.to_owned(),
        r#"genCAWithKey "ec" 10 .ecp8_pem"#.to_owned(),
        r#"genCAWithKey "rsa" 10 .rsa1_pem"#.to_owned(),
        r#"genCAWithKey "ed" 10 .ed_pem"#.to_owned(),
        format!(r#"genSelfSignedCertWithKey "srv" {names} 30 .ec_pem"#),
        format!(r#"genSelfSignedCertWithKey "srv" {names} 30 .ed_pem"#),
    ];
    let look = "{{certInfo .cert}} {{keyInfo .key}} {{sameKey .cert .key}} {{signedBy .cert .authority}}";
    let split = |text: &str| -> Vec<String> { text.split('@').map(str::to_owned).collect() };
    let seen = |made: &str| {
        let parts = split(made);
        let authority = if parts.len() > 2 { &parts[2] } else { &parts[0] };
        go(look, &[("cert", &parts[0]), ("key", &parts[1]), ("authority", authority)])
    };
    for call in own {
        // Self-signed certificates that are no authority fail Go's own check of a parent; both must fail alike.
        let make = format!("{{{{$c := {call}}}}}{{{{$c.Cert}}}}@{{{{$c.Key}}}}");
        assert_eq!(seen(&ours(&make, &[])), seen(&go(&make, &[])), "{call}");
    }
    let signed = [
        format!(r#"genSignedCert "srv" {names} 30 $ca"#),
        r#"genSignedCert "" nil nil 30 $ca"#.to_owned(),
        format!(r#"genSignedCertWithKey "srv" {names} 30 $ca .rsa_pem"#),
        r#"genSignedCertWithKey "srv" nil (list "x") 30 $ca .ec_pem"#.to_owned(),
    ];
    let authorities = [
        r#"genCAWithKey "ca" 100 .ec_pem"#,
        r#"genCAWithKey "ca" 100 .rsa_pem"#,
        r#"buildCustomCert (b64enc .odd_pem) (b64enc .ec_pem)"#,
    ];
    for (call, authority) in signed.iter().flat_map(|call| authorities.map(|authority| (call, authority))) {
        let make =
            format!("{{{{$ca := {authority}}}}}{{{{$c := {call}}}}}{{{{$c.Cert}}}}@{{{{$c.Key}}}}@{{{{$ca.Cert}}}}");
        assert_eq!(seen(&ours(&make, &[])), seen(&go(&make, &[])), "{call} of {authority}");
    }
}

#[test]
fn private_keys_are_of_the_kind_that_go_makes() {
    for kind in ["", "rsa", "ecdsa", "ed25519"] {
        let make = format!("{{{{genPrivateKey \"{kind}\"}}}}");
        let look = |key: &str| go("{{keyInfo .key}}", &[("key", key)]);
        assert_eq!(look(&ours(&make, &[])), look(&go(&make, &[])), "{kind}");
    }
}

#[test]
fn what_go_encrypted_with_rsa_opens() {
    for hash in ["SHA1", "SHA256", "SHA512"] {
        let sealed = go(&format!("{{{{rsaEncrypt \"{hash}\" \"the text\" .rsa_pem}}}}"), &[]);
        let open = format!("{{{{rsaDecrypt \"RSA-OAEP\" \"{hash}\" (.sealed | b64dec) .rsa_pem}}}}");
        assert_eq!(ours(&open, &[("sealed", &sealed)]), "the text");
    }
}
