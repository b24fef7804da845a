use super::*;
use crate::pure::error::Explain;

fn render_with(text: &str, dot: &Value, options: &Options) -> Result<Vec<u8>, TemplateError> {
    let template = Template::parse("t", text, options)?;
    let mut random = |bytes: &mut [u8]| bytes.fill(7);
    let mut environment = Environment::new((1_700_000_000, 0), &mut random);
    template.render(dot, &mut environment).map(|out| out.expose().to_vec())
}

fn data() -> Value {
    let user = Plaintext::copy_of(b"admin");
    let password = Plaintext::copy_of(b"p\xffw");
    Value::string_map([("user".to_owned(), &user), ("password".to_owned(), &password)])
}

fn render(text: &str) -> Result<Vec<u8>, TemplateError> {
    render_with(text, &data(), &Options::default())
}

fn shown(text: &str) -> String {
    match render(text) {
        Ok(out) => String::from_utf8_lossy(&out).into_owned(),
        Err(error) => format!("ERROR {error}"),
    }
}

#[test]
fn the_language_renders() {
    for (text, want) in [
        ("{{.user}}", "admin"),
        ("{{ index . \"user\" }}", "admin"),
        ("{{.missing}}|{{index . \"missing\"}}|", "<no value>||"),
        ("a {{- /* c */ -}} b", "ab"),
        ("{{range $k, $v := .}}{{$k}};{{end}}", "password;user;"),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ("{{range $i, $e := .x}}x{{else}}none{{end}}", "none"),
        ("{{if .user}}y{{else}}n{{end}}", "y"),
        ("{{if false}}a{{else if eq .user \"admin\"}}b{{else}}c{{end}}", "b"),
        ("{{with .x}}a{{else with .user}}{{.}}{{end}}", "admin"),
        ("{{define \"d\"}}[{{.}}]{{end}}{{template \"d\" .user}}{{template \"d\"}}", "[admin][<no value>]"),
        ("{{block \"b\" .user}}<{{.}}>{{end}}", "<admin>"),
        ("{{$x := 1}}{{$x = 2}}{{$x}}", "2"),
        ("{{printf \"%d %s %v %q\" 1 \"a\" 1.0 .user}}", "1 a 1 \"admin\""),
        ("{{1000000.0}} {{len .user}} {{0x10}} {{'a'}} {{1e3}}", "1e+06 5 16 97 1000"),
        ("{{range 5}}{{if eq . 1}}{{continue}}{{end}}{{if eq . 3}}{{break}}{{end}}{{.}}{{end}}", "02"),
        ("{{and 1 0}} {{or 0 \"x\"}} {{not true}} {{lt 1 2}} {{ne 1 2}}", "0 x false true true"),
        ("{{.user | printf \"%s-%s\" \"a\"}}", "a-admin"),
        ("{{html \"<a>\"}} {{js \"'\"}} {{urlquery \"a b\"}}", "&lt;a&gt; \\' a+b"),
        ("{{print 1 2 \"a\" 3}}{{println 1 \"b\"}}", "1 2a31 b\n"),
    ] {
        assert_eq!(shown(text), want, "{text}");
    }
    assert_eq!(render("{{.password}}").ok(), Some(b"p\xffw".to_vec()), "bytes pass through");
}

#[test]
fn errors_have_go_texts_and_no_values() {
    for (text, want) in [
        ("{{.user.x}}", "template: t:1:7: executing \"t\" at <.user.x>: can't evaluate field x in type string"),
        ("{{if}}{{end}}", "template: t:1: missing value for if"),
        ("{{end}}", "template: t:1: unexpected {{end}}"),
        ("{{nope}}", "template: t:1: function \"nope\" not defined"),
        (
            "\n{{index .user 99}}",
            "template: t:2:2: executing \"t\" at <index .user 99>: error calling index: index out of range: 99",
        ),
        (
            "{{eq 1 \"1\"}}",
            "template: t:1:2: executing \"t\" at <eq 1 \"1\">: error calling eq: incompatible types for comparison: int and string",
        ),
        ("{{\"\\x\"}}", "template: t:1: invalid syntax"),
        ("{{printf 1}}", "template: t:1:9: executing \"t\" at <1>: expected string; found 1"),
        ("{{template \"x\"}}", "template: t:1:11: executing \"t\" at <{{template \"x\"}}>: template \"x\" not defined"),
        ("{{.a", "template: t:1: unclosed action"),
        ("{{$x}}", "template: t:1: undefined variable \"$x\""),
    ] {
        assert_eq!(shown(text), format!("ERROR {want}"), "{text}");
    }
    let error = render("{{range .user}}{{end}}").err();
    assert!(error.as_ref().is_some_and(TemplateError::withheld));
    assert!(error.is_some_and(|error| !error.line().contains("admin")));
}

#[test]
fn missing_keys_follow_the_option() {
    let with = |missing_key| {
        let options = Options { missing_key, ..Options::default() };
        render_with("{{.x}}", &data(), &options)
    };
    assert_eq!(with(MissingKey::Invalid).ok(), Some(b"<no value>".to_vec()));
    assert_eq!(with(MissingKey::Zero).ok(), Some(Vec::new()));
    assert!(with(MissingKey::Error).is_err_and(|error| error.to_string().ends_with("map has no entry for key \"x\"")));
}

#[test]
fn delimiters_can_be_changed_and_default_when_empty() {
    let options = Options { left: "<%".into(), right: "%>".into(), ..Options::default() };
    assert_eq!(render_with("<%.user%>{{.user}}", &data(), &options).ok(), Some(b"admin{{.user}}".to_vec()));
}

#[test]
fn nothing_overflows_or_hangs() {
    for text in [
        format!("{{{{if 0}}}}{}{{{{end}}}}", "{{else if 0}}".repeat(4_000)),
        "{{range $i := 10000000}}{{end}}".to_owned(),
        format!("{{{{{}1{}}}}}", "(".repeat(1_000), ")".repeat(1_000)),
        "{{if 1}}".repeat(1_000),
        "{{define \"r\"}}{{template \"r\" .}}{{end}}{{template \"r\" .}}".to_owned(),
        "{{$x := \"aaaaaaaa\"}}{{range 40}}{{$x = print $x $x}}{{end}}{{len $x}}".to_owned(),
        "{{range 100000}}{{printf \"%1000000d\" 1}}{{end}}".to_owned(),
    ] {
        match render(&text) {
            Ok(_) => assert!(text.starts_with("{{if 0}}"), "only the long chain is legal"),
            Err(TemplateError::Limit { text }) => assert!(text.contains("limit reached"), "{text}"),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn both_tables_hold_all_of_sprig_and_only_external_has_its_own() {
    let (sealed, external) = (functions::names(Flavour::Sealed), functions::names(Flavour::External));
    // 208 of sprig and 19 of Go's own, of which sprig's `slice` hides one.
    assert_eq!(sealed.len(), 208 + 19 - 1);
    assert_eq!(external.len(), sealed.len() + 18 + 1, "18 of its own, and hexdec of its copy of sprig");
    assert!(sealed.iter().all(|name| external.contains(name)));
    for denied in ["env", "expandenv", "getHostByName", "tpl", "include", "lookup"] {
        assert!(!external.contains(&denied), "{denied}");
    }
}

#[test]
fn templates_that_differ_from_run_to_run_are_known() {
    for (text, want) in [
        ("{{.user}}", false),
        ("{{if false}}{{randAlpha 3}}{{end}}", true),
        ("{{define \"a\"}}{{now}}{{end}}", true),
        ("{{htpasswd .user .password | quote}}", true),
        ("{{sha256sum .user}}", false),
    ] {
        let template = Template::parse("t", text, &Options::default());
        assert_eq!(template.map(|template| template.is_volatile()).ok(), Some(want), "{text}");
    }
}

#[test]
fn maps_cannot_hold_themselves_and_depth_is_bounded() {
    for text in ["{{$d := dict}}{{set $d \"self\" $d}}", "{{$d := dict}}{{set $d \"l\" (list (dict \"d\" $d))}}"] {
        assert!(render(text).is_err_and(|error| error.to_string().contains("into itself")), "{text}");
    }
    let deep = "{{$l := list}}{{range until 20000}}{{$l = list $l}}{{end}}";
    assert!(render(deep).is_ok(), "building and dropping a deep list is safe");
    for consumer in ["$l", "toJson $l", "deepCopy $l", "deepEqual $l (list $l)"] {
        let result = render(&format!("{deep}{{{{{consumer}}}}}"));
        assert!(matches!(result, Err(TemplateError::Limit { .. }) | Ok(_)), "{consumer}");
    }
    assert!(matches!(render(&format!("{deep}{{{{$l}}}}")), Err(TemplateError::Limit { .. })));
}

#[test]
fn costly_functions_run_into_their_limit() {
    use crate::pure::limits::TEMPLATE_COST;
    let mut random = |_: &mut [u8]| {};
    let mut environment = Environment::new((0, 0), &mut random);
    assert!(environment.cost(TEMPLATE_COST).is_ok());
    assert!(environment.cost(1).is_err(), "what was spent before counts");
    environment.begin();
    assert!(environment.cost(1).is_ok(), "each render has a budget of its own");
}

#[test]
fn a_message_of_fail_is_shown_only_when_it_stands_in_the_template() {
    assert!(shown("{{fail \"no user\"}}").ends_with("error calling fail: no user"));
    assert!(!shown("{{fail .user}}").contains("admin"));
    assert!(!shown("{{fail (print \"bad \" .user)}}").contains("admin"));
    assert!(!shown("{{.user | fail}}").contains("admin"));
    assert!(!shown("{{urlParse (print .user \"%zz\")}}").contains("admin"));
    assert!(!shown("{{mustRegexMatch (print .user \"(\") \"\"}}").contains("admin"));
}
