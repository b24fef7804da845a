//! SOPS' own key service, both ends: a program that holds the keys, and one that asks it over TCP or a Unix socket.
//!
//! The protocol has neither encryption nor authentication: who reaches the socket may use the keys. That is SOPS'
//! protocol, and the reason why a server listens on loopback unless told otherwise.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use http::uri::PathAndQuery;
use tokio::net::{TcpListener, UnixListener};
use tonic::body::Body;
use tonic::codegen::{Context, Poll, Service};
use tonic::server::UnaryService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use super::KeyService;
use super::error::{Asked, KmsError};
use super::grpc_wire as wire;
use crate::adapters::exchange::{CONNECT_TIMEOUT, NO_CONNECTION};
use crate::pure::error::{clip, one_line};
use crate::pure::keys::{KeyError, KeyRef, Unwrapped, Wrapped, WrappedKey};
use crate::pure::limits;
use crate::pure::secret::Plaintext;

const SERVICE: &str = "key service";
const ENCRYPT: &str = "/KeyService/Encrypt";
const DECRYPT: &str = "/KeyService/Decrypt";
/// Longest wait for an answer: behind the service a person may have to say yes, or to type a PIN.
const CALL_TIMEOUT: Duration = Duration::from_secs(300);
/// Longest text taken from the other side's refusal.
const REFUSAL_BYTES: usize = 300;

/// A key service that listens somewhere else.
pub struct Remote {
    address: String,
    endpoint: Endpoint,
    channel: tokio::sync::OnceCell<Channel>,
}

impl Remote {
    /// `tcp://host:port` or `unix://path`; nothing is contacted.
    ///
    /// # Errors
    /// A text that says what is wrong with the address.
    pub fn new(address: &str) -> Result<Self, String> {
        let bad = || format!("key service \"{address}\": the address is of the form tcp://HOST:PORT or unix://PATH");
        let uri = match address.split_once("://") {
            Some(("tcp", host)) if !host.is_empty() => format!("http://{host}"),
            Some(("unix", path)) if !path.is_empty() => format!("unix://{path}"),
            _ => return Err(bad()),
        };
        let endpoint = Endpoint::from_shared(uri).map_err(|_| bad())?.connect_timeout(CONNECT_TIMEOUT);
        Ok(Self { address: address.to_owned(), endpoint, channel: tokio::sync::OnceCell::new() })
    }

    async fn ask(
        &self,
        path: &'static str,
        call: &'static str,
        key: &KeyRef,
        bytes: Vec<u8>,
    ) -> Result<Vec<u8>, KeyError> {
        let asked = Asked::new(SERVICE, call, key).at(&self.address);
        // Connecting needs a runtime, which `new` may not have.
        let channel = self.channel.get_or_init(|| async { self.endpoint.connect_lazy() }).await.clone();
        let request = tonic::Request::new(wire::Request { key: Some(key.into()), bytes });
        let exchange = async {
            let mut client =
                tonic::client::Grpc::new(channel).max_decoding_message_size(limits::KEY_SERVICE_BODY_BYTES);
            client.ready().await.map_err(|_| Status::unavailable(""))?;
            let codec: ProstCodec<wire::Request, wire::Response> = ProstCodec::default();
            client.unary(request, PathAndQuery::from_static(path), codec).await
        };
        let limit = CALL_TIMEOUT;
        let answer = tokio::time::timeout(limit, exchange).await;
        let answer = answer.map_err(|_| KmsError::Timeout { asked: asked.clone(), limit })?;
        answer.map(|answer| answer.into_inner().bytes).map_err(|status| refusal(asked, &status))
    }
}

/// A service that the user named may say why it refuses; the program on the other side is SOPS or ours.
fn refusal(asked: Asked, status: &Status) -> KeyError {
    match status.code() {
        Code::Unavailable => KmsError::Unavailable { asked, code: NO_CONNECTION.into() }.into(),
        Code::OutOfRange => KmsError::Answer { asked, detail: "it is larger than any of this service" }.into(),
        _ => {
            let text = clip(&one_line(status.message()), REFUSAL_BYTES);
            KeyError::Service { message: format!("{asked}: the service refuses: {text}") }
        }
    }
}

#[async_trait]
impl KeyService for Remote {
    /// It is asked for everything; what it cannot do it says itself.
    fn serves(&self, _: &KeyRef) -> bool {
        true
    }

    /// One server, whatever the key.
    fn endpoint(&self, _: &KeyRef) -> String {
        self.address.clone()
    }

    async fn wrap(&self, key: &KeyRef, secret: &Plaintext) -> Wrapped {
        let bytes = self.ask(ENCRYPT, "encrypt", key, secret.expose().to_vec()).await?;
        let asked = Asked::new(SERVICE, "encrypt", key).at(&self.address);
        String::from_utf8(bytes).map_err(|_| KmsError::Answer { asked, detail: "it is not text" }.into())
    }

    async fn unwrap(&self, key: &WrappedKey) -> Unwrapped {
        self.ask(DECRYPT, "decrypt", &key.key, key.enc.clone().into_bytes()).await.map(Plaintext::new)
    }
}

/// What a server asks before it does something: `encrypt` or `decrypt`, and the key. `false` refuses. It waits for a
/// person; a server that ends waits for it.
pub type Confirm = Arc<dyn Fn(&'static str, &KeyRef) -> BoxFuture<'static, bool> + Send + Sync>;

/// The serving end.
#[derive(Clone)]
pub struct Server {
    keys: Arc<dyn KeyService>,
    confirm: Option<Confirm>,
}

/// Where a server listens.
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

impl Server {
    /// Serves `keys`, each use confirmed where `confirm` is given.
    pub fn new(keys: Arc<dyn KeyService>, confirm: Option<Confirm>) -> Self {
        Self { keys, confirm }
    }

    /// Serves until `stop` is done.
    ///
    /// # Errors
    /// A listener that does not accept.
    pub async fn serve(self, listener: Listener, stop: impl Future<Output = ()>) -> Result<(), String> {
        let server = tonic::transport::Server::builder().concurrency_limit_per_connection(limits::KEY_SERVICE_SERVED);
        let served = match listener {
            Listener::Tcp(listener) => {
                let incoming = futures::stream::unfold(listener, |listener| async {
                    Some((listener.accept().await.map(|(stream, _)| stream), listener))
                });
                server.serve_with_incoming_shutdown(self, incoming, stop).await
            }
            Listener::Unix(listener) => {
                let incoming = futures::stream::unfold(listener, |listener| async {
                    Some((listener.accept().await.map(|(stream, _)| stream), listener))
                });
                server.serve_with_incoming_shutdown(self, incoming, stop).await
            }
        };
        served.map_err(|error| crate::pure::error::chain(&error))
    }

    async fn answer(&self, call: &'static str, request: wire::Request) -> Result<wire::Response, Status> {
        let key = request.key.and_then(wire::Key::key).ok_or_else(|| Status::not_found("Must provide a key"))?;
        let bytes = Plaintext::new(request.bytes);
        if let Some(confirm) = &self.confirm
            && !confirm(call, &key).await
        {
            return Err(Status::permission_denied("Request rejected by user"));
        }
        let refuse = |error: KeyError| Status::unknown(error.to_string());
        let bytes = if call == "encrypt" {
            self.keys.wrap(&key, &bytes).await.map_err(refuse)?.into_bytes()
        } else {
            let enc = bytes.expose_str().ok_or_else(|| Status::invalid_argument("the ciphertext is not text"))?;
            let wrapped = WrappedKey { key, enc: enc.to_owned(), created_at: None };
            self.keys.unwrap(&wrapped).await.map_err(refuse)?.expose().to_vec()
        };
        Ok(wire::Response { bytes })
    }
}

/// One of the two calls.
struct Call {
    server: Server,
    call: &'static str,
}

impl UnaryService<wire::Request> for Call {
    type Response = wire::Response;
    type Future = BoxFuture<'static, Result<tonic::Response<wire::Response>, Status>>;

    fn call(&mut self, request: tonic::Request<wire::Request>) -> Self::Future {
        let (server, call) = (self.server.clone(), self.call);
        Box::pin(async move { server.answer(call, request.into_inner()).await.map(tonic::Response::new) })
    }
}

impl Service<http::Request<Body>> for Server {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let server = self.clone();
        Box::pin(async move {
            let call = match request.uri().path() {
                ENCRYPT => "encrypt",
                DECRYPT => "decrypt",
                _ => return Ok(Status::unimplemented("unknown method").into_http()),
            };
            let codec: ProstCodec<wire::Response, wire::Request> = ProstCodec::default();
            let mut grpc = tonic::server::Grpc::new(codec).max_decoding_message_size(limits::KEY_SERVICE_BODY_BYTES);
            Ok(grpc.unary(Call { server, call }, request).await)
        })
    }
}
