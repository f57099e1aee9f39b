//! Shapes of what travels between Deliver and Broadcast clients and their servers. Field numbers are Fabric's.

use bytes::Bytes;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Envelope {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) payload: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) signature: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Payload {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<Header>,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) data: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Header {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) channel_header: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) signature_header: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ChannelHeader {
    #[prost(int32, tag = "1")]
    pub(crate) kind: i32,
    #[prost(int32, tag = "2")]
    pub(crate) version: i32,
    #[prost(message, optional, tag = "3")]
    pub(crate) timestamp: Option<Timestamp>,
    #[prost(string, tag = "4")]
    pub(crate) channel_id: String,
    #[prost(string, tag = "5")]
    pub(crate) tx_id: String,
    #[prost(uint64, tag = "6")]
    pub(crate) epoch: u64,
    #[prost(bytes = "bytes", tag = "7")]
    pub(crate) extension: Bytes,
    #[prost(bytes = "bytes", tag = "8")]
    pub(crate) tls_cert_hash: Bytes,
}

/// `common.HeaderType`.
pub(crate) mod kind {
    pub(crate) const CONFIG: i32 = 1;
    pub(crate) const CONFIG_UPDATE: i32 = 2;
    pub(crate) const ENDORSER_TRANSACTION: i32 = 3;
    pub(crate) const DELIVER_SEEK_INFO: i32 = 5;
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(crate) nanos: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SignatureHeader {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) creator: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) nonce: Bytes,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct SeekInfo {
    #[prost(message, optional, tag = "1")]
    pub(crate) start: Option<SeekPosition>,
    #[prost(message, optional, tag = "2")]
    pub(crate) stop: Option<SeekPosition>,
    #[prost(int32, tag = "3")]
    pub(crate) behavior: i32,
    #[prost(int32, tag = "4")]
    pub(crate) error_response: i32,
    #[prost(int32, tag = "5")]
    pub(crate) content_type: i32,
}

impl SeekInfo {
    /// Wait for blocks that are not there yet.
    pub(crate) const BLOCK_UNTIL_READY: i32 = 0;
    /// Give up at the first block that is not there.
    pub(crate) const FAIL_IF_NOT_READY: i32 = 1;
    /// Whole blocks.
    pub(crate) const BLOCK: i32 = 0;
    /// Header and signatures; config blocks come whole.
    pub(crate) const HEADER_WITH_SIG: i32 = 1;
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct SeekPosition {
    #[prost(oneof = "Position", tags = "1, 2, 3, 4")]
    pub(crate) position: Option<Position>,
}

impl SeekPosition {
    /// The block of this number.
    pub(crate) const fn at(number: u64) -> Self {
        Self { position: Some(Position::Specified(Specified { number })) }
    }

    /// The newest block.
    pub(crate) const NEWEST: Self = Self { position: Some(Position::Newest(Nothing {})) };
}

#[derive(Clone, Copy, PartialEq, prost::Oneof)]
pub(crate) enum Position {
    #[prost(message, tag = "1")]
    Newest(Nothing),
    #[prost(message, tag = "2")]
    Oldest(Nothing),
    #[prost(message, tag = "3")]
    Specified(Specified),
    #[prost(message, tag = "4")]
    NextCommit(Nothing),
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Nothing {}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Specified {
    #[prost(uint64, tag = "1")]
    pub(crate) number: u64,
}

/// `orderer.DeliverResponse`, and `protos.DeliverResponse` of Fabric's peers, which begins alike.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct DeliverResponse {
    #[prost(oneof = "Reply", tags = "1, 2")]
    pub(crate) reply: Option<Reply>,
}

/// A block stays as it came: a message field and a field of bytes look alike on the wire.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Reply {
    #[prost(int32, tag = "1")]
    Status(i32),
    #[prost(bytes = "bytes", tag = "2")]
    Block(Bytes),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct BroadcastResponse {
    #[prost(int32, tag = "1")]
    pub(crate) status: i32,
    #[prost(string, tag = "2")]
    pub(crate) info: String,
}

/// `common.Metadata` with the signatures of a block.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Metadata {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) value: Bytes,
    #[prost(message, repeated, tag = "2")]
    pub(crate) signatures: Vec<MetadataSignature>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MetadataSignature {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) signature_header: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) signature: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct OrdererBlockMetadata {
    #[prost(message, optional, tag = "1")]
    pub(crate) last_config: Option<LastConfig>,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) consenter_metadata: Bytes,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct LastConfig {
    #[prost(uint64, tag = "1")]
    pub(crate) index: u64,
}

/// `common.BlockData` or `common.BlockMetadata`: both are a list of bytes.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Entries {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub(crate) entries: Vec<Bytes>,
}

/// `common.Status`, as far as it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Success,
    BadRequest,
    Forbidden,
    NotFound,
    InternalServerError,
    ServiceUnavailable,
}

impl Status {
    pub(crate) const fn code(self) -> i32 {
        match self {
            Self::Success => 200,
            Self::BadRequest => 400,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::InternalServerError => 500,
            Self::ServiceUnavailable => 503,
        }
    }
}

/// What a status of an ordering service means for its client, and what to do about it.
pub(crate) fn advice(code: i32) -> String {
    match code {
        400 => "BAD_REQUEST: compare the clocks, and the TLS certificate with the one it was told of".into(),
        403 => "FORBIDDEN: the channel's Readers or Writers policy does not accept this identity; check that it is neither expired nor revoked and its organisation is in the channel".into(),
        404 => "NOT_FOUND: it does not serve the channel, or not so many blocks".into(),
        413 => "REQUEST_ENTITY_TOO_LARGE: the message exceeds the channel's AbsoluteMaxBytes".into(),
        503 => "SERVICE_UNAVAILABLE: it has no consenter for the channel now".into(),
        500 => "INTERNAL_SERVER_ERROR: see its log".into(),
        other => format!("status {other}"),
    }
}
