//! What can be said about the values of a file without any key: which are encrypted, which should be.

use super::Document;
use super::cipher::looks_encrypted;
use super::error::SopsError;
use super::selector::Selector;
use super::walk::{CommentLeaf, Leaf, Place, Visit, walk};
use crate::pure::format::{Comment, Scalar, Tree};

/// A value and its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// Path of the entry, such as `stringData.password`.
    pub entry: String,
    /// Its line.
    pub line: usize,
    /// What it is.
    pub state: SpotState,
}

/// What a value is, judged by the selector of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpotState {
    /// Encrypted, as the selector says.
    Encrypted,
    /// In clear, as the selector says.
    Clear,
    /// In clear, and the selector says encrypted: added by hand.
    Exposed,
    /// Begins as ciphertext and is none: cut or changed.
    Malformed,
    /// Ciphertext where the selector says clear: it stays ciphertext on decryption.
    Stray,
}

/// The values of an encrypted file. Null and empty texts, which are never encrypted, are left out.
pub fn inspect(document: &Document) -> Vec<Spot> {
    look(&document.tree, &document.metadata.selector, |scalar, encrypted| {
        let text = match scalar {
            Scalar::Text(text) => text.expose(),
            _ => b"",
        };
        match (encrypted, looks_encrypted(text)) {
            (true, true) => SpotState::Encrypted,
            (true, false) if text.starts_with(b"ENC[") => SpotState::Malformed,
            (true, false) => SpotState::Exposed,
            (false, true) => SpotState::Stray,
            (false, false) => SpotState::Clear,
        }
    })
}

/// The values of a plain file as a selector would treat them.
pub fn would_encrypt(tree: &Tree, selector: &Selector) -> Vec<Spot> {
    look(tree, selector, |_, encrypted| if encrypted { SpotState::Encrypted } else { SpotState::Clear })
}

fn look(tree: &Tree, selector: &Selector, judge: impl Fn(&Scalar, bool) -> SpotState) -> Vec<Spot> {
    struct Looker<J> {
        judge: J,
        spots: Vec<Spot>,
    }
    impl<J: Fn(&Scalar, bool) -> SpotState> Visit for Looker<J> {
        fn scalar(&mut self, scalar: &Scalar, place: &Place<'_>) -> Result<Leaf, SopsError> {
            let nothing = match scalar {
                Scalar::Null => true,
                Scalar::Text(text) => text.is_empty(),
                _ => false,
            };
            if !nothing {
                let state = (self.judge)(scalar, place.encrypted);
                self.spots.push(Spot { entry: place.entry(), line: place.line(), state });
            }
            Ok(Leaf::Same)
        }

        fn comment(&mut self, _: &Comment, _: &Place<'_>) -> Result<Option<CommentLeaf>, SopsError> {
            Ok(None)
        }
    }
    let mut looker = Looker { judge, spots: Vec::new() };
    // The visitor never fails, and so neither does the walk.
    let _ = walk(&tree.branches, tree.source.expose(), tree.format, selector, &mut looker);
    looker.spots
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pure::format::{self, Format};

    #[test]
    fn values_are_judged_by_the_selector() {
        let enc = "ENC[AES256_GCM,data:AA==,iv:AA==,tag:AAAAAAAAAAAAAAAAAAAAAA==,type:str]";
        let text = format!(
            "a: {enc}\nb: open\nc: ENC[AES256_GCM,data:A\nd: ''\ne: null\nf_unencrypted: 5\ng_unencrypted: {enc}\nsops:\n  mac: m\n  version: 3.9.0\n"
        );
        let document = crate::pure::sops::parse(text.as_bytes(), Format::Yaml).expect("parses");
        let spots: Vec<_> = inspect(&document).into_iter().map(|spot| (spot.entry, spot.line, spot.state)).collect();
        let expected = [
            ("a", 1, SpotState::Encrypted),
            ("b", 2, SpotState::Exposed),
            ("c", 3, SpotState::Malformed),
            ("f_unencrypted", 6, SpotState::Clear),
            ("g_unencrypted", 7, SpotState::Stray),
        ];
        assert_eq!(spots, expected.map(|(entry, line, state)| (entry.to_owned(), line, state)));
        let tree = format::parse(b"kind: Secret\ndata: {a: x}\n", Format::Yaml).expect("parses");
        let selector = Selector::new("encrypted_regex", "^data$").expect("valid");
        let spots = would_encrypt(&tree, &selector);
        let states: Vec<_> = spots.iter().map(|spot| (spot.entry.as_str(), spot.state)).collect();
        assert_eq!(states, [("kind", SpotState::Clear), ("data.a", SpotState::Encrypted)]);
    }
}
