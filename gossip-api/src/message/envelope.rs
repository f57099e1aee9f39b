//! From bytes to messages.

use std::fmt;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::{Class, Message, Record, StateInfo, codec};
use crate::bounded::Blob;
use crate::error::{CryptoError, WireError};
use crate::id::NetworkId;

/// A message as bytes: its body, its signature, and the large payload behind them.
///
/// The bytes are those received: what is verified, stored and relayed is never encoded again.
// fabric: gossip/message.proto Envelope
#[derive(Clone)]
pub struct Envelope {
    class: Class,
    body: Bytes,
    signature: Blob<{ Envelope::SIGNATURE_MAX }>,
    /// Block data and metadata, in this order; joined in one piece when they came over the wire.
    raw: Vec<Bytes>,
}

impl Envelope {
    /// Longest signature in bytes: DER of P-384 fits.
    pub const SIGNATURE_MAX: usize = 112;

    /// Wraps a message without a signature.
    pub fn unsigned(message: &Message) -> Self {
        let (body, raw) = codec::encode(message);
        Self { class: message.kind().class(), body, signature: Blob::default(), raw }
    }

    /// The same with a signature.
    ///
    /// # Errors
    /// If the signature is longer than [`Self::SIGNATURE_MAX`].
    pub fn with_signature(self, signature: Bytes) -> Result<Self, CryptoError> {
        let signature =
            Blob::new(signature).map_err(|error| CryptoError::Sign(error.to_string()))?;
        Ok(Self { signature, ..self })
    }

    pub(crate) fn from_parts(
        class: Class,
        body: Bytes,
        signature: Blob<{ Envelope::SIGNATURE_MAX }>,
        raw: Bytes,
    ) -> Self {
        Self { class, body, signature, raw: if raw.is_empty() { Vec::new() } else { vec![raw] } }
    }

    /// Reads one frame, without the length in front of it. Body, signature and payload are slices of
    /// `frame`, and keep all of it in memory: see [`detached`](Self::detached).
    ///
    /// # Errors
    /// If the frame is longer than its class allows, of another version, or not canonical.
    pub fn decode(frame: &Bytes) -> Result<Self, WireError> {
        codec::decode_frame(frame)
    }

    /// Takes one frame, the length in front of it too, off the front of `bytes`, which it keeps in memory
    /// as [`decode`](Self::decode) does.
    ///
    /// # Errors
    /// As [`decode`](Self::decode), or if there is no whole frame; `bytes` is as it was then.
    pub fn take(bytes: &mut Bytes) -> Result<Self, WireError> {
        codec::take_frame(bytes)
    }

    /// The frame: a u32 little-endian length, the head, and the large payload, not copied.
    ///
    /// # Errors
    /// If it is larger than its class or a body may be: nobody would read it.
    pub fn encode(&self) -> Result<Vec<Bytes>, WireError> {
        codec::encode_frame(self)
    }

    /// The same signed bytes with the payload of `message`; nothing if they are not that message's.
    pub(crate) fn with_payload_of(&self, message: &Message) -> Option<Self> {
        let (body, raw) = codec::encode(message);
        (body == self.body).then(|| Self { raw, ..self.clone() })
    }

    /// Appends the frame to `out`, the payload too.
    ///
    /// # Errors
    /// As [`encode`](Self::encode); `out` is as it was then.
    pub fn encode_into(&self, out: &mut BytesMut) -> Result<(), WireError> {
        codec::encode_frame_into(self, out)
    }

    /// The same with body and signature in memory of their own, for whoever keeps it: a small message
    /// must not keep the buffer that it came in. The payload is not copied.
    #[must_use]
    pub fn detached(self) -> Self {
        let body = Bytes::copy_from_slice(&self.body);
        let signature = Blob::copy_from(&self.signature);
        Self { body, signature, ..self }
    }

    /// Bytes that [`encode`](Self::encode) gives: what queues count.
    pub fn encoded_len(&self) -> usize {
        codec::FRAME_OVERHEAD + self.front_len() + self.raw.iter().map(Bytes::len).sum::<usize>()
    }

    /// Bytes of body and signature.
    pub(crate) fn front_len(&self) -> usize {
        self.body.len() + self.signature.as_bytes().len()
    }

    /// Reads the message in it. It is not trusted yet.
    ///
    /// # Errors
    /// If the body does not decode, or does not fit the frame's class or payload.
    pub fn open(self) -> Result<SignedMessage, WireError> {
        let message = codec::decode(&self.body, &self.raw)?;
        if message.kind().class() != self.class {
            return Err(WireError::Misplaced("kind of another class"));
        }
        Ok(SignedMessage { message, envelope: self })
    }

    /// The envelope of a message that travelled inside another one.
    fn inner(body: &Bytes, signature: &Blob<{ Envelope::SIGNATURE_MAX }>) -> Self {
        let (body, signature) = (body.clone(), signature.clone());
        Self { class: Class::Control, body, signature, raw: Vec::new() }
    }

    /// Whether its kind travels as datagrams where it fits one.
    pub fn rides_datagrams(&self) -> bool {
        codec::rides_datagrams(&self.body)
    }

    /// The class of the frame.
    pub const fn class(&self) -> Class {
        self.class
    }

    /// The signed bytes, without their domain.
    pub const fn body(&self) -> &Bytes {
        &self.body
    }

    /// The signature; empty for kinds vouched for by connections.
    pub fn signature(&self) -> &Bytes {
        self.signature.as_bytes()
    }

    pub(crate) fn raw(&self) -> &[Bytes] {
        &self.raw
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Envelope({:?}, {} bytes)", self.class, self.encoded_len())
    }
}

/// A decoded message that nobody has vouched for yet.
#[derive(Clone, Debug)]
pub struct SignedMessage {
    /// The message.
    pub message: Message,
    /// The bytes it came in.
    pub envelope: Envelope,
}

/// A signed record as it travels inside other messages.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedRecord {
    body: Blob<2048>,
    signature: Blob<{ Envelope::SIGNATURE_MAX }>,
}

impl SealedRecord {
    /// Takes the bytes of a record's envelope; nothing for another message, or one too long.
    pub fn from_envelope(envelope: &Envelope) -> Option<Self> {
        if !envelope.raw.is_empty() {
            return None;
        }
        let body = Blob::new(envelope.body.clone()).ok()?;
        Some(Self { body, signature: envelope.signature.clone() })
    }

    /// Its member's signature.
    pub fn signature(&self) -> &Bytes {
        self.signature.as_bytes()
    }

    /// Reads the record. It is not trusted yet.
    ///
    /// # Errors
    /// If the bytes are not exactly one record.
    pub fn open(&self) -> Result<(Record, SignedMessage), WireError> {
        let signed = Envelope::inner(self.body.as_bytes(), &self.signature).open()?;
        let record = signed.message.clone().into_record();
        let record = record.ok_or(WireError::Misplaced("another message in a record's place"))?;
        Ok((record, signed))
    }
}

impl fmt::Debug for SealedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedRecord({} bytes)", self.body.as_bytes().len())
    }
}

/// A signed state info as it travels inside a snapshot.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedStateInfo {
    body: Blob<128>,
    signature: Blob<{ Envelope::SIGNATURE_MAX }>,
}

impl SealedStateInfo {
    /// Takes the bytes of a state info's envelope; nothing for another message.
    pub fn from_envelope(envelope: &Envelope) -> Option<Self> {
        let body = Blob::new(envelope.body.clone()).ok()?;
        let sealed = Self { body, signature: envelope.signature.clone() };
        (envelope.raw.is_empty() && sealed.open().is_ok()).then_some(sealed)
    }

    /// Reads the state info. It is not trusted yet.
    ///
    /// # Errors
    /// If the bytes are not exactly one state info.
    pub fn open(&self) -> Result<(StateInfo, SignedMessage), WireError> {
        let signed = Envelope::inner(self.body.as_bytes(), &self.signature).open()?;
        let Message::StateInfo(info) = &signed.message else {
            return Err(WireError::Misplaced("another message in a state info's place"));
        };
        Ok((info.clone(), signed))
    }
}

impl fmt::Debug for SealedStateInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedStateInfo({} bytes)", self.body.as_bytes().len())
    }
}

/// The bytes that are signed: no part can be mistaken for another, for another kind, network or
/// channel, or for anything that Fabric signs (no protobuf begins with a zero byte).
///
/// `0x00 || "fabric-gossip/1" || 0x00 || lp(kind) || lp(network) || lp(channel) || lp(body)`, where
/// lp is the length as u32 little-endian and the bytes.
pub fn signed_bytes(kind: &str, network: &NetworkId, channel: &[u8], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + channel.len() + 64);
    out.push(0);
    out.extend_from_slice(b"fabric-gossip/1\0");
    for part in [kind.as_bytes(), network.as_str().as_bytes(), channel, body] {
        out.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(part);
    }
    out
}
