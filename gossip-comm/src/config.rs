//! What an operator may decide about the transport, and what each choice costs.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use gossip_api::message::Class;
use gossip_api::{Checked, ConfigError, NetworkId};
use zeroize::Zeroizing;

use crate::bounds::{DIALS_MAX, OutboxConfig};

/// How this peer talks to others over QUIC.
#[derive(Clone, Debug)]
pub struct CommConfig {
    /// Address to listen on and to dial from. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Part of every hello: peers of another network are refused. Fabric: `peer.networkId`, `dev`.
    pub network: NetworkId,
    /// Own certificate and the authorities whose certificates are let in.
    pub tls: TlsMaterial,
    /// Kept on disk and given again at the next start, it lets peers notice a restart within a round trip
    /// instead of the idle time-out. Drawn anew if not given.
    pub secret: Option<SecretBytes>,
    /// Name resolution and TLS handshake of one dial take at most this long together.
    ///
    /// Shorter gives up on distant peers. Fabric: `peer.gossip.dialTimeout`, 3 s.
    pub dial_timeout: Duration,
    /// Silence after the TLS handshake after which a connection without hello is closed.
    ///
    /// Fabric: `peer.gossip.connTimeout`, 2 s.
    pub hello_timeout: Duration,
    /// Silence after which a connection counts as broken. The lower value of both ends holds.
    ///
    /// Shorter notices a cut cable sooner and gives up on a paused peer sooner.
    pub idle_timeout: Duration,
    /// How often an idle connection is kept alive. Must be below half of `idle_timeout`.
    pub keep_alive: Duration,
    /// Bounds of what waits to be sent to one peer.
    pub outbox: OutboxConfig,
    /// Bounds of what has come from one peer and was not read by the layer above.
    pub inbox: InboxConfig,
    /// How fast one peer may send control messages and membership pages.
    pub quota: QuotaConfig,
    /// Streams and windows of one connection.
    pub streams: StreamConfig,
    /// Connections, authenticated or not, above which newcomers are turned away.
    pub connections_max: usize,
    /// Dials under way at once.
    pub dials_max: usize,
    /// Unauthenticated connections above which a newcomer must first prove its address (QUIC Retry).
    pub retry_above: usize,
    /// Unauthenticated connections above which newcomers are turned away.
    pub half_open_max: usize,
    /// Unauthenticated connections of one /24 or /64 whose addresses are not proved; more must prove theirs.
    pub half_open_per_prefix: usize,
    /// Send and receive buffer of the socket in bytes; the kernel may clamp it, which is logged.
    ///
    /// Too small loses packets in bursts.
    pub socket_buffer: usize,
    /// Whether the kernel cuts large writes into packets. Off costs 70 % more processor time; some
    /// network cards and containers fail with it.
    pub segmentation_offload: bool,
    /// How long the highest wire version that an identity has spoken is remembered: a lower one is
    /// refused meanwhile. Zero lets peers go back to an older version at once.
    pub version_memory: Duration,
    /// How long [`stop`](crate::Comm::stop) waits for connections to end in good order.
    pub stop_timeout: Duration,
}

/// Bytes that one peer may have waiting for the layer above; then its streams, and only its, are not read.
#[derive(Clone, Debug)]
pub struct InboxConfig {
    /// Control messages and membership pages.
    pub control_bytes: usize,
    /// Blocks and answers; one larger than this is read alone.
    pub block_bytes: usize,
}

/// Units that one peer may use up with control messages and membership pages before they are verified: a
/// message costs one, and one more per KiB.
///
/// A core verifies some 8,000 signatures a second; a peer that sends faster than this is read more slowly.
#[derive(Clone, Debug)]
pub struct QuotaConfig {
    /// Units that come back each second.
    pub per_second: u32,
    /// Units that may be used at once after a quiet time: a peer that joins sends and answers much.
    pub burst: u32,
}

/// Streams and flow control of one authenticated connection.
#[derive(Clone, Debug)]
pub struct StreamConfig {
    /// Blocks that the other side may be sending at once.
    pub blocks: u32,
    /// Requests that the other side may have open at once.
    pub requests: u32,
    /// Bytes that may be under way on one stream: the speed of one block is this per round trip.
    pub stream_window: u32,
    /// Bytes that may be under way on all streams. Must cover every stream's window, so that streams
    /// nobody reads leave room for the control stream.
    pub connection_window: u32,
    /// Bytes sent and not acknowledged, on all streams. Counts once per connection in memory.
    pub send_window: u32,
    /// Greatest block frame accepted, in bytes; told to the other side in the hello.
    pub block_frame_max: usize,
    /// A stream on which nothing moves for this long is given up.
    pub patience: Duration,
}

/// A certificate with its key, and the authorities trusted for those of others. All DER.
#[derive(Clone, Debug)]
pub struct TlsMaterial {
    /// Own certificate first, then intermediates.
    pub chain: Vec<Vec<u8>>,
    /// Private key of the first, PKCS#8 or SEC1.
    pub key: SecretBytes,
    /// Certificates of the TLS authorities of all organisations. Names in certificates are not looked
    /// at: who a peer is, its hello tells.
    pub roots: Vec<Vec<u8>>,
}

/// Bytes that are wiped when dropped and never printed.
#[derive(Clone)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(..)")
    }
}

impl CommConfig {
    /// Our defaults around the three things that have none.
    pub fn new(listen: SocketAddr, network: NetworkId, tls: TlsMaterial) -> Self {
        Self {
            listen,
            network,
            tls,
            secret: None,
            dial_timeout: Duration::from_secs(3),
            hello_timeout: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(3),
            outbox: OutboxConfig::default(),
            inbox: InboxConfig::default(),
            quota: QuotaConfig::default(),
            streams: StreamConfig::default(),
            connections_max: 1024,
            dials_max: DIALS_MAX,
            retry_above: 64,
            half_open_max: 256,
            half_open_per_prefix: 8,
            socket_buffer: 4 << 20,
            segmentation_offload: true,
            version_memory: Duration::from_secs(24 * 3600),
            stop_timeout: Duration::from_secs(3),
        }
    }

    /// Rules out contradictions.
    ///
    /// # Errors
    /// One sentence that names both values.
    pub fn checked(self) -> Result<Checked<Self>, ConfigError> {
        self.check_times()?;
        self.check_windows()?;
        if self.half_open_max > self.connections_max || self.retry_above > self.half_open_max {
            return Err(ConfigError(format!(
                "retry_above ({}), half_open_max ({}) and connections_max ({}) must not fall",
                self.retry_above, self.half_open_max, self.connections_max
            )));
        }
        for (name, value) in [
            ("outbox.control_bytes", self.outbox.control_bytes),
            ("inbox.control_bytes", self.inbox.control_bytes),
            ("inbox.block_bytes", self.inbox.block_bytes),
            ("quota.per_second", self.quota.per_second as usize),
            ("quota.burst", self.quota.burst as usize),
            ("dials_max", self.dials_max),
            ("half_open_per_prefix", self.half_open_per_prefix),
        ] {
            if value == 0 {
                return Err(ConfigError(format!("{name} must be at least 1")));
            }
        }
        Ok(Checked::assume(self))
    }

    fn check_times(&self) -> Result<(), ConfigError> {
        if self.keep_alive.saturating_mul(2) >= self.idle_timeout {
            return Err(ConfigError(format!(
                "keep_alive ({:?}) must be below half of idle_timeout ({:?})",
                self.keep_alive, self.idle_timeout
            )));
        }
        if self.dial_timeout.is_zero() || self.hello_timeout.is_zero() {
            return Err(ConfigError("dial_timeout and hello_timeout must exceed 0".into()));
        }
        Ok(())
    }

    fn check_windows(&self) -> Result<(), ConfigError> {
        let streams = &self.streams;
        // Blocks and control from the other side, its requests, and its answers to ours.
        let count = u64::from(streams.blocks) + 1 + 2 * u64::from(streams.requests);
        let needed = count * u64::from(streams.stream_window);
        if u64::from(streams.connection_window) < needed {
            return Err(ConfigError(format!(
                "streams.connection_window ({}) must be at least {needed}: {count} streams of {} bytes",
                streams.connection_window, streams.stream_window
            )));
        }
        let cap = Class::Block.frame_max();
        if streams.block_frame_max > cap || streams.blocks == 0 || streams.requests == 0 {
            return Err(ConfigError(format!(
                "streams.block_frame_max ({}) must be at most {cap}, and blocks and requests at least 1",
                streams.block_frame_max
            )));
        }
        Ok(())
    }
}

impl Default for InboxConfig {
    fn default() -> Self {
        Self { control_bytes: 1 << 20, block_bytes: 16 << 20 }
    }
}

impl Default for QuotaConfig {
    fn default() -> Self {
        Self { per_second: 4_000, burst: 16_000 }
    }
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self {
            blocks: 16,
            requests: 8,
            // A block of 1 MiB and what stands in front of it, without waiting for leave.
            stream_window: (1 << 20) + (64 << 10),
            connection_window: 36 << 20,
            send_window: 8 << 20,
            block_frame_max: Class::Block.frame_max(),
            patience: Duration::from_secs(10),
        }
    }
}
