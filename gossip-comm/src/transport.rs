//! How QUIC is set up, before and after the hello.

use std::time::Duration;

use gossip_api::message::CloseReason;
use quinn_proto::{ConnectionError, IdleTimeout, TransportConfig, VarInt};

use crate::comm::DisconnectCause;
use crate::config::CommConfig;

/// Flow control of a connection that has not said hello: room for that and nothing else.
pub(crate) fn transport(config: &CommConfig) -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(1u8.into())
        .max_concurrent_uni_streams(0u8.into())
        .stream_receive_window(config.streams.stream_window.into())
        .receive_window(UNKNOWN_WINDOW.into())
        .send_window(u64::from(config.streams.send_window))
        .max_idle_timeout(IdleTimeout::try_from(config.idle_timeout).ok())
        .keep_alive_interval(Some(config.keep_alive))
        .initial_rtt(INITIAL_RTT)
        .datagram_receive_buffer_size(Some(DATAGRAM_BYTES))
        .datagram_send_buffer_size(DATAGRAM_BYTES)
        .enable_segmentation_offload(config.segmentation_offload);
    transport
}

/// Flow control once the other side has proved who it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Widths {
    /// Bytes that may be under way on all streams.
    pub(crate) window: VarInt,
    /// Blocks, and the control stream.
    pub(crate) uni: VarInt,
    /// Requests.
    pub(crate) bidi: VarInt,
}

impl Widths {
    pub(crate) fn of(config: &CommConfig) -> Self {
        let streams = &config.streams;
        Self {
            window: streams.connection_window.into(),
            uni: (streams.blocks + 1).into(),
            bidi: streams.requests.into(),
        }
    }
}

/// Why a connection is gone; `closed_for` is what we closed it for, if we did.
pub(crate) fn cause(
    error: Option<&ConnectionError>,
    closed_for: Option<CloseReason>,
) -> DisconnectCause {
    match error {
        Some(ConnectionError::ApplicationClosed(close)) => {
            DisconnectCause::Remote(CloseReason::from_code(close.error_code.into_inner()))
        }
        Some(ConnectionError::LocallyClosed) => {
            DisconnectCause::Local(closed_for.unwrap_or(CloseReason::Done))
        }
        Some(ConnectionError::TimedOut) => DisconnectCause::Silent,
        Some(
            ConnectionError::VersionMismatch
            | ConnectionError::TransportError(_)
            | ConnectionError::ConnectionClosed(_)
            | ConnectionError::Reset
            | ConnectionError::CidsExhausted,
        )
        | None => DisconnectCause::Broken,
    }
}

/// Code with which a stream is stopped or reset when it is given up.
pub(crate) const GIVEN_UP: u32 = 1;
/// Code with which an answer is refused.
pub(crate) const REFUSED: u32 = 2;
/// Control messages go before blocks and answers whenever packets are scarce.
pub(crate) const CONTROL_PRIORITY: i32 = 2;
/// Bytes of control messages handed to their stream at once.
pub(crate) const BATCH_BYTES: usize = 64 << 10;
/// How long a retired link may take to end in good order.
pub(crate) const RETIREMENT: Duration = Duration::from_secs(10);
/// Round trip assumed before the first is measured: continents are near enough, and a first lost packet
/// (or the end of a connection that never answered) costs a third of the protocol's own guess.
const INITIAL_RTT: Duration = Duration::from_millis(100);
/// Connection window before the hello: one hello fits, and little else.
const UNKNOWN_WINDOW: u32 = 16 << 10;
/// Datagrams that wait to be read or sent, the oldest given up first: a few full ones.
const DATAGRAM_BYTES: usize = 16 << 10;
