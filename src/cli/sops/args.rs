//! Flags and positional arguments.
//!
//! What several verbs share has plain comments: a doc comment would become the help of the verb.

use std::path::{Path, PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Subcommand};

use super::failure::{Failure, code};
use crate::cli::key_services::ServiceArgs;

/// Read, write and change files encrypted with SOPS.
///
/// The old style works as well: `sops -d FILE`, `sops -e FILE`, `sops -r FILE`, `sops --set '["key"] "value"' FILE`, and
/// `sops FILE` to edit.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = false, subcommand_negates_reqs = true)]
pub struct SopsArgs {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(flatten)]
    pub(super) old: OldStyle,
    #[command(subcommand)]
    pub(super) verb: Option<Verb>,
}

/// A path, which clap takes from the flag also where it is empty.
fn any_path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

// Flags that every verb takes.
#[derive(Args, Clone, Default)]
pub struct Global {
    /// Use this .sops.yaml instead of searching one upwards from the working directory
    #[arg(long, global = true, env = "SOPS_CONFIG", value_name = "FILE", hide_env = true, value_parser = any_path())]
    pub config: Option<PathBuf>,
    /// Indentation of files that are printed anew; -1 for a tab in JSON
    #[arg(long, global = true, value_name = "N", allow_hyphen_values = true)]
    pub indent: Option<i64>,
    /// Compute the MAC over encrypted values only
    #[arg(long, global = true)]
    pub mac_only_encrypted: bool,
    /// Accepted and ignored: nothing is ever looked up
    #[arg(long, global = true, hide = true)]
    pub disable_version_check: bool,
    /// Accepted and ignored, as the one above
    #[arg(long, global = true, hide = true)]
    pub check_for_updates: bool,
    /// Say more: that a published value was there already
    #[arg(long, global = true, hide = true)]
    pub verbose: bool,
    /// Order of key kinds on decryption, separated by commas [default: age,pgp, then all others at once]
    #[arg(long, global = true, env = "SOPS_DECRYPTION_ORDER", value_name = "KINDS", hide_env = true)]
    pub decryption_order: Option<String>,
    #[command(flatten)]
    pub services: ServiceArgs,
}

#[derive(Subcommand)]
#[command(defer = true)]
pub enum Verb {
    /// Decrypt a file, to standard output unless told otherwise
    Decrypt(DecryptArgs),
    /// Encrypt a file, to standard output unless told otherwise
    Encrypt(EncryptArgs),
    /// Set one value of an encrypted file
    Set(SetArgs),
    /// Remove one value of an encrypted file
    Unset(UnsetArgs),
    /// Give a file a new data key
    Rotate(RotateArgs),
    /// Wrap the data keys of files to the keys of .sops.yaml
    Updatekeys(UpdatekeysArgs),
    /// Bring files to the places that the destination rules of .sops.yaml name
    Publish(PublishArgs),
    /// Say whether a file is encrypted
    Filestatus(FilestatusArgs),
    /// Edit an encrypted file with $SOPS_EDITOR or $EDITOR
    Edit(EditArgs),
    /// Run a command with the values of a file as environment variables
    ExecEnv(ExecEnvArgs),
    /// Run a command that reads the decrypted file from a pipe
    ExecFile(ExecFileArgs),
    /// Let others use the keys and cloud credentials of this machine over a socket
    Keyservice(KeyserviceArgs),
    /// Change the key groups of a file
    Groups(GroupsArgs),
    /// Print a completion script: source <(sops completion bash)
    Completion(CompletionArgs),
}

// Formats and names of input and output.
#[derive(Args, Clone, Default)]
pub struct Types {
    /// Format of the input: yaml, json, dotenv, ini, binary [default: by the file's name]
    #[arg(long, value_name = "FORMAT")]
    pub input_type: Option<String>,
    /// Format of the output [default: by the file's name]
    #[arg(long, value_name = "FORMAT")]
    pub output_type: Option<String>,
    /// Take the file for one of this name
    #[arg(long, value_name = "NAME")]
    pub filename_override: Option<String>,
}

// Where the result goes.
#[derive(Args, Clone, Default)]
pub struct Target {
    /// Write the result over the file
    #[arg(short, long)]
    pub in_place: bool,
    /// Write the result to this file
    #[arg(long, value_name = "FILE", value_parser = any_path())]
    pub output: Option<PathBuf>,
}

// Keys that are named on the command line.
#[derive(Args, Clone, Default)]
pub struct KeyArgs {
    /// age recipients, separated by commas
    #[arg(short, long, env = "SOPS_AGE_RECIPIENTS", value_name = "RECIPIENTS")]
    pub age: Option<String>,
    /// PGP fingerprints
    #[arg(short, long, env = "SOPS_PGP_FP", value_name = "FINGERPRINTS")]
    pub pgp: Option<String>,
    /// AWS KMS keys
    #[arg(short, long, env = "SOPS_KMS_ARN", value_name = "ARNS")]
    pub kms: Option<String>,
    /// Google Cloud KMS keys
    #[arg(long, env = "SOPS_GCP_KMS_IDS", value_name = "IDS")]
    pub gcp_kms: Option<String>,
    /// Huawei Cloud KMS keys
    #[arg(long, env = "SOPS_HUAWEICLOUD_KMS_IDS", value_name = "IDS")]
    pub hckms: Option<String>,
    /// Azure Key Vault keys
    #[arg(long, env = "SOPS_AZURE_KEYVAULT_URLS", value_name = "URLS")]
    pub azure_kv: Option<String>,
    /// Vault transit keys
    #[arg(long, env = "SOPS_VAULT_URIS", value_name = "URIS")]
    pub hc_vault_transit: Option<String>,
    /// AWS profile of the KMS keys
    #[arg(long, value_name = "NAME")]
    pub aws_profile: Option<String>,
    /// Encryption context of the KMS keys: key:value,key:value
    #[arg(long, value_name = "CONTEXT")]
    pub encryption_context: Option<String>,
    /// Key groups that are needed to open the file
    #[arg(long, value_name = "N")]
    pub shamir_secret_sharing_threshold: Option<usize>,
}

// What is encrypted.
#[derive(Args, Clone, Default)]
pub struct SelectorArgs {
    /// Leave names that end so
    #[arg(long, value_name = "TEXT")]
    pub unencrypted_suffix: Option<String>,
    /// Encrypt only names that end so
    #[arg(long, value_name = "TEXT")]
    pub encrypted_suffix: Option<String>,
    /// Leave names that match
    #[arg(long, value_name = "PATTERN")]
    pub unencrypted_regex: Option<String>,
    /// Encrypt only names that match
    #[arg(long, value_name = "PATTERN")]
    pub encrypted_regex: Option<String>,
    /// Leave what stands under a comment that matches
    #[arg(long, value_name = "PATTERN")]
    pub unencrypted_comment_regex: Option<String>,
    /// Encrypt only what stands under a comment that matches
    #[arg(long, value_name = "PATTERN")]
    pub encrypted_comment_regex: Option<String>,
}

#[derive(Args, Clone, Default)]
#[command(after_help = "Examples:
  sops decrypt secrets.yaml
  sops decrypt --extract '[\"stringData\"][\"password\"]' secrets.yaml")]
pub struct DecryptArgs {
    #[command(flatten)]
    pub types: Types,
    #[command(flatten)]
    pub target: Target,
    /// Print only the value at this path: ["a"][0]
    #[arg(long, value_name = "PATH")]
    pub extract: Option<String>,
    /// Do not compare the MAC
    #[arg(long)]
    pub ignore_mac: bool,
    /// The file; standard input without one
    pub file: Option<PathBuf>,
}

#[derive(Args, Clone, Default)]
#[command(after_help = "Examples:
  sops encrypt -i --age age1... --encrypted-regex '^(data|stringData)$' secret.yaml
  sops encrypt --filename-override secret.yaml < plain.yaml > secret.yaml")]
pub struct EncryptArgs {
    #[command(flatten)]
    pub types: Types,
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    pub keys: KeyArgs,
    #[command(flatten)]
    pub selector: SelectorArgs,
    /// The file; standard input without one
    pub file: Option<PathBuf>,
}

#[derive(Args, Clone, Default)]
#[command(after_help = "Examples:
  sops set secrets.yaml '[\"stringData\"][\"password\"]' '\"new\"'
  sops set --value-stdin secrets.yaml '[\"ports\"][0]' < value.json")]
pub struct SetArgs {
    /// Format that is written, whatever the name of the file says; the file's own without it
    #[arg(long, value_name = "FORMAT")]
    pub output_type: Option<String>,
    /// Accepted: the keys stay as they are, and with them the threshold
    #[arg(long, value_name = "N")]
    pub shamir_secret_sharing_threshold: Option<usize>,
    /// Format of the file
    #[arg(long, value_name = "FORMAT")]
    pub input_type: Option<String>,
    /// Accepted: an unchanged file is never written
    #[arg(long)]
    pub idempotent: bool,
    /// VALUE is the name of a file that holds the JSON
    #[arg(long)]
    pub value_file: bool,
    /// Read the JSON from standard input
    #[arg(long, conflicts_with = "value_file")]
    pub value_stdin: bool,
    /// Do not compare the MAC
    #[arg(long)]
    pub ignore_mac: bool,
    /// The file
    pub file: PathBuf,
    /// Path of the value: ["a"][0]
    pub index: String,
    /// The value as JSON
    pub value: Option<String>,
}

#[derive(Args)]
#[command(after_help = "Examples:
  sops unset secrets.yaml '[\"stringData\"][\"password\"]'")]
pub struct UnsetArgs {
    /// Format that is written, whatever the name of the file says; the file's own without it
    #[arg(long, value_name = "FORMAT")]
    pub output_type: Option<String>,
    /// Accepted: the keys stay as they are, and with them the threshold
    #[arg(long, value_name = "N")]
    pub shamir_secret_sharing_threshold: Option<usize>,
    /// Format of the file
    #[arg(long, value_name = "FORMAT")]
    pub input_type: Option<String>,
    /// A missing value is no error
    #[arg(long)]
    pub idempotent: bool,
    /// Do not compare the MAC
    #[arg(long)]
    pub ignore_mac: bool,
    /// The file
    pub file: PathBuf,
    /// Path of the value: ["a"][0]
    pub index: String,
}

// Keys that a rotation adds to the first group and removes from all.
#[derive(Args, Clone, Default)]
pub struct KeyChanges {
    /// Add these age recipients
    #[arg(long, value_name = "RECIPIENTS")]
    pub add_age: Option<String>,
    /// Remove these age recipients
    #[arg(long, value_name = "RECIPIENTS")]
    pub rm_age: Option<String>,
    /// Add these PGP fingerprints
    #[arg(long, value_name = "FINGERPRINTS")]
    pub add_pgp: Option<String>,
    /// Remove these PGP fingerprints
    #[arg(long, value_name = "FINGERPRINTS")]
    pub rm_pgp: Option<String>,
    /// Add these AWS KMS keys
    #[arg(long, value_name = "ARNS")]
    pub add_kms: Option<String>,
    /// Remove these AWS KMS keys
    #[arg(long, value_name = "ARNS")]
    pub rm_kms: Option<String>,
    /// Add these Google Cloud KMS keys
    #[arg(long, value_name = "IDS")]
    pub add_gcp_kms: Option<String>,
    /// Remove these Google Cloud KMS keys
    #[arg(long, value_name = "IDS")]
    pub rm_gcp_kms: Option<String>,
    /// Add these Huawei Cloud KMS keys
    #[arg(long, value_name = "IDS")]
    pub add_hckms: Option<String>,
    /// Remove these Huawei Cloud KMS keys
    #[arg(long, value_name = "IDS")]
    pub rm_hckms: Option<String>,
    /// Add these Azure Key Vault keys
    #[arg(long, value_name = "URLS")]
    pub add_azure_kv: Option<String>,
    /// Remove these Azure Key Vault keys
    #[arg(long, value_name = "URLS")]
    pub rm_azure_kv: Option<String>,
    /// Add these Vault transit keys
    #[arg(long, value_name = "URIS")]
    pub add_hc_vault_transit: Option<String>,
    /// Remove these Vault transit keys
    #[arg(long, value_name = "URIS")]
    pub rm_hc_vault_transit: Option<String>,
}

#[derive(Args, Clone, Default)]
#[command(after_help = "Examples:
  sops rotate -i secrets.yaml
  sops rotate -i --add-age age1... --rm-age age1... secrets.yaml")]
pub struct RotateArgs {
    #[command(flatten)]
    pub types: Types,
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    pub changes: KeyChanges,
    /// Encryption context of the KMS keys that are added: key:value,key:value
    #[arg(long, value_name = "CONTEXT")]
    pub encryption_context: Option<String>,
    /// Do not compare the MAC
    #[arg(long)]
    pub ignore_mac: bool,
    /// The file
    pub file: PathBuf,
}

#[derive(Args)]
#[command(after_help = "Examples:
  sops updatekeys --yes secrets/*.yaml")]
pub struct UpdatekeysArgs {
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Format of the files
    #[arg(long, value_name = "FORMAT")]
    pub input_type: Option<String>,
    /// The files
    pub files: Vec<PathBuf>,
}

/// Bring files to the places that the destination rules of .sops.yaml name.
///
/// Buckets of Amazon S3 and Google Cloud Storage get encrypted files, with new keys if the rule has a recreation_rule.
/// Vault's KV engine gets the decrypted values.
#[derive(Args)]
#[command(after_help = "Examples:
  sops publish secrets.yaml
  sops publish --yes --recursive secrets")]
pub struct PublishArgs {
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Leave the extension of the file out at the destination
    #[arg(long)]
    pub omit_extensions: bool,
    /// Publish all files below the folder
    #[arg(long)]
    pub recursive: bool,
    /// The file or folder
    pub file: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_help = "Examples:
  sops filestatus secrets.yaml    # {\"encrypted\":true}")]
pub struct FilestatusArgs {
    /// Format of the file
    #[arg(long, value_name = "FORMAT")]
    pub input_type: Option<String>,
    /// The file
    pub file: PathBuf,
}

#[derive(Args, Clone, Default)]
#[command(after_help = "Examples:
  sops edit secrets.yaml
  EDITOR='code --wait' sops edit --show-master-keys secrets.yaml")]
pub struct EditArgs {
    #[command(flatten)]
    pub types: Types,
    #[command(flatten)]
    pub keys: KeyArgs,
    #[command(flatten)]
    pub selector: SelectorArgs,
    /// Edit the metadata as well: keys, groups, threshold
    #[arg(short, long)]
    pub show_master_keys: bool,
    /// Do not compare the MAC
    #[arg(long)]
    pub ignore_mac: bool,
    /// The file; a new one is made with the keys of the flags or of .sops.yaml
    pub file: PathBuf,
}

// How a command is run.
#[derive(Args)]
pub struct WhoArgs {
    /// Run the command as this user, with HOME, USER and LOGNAME of it; needs the right to
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Do not wait for the command
    #[arg(long)]
    pub background: bool,
}

// Changes of key groups.
#[derive(Subcommand)]
pub enum GroupsVerb {
    /// Add a group with the keys of the flags
    Add(Box<GroupsAddArgs>),
    /// Remove a group by its number, from 0
    Delete(GroupsDeleteArgs),
}

#[derive(Args)]
pub struct GroupsArgs {
    #[command(subcommand)]
    pub verb: GroupsVerb,
}

// The file whose groups change.
#[derive(Args)]
pub struct GroupsFile {
    /// The file
    #[arg(short, long, value_name = "FILE", value_parser = any_path())]
    pub file: Option<PathBuf>,
    /// Write the result over the file
    #[arg(short, long)]
    pub in_place: bool,
    /// Key groups that are needed to open the file; 0 for as many as before
    #[arg(long, value_name = "N")]
    pub shamir_secret_sharing_threshold: Option<usize>,
}

#[derive(Args)]
#[command(after_help = "Examples:
  sops groups add -i --file secrets.yaml --age age1... --shamir-secret-sharing-threshold 2")]
pub struct GroupsAddArgs {
    #[command(flatten)]
    pub target: GroupsFile,
    /// age recipients; each of these flags may be repeated
    #[arg(long, value_name = "RECIPIENTS")]
    pub age: Vec<String>,
    /// PGP fingerprints
    #[arg(long, value_name = "FINGERPRINT")]
    pub pgp: Vec<String>,
    /// AWS KMS keys
    #[arg(long, value_name = "ARN")]
    pub kms: Vec<String>,
    /// Google Cloud KMS keys
    #[arg(long, value_name = "ID")]
    pub gcp_kms: Vec<String>,
    /// Huawei Cloud KMS keys
    #[arg(long, value_name = "ID")]
    pub hckms: Vec<String>,
    /// Azure Key Vault keys
    #[arg(long, value_name = "URL")]
    pub azure_kv: Vec<String>,
    /// Vault transit keys
    #[arg(long, value_name = "URI")]
    pub hc_vault_transit: Vec<String>,
    /// AWS profile of the KMS keys
    #[arg(long, value_name = "NAME")]
    pub aws_profile: Option<String>,
    /// Encryption context of the KMS keys: key:value,key:value
    #[arg(long, value_name = "CONTEXT")]
    pub encryption_context: Option<String>,
}

#[derive(Args)]
pub struct GroupsDeleteArgs {
    #[command(flatten)]
    pub target: GroupsFile,
    /// Number of the group, from 0
    pub index: usize,
}

#[derive(Args)]
pub struct CompletionArgs {
    /// The shell; this help without one
    pub shell: Option<clap_complete::Shell>,
}

#[derive(Args)]
#[command(after_help = "Examples:
  sops exec-env secrets.env 'psql -h db'
  sops exec-env --pristine secrets.yaml 'echo \"$password\"'")]
pub struct ExecEnvArgs {
    /// Format of the file
    #[arg(long, value_name = "FORMAT")]
    pub input_type: Option<String>,
    /// Do not pass the own environment on
    #[arg(long)]
    pub pristine: bool,
    /// Replace the own process
    #[arg(long)]
    pub same_process: bool,
    #[command(flatten)]
    pub who: WhoArgs,
    /// The file
    pub file: PathBuf,
    /// The command, for /bin/sh
    pub command: String,
}

/// Let others use the keys and cloud credentials of this machine over a socket.
///
/// Whoever reaches the address may have data keys decrypted: there is neither encryption nor a login. Prefer a Unix
/// socket, or --prompt.
#[derive(Args)]
#[command(after_help = "Examples:
  sops keyservice --network unix --address /run/user/1000/sops.sock
  sops decrypt --keyservice unix:///run/user/1000/sops.sock secrets.yaml")]
pub struct KeyserviceArgs {
    /// tcp, one version of IP alone, or unix
    #[arg(long, visible_alias = "net", value_name = "NETWORK", default_value = "tcp")]
    pub network: Network,
    /// HOST:PORT, :PORT for all addresses of the machine, or the path of a socket; @NAME is a socket without a file (Linux)
    #[arg(long, visible_alias = "addr", value_name = "ADDRESS", default_value = "127.0.0.1:5000")]
    pub address: String,
    /// Ask before each use of a key
    #[arg(long)]
    pub prompt: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Network {
    Tcp,
    Tcp4,
    Tcp6,
    Unix,
}

#[derive(Args)]
#[command(after_help = "Examples:
  sops exec-file secrets.json 'jq .password {}'
  sops exec-file --no-fifo --filename values.yaml secrets.yaml 'helm upgrade app . -f {}'")]
pub struct ExecFileArgs {
    #[command(flatten)]
    pub types: Types,
    /// Use a file readable only by the user, removed afterwards, instead of a pipe
    #[arg(long)]
    pub no_fifo: bool,
    /// Name of the pipe or file
    #[arg(long, value_name = "NAME")]
    pub filename: Option<String>,
    #[command(flatten)]
    pub who: WhoArgs,
    /// The encrypted file
    pub file: PathBuf,
    /// The command, for /bin/sh; {} is replaced by the path
    pub command: String,
}

// The flags of the old style.
#[derive(Args, Clone, Default)]
pub struct OldStyle {
    /// Decrypt the file
    #[arg(short, long)]
    pub decrypt: bool,
    /// Encrypt the file
    #[arg(short, long)]
    pub encrypt: bool,
    /// Give the file a new data key
    #[arg(short, long)]
    pub rotate: bool,
    /// Set a value: '["key"] "value"'
    #[arg(long, value_name = "PATH VALUE")]
    pub set: Option<String>,
    #[command(flatten)]
    types: Types,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    selector: SelectorArgs,
    /// Print only the value at this path: ["a"][0]
    #[arg(long, value_name = "PATH")]
    extract: Option<String>,
    /// Do not compare the MAC
    #[arg(long)]
    ignore_mac: bool,
    #[command(flatten)]
    changes: KeyChanges,
    /// Edit the metadata as well
    #[arg(short, long)]
    show_master_keys: bool,
    /// The file
    pub file: Option<PathBuf>,
}

impl KeyChanges {
    /// Whether there is any.
    pub fn any(&self) -> bool {
        [&self.add_age, &self.add_pgp, &self.add_kms, &self.add_gcp_kms, &self.add_hckms, &self.add_azure_kv]
            .into_iter()
            .chain([&self.rm_age, &self.rm_pgp, &self.rm_kms, &self.rm_gcp_kms, &self.rm_hckms, &self.rm_azure_kv])
            .chain([&self.add_hc_vault_transit, &self.rm_hc_vault_transit])
            .any(|list| list.as_deref().is_some_and(|list| !list.is_empty()))
    }
}

impl Target {
    /// The file of `--output`; an empty name is none.
    pub fn output(&self) -> Option<&Path> {
        self.output.as_deref().filter(|path| !path.as_os_str().is_empty())
    }

    /// One place only, and one that there is.
    pub fn check(&self, is_stdin: bool) -> Result<(), Failure> {
        if self.in_place && is_stdin {
            let what = "Error: cannot use --in-place when reading from stdin";
            return Err(Failure::new(code::CONFLICTING_FLAGS, what));
        }
        if self.in_place && self.output().is_some() {
            let what = "Error: cannot operate on both --output and --in-place";
            return Err(Failure::new(code::CONFLICTING_FLAGS, what));
        }
        Ok(())
    }
}

impl OldStyle {
    /// Whether a flag says what standard input holds.
    pub fn names_input(&self) -> bool {
        self.types.input_type.is_some() || self.types.filename_override.is_some()
    }

    pub fn as_decrypt(&self, file: Option<PathBuf>) -> Verb {
        Verb::Decrypt(DecryptArgs {
            types: self.types.clone(),
            target: self.target.clone(),
            extract: self.extract.clone(),
            ignore_mac: self.ignore_mac,
            file,
        })
    }

    pub fn as_encrypt(&self, file: Option<PathBuf>) -> Verb {
        Verb::Encrypt(EncryptArgs {
            types: self.types.clone(),
            target: self.target.clone(),
            keys: self.keys.clone(),
            selector: self.selector.clone(),
            file,
        })
    }

    /// Whether a flag adds or removes keys.
    pub fn changes_keys(&self) -> bool {
        self.changes.any()
    }

    pub fn as_rotate(&self, file: PathBuf) -> Verb {
        Verb::Rotate(RotateArgs {
            types: self.types.clone(),
            target: self.target.clone(),
            changes: self.changes.clone(),
            encryption_context: self.keys.encryption_context.clone(),
            ignore_mac: self.ignore_mac,
            file,
        })
    }

    pub fn as_edit(&self, file: PathBuf) -> Verb {
        Verb::Edit(EditArgs {
            types: self.types.clone(),
            keys: self.keys.clone(),
            selector: self.selector.clone(),
            show_master_keys: self.show_master_keys,
            ignore_mac: self.ignore_mac,
            file,
        })
    }

    /// `["path"] VALUE`: the path ends at the last bracket that a blank follows.
    pub fn as_set(&self, file: PathBuf, text: &str) -> Result<Verb, Failure> {
        let bad = || Failure::new(code::INVALID_SET_FORMAT, "invalid --set format: '[\"path\"] VALUE' is expected");
        let (index, value) = text.trim().split_once("] ").ok_or_else(bad)?;
        Ok(Verb::Set(SetArgs {
            input_type: self.types.input_type.clone(),
            output_type: self.types.output_type.clone(),
            ignore_mac: self.ignore_mac,
            file,
            index: format!("{index}]"),
            value: Some(value.to_owned()),
            ..SetArgs::default()
        }))
    }
}
