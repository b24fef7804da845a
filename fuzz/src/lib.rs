//! What the targets share.

use latchwork::pure::format::{Format, Tree};
use latchwork::pure::keys::{DataKey, KeyRef, Wrapped};
use latchwork::pure::secret::Plaintext;
use latchwork::pure::sops::{self, Document, MacPolicy, Opened, Plan, SopsError};

/// When files are sealed first.
pub const NOW: &str = "2026-01-02T03:04:05Z";
/// When they are sealed again.
pub const LATER: &str = "2026-01-02T03:04:06Z";

/// The formats that a first byte chooses from; fuzz/run.sh gives seeds the same numbers.
pub const FORMATS: [Format; 5] = [Format::Yaml, Format::Json, Format::Dotenv, Format::Ini, Format::Binary];

/// Bytes that are the same in each run.
pub struct Random(u8);

impl Random {
    /// The sequence from its beginning.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self(1)
    }

    /// The next bytes.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        for byte in buffer {
            self.0 = self.0.wrapping_mul(5).wrapping_add(1);
            *byte = self.0;
        }
    }
}

/// Wraps nothing: the key is known.
pub fn wrap(wanted: &[(&KeyRef, &Plaintext)]) -> Vec<Wrapped> {
    wanted.iter().map(|_| Ok("enc".to_owned())).collect()
}

/// A sealed file and the data key in it.
pub struct Sealed {
    /// The file.
    pub bytes: Plaintext,
    key: Vec<u8>,
}

impl Sealed {
    /// Seals a plain file for one recipient.
    pub fn new(plain: &Tree, format: Format, random: &mut Random) -> Result<Self, SopsError> {
        // The first randomness that sealing asks for is the data key.
        let mut key = Vec::new();
        let mut noted = |buffer: &mut [u8]| {
            random.fill(buffer);
            if key.is_empty() {
                key = buffer.to_vec();
            }
        };
        let plan = Plan::for_keys(vec![KeyRef::Age { recipient: "fuzz".into() }]);
        let bytes = sops::seal(plain, format, &plan, NOW, &mut noted, &mut wrap)?;
        Ok(Self { bytes, key })
    }

    /// Opens the file, or another with its data key; the MAC holds.
    pub fn open<'d>(&self, document: &'d Document) -> Result<Opened<'d>, SopsError> {
        let key = DataKey::new(&self.key).expect("a data key");
        sops::open_with_key(document, key, MacPolicy::Verify)
    }
}

/// Parses what was sealed.
pub fn parse(bytes: &Plaintext, format: Format) -> Document {
    sops::parse(bytes.expose(), format).expect("what was sealed parses")
}

/// Armour of OpenPGP or age around bytes, without a checksum: changes of a byte reach what is behind it.
pub fn armour(label: &str, bytes: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    let mut out = format!("-----BEGIN {label}-----\n");
    // age has no line for headers and wants lines of 64 characters.
    if label.starts_with("PGP") {
        out.push('\n');
    }
    for line in text.as_bytes().chunks(64) {
        out.push_str(std::str::from_utf8(line).expect("base64"));
        out.push('\n');
    }
    out + &format!("-----END {label}-----\n")
}
