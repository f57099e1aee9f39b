//! The socket, and who is let near it.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use gossip_api::message::CloseReason;
use quinn::{
    AsyncTimer, AsyncUdpSocket, Endpoint, EndpointConfig, Incoming, Runtime, TokioRuntime, VarInt,
};
use quinn_proto::HashedConnectionIdGenerator;
use socket2::{Domain, Protocol, Socket, Type};
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::{Shared, hello};
use crate::config::CommConfig;
use crate::error::CommError;
use crate::hello::HelloError;
use crate::tls::{Secrets, TlsSet};
use crate::transport::Widths;

/// Flow control once the other side has proved who it is.
pub(super) fn widen(connection: &quinn::Connection, config: &CommConfig) {
    let widths = Widths::of(config);
    connection.set_receive_window(widths.window);
    connection.set_max_concurrent_uni_streams(widths.uni);
    connection.set_max_concurrent_bi_streams(widths.bidi);
}

/// Opens the socket and the endpoint on it. Every task of the endpoint is `tasks`' too.
pub(super) fn open(
    config: &CommConfig,
    tls: &TlsSet,
    secrets: &Secrets,
    tasks: TaskTracker,
) -> Result<Endpoint, CommError> {
    let listen = |source| CommError::Listen { address: config.listen, source };
    let socket = socket(config).map_err(listen)?;
    let mut endpoint = EndpointConfig::new(secrets.reset_key());
    let key = secrets.connection_id_key();
    endpoint.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(key)));
    let server = (*tls.server).clone();
    Endpoint::new(endpoint, Some(server), socket, Arc::new(TrackedRuntime(tasks))).map_err(listen)
}

fn socket(config: &CommConfig) -> io::Result<UdpSocket> {
    let domain = Domain::for_address(config.listen);
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if config.listen.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    let wanted = config.socket_buffer;
    // A kernel that refuses gives what it has, as one that clamps does.
    let _ = socket.set_recv_buffer_size(wanted);
    let _ = socket.set_send_buffer_size(wanted);
    let found = socket.recv_buffer_size()?;
    if found < wanted {
        debug!(wanted, found, "kernel clamps the socket buffer");
    }
    socket.bind(&config.listen.into())?;
    Ok(socket.into())
}

/// Tokio, with every task counted.
#[derive(Debug)]
struct TrackedRuntime(TaskTracker);

impl Runtime for TrackedRuntime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.0.spawn(future);
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}

/// Takes in newcomers until the endpoint closes.
pub(super) async fn accept(shared: Arc<Shared>, endpoint: Endpoint) {
    let half_open = HalfOpen::default();
    while let Some(incoming) = endpoint.accept().await {
        if let Some((incoming, seat)) = half_open.admit(&shared, incoming) {
            let welcome = welcome(Arc::clone(&shared), incoming, seat);
            shared.spawn(welcome);
        }
    }
}

/// TLS, hello, and into the table of peers.
async fn welcome(shared: Arc<Shared>, incoming: Incoming, seat: Seat) {
    let tls = shared.tls.load_full();
    let connecting = match incoming.accept_with(Arc::clone(&tls.server)) {
        Ok(connecting) => connecting,
        Err(error) => return debug!(%error, "newcomer gone"),
    };
    let connection = match tokio::time::timeout(shared.config.dial_timeout, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return shared.refused("tls", &error),
        Err(_) => return shared.refused("tls_silent", &"no tls handshake in time"),
    };
    let greeted = hello::accept(&shared, &connection, tls.own_leaf);
    let greeted = tokio::time::timeout(shared.config.hello_timeout, greeted).await;
    let (greeting, reply) = match greeted.unwrap_or(Err(HelloError::Silent)) {
        Ok(greeted) => greeted,
        Err(error) => return refuse(&shared, &connection, &error).await,
    };
    drop(seat);
    widen(&connection, &shared.config);
    let peer = greeting.peer;
    if let Err(reason) = shared.install(greeting, connection.clone(), None) {
        return close(&connection, reason);
    }
    if let Err(error) = reply.send().await {
        debug!(%peer, %error, "lost while answering its hello");
    }
}

/// Turns a peer away without telling it why.
pub(super) async fn refuse(shared: &Shared, connection: &quinn::Connection, error: &HelloError) {
    shared.refused(error.reason(), error);
    tokio::time::sleep(hello::refusal_delay()).await;
    close(connection, CloseReason::Refused);
}

pub(super) fn close(connection: &quinn::Connection, reason: CloseReason) {
    connection.close(VarInt::from_u32(reason.code()), b"");
}

/// Connections that have not proved who they are.
#[derive(Clone, Debug, Default)]
struct HalfOpen {
    count: Arc<AtomicUsize>,
    prefixes: Arc<Mutex<BTreeMap<Prefix, usize>>>,
}

/// A network that one attacker is taken to own: /24 of IPv4, /64 of IPv6.
type Prefix = [u8; 8];

/// One place among the half-open; given back when dropped.
struct Seat {
    half_open: HalfOpen,
    prefix: Option<Prefix>,
    gauge: prometheus::IntGauge,
}

impl HalfOpen {
    fn admit(&self, shared: &Shared, incoming: Incoming) -> Option<(Incoming, Seat)> {
        let metrics = &shared.metrics;
        let turned_away = |reason| metrics.incoming_refused.with_label_values(&[reason]).inc();
        let count = self.count.load(Ordering::Relaxed);
        if count >= shared.config.half_open_max || !shared.has_room() {
            turned_away("full");
            incoming.refuse();
            return None;
        }
        let proved = incoming.remote_address_validated();
        let prefix = prefix_of(incoming.remote_address());
        let crowded = !proved
            && (count >= shared.config.retry_above
                || self.in_prefix(prefix) >= shared.config.half_open_per_prefix);
        if crowded {
            turned_away("retry");
            // Fails only for an address that is proved already.
            let _ = incoming.retry();
            return None;
        }
        let prefix = (!proved).then_some(prefix);
        Some((incoming, self.seat(prefix, metrics.half_open.clone())))
    }

    fn seat(&self, prefix: Option<Prefix>, gauge: prometheus::IntGauge) -> Seat {
        self.count.fetch_add(1, Ordering::Relaxed);
        gauge.inc();
        if let Some(prefix) = prefix {
            *self.lock().entry(prefix).or_default() += 1;
        }
        Seat { half_open: self.clone(), prefix, gauge }
    }

    fn in_prefix(&self, prefix: Prefix) -> usize {
        self.lock().get(&prefix).copied().unwrap_or_default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Prefix, usize>> {
        self.prefixes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.half_open.count.fetch_sub(1, Ordering::Relaxed);
        self.gauge.dec();
        let Some(prefix) = self.prefix else { return };
        let mut prefixes = self.half_open.lock();
        if let Some(count) = prefixes.get_mut(&prefix) {
            *count -= 1;
            if *count == 0 {
                prefixes.remove(&prefix);
            }
        }
    }
}

fn prefix_of(address: SocketAddr) -> Prefix {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            [0, 0, 0, 0, 0, a, b, c]
        }
        IpAddr::V6(ip) => {
            let [a, b, c, d, e, f, g, h, ..] = ip.octets();
            [a, b, c, d, e, f, g, h]
        }
    }
}
