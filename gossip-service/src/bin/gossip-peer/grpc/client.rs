//! A client of Deliver and Broadcast.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status, Streaming};

use super::{MESSAGE_LEN_MAX, Raw};

/// How to reach one server.
pub(crate) struct Target<'a> {
    /// `host:port`; the host is the name that its certificate must carry.
    pub(crate) address: &'a str,
    /// The CAs that vouch for it, PEM.
    pub(crate) roots: &'a str,
    /// What to show if it asks for a certificate.
    pub(crate) identity: Option<Identity>,
    pub(crate) connect_timeout: Duration,
    pub(crate) keep_alive: KeepAlive,
}

/// How a silent connection is found to be dead. Fabric's servers close on who pings more than once a minute.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeepAlive {
    pub(crate) every: Duration,
    pub(crate) timeout: Duration,
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self { every: Duration::from_secs(60), timeout: Duration::from_secs(20) }
    }
}

/// Connects over TLS; the error is a sentence without the address.
pub(crate) async fn connect(target: Target<'_>) -> Result<Channel, String> {
    let host = target.address.rsplit_once(':').map_or(target.address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(target.roots))
        .domain_name(host)
        .timeout(target.connect_timeout);
    if let Some(identity) = target.identity {
        tls = tls.identity(identity);
    }
    let endpoint = Endpoint::from_shared(format!("https://{}", target.address))
        .and_then(|endpoint| endpoint.tls_config(tls))
        .map_err(|error| chain(&error))?
        .connect_timeout(target.connect_timeout)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(target.keep_alive.every)
        .keep_alive_timeout(target.keep_alive.timeout)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW);
    let limit = target.connect_timeout.saturating_mul(2);
    match tokio::time::timeout(limit, endpoint.connect()).await {
        Ok(connected) => connected.map_err(|error| chain(&error)),
        Err(_) => Err(format!("no connection within {} s", limit.as_secs_f64())),
    }
}

/// Opens a stream that sends `requests`, and then stays open without sending.
///
/// Go's servers answer with headers when they have something to say: this may wait for the next block.
pub(crate) async fn open(
    channel: Channel,
    path: &'static str,
    requests: impl Stream<Item = Bytes> + Send + 'static,
) -> Result<Streaming<Bytes>, Status> {
    let mut grpc = tonic::client::Grpc::new(channel)
        .max_decoding_message_size(MESSAGE_LEN_MAX)
        .max_encoding_message_size(MESSAGE_LEN_MAX);
    grpc.ready().await.map_err(|error| Status::unavailable(chain(&error)))?;
    let requests = requests.chain(stream::pending());
    let path = PathAndQuery::from_static(path);
    Ok(grpc.streaming(Request::new(requests), path, Raw).await?.into_inner())
}

/// An error with its causes: the outer texts of gRPC's tell little.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    text
}

/// A status in a sentence.
pub(crate) fn told(status: &Status) -> String {
    let text = chain(status);
    if status.message().is_empty() {
        text
    } else {
        format!("{:?}: {}", status.code(), status.message())
    }
}

/// Bytes under way on one stream: a few blocks.
const WINDOW: u32 = 4 << 20;
