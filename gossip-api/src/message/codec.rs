//! The wire form, and the only place that knows which library makes it.
//!
//! ```text
//!   frame   = length u32 LE | version u8 | class u8 | head | raw payload
//!   head    = body: bytes, signature: bytes        (bytes = length u64 LE | bytes)
//!   body    = bincode { kind u32, fields }                     (what is signed)
//! ```
//!
//! Integers are little-endian and of fixed width, so a value has one encoding. A body that says it is
//! followed by a payload says how long it is, and the frame holds exactly that much. What a plan's source
//! signs is the same for all receivers; what differs between them leads the payload, behind its own length:
//!
//! ```text
//!   payload of a plan = length u32 LE | bincode { part, block head } | data | metadata
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{
    Acknowledgement, Beats, BlockNote, Class, DataMessage, Envelope, HeaderMessage, HeaderNote,
    Hello, LeadershipMessage, MembershipRequest, MembershipResponse, Message, PeerIdentities, Plan,
    PlanPart, PlannedBlock, PrivateData, PrivateDataRequest, PrivateDataResponse, Probe,
    ProofOfLife, PullDigest, PullHello, PullKind, PullRequest, PullUpdate, Record, Share,
    ShareClass, ShareCommitment, ShareDuty, ShareReport, StateInfo, StateInfoPullRequest,
    StateInfoSnapshot, StateRequest, StateResponse, WIRE_VERSION,
};
use crate::bounded::{Blob, Bounded};
use crate::error::WireError;
use crate::id::{ChannelId, Nonce, SeqNum, ShareRoot};
use crate::ledger::Block;

/// Bytes of a frame that are neither body nor signature nor payload.
pub(crate) const FRAME_OVERHEAD: usize = LENGTH_LEN + 2 + 8 + 8;

/// Bytes of the length field, which does not count itself.
const LENGTH_LEN: usize = 4;

/// Numbers of the kinds for which [`super::Kind::rides_datagrams`] holds.
const DATAGRAM_KINDS: [u32; 2] = [12, 13];

/// A body up to here is encoded without growing a buffer: a proof of life over as many nonces as it can hold.
const SMALL_BODY: usize = 640;

/// Longest body in bytes; the membership class is the widest.
const BODY_MAX: usize = 256 << 10;

/// The body as it is encoded: as [`Message`], but blocks leave their large fields behind it.
///
/// Variants are appended, never reordered: their position is the kind on the wire.
#[derive(Serialize, Deserialize)]
enum Body {
    Record(Record),
    Beats(Beats),
    MembershipRequest(Box<MembershipRequest>),
    MembershipResponse(MembershipResponse),
    StateInfo(StateInfo),
    Data(ChannelId, BlockHead),
    Hello(PullHello),
    Digest(PullDigest),
    Request(PullRequest),
    Update(Nonce, ChannelId, BlockHead),
    StateRequest(StateRequest),
    StateResponse(Nonce, ChannelId, BlockHead),
    Probe(Probe),
    ProofOfLife(ProofOfLife),
    StateInfoPullRequest(StateInfoPullRequest),
    Leadership(LeadershipMessage),
    StateInfoSnapshot(StateInfoSnapshot),
    PeerIdentities(PeerIdentities),
    Acknowledgement(Acknowledgement),
    PrivateData(Nonce, ChannelId, PayloadHead),
    PrivateDataRequest(PrivateDataRequest),
    PrivateDataResponse(Nonce, ChannelId, PayloadHead),
    Header(ChannelId, BlockHead, u64),
    HeaderNote(HeaderNote),
    BlockNote(BlockNote),
    Plan(Plan),
    ShareCommitment(ShareCommitment),
    Share(Box<ShareHead>),
    ShareReport(ShareReport),
}

/// A share without its payload, and how long this is.
#[derive(Serialize, Deserialize)]
struct ShareHead {
    channel: ChannelId,
    number: SeqNum,
    root: ShareRoot,
    class: ShareClass,
    data_len: u64,
    index: u8,
    duty: ShareDuty,
    branch: Bounded<[u8; 32], 7>,
    payload: PayloadHead,
}

impl ShareHead {
    fn of(share: Share) -> Self {
        let payload = PayloadHead::of(&share.payload);
        let Share { channel, number, root, class, data_len, index, duty, branch, .. } = share;
        Self { channel, number, root, class, data_len, index, duty, branch, payload }
    }

    fn with_payload(self, raw: &[Bytes]) -> Result<Share, WireError> {
        let payload = self.payload.with_payload(raw)?;
        let Self { channel, number, root, class, data_len, index, duty, branch, .. } = self;
        Ok(Share { channel, number, root, class, data_len, index, duty, branch, payload })
    }
}

/// A block without its large fields, and how long these are.
#[derive(Serialize, Deserialize)]
struct BlockHead {
    number: SeqNum,
    previous_hash: Blob<64>,
    data_hash: Blob<64>,
    data_len: u64,
    metadata_len: u64,
}

impl BlockHead {
    fn of(block: &Block) -> Self {
        Self {
            number: block.number,
            // A longer hash cannot come from `split` below and is cut here, which no verifier accepts.
            previous_hash: Blob::new(block.previous_hash.clone()).unwrap_or_default(),
            data_hash: Blob::new(block.data_hash.clone()).unwrap_or_default(),
            data_len: block.data.len() as u64,
            metadata_len: block.metadata.len() as u64,
        }
    }

    fn with_payload(self, raw: &[Bytes]) -> Result<Block, WireError> {
        let (data, metadata) = match raw {
            [] if self.data_len == 0 && self.metadata_len == 0 => (Bytes::new(), Bytes::new()),
            [joined] => self.cut(joined)?,
            [data, metadata]
                if data.len() as u64 == self.data_len
                    && metadata.len() as u64 == self.metadata_len =>
            {
                (data.clone(), metadata.clone())
            }
            _ => return Err(WireError::Misplaced("payload of another length")),
        };
        Ok(Block {
            number: self.number,
            previous_hash: self.previous_hash.into_bytes(),
            data_hash: self.data_hash.into_bytes(),
            data,
            metadata,
        })
    }

    fn cut(&self, joined: &Bytes) -> Result<(Bytes, Bytes), WireError> {
        let total = self.data_len.checked_add(self.metadata_len);
        let at = usize::try_from(self.data_len).ok();
        match (total, at) {
            (Some(total), Some(at)) if total == joined.len() as u64 && total > 0 => {
                Ok((joined.slice(..at), joined.slice(at..)))
            }
            _ => Err(WireError::Misplaced("payload of another length")),
        }
    }
}

/// How long an opaque payload is.
#[derive(Serialize, Deserialize)]
struct PayloadHead {
    len: u64,
}

impl PayloadHead {
    fn of(payload: &Bytes) -> Self {
        Self { len: payload.len() as u64 }
    }

    fn with_payload(self, raw: &[Bytes]) -> Result<Bytes, WireError> {
        match raw {
            [] if self.len == 0 => Ok(Bytes::new()),
            [payload] if payload.len() as u64 == self.len && self.len > 0 => Ok(payload.clone()),
            _ => Err(WireError::Misplaced("payload of another length")),
        }
    }
}

const fn config() -> impl bincode::config::Config {
    bincode::config::legacy().with_limit::<{ BODY_MAX + 1024 }>()
}

fn to_bytes<T: Serialize>(value: &T) -> Vec<u8> {
    // Every wire type serializes into memory without a fallible step of its own.
    bincode::serde::encode_to_vec(value, config()).unwrap_or_default()
}

/// As [`to_bytes`], but a small body, as nearly all are, is measured on the stack and allocated once.
fn encode_body(body: &Body) -> Bytes {
    let mut small = [0; SMALL_BODY];
    match bincode::serde::encode_into_slice(body, &mut small, config()) {
        Ok(len) => Bytes::copy_from_slice(small.get(..len).unwrap_or_default()),
        Err(_) => to_bytes(body).into(),
    }
}

fn from_prefix<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<(T, usize), WireError> {
    bincode::serde::borrow_decode_from_slice(bytes, config())
        .map_err(|error| WireError::Malformed(error.to_string()))
}

fn from_exact<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    let (value, read) = from_prefix(bytes)?;
    match bytes.len().saturating_sub(read) {
        0 => Ok(value),
        trailing => Err(WireError::Trailing(trailing)),
    }
}

/// The body of a message, and its payload.
pub(crate) fn encode(message: &Message) -> (Bytes, Vec<Bytes>) {
    (encode_body(&body_of(message)), raw_of(message))
}

/// What follows the body raw.
fn raw_of(message: &Message) -> Vec<Bytes> {
    let parts = match (message, message.block()) {
        (Message::Plan(planned), _) => {
            let block = &planned.block;
            vec![lead_of(planned), block.data.clone(), block.metadata.clone()]
        }
        (Message::Header(header), _) => vec![header.block.metadata.clone()],
        (_, Some(block)) => vec![block.data.clone(), block.metadata.clone()],
        (Message::PrivateData(PrivateData { payload, .. }), _)
        | (Message::PrivateDataResponse(PrivateDataResponse { payload, .. }), _)
        | (Message::Share(Share { payload, .. }), _) => {
            vec![payload.clone()]
        }
        (_, None) => Vec::new(),
    };
    if parts.iter().all(Bytes::is_empty) { Vec::new() } else { parts }
}

fn body_of(message: &Message) -> Body {
    match message.clone() {
        Message::Record(record) => Body::Record(record),
        Message::Beats(beats) => Body::Beats(beats),
        Message::MembershipRequest(request) => Body::MembershipRequest(Box::new(request)),
        Message::MembershipResponse(response) => Body::MembershipResponse(response),
        Message::StateInfo(info) => Body::StateInfo(info),
        Message::Data(data) => Body::Data(data.channel, BlockHead::of(&data.block)),
        Message::Hello(hello) => Body::Hello(hello),
        Message::Digest(digest) => Body::Digest(digest),
        Message::Request(request) => Body::Request(request),
        Message::Update(update) => {
            Body::Update(update.nonce, update.channel, BlockHead::of(&update.block))
        }
        Message::StateRequest(request) => Body::StateRequest(request),
        Message::StateResponse(response) => {
            Body::StateResponse(response.nonce, response.channel, BlockHead::of(&response.block))
        }
        Message::Probe(probe) => Body::Probe(probe),
        Message::ProofOfLife(proof) => Body::ProofOfLife(proof),
        Message::StateInfoPullRequest(request) => Body::StateInfoPullRequest(request),
        Message::Leadership(claim) => Body::Leadership(claim),
        Message::StateInfoSnapshot(snapshot) => Body::StateInfoSnapshot(snapshot),
        Message::PeerIdentities(identities) => Body::PeerIdentities(identities),
        Message::Acknowledgement(acknowledgement) => Body::Acknowledgement(acknowledgement),
        Message::PrivateData(data) => {
            Body::PrivateData(data.nonce, data.channel, PayloadHead::of(&data.payload))
        }
        Message::PrivateDataRequest(request) => Body::PrivateDataRequest(request),
        Message::PrivateDataResponse(response) => {
            let head = PayloadHead::of(&response.payload);
            Body::PrivateDataResponse(response.nonce, response.channel, head)
        }
        Message::Header(header) => {
            let head = BlockHead { data_len: 0, ..BlockHead::of(&header.block) };
            Body::Header(header.channel, head, header.data_len)
        }
        Message::HeaderNote(note) => Body::HeaderNote(note),
        Message::BlockNote(note) => Body::BlockNote(note),
        Message::Plan(planned) => Body::Plan(planned.plan),
        Message::ShareCommitment(commitment) => Body::ShareCommitment(commitment),
        Message::Share(share) => Body::Share(Box::new(ShareHead::of(share))),
        Message::ShareReport(report) => Body::ShareReport(report),
    }
}

/// What leads the payload of a plan.
#[derive(Serialize, Deserialize)]
struct PlanLead {
    part: PlanPart,
    head: BlockHead,
}

/// Longest lead: of a part with every member it may have.
const PLAN_LEAD_MAX: usize = 256 << 10;

fn lead_of(planned: &PlannedBlock) -> Bytes {
    let lead = PlanLead { part: planned.part.clone(), head: BlockHead::of(&planned.block) };
    let lead = to_bytes(&lead);
    let mut bytes = u32::try_from(lead.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
    bytes.extend(lead);
    bytes.into()
}

fn planned(plan: Plan, raw: &[Bytes]) -> Result<PlannedBlock, WireError> {
    let (first, rest) = raw.split_first().ok_or(WireError::Misplaced("plan without a payload"))?;
    let found = first.len();
    let (length, _) = first.split_first_chunk().ok_or(WireError::Truncated { needed: 4, found })?;
    let needed = (u32::from_le_bytes(*length) as usize).saturating_add(4);
    if needed > PLAN_LEAD_MAX {
        return Err(WireError::TooLarge { found: needed, max: PLAN_LEAD_MAX });
    }
    let lead = first.get(4..needed).ok_or(WireError::Truncated { needed, found })?;
    let PlanLead { part, head } = from_exact(lead)?;
    let behind = first.slice(needed..);
    let block = match (behind.is_empty(), rest) {
        (false, []) => head.with_payload(&[behind])?,
        (true, rest) => head.with_payload(rest)?,
        (false, _) => return Err(WireError::Misplaced("payload of another length")),
    };
    Ok(PlannedBlock { plan, part, block })
}

/// The message of a body and its payload.
pub(crate) fn decode(body: &[u8], raw: &[Bytes]) -> Result<Message, WireError> {
    let body: Body = from_exact(body)?;
    let message = match body {
        Body::Data(channel, head) => {
            let block = head.with_payload(raw)?;
            return Ok(Message::Data(DataMessage { channel, block }));
        }
        Body::Update(nonce, channel, head) => {
            let block = head.with_payload(raw)?;
            return Ok(Message::Update(PullUpdate { nonce, channel, block }));
        }
        Body::StateResponse(nonce, channel, head) => {
            let block = head.with_payload(raw)?;
            return Ok(Message::StateResponse(StateResponse { nonce, channel, block }));
        }
        Body::PrivateData(nonce, channel, head) => {
            let payload = head.with_payload(raw)?;
            return Ok(Message::PrivateData(PrivateData { nonce, channel, payload }));
        }
        Body::PrivateDataResponse(nonce, channel, head) => {
            let payload = head.with_payload(raw)?;
            let response = PrivateDataResponse { nonce, channel, payload };
            return Ok(Message::PrivateDataResponse(response));
        }
        Body::Header(channel, head, data_len) => {
            if head.data_len != 0 {
                return Err(WireError::Misplaced("data behind a header"));
            }
            let block = head.with_payload(raw)?;
            return Ok(Message::Header(HeaderMessage { channel, block, data_len }));
        }
        Body::Plan(plan) => return planned(plan, raw).map(Message::Plan),
        Body::HeaderNote(note) => Message::HeaderNote(note),
        Body::BlockNote(note) => Message::BlockNote(note),
        Body::Share(head) => return Ok(Message::Share(head.with_payload(raw)?)),
        Body::Record(record) => Message::Record(record),
        Body::Beats(beats) => Message::Beats(beats),
        Body::MembershipRequest(request) => Message::MembershipRequest(*request),
        Body::MembershipResponse(response) => Message::MembershipResponse(response),
        Body::StateInfo(info) => Message::StateInfo(info),
        Body::Hello(hello) => {
            Message::Hello(of_its_kind(hello.kind, &hello.channel).map(|()| hello)?)
        }
        Body::Digest(digest) => {
            Message::Digest(of_its_kind(digest.kind, &digest.channel).map(|()| digest)?)
        }
        Body::Request(request) => {
            Message::Request(of_its_kind(request.kind, &request.channel).map(|()| request)?)
        }
        Body::StateRequest(request) => Message::StateRequest(request),
        Body::Probe(probe) => Message::Probe(probe),
        Body::ProofOfLife(proof) => Message::ProofOfLife(proof),
        Body::StateInfoPullRequest(request) => Message::StateInfoPullRequest(request),
        Body::Leadership(claim) => Message::Leadership(claim),
        Body::StateInfoSnapshot(snapshot) => Message::StateInfoSnapshot(snapshot),
        Body::PeerIdentities(identities) => Message::PeerIdentities(identities),
        Body::Acknowledgement(acknowledgement) => Message::Acknowledgement(acknowledgement),
        Body::PrivateDataRequest(request) => Message::PrivateDataRequest(request),
        Body::ShareCommitment(commitment) => Message::ShareCommitment(commitment),
        Body::ShareReport(report) => Message::ShareReport(report),
    };
    if raw.is_empty() { Ok(message) } else { Err(WireError::Misplaced("payload not announced")) }
}

fn of_its_kind(kind: PullKind, channel: &ChannelId) -> Result<(), WireError> {
    let misplaced = WireError::Misplaced("channel in a pull of identities");
    if kind.fits(channel) { Ok(()) } else { Err(misplaced) }
}

/// Whether a body says that its kind travels as datagrams, without reading more of it.
pub(crate) fn rides_datagrams(body: &[u8]) -> bool {
    let kind = body.first_chunk().copied().map(u32::from_le_bytes);
    kind.is_some_and(|kind| DATAGRAM_KINDS.contains(&kind))
}

/// Length field, head and payload of a frame.
///
/// # Errors
/// If the message is larger than its class, or any body, may be.
pub(crate) fn encode_frame(envelope: &Envelope) -> Result<Vec<Bytes>, WireError> {
    let length = frame_length(envelope)?;
    let raw = envelope.raw().iter().filter(|part| !part.is_empty());
    let mut parts = Vec::with_capacity(1 + envelope.raw().len());
    let mut front = BytesMut::with_capacity(FRAME_OVERHEAD + envelope.front_len());
    put_front(envelope, length, &mut front);
    parts.push(front.freeze());
    parts.extend(raw.cloned());
    Ok(parts)
}

/// As [`encode_frame`], behind what is in `out` already; nothing is appended in case of an error.
pub(crate) fn encode_frame_into(envelope: &Envelope, out: &mut BytesMut) -> Result<(), WireError> {
    let length = frame_length(envelope)?;
    out.reserve(envelope.encoded_len());
    put_front(envelope, length, out);
    envelope.raw().iter().for_each(|part| out.extend_from_slice(part));
    Ok(())
}

/// What the length field says, within every cap.
fn frame_length(envelope: &Envelope) -> Result<u32, WireError> {
    let (body, signature) = (envelope.body().len(), envelope.signature().len());
    for (found, max) in [(body, BODY_MAX), (signature, Envelope::SIGNATURE_MAX)] {
        if found > max {
            return Err(WireError::TooLarge { found, max });
        }
    }
    let (found, max) = (envelope.encoded_len() - LENGTH_LEN, envelope.class().frame_max());
    u32::try_from(found).ok().filter(|_| found <= max).ok_or(WireError::TooLarge { found, max })
}

/// Length field and head. The head is written by hand: it is two byte strings.
fn put_front(envelope: &Envelope, length: u32, out: &mut BytesMut) {
    out.put_u32_le(length);
    out.put_u8(WIRE_VERSION);
    out.put_u8(envelope.class().to_byte());
    for part in [envelope.body(), envelope.signature()] {
        out.put_u64_le(part.len() as u64);
        out.extend_from_slice(part);
    }
}

/// Reads version and class of a frame, for the cap that applies to it, before the rest is there.
///
/// # Errors
/// If the version or the class is not known, or `length` exceeds the class's cap.
pub fn peek(length: u32, version: u8, class: u8) -> Result<Class, WireError> {
    if version != WIRE_VERSION {
        return Err(WireError::Version(version));
    }
    let class = Class::from_byte(class).ok_or(WireError::Class(class))?;
    let found = length as usize;
    if found > class.frame_max() {
        return Err(WireError::TooLarge { found, max: class.frame_max() });
    }
    Ok(class)
}

/// A frame without its length field. Body, signature and payload are slices of it.
pub(crate) fn decode_frame(frame: &Bytes) -> Result<Envelope, WireError> {
    let [version, class, ..] = frame.as_ref() else {
        return Err(WireError::Truncated { needed: 2, found: frame.len() });
    };
    let class = peek(u32::try_from(frame.len()).unwrap_or(u32::MAX), *version, *class)?;
    let mut rest = frame.slice(2..);
    let body = take_bytes(&mut rest, BODY_MAX)?;
    let signature = Blob::new(take_bytes(&mut rest, Envelope::SIGNATURE_MAX)?);
    let signature = signature.map_err(|error| WireError::Malformed(error.to_string()))?;
    Ok(Envelope::from_parts(class, body, signature, rest))
}

/// Takes one frame, its length field included, off the front of `bytes`.
pub(crate) fn take_frame(bytes: &mut Bytes) -> Result<Envelope, WireError> {
    let found = bytes.len();
    let truncated = |needed| WireError::Truncated { needed, found };
    let length = bytes.first_chunk::<LENGTH_LEN>().copied().map(u32::from_le_bytes);
    let length = length.ok_or_else(|| truncated(LENGTH_LEN))? as usize;
    let end = LENGTH_LEN.saturating_add(length);
    if found < end {
        return Err(truncated(end));
    }
    let envelope = decode_frame(&bytes.slice(LENGTH_LEN..end))?;
    bytes.advance(end);
    Ok(envelope)
}

/// Cuts a byte string off the front: u64 length, then the bytes.
fn take_bytes(rest: &mut Bytes, max: usize) -> Result<Bytes, WireError> {
    const LEN: usize = size_of::<u64>();
    let truncated = |needed| WireError::Truncated { needed, found: rest.len() };
    let len = rest.first_chunk::<LEN>().copied().map(u64::from_le_bytes);
    let len = usize::try_from(len.ok_or_else(|| truncated(LEN))?).unwrap_or(usize::MAX);
    if len > max {
        return Err(WireError::TooLarge { found: len, max });
    }
    if rest.len() - LEN < len {
        return Err(truncated(LEN + len));
    }
    rest.advance(LEN);
    Ok(rest.split_to(len))
}

pub(crate) fn encode_hello(hello: &Hello) -> Result<Vec<u8>, WireError> {
    let body = to_bytes(hello);
    let found = body.len();
    if found > Hello::ENCODED_MAX {
        return Err(WireError::TooLarge { found, max: Hello::ENCODED_MAX });
    }
    let mut out = u32::try_from(found).unwrap_or(u32::MAX).to_le_bytes().to_vec();
    out.extend(body);
    Ok(out)
}

pub(crate) fn decode_hello(body: &[u8]) -> Result<Hello, WireError> {
    if body.len() > Hello::ENCODED_MAX {
        return Err(WireError::TooLarge { found: body.len(), max: Hello::ENCODED_MAX });
    }
    from_exact(body)
}
