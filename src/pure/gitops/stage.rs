//! One file: bytes in, documents out. A bad document never stops the others.

use std::collections::BTreeMap;
use std::ops::Range;

use jiff::Timestamp;

use super::error::StageError;
use super::object::{self, Header};
use super::show::Show;
use super::tree::TreeFile;
use crate::pure::crd::external_secret::{ExternalSecret, StoreKind};
use crate::pure::crd::sealed_secret::SealedSecret;
use crate::pure::crd::secret_store::{SecretStore, StoreSpec};
use crate::pure::desired::{Candidate, DesiredSecret, GuardPolicy, Proof, guard};
use crate::pure::error::{Explain as _, one_line};
use crate::pure::external::StoreId;
use crate::pure::format::{self, Branch, Format, FormatError};
use crate::pure::sealed::{Hints, SealingKeys, unseal};
use crate::pure::secret::Plaintext;
use crate::pure::sops::{self, PartKind, SopsError, Unlock};

/// How a value that SOPS encrypted begins.
const MARK: &[u8] = b"ENC[AES256_GCM,data:";

/// What opens documents, and what the Secrets that come out must keep to.
pub struct Keys<'a> {
    /// What opens SOPS files.
    pub sops: &'a dyn Unlock,
    /// Sealing keys for SealedSecrets.
    pub sealing: &'a SealingKeys,
    /// Which sealing key opened what last time.
    pub hints: &'a Hints,
    /// Guards of every Secret.
    pub policy: &'a GuardPolicy,
    /// Labels that every Secret gets, over its own.
    pub labels: &'a BTreeMap<String, String>,
    /// For templates that ask for the time.
    pub now: Timestamp,
}

/// One document and what became of it.
pub struct Document {
    /// Number in its file, from 1; `None` when the whole file is meant.
    pub number: Option<usize>,
    /// What it calls itself; empty when that is not known.
    pub header: Header,
    /// What became of it.
    pub outcome: Result<Staged, StageError>,
}

/// A document that is fine.
pub enum Staged {
    /// Nothing to open.
    Plain(Text),
    /// SOPS ciphertext of another kind than Secret, opened.
    Opened(Text),
    /// A Secret that was encrypted or sealed.
    Secret(Box<DesiredSecret>, Text),
    /// A store, for the ExternalSecrets of the same tree. Its text is for a store that none of them uses.
    Store(StoreId, Box<StoreSpec>, Text),
    /// An ExternalSecret, for which values must be fetched.
    External(Box<ExternalSecret>),
}

/// A document's text.
pub enum Text {
    /// It was not asked for.
    None,
    /// The file's own bytes.
    Source(Range<usize>),
    /// Text that was made.
    Made(Plaintext),
}

/// All documents of one file.
pub struct FileResult {
    /// Path in its tree.
    pub path: String,
    /// Bytes of the file, for [`Text::Source`].
    pub source: Vec<u8>,
    /// Its documents, in order.
    pub documents: Vec<Document>,
}

/// One line for people: file, document, object, reason, what to do.
pub fn failure_line(path: &str, document: &Document, error: &StageError) -> String {
    let mut line = one_line(path);
    if let Some(number) = document.number {
        line.push_str(&format!(": document {number}"));
    }
    let object = document.header.to_string();
    if !object.is_empty() {
        line.push_str(&format!(": {}", one_line(&object)));
    }
    format!("{line}: {}: {}", error.reason(), error.line())
}

/// Opens everything in one file. `show`: which text is wanted, if any.
pub fn stage(file: TreeFile, keys: &Keys<'_>, show: Option<Show>) -> FileResult {
    let source = match file.content {
        Ok(source) => source,
        Err(error) => return whole(file.path, vec![], error.into()),
    };
    let format = format_of(&file.path);
    let stage = Stage { keys, show, source: &source, format };
    match stage.documents() {
        Ok(documents) => FileResult { path: file.path, source, documents },
        Err(error) => whole(file.path, source, error.into()),
    }
}

fn whole(path: String, source: Vec<u8>, error: StageError) -> FileResult {
    let document = Document { number: None, header: Header::default(), outcome: Err(error) };
    FileResult { path, source, documents: vec![document] }
}

/// A run that shares one `sops` block fails together, and each of its documents says so: one that is left out would pass
/// for one that left the repository. A run that cannot even be parsed is one document without a name.
fn failed(run: &[Branch], first: usize, error: &SopsError) -> Vec<Document> {
    let mut headers: Vec<Header> = run.iter().map(|branch| Header::of(&branch.items)).collect();
    if headers.is_empty() {
        headers.push(Header::default());
    }
    let one = |(index, header)| {
        let outcome = Err(StageError::Sops(error.clone()));
        Document { number: Some(first + index), header, outcome }
    };
    headers.into_iter().enumerate().map(one).collect()
}

/// JSON by its suffix; all else that is read as a manifest is YAML.
fn format_of(path: &str) -> Format {
    let json = path.rsplit_once('.').is_some_and(|(_, suffix)| suffix.eq_ignore_ascii_case("json"));
    if json { Format::Json } else { Format::Yaml }
}

struct Stage<'a> {
    keys: &'a Keys<'a>,
    show: Option<Show>,
    source: &'a [u8],
    format: Format,
}

/// Where a document's text comes from.
enum Origin<'a, 'd> {
    Plain(Range<usize>),
    Sops(&'a sops::Opened<'d>, usize),
}

impl Stage<'_> {
    fn documents(&self) -> Result<Vec<Document>, FormatError> {
        let mut documents = vec![];
        for part in sops::parts(self.source, self.format)? {
            let first = part.documents.start + 1;
            match part.kind {
                PartKind::Sops => self.sops(part.bytes, first, &mut documents),
                PartKind::Plain => documents.push(self.plain(part.bytes, first)),
                PartKind::Invalid(error) => {
                    let error = self.at_file_lines(&part.bytes, |bytes| sops::unreadable(bytes, self.format), error);
                    let outcome = Err(error.into());
                    documents.push(Document { number: Some(first), header: Header::default(), outcome });
                }
            }
        }
        Ok(documents)
    }

    /// Errors of a part name lines of that part. Blank lines in front make them lines of the file.
    fn at_file_lines<E>(&self, part: &Range<usize>, again: impl FnOnce(&[u8]) -> Option<E>, error: E) -> E {
        let before = self.source.iter().take(part.start).filter(|byte| **byte == b'\n').count();
        if before == 0 || self.format != Format::Yaml {
            return error;
        }
        let mut padded = vec![b'\n'; before];
        padded.extend_from_slice(self.source.get(part.clone()).unwrap_or_default());
        again(&padded).unwrap_or(error)
    }

    fn plain(&self, span: Range<usize>, number: usize) -> Document {
        let bytes = self.source.get(span.clone()).unwrap_or_default();
        let tree = match format::parse(bytes, self.format) {
            Ok(tree) => tree,
            Err(FormatError::NotAMap { .. }) if bytes.windows(MARK.len()).any(|window| window == MARK) => {
                let outcome = Err(StageError::LostMetadata { entry: "a list or a bare value".into() });
                return Document { number: Some(number), header: Header::default(), outcome };
            }
            // A list or a bare value is no object, and nothing of it is to be opened.
            Err(FormatError::NotAMap { .. }) if !self.show.is_some_and(|show| show.json) => {
                let text = if self.show.is_some() { Text::Source(span) } else { Text::None };
                let outcome = Ok(Staged::Plain(text));
                return Document { number: Some(number), header: Header::default(), outcome };
            }
            Err(error) => {
                return Document { number: Some(number), header: Header::default(), outcome: Err(error.into()) };
            }
        };
        let Some(branch) = tree.branches.first() else {
            let outcome = Ok(Staged::Plain(Text::Source(span)));
            return Document { number: Some(number), header: Header::default(), outcome };
        };
        let header = Header::of(&branch.items);
        let outcome = match object::ciphertext(&branch.items) {
            Some(entry) if !header.decrypt_disabled => Err(StageError::LostMetadata { entry }),
            _ => self.place(branch, &header, Origin::Plain(span)),
        };
        Document { number: Some(number), header, outcome }
    }

    fn sops(&self, span: Range<usize>, first: usize, documents: &mut Vec<Document>) {
        let bytes = self.source.get(span.clone()).unwrap_or_default();
        let clear = format::parse(bytes, self.format).map(|tree| tree.branches).unwrap_or_default();
        if clear.iter().all(|branch| Header::of(&branch.items).decrypt_disabled) && !clear.is_empty() {
            for (index, branch) in clear.iter().enumerate() {
                let (header, outcome) = (Header::of(&branch.items), self.kept(branch, span.start));
                documents.push(Document { number: Some(first + index), header, outcome });
            }
            return;
        }
        let parsed = match sops::parse(bytes, self.format) {
            Ok(parsed) => parsed,
            Err(error) => {
                let error = self.at_file_lines(&span, |bytes| sops::parse(bytes, self.format).err(), error);
                return documents.extend(failed(&clear, first, &error));
            }
        };
        let opened = match sops::open(&parsed, self.keys.sops) {
            Ok(opened) => opened,
            Err(error) => {
                let again = |bytes: &[u8]| {
                    let parsed = sops::parse(bytes, self.format).ok()?;
                    sops::open(&parsed, self.keys.sops).err()
                };
                let error = self.at_file_lines(&span, again, error);
                return documents.extend(failed(&clear, first, &error));
            }
        };
        for (index, branch) in opened.branches().iter().enumerate() {
            let header = Header::of(&branch.items);
            let outcome = match clear.get(index) {
                Some(clear) if header.decrypt_disabled => self.kept(clear, span.start),
                _ => self.place(branch, &header, Origin::Sops(&opened, index)),
            };
            documents.push(Document { number: Some(first + index), header, outcome });
        }
    }

    /// A document that asks to be left as it is.
    fn kept(&self, branch: &Branch, offset: usize) -> Result<Staged, StageError> {
        let span = branch.span.start + offset..branch.span.end + offset;
        Ok(Staged::Plain(match self.show {
            None => Text::None,
            Some(show) => show.plain(branch)?.map_or(Text::Source(span), Text::Made),
        }))
    }

    /// Decides by kind what a document without ciphertext is.
    fn place(&self, branch: &Branch, header: &Header, origin: Origin<'_, '_>) -> Result<Staged, StageError> {
        match (header.api_version.as_str(), header.kind.as_str()) {
            _ if header.decrypt_disabled => {}
            ("bitnami.com/v1alpha1", "SealedSecret") => {
                let sealed: SealedSecret = object::decode(branch)?;
                let unsealed = unseal(&sealed, self.keys.sealing, self.keys.hints, self.keys.now)?;
                let (candidate, proof) = unsealed.into_candidate();
                let secret = self.guarded(candidate, proof)?;
                let text = self.show.map(|show| show.secret(&secret)).transpose()?;
                return Ok(Staged::Secret(Box::new(secret), text.map_or(Text::None, Text::Made)));
            }
            ("external-secrets.io/v1", "ExternalSecret") => {
                return object::decode(branch).map(|external| Staged::External(Box::new(external)));
            }
            ("external-secrets.io/v1", "SecretStore" | "ClusterSecretStore") => {
                // Both kinds share one spec.
                let store: SecretStore = object::decode(branch)?;
                let cluster = header.kind == "ClusterSecretStore";
                let id = StoreId {
                    kind: if cluster { StoreKind::ClusterSecretStore } else { StoreKind::SecretStore },
                    namespace: if cluster { String::new() } else { header.namespace.clone() },
                    name: header.name.clone(),
                };
                return Ok(Staged::Store(id, Box::new(store.spec), self.text(branch, &origin)?));
            }
            _ => {}
        }
        let text = self.text(branch, &origin)?;
        match origin {
            Origin::Plain(_) => Ok(Staged::Plain(text)),
            Origin::Sops(opened, _) if header.is_secret() => {
                let secret = self.guarded(object::secret(branch)?, opened.proof()?)?;
                Ok(Staged::Secret(Box::new(secret), text))
            }
            Origin::Sops(..) => Ok(Staged::Opened(text)),
        }
    }

    fn text(&self, branch: &Branch, origin: &Origin<'_, '_>) -> Result<Text, StageError> {
        let Some(show) = self.show else { return Ok(Text::None) };
        match origin {
            Origin::Plain(span) => Ok(show.plain(branch)?.map_or(Text::Source(span.clone()), Text::Made)),
            Origin::Sops(opened, index) => show.opened(branch, || opened.emit_document(*index)).map(Text::Made),
        }
    }

    fn guarded(&self, mut candidate: Candidate, proof: Proof) -> Result<DesiredSecret, StageError> {
        candidate.labels.extend(self.keys.labels.clone());
        // A manifest that leaves the namespace to whoever applies it goes where the source is.
        if let Some(namespace) = self.keys.policy.namespace.as_ref().filter(|_| candidate.namespace.is_empty()) {
            candidate.namespace.clone_from(namespace);
        }
        Ok(guard(candidate, proof, self.keys.policy)?)
    }
}
