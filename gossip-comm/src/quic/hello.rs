//! The first stream of a connection: [`crate::hello`] over quinn.

use std::time::Duration;

use gossip_api::message::{HelloBinding, Role};
use quinn::{Connection, RecvStream, SendStream};

use super::Shared;
use crate::hello::{Exchange, Greeting, HelloError};
use crate::tls::{self, random};

/// Exchanges hellos as the side that dialled.
pub(super) async fn dial(
    shared: &Shared,
    connection: &Connection,
    own_leaf: [u8; 32],
) -> Result<Greeting, HelloError> {
    let mut exchange = begin(shared, connection, Role::Dialler, own_leaf)?;
    let own = exchange.speak(&shared.court())?;
    let (mut send, mut recv) = connection.open_bi().await.map_err(lost)?;
    send.write_all(&own).await.map_err(lost)?;
    send.finish().map_err(lost)?;
    listen(shared, &mut exchange, &mut recv).await
}

/// Exchanges hellos as the side that was dialled.
pub(super) async fn accept(
    shared: &Shared,
    connection: &Connection,
    own_leaf: [u8; 32],
) -> Result<(Greeting, Reply), HelloError> {
    let mut exchange = begin(shared, connection, Role::Acceptor, own_leaf)?;
    let (send, mut recv) = connection.accept_bi().await.map_err(lost)?;
    let greeting = listen(shared, &mut exchange, &mut recv).await?;
    let own = exchange.speak(&shared.court())?;
    Ok((greeting, Reply { send, own }))
}

/// The acceptor's hello, signed and not sent.
pub(super) struct Reply {
    send: SendStream,
    own: Vec<u8>,
}

impl Reply {
    /// Sends it: from here on the other side may use the connection.
    pub(super) async fn send(mut self) -> Result<(), HelloError> {
        self.send.write_all(&self.own).await.map_err(lost)?;
        self.send.finish().map_err(lost)
    }
}

/// How long a refusal is held back, so that its time tells nothing about its cause.
pub(super) fn refusal_delay() -> Duration {
    let [a, b] = random::<2>();
    Duration::from_micros(u64::from(u16::from_le_bytes([a, b])) % REFUSAL_DELAY_MAX_US)
}

fn begin(
    shared: &Shared,
    connection: &Connection,
    role: Role,
    own_leaf: [u8; 32],
) -> Result<Exchange, HelloError> {
    let binding = bind(shared, connection, role, own_leaf)?;
    Ok(Exchange::new(shared.me.load_full(), binding))
}

fn bind(
    shared: &Shared,
    connection: &Connection,
    role: Role,
    own_leaf: [u8; 32],
) -> Result<HelloBinding, HelloError> {
    let (data, identity) = (connection.handshake_data(), connection.peer_identity());
    tls::bind(role, &shared.config.network, own_leaf, data, identity, |exporter, label, context| {
        connection.export_keying_material(exporter, label, context).is_ok()
    })
}

/// Reads one hello and the end of its stream.
async fn listen(
    shared: &Shared,
    exchange: &mut Exchange,
    recv: &mut RecvStream,
) -> Result<Greeting, HelloError> {
    while let Some(chunk) = recv.read_chunk(CHUNK_MAX, true).await.map_err(lost)? {
        exchange.hear(&chunk.bytes)?;
    }
    let greeting = exchange.heard(shared.clock.now(), &shared.court())?;
    if shared.is_banned(&greeting.peer) { Err(HelloError::Banned) } else { Ok(greeting) }
}

fn lost(error: impl std::fmt::Display) -> HelloError {
    HelloError::Lost(error.to_string())
}

const REFUSAL_DELAY_MAX_US: u64 = 5_000;
/// Bytes read at once.
const CHUNK_MAX: usize = 4 << 10;
