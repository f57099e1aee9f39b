//! A server of Deliver and Broadcast.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, StreamingService};
use tonic::transport::{Certificate, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, warn};

use super::doors::{Admitted, Doors};
use super::tls::TlsPair;
use super::{BROADCAST, DELIVER, MESSAGE_LEN_MAX, Raw};

/// What a server answers: encoded messages.
pub(crate) type Replies = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

/// Who calls, as far as TLS tells.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    /// SHA-256 of the client's TLS leaf certificate, if it showed one.
    pub(crate) leaf_hash: Option<[u8; 32]>,
    /// Where the connection comes from.
    pub(crate) address: String,
}

/// The two streams of Fabric's ordering service.
pub(crate) trait AtomicBroadcast: Send + Sync + 'static {
    /// `orderer.AtomicBroadcast/Deliver`, and `protos.Deliver/Deliver` of peers.
    fn deliver(&self, caller: Caller, requests: Streaming<Bytes>) -> Replies;

    /// `orderer.AtomicBroadcast/Broadcast`.
    fn broadcast(&self, caller: Caller, requests: Streaming<Bytes>) -> Result<Replies, Status>;
}

/// How to listen.
pub(crate) struct Listening {
    pub(crate) listener: TcpListener,
    pub(crate) tls: TlsPair,
    /// Clients must show a certificate under the roots.
    pub(crate) mutual: bool,
    /// The CAs of clients' certificates, PEM; a change counts for connections made after it.
    pub(crate) roots: watch::Receiver<Arc<str>>,
}

/// Serves until `stop`; the error is a sentence.
///
/// Word from the roots begins a new generation of the server on the same socket. Connections of the one
/// before live on until they end.
pub(crate) async fn serve<B: AtomicBroadcast>(
    mut listening: Listening,
    service: Arc<B>,
    stop: CancellationToken,
) -> Result<(), String> {
    let listener = Arc::new(listening.listener);
    let doors = Doors::default();
    let mut generations = JoinSet::new();
    let mut current: Option<CancellationToken> = None;
    loop {
        let roots = listening.roots.borrow_and_update().clone();
        match builder(&listening.tls, listening.mutual.then_some(&*roots)) {
            Ok(server) => {
                let next = stop.child_token();
                let until = next.clone().cancelled_owned();
                let routes = Routes(Arc::clone(&service));
                let accepting = incoming(Arc::clone(&listener), doors.clone());
                generations.spawn(server.serve_with_incoming_shutdown(routes, accepting, until));
                if let Some(before) = current.replace(next) {
                    before.cancel();
                }
            }
            Err(reason) if current.is_none() => return Err(reason),
            Err(reason) => warn!(reason, "the gRPC server goes on with the certificates it had"),
        }
        let mut is_current = true;
        while is_current {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Ok(()) = listening.roots.changed() => is_current = false,
                Some(ended) = generations.join_next() => if let Ok(Err(error)) = ended {
                    return Err(super::client::chain(&error));
                },
            }
        }
    }
}

fn builder(tls: &TlsPair, client_roots: Option<&str>) -> Result<Server, String> {
    let mut config =
        ServerTlsConfig::new().identity(tls.load()?.identity).timeout(HANDSHAKE_WITHIN);
    if let Some(roots) = client_roots {
        config = config.client_ca_root(Certificate::from_pem(roots));
    }
    let server = Server::builder()
        .tcp_nodelay(true)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .http2_keepalive_interval(Some(KEEP_ALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT));
    server.tls_config(config).map_err(|error| super::client::chain(&error))
}

/// Connections as they come; those too many are closed at once. A failure to accept one (no file
/// descriptors) is no reason to stop listening.
fn incoming(
    listener: Arc<TcpListener>,
    doors: Doors,
) -> impl Stream<Item = Result<Admitted, std::io::Error>> {
    stream::unfold((listener, doors), |(listener, doors)| async move {
        loop {
            match listener.accept().await {
                Ok((stream, from)) => match doors.admit(stream, from.ip()) {
                    Ok(admitted) => return Some((Ok(admitted), (listener, doors))),
                    Err(reason) => debug!(%from, reason, "connection closed"),
                },
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
                }
            }
        }
    })
}

/// From paths to methods.
struct Routes<B>(Arc<B>);

impl<B> Clone for Routes<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B: AtomicBroadcast> Service<http::Request<Body>> for Routes<B> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = Arc::clone(&self.0);
        Box::pin(async move {
            let stream = match request.uri().path() {
                DELIVER | PEERS_DELIVER => StreamKind::Deliver,
                BROADCAST => StreamKind::Broadcast,
                path => return Ok(refusal(path).into_http()),
            };
            let request_len_max = match stream {
                StreamKind::Deliver => SEEK_LEN_MAX,
                StreamKind::Broadcast => MESSAGE_LEN_MAX,
            };
            let mut grpc = Grpc::new(Raw)
                .apply_max_message_size_config(Some(request_len_max), Some(MESSAGE_LEN_MAX));
            Ok(grpc.streaming(Method { service, stream }, request).await)
        })
    }
}

/// What is said about a path that is not served.
fn refusal(path: &str) -> Status {
    match path {
        "/protos.Deliver/DeliverFiltered" | "/protos.Deliver/DeliverWithPrivateData" => {
            Status::unimplemented(format!(
                "{path} is not served here: whole blocks alone are, by {PEERS_DELIVER} and {DELIVER}; transactions are judged by the peer that executes them"
            ))
        }
        _ => Status::unimplemented(format!("{path} is not served here")),
    }
}

#[derive(Clone, Copy)]
enum StreamKind {
    Deliver,
    Broadcast,
}

struct Method<B> {
    service: Arc<B>,
    stream: StreamKind,
}

impl<B: AtomicBroadcast> StreamingService<Bytes> for Method<B> {
    type Response = Bytes;
    type ResponseStream = Replies;
    type Future = BoxFuture<Response<Replies>, Status>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let leaf = request.peer_certs().and_then(|certs| certs.first().cloned());
        let caller = Caller {
            leaf_hash: leaf.map(|leaf| peer_mcs::sha256(&leaf)),
            address: request
                .remote_addr()
                .map_or_else(|| "?".into(), |address| address.to_string()),
        };
        let replies = match self.stream {
            StreamKind::Deliver => Ok(self.service.deliver(caller, request.into_inner())),
            StreamKind::Broadcast => self.service.broadcast(caller, request.into_inner()),
        };
        Box::pin(std::future::ready(replies.map(Response::new)))
    }
}

/// Deliver as Fabric's peers offer it to applications.
const PEERS_DELIVER: &str = "/protos.Deliver/Deliver";
/// A seek is a certificate, a signature and two numbers.
const SEEK_LEN_MAX: usize = 1 << 20;
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
const STREAMS_PER_CONNECTION_MAX: u32 = 256;
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(60);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);
