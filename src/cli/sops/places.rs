//! The places of published files, with the credentials of the user. Each is connected to once, when a file goes there.

use reqwest::Url;
use tokio::runtime::{Builder, Runtime};

use super::failure::{Failure, code};
use crate::adapters::kms::aws::settings_of_user;
use crate::adapters::kms::gcp::{GcpCredentials, Login, LoginError};
use crate::adapters::kms::vault::{HeaderError, TransitConfig, server_of_user};
use crate::adapters::publish::PublishError;
use crate::adapters::publish::gcs::Gcs;
use crate::adapters::publish::s3::S3;
use crate::adapters::publish::vault::{Kv, Put};
use crate::pure::crd::secret_store::VaultVersion;
use crate::pure::error::Explain as _;
use crate::pure::secret::Plaintext;
use crate::pure::sops::rules::destinations::{Destination, KvVersion};

/// What is connected so far.
#[derive(Default)]
pub struct Places {
    runtime: Option<Runtime>,
    s3: Option<S3>,
    gcs: Option<(Gcs, Login)>,
}

/// Something to tell about a file that was published.
pub struct Said {
    /// For standard error.
    pub text: String,
    /// It is told even to those who do not ask for more.
    pub is_warning: bool,
}

impl Places {
    /// The place as the user is asked about it.
    pub fn shown(&self, destination: &Destination, path: &str) -> Result<String, Failure> {
        let server = match destination {
            Destination::Vault { address: None, .. } => {
                server_of_user().map_err(|what| Failure::new(code::GENERIC, what))?
            }
            _ => String::new(),
        };
        Ok(destination.shown(path, &server))
    }

    /// Writes what is published.
    ///
    /// # Errors
    /// A text that says what to do.
    pub fn put(&mut self, destination: &Destination, path: &str, content: &Plaintext) -> Result<Option<Said>, String> {
        let runtime = match self.runtime.take() {
            Some(runtime) => runtime,
            None => Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| format!("no thread can be started: {}", error.kind()))?,
        };
        let done = runtime.block_on(self.send(destination, path, content));
        self.runtime = Some(runtime);
        done.map_err(|error| error.line())
    }

    async fn send(
        &mut self,
        destination: &Destination,
        path: &str,
        content: &Plaintext,
    ) -> Result<Option<Said>, PublishError> {
        match destination {
            Destination::S3 { bucket, .. } => {
                let s3 = match &mut self.s3 {
                    Some(s3) => s3,
                    none => none.insert(S3::new(settings_of_user().await)?),
                };
                s3.put(bucket, path, content.expose()).await.map(|()| None)
            }
            Destination::Gcs { bucket, .. } => {
                let (gcs, login) = match &mut self.gcs {
                    Some(known) => known,
                    none => {
                        let credentials = GcpCredentials::from_environment()
                            .map_err(|detail| PublishError::Credentials { detail })?;
                        none.insert((Gcs::new()?, Login::new(credentials)))
                    }
                };
                let headers = login.headers().await.map_err(|error| match error {
                    LoginError::Credentials(detail) => PublishError::Credentials { detail: detail.into() },
                    LoginError::Unavailable => PublishError::Unavailable { code: "no access token".into() },
                })?;
                gcs.put(bucket, path, content.expose(), &headers).await.map(|()| None)
            }
            Destination::Vault { address, version, .. } => {
                let version = match version {
                    KvVersion::V1 => VaultVersion::V1,
                    KvVersion::V2 => VaultVersion::V2,
                };
                let put = kv(address.as_deref())?.put(path, version, content).await?;
                Ok(match put {
                    Put::Written => None,
                    Put::Same => {
                        Some(Said { text: format!("Secret in {path} is already up-to-date."), is_warning: false })
                    }
                    Put::WrittenUnseen => {
                        let text = format!(
                            "Cannot check if destination secret already exists in {path}. New version will be created \
                             even if the data has not been changed."
                        );
                        Some(Said { text, is_warning: true })
                    }
                })
            }
        }
    }
}

/// The server of a rule, or the user's own. The user's token goes to the former only if the user's list of addresses, where
/// there is one, has it: whoever may write the rules chooses it.
fn kv(address: Option<&str>) -> Result<Kv, PublishError> {
    let settings = |detail: String| PublishError::Settings { detail };
    let mut config = TransitConfig::from_environment().map_err(settings)?;
    let server = match address {
        Some(address) => {
            if config.addresses.list.as_ref().is_some_and(|list| !list.allows_address(address)) {
                return Err(settings(format!("not contacted, since {} does not allow it", config.addresses.by)));
            }
            // A rule that names a server means that one and no agent.
            config.agent = None;
            address.to_owned()
        }
        None => server_of_user().map_err(settings)?,
    };
    let server = Url::parse(&server).map_err(|_| settings("the address of Vault is not an address".into()))?;
    let http = config.client(server.scheme()).map_err(settings)?;
    let headers = config.headers().map_err(|error| match error {
        HeaderError::Token(detail) => PublishError::Credentials { detail: detail.into() },
        HeaderError::Namespace(detail) => settings(detail.into()),
    })?;
    Ok(Kv { http, server, headers })
}
