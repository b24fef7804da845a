use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;

use super::*;
use crate::pure::format::Format;
use crate::pure::keys::age::Identities;
use crate::pure::keys::{KeyKind, Unwrapped, shamir};
use crate::pure::sops;

/// A service whose keys say in their ciphertext what it answers.
#[derive(Default)]
struct Fake {
    asked: AtomicUsize,
    /// Every call waits until so many are under way.
    together: Option<tokio::sync::Barrier>,
}

impl Fake {
    async fn turn(&self) {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if let Some(barrier) = &self.together {
            barrier.wait().await;
        }
    }
}

#[async_trait]
impl KeyService for Fake {
    fn serves(&self, key: &KeyRef) -> bool {
        key.kind() == KeyKind::GcpKms
    }

    async fn wrap(&self, key: &KeyRef, secret: &Plaintext) -> Wrapped {
        self.turn().await;
        match key.to_string().as_str() {
            "refuses" => Err(KeyError::Service { message: "denied".into() }),
            _ => Ok(hex::encode(secret.expose())),
        }
    }

    async fn unwrap(&self, key: &WrappedKey) -> Unwrapped {
        self.turn().await;
        match key.enc.as_str() {
            "never" => std::future::pending().await,
            "denied" => Err(KeyError::Service { message: "denied".into() }),
            "away" => Err(KeyError::Unreachable { message: "no connection".into() }),
            text => Ok(Plaintext::new(hex::decode(text).expect("hex"))),
        }
    }
}

fn keys(services: &[Arc<Fake>]) -> DataKeys<Identities> {
    let services = services.to_vec();
    let connect = move || services.iter().map(|service| Arc::clone(service) as Arc<dyn KeyService>).collect();
    DataKeys::new(Identities::new(), DecryptionOrder::default(), None, Box::new(connect))
}

/// A file with these groups of wrapped keys.
fn file(groups: &[&[&str]]) -> Document {
    let keys = |number: usize, group: &[&str]| -> String {
        let one = |(at, enc): (usize, &&str)| {
            format!("{{resource_id: {number}-{at}, created_at: \"2024-01-01T00:00:00Z\", enc: '{enc}'}}")
        };
        group.iter().enumerate().map(one).collect::<Vec<_>>().join(", ")
    };
    let lists = match groups {
        [group] => format!("  gcp_kms: [{}]\n", keys(0, group)),
        groups => {
            let all: Vec<String> = groups
                .iter()
                .enumerate()
                .map(|(number, group)| format!("{{gcp_kms: [{}]}}", keys(number, group)))
                .collect();
            format!("  key_groups: [{}]\n  shamir_threshold: 2\n", all.join(", "))
        }
    };
    let text = format!("a: 1\nsops:\n{lists}  lastmodified: \"2024-01-01T00:00:00Z\"\n  mac: m\n  version: 3.9.0\n");
    sops::parse(text.as_bytes(), Format::Yaml).expect("parses")
}

fn key(byte: u8) -> String {
    hex::encode([byte; 32])
}

#[test]
fn the_first_answer_wins_over_one_that_never_comes() {
    let service = Arc::new(Fake::default());
    let opened = keys(&[service]).unlock(&file(&[&["never", "denied", &key(7)]])).expect("unlocks");
    assert_eq!(opened.expose(), &[7; 32]);
}

#[test]
fn enough_groups_are_enough() {
    let random: Vec<u8> = (0..32).collect();
    let shares = shamir::split(&[9; 32], 3, 2, &random).expect("splits");
    let share = |at: usize| hex::encode(shares[at].expose());
    let (first, last) = (share(0), share(2));
    let file = file(&[&["denied", &first], &["never"], &[&last]]);
    assert_eq!(keys(&[Arc::new(Fake::default())]).unlock(&file).expect("unlocks").expose(), &[9; 32]);
}

#[test]
fn all_keys_of_all_groups_are_asked_at_the_same_time() {
    let service = Arc::new(Fake { together: Some(tokio::sync::Barrier::new(4)), ..Fake::default() });
    let Err(SopsError::Keys(report)) = keys(&[service]).unlock(&file(&[&["denied", "denied"], &["denied", "denied"]]))
    else {
        panic!("opened");
    };
    let denied = KeyError::Service { message: "denied".into() };
    assert_eq!(report.tried.iter().filter(|tried| tried.error == denied).count(), 4);
    let service = Arc::new(Fake { together: Some(tokio::sync::Barrier::new(3)), ..Fake::default() });
    let keys = keys(&[service]);
    let names = ["a", "refuses", "b"].map(|id| KeyRef::GcpKms { resource_id: id.into() });
    let secret = Plaintext::new(vec![1; 32]);
    let wanted: Vec<_> = names.iter().map(|name| (name, &secret)).collect();
    let wrapped = keys.wrap(&wanted);
    assert_eq!(wrapped, [Ok(key(1)), Err(KeyError::Service { message: "denied".into() }), Ok(key(1))]);
}

#[test]
fn the_same_wrapped_key_is_asked_for_once() {
    let service = Arc::new(Fake::default());
    let keys = keys(std::slice::from_ref(&service));
    let opens = file(&[&[&key(3)]]);
    std::thread::scope(|scope| {
        (0..8).for_each(|_| drop(scope.spawn(|| keys.unlock(&opens).map(|_| ()).expect("unlocks"))))
    });
    assert_eq!(service.asked.load(Ordering::SeqCst), 1);
    // A failure is not remembered.
    let denied = file(&[&["denied"]]);
    assert!(keys.unlock(&denied).is_err() && keys.unlock(&denied).is_err());
    assert_eq!(service.asked.load(Ordering::SeqCst), 3);
}

#[test]
fn every_service_that_serves_a_key_is_asked_and_told() {
    let services = [Arc::new(Fake::default()), Arc::new(Fake::default())];
    let keys = keys(&services);
    let Err(SopsError::Keys(report)) = keys.unlock(&file(&[&["denied"]])) else { panic!("opened") };
    assert_eq!(report.tried.len(), 2);
    // Wrapping asks the next one only when the one before it could not.
    let name = KeyRef::GcpKms { resource_id: "fine".into() };
    assert!(keys.wrap(&[(&name, &Plaintext::new(vec![1; 32]))]).iter().all(Result::is_ok));
    let asked = |at: usize| services[at].asked.load(Ordering::SeqCst);
    assert_eq!((asked(0), asked(1)), (2, 1));
}

#[test]
fn a_service_that_is_away_is_asked_once_in_a_run_and_again_in_the_next() {
    let service = Arc::new(Fake::default());
    let keys = keys(std::slice::from_ref(&service));
    let asked = || service.asked.load(Ordering::SeqCst);
    let told = |text: &str| {
        let Err(SopsError::Keys(report)) = keys.unlock(&file(&[&[text]])) else { panic!("opened") };
        report.tried[0].error.to_string()
    };
    // A key that is refused says nothing about the others.
    assert_eq!((told("denied"), told("denied"), asked()), ("denied".into(), "denied".into(), 2));
    assert_eq!((told("away"), asked()), ("no connection".into(), 3));
    for text in ["away", "denied", &key(1)] {
        assert_eq!((told(text), asked()), ("not asked again in this run: no connection".into(), 3));
    }
    keys.begin_run();
    assert!(keys.unlock(&file(&[&[&key(1)]])).is_ok());
    assert_eq!(asked(), 4);
}

#[test]
fn an_answer_to_a_call_under_way_shows_that_a_service_is_not_away() {
    let service = Arc::new(Fake { together: Some(tokio::sync::Barrier::new(2)), ..Fake::default() });
    let keys = keys(&[service]);
    // Both are asked before either is answered; which answer comes last is not said.
    assert!(keys.unlock(&file(&[&["away", &key(1)]])).is_ok());
    let away = Away::default();
    let place = (0, String::new());
    away.note::<()>(place.clone(), &Err(KeyError::Unreachable { message: "x".into() }));
    away.note::<()>(place.clone(), &Err(KeyError::Damaged));
    assert!(away.answer(&place).is_some(), "a wrapped key that is damaged was not asked for");
    away.note::<()>(place.clone(), &Err(KeyError::Service { message: "denied".into() }));
    assert!(away.answer(&place).is_none());
}

#[test]
fn nothing_is_connected_or_started_for_keys_at_hand_or_that_nobody_serves() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/sops");
    let text = std::fs::read_to_string(format!("{folder}/keys.txt")).expect("readable");
    let connected = Arc::new(AtomicUsize::new(0));
    let count = connected.clone();
    let connect: Connect = Box::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
        vec![]
    });
    let identities = Identities::parse(&text, "keys.txt").expect("parses");
    let keys = DataKeys::new(identities, DecryptionOrder::default(), None, connect);
    let bytes = std::fs::read(format!("{folder}/default/yaml/encrypted.yaml")).expect("readable");
    assert!(keys.unlock(&sops::parse(&bytes, Format::Yaml).expect("parses")).is_ok());
    assert_eq!(connected.load(Ordering::SeqCst), 0);
    assert!(keys.unlock(&file(&[&["denied"]])).is_err());
    assert!(keys.runtime.get().is_none());
}
