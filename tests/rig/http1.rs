//! A small HTTP/1.1 server on threads, for servers that a test must be able to bend: one request per connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::tls::{self, Ca};

/// A test that needs more than this uses the wrong server.
const MAX_BODY: usize = 256 << 20;

/// A request, read to its end.
pub struct Request {
    pub method: String,
    /// Without the query.
    pub path: String,
    pub query: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// What to do with a request.
pub enum Answer {
    Reply(Reply),
    /// Close the connection without a byte.
    Close,
    /// Keep the connection open and never answer, until the server is dropped.
    Hang,
}

#[derive(Clone, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A running server; dropping it closes the listener and frees what hangs.
pub struct Server {
    pub address: SocketAddr,
    scheme: &'static str,
    stop: Arc<AtomicBool>,
}

trait Connection: Read + Write {}
impl<T: Read + Write> Connection for T {}

impl Server {
    /// Listens on 127.0.0.1, each connection on a thread of its own.
    pub fn start(handler: impl Fn(Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::listen(None, handler)
    }

    /// The same over TLS, with a certificate of `ca` for localhost and 127.0.0.1.
    pub fn start_tls(ca: &Ca, handler: impl Fn(Request) -> Answer + Send + Sync + 'static) -> Self {
        let config = tls::server_config(&ca.server(&["localhost", "127.0.0.1"]));
        Self::listen(Some(Arc::new(config)), handler)
    }

    /// A proxy that lets nothing through: it plays every host of `hosts` itself, over TLS with certificates of `ca`, so
    /// that programs may use the real addresses. Requests without TLS are played too.
    pub fn start_proxy(ca: &Ca, hosts: &[&str], handler: impl Fn(Request) -> Answer + Send + Sync + 'static) -> Self {
        let config = Arc::new(tls::server_config(&ca.server(hosts)));
        Self::accept("http", handler, move |stream, handler, stop| tunnel(stream, &config, handler, stop))
    }

    fn listen(
        tls: Option<Arc<rustls::ServerConfig>>,
        handler: impl Fn(Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        Self::accept(scheme, handler, move |stream, handler, stop| serve(stream, tls.clone(), handler, stop))
    }

    fn accept(
        scheme: &'static str,
        handler: impl Fn(Request) -> Answer + Send + Sync + 'static,
        serve: impl Fn(TcpStream, &dyn Fn(Request) -> Answer, &AtomicBool) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback port");
        let address = listener.local_addr().expect("bound");
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let both = Arc::new((handler, serve));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopping.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let (both, stopping) = (Arc::clone(&both), Arc::clone(&stopping));
                std::thread::spawn(move || (both.1)(stream, &both.0, &stopping));
            }
        });
        Self { address, scheme, stop }
    }

    /// `http://127.0.0.1:PORT`, or https.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the accept loop; an error means that it has gone already.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

/// A client that goes away in the middle is its own affair, so errors end the connection and nothing else.
fn serve(
    stream: TcpStream,
    tls: Option<Arc<rustls::ServerConfig>>,
    handler: &dyn Fn(Request) -> Answer,
    stop: &AtomicBool,
) {
    let _ = stream.set_nodelay(true);
    let result = match tls {
        None => exchange(stream, handler, stop),
        Some(config) => match rustls::ServerConnection::new(config) {
            Ok(connection) => exchange(rustls::StreamOwned::new(connection, stream), handler, stop),
            Err(_) => return,
        },
    };
    drop(result);
}

/// Answers CONNECT, and what then comes in the tunnel.
fn tunnel(
    stream: TcpStream,
    config: &Arc<rustls::ServerConfig>,
    handler: &dyn Fn(Request) -> Answer,
    stop: &AtomicBool,
) {
    let Ok(mut writer) = stream.try_clone() else { return };
    let mut first = [0; 7];
    // A client says nothing more before it is answered, so no byte of the tunnel is lost here.
    if stream.peek(&mut first).is_ok() && first == *b"CONNECT" {
        let Ok(peer) = stream.try_clone() else { return };
        if !matches!(read_request(&mut BufReader::new(peer)), Ok(Some(_))) {
            return;
        }
        if writer.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").is_ok() {
            serve(stream, Some(Arc::clone(config)), handler, stop);
        }
    } else {
        serve(stream, None, handler, stop);
    }
}

fn exchange(
    connection: impl Connection,
    handler: &dyn Fn(Request) -> Answer,
    stop: &AtomicBool,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection);
    let Some(request) = read_request(&mut reader)? else { return Ok(()) };
    let head_only = request.method == "HEAD";
    match handler(request) {
        Answer::Close => Ok(()),
        Answer::Hang => {
            while !stop.load(Ordering::SeqCst) {
                std::thread::park_timeout(Duration::from_millis(100));
            }
            Ok(())
        }
        Answer::Reply(reply) => {
            let mut head = format!(
                "HTTP/1.1 {} Status\r\nConnection: close\r\nContent-Length: {}\r\n",
                reply.status,
                reply.body.len()
            );
            for (name, value) in &reply.headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            head.push_str("\r\n");
            let connection = reader.get_mut();
            connection.write_all(head.as_bytes())?;
            if !head_only {
                connection.write_all(&reply.body)?;
            }
            connection.flush()
        }
    }
}

fn line(reader: &mut impl BufRead) -> std::io::Result<String> {
    let mut line = String::new();
    reader.take(64 << 10).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

fn invalid(what: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, what)
}

fn read_request(reader: &mut BufReader<impl Connection>) -> std::io::Result<Option<Request>> {
    let first = line(reader)?;
    let mut parts = first.split(' ');
    let (Some(method), Some(target)) = (parts.next(), parts.next()) else { return Ok(None) };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
    };
    loop {
        let header = line(reader)?;
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').ok_or_else(|| invalid("header without a colon"))?;
        request.headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    if request.header("expect").is_some() {
        reader.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        reader.get_mut().flush()?;
    }
    if request.header("transfer-encoding").is_some_and(|v| v.contains("chunked")) {
        loop {
            let size = line(reader)?;
            let size = size.split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(size, 16).map_err(|_| invalid("chunk size"))?;
            if size + request.body.len() > MAX_BODY {
                return Err(invalid("body too large"));
            }
            let start = request.body.len();
            request.body.resize(start + size, 0);
            reader.read_exact(&mut request.body[start..])?;
            line(reader)?;
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = request.header("content-length") {
        let length: usize = length.parse().map_err(|_| invalid("content length"))?;
        if length > MAX_BODY {
            return Err(invalid("body too large"));
        }
        request.body.resize(length, 0);
        reader.read_exact(&mut request.body)?;
    }
    Ok(Some(request))
}
