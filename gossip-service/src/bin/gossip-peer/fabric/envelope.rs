//! Signed envelopes: made, and taken apart.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use gossip_api::{ChannelId, CryptoError, MessageCryptoService, PeerIdentity};
use prost::Message as _;

use super::shapes::{ChannelHeader, Envelope, Header, Payload, SignatureHeader, Timestamp};

/// Signs as one identity.
#[derive(Clone)]
pub(crate) struct Signer {
    pub(crate) identity: PeerIdentity,
    pub(crate) mcs: Arc<dyn MessageCryptoService>,
}

/// What an envelope is to carry.
#[derive(Debug)]
pub(crate) struct Contents<'a> {
    /// `common.HeaderType`.
    pub(crate) kind: i32,
    pub(crate) channel: &'a ChannelId,
    /// Hash of our TLS certificate; empty if there is none.
    pub(crate) tls_cert_hash: Bytes,
    /// Whether it is a transaction, which has an id.
    pub(crate) is_transaction: bool,
    pub(crate) data: Bytes,
}

impl Signer {
    /// An envelope signed now.
    pub(crate) fn seal(&self, contents: Contents<'_>) -> Result<Envelope, CryptoError> {
        let nonce = nonce()?;
        let creator = self.identity.as_bytes();
        let tx_id = if contents.is_transaction {
            hex(&peer_mcs::sha256(&[&nonce[..], &creator[..]].concat()))
        } else {
            String::new()
        };
        let channel_header = ChannelHeader {
            kind: contents.kind,
            timestamp: Some(now()),
            channel_id: contents.channel.as_str().to_owned(),
            tx_id,
            tls_cert_hash: contents.tls_cert_hash,
            ..ChannelHeader::default()
        };
        let signature_header = SignatureHeader { creator: creator.clone(), nonce };
        let header = Header {
            channel_header: channel_header.encode_to_vec().into(),
            signature_header: signature_header.encode_to_vec().into(),
        };
        let payload: Bytes =
            Payload { header: Some(header), data: contents.data }.encode_to_vec().into();
        let signature = self.sign(&payload)?;
        Ok(Envelope { payload, signature })
    }

    /// A signature header of ours, serialized, with a new nonce.
    pub(crate) fn signature_header(&self) -> Result<Bytes, CryptoError> {
        let creator = self.identity.as_bytes().clone();
        Ok(SignatureHeader { creator, nonce: nonce()? }.encode_to_vec().into())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<Bytes, CryptoError> {
        self.mcs.sign(message)
    }
}

/// An envelope taken apart; nothing of it is verified.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    /// What the signature is over.
    pub(crate) payload: Bytes,
    pub(crate) signature: Bytes,
    pub(crate) channel_header: ChannelHeader,
    pub(crate) creator: Bytes,
    pub(crate) data: Bytes,
}

/// Takes an envelope apart; the error says what is malformed.
pub(crate) fn open(bytes: &Bytes) -> Result<Opened, String> {
    let wrong = |what: &str, error: prost::DecodeError| format!("{what} does not decode: {error}");
    let envelope = Envelope::decode(bytes.clone()).map_err(|error| wrong("the envelope", error))?;
    let payload =
        Payload::decode(envelope.payload.clone()).map_err(|error| wrong("the payload", error))?;
    let header = payload.header.ok_or("the payload has no header")?;
    let channel_header = ChannelHeader::decode(header.channel_header)
        .map_err(|error| wrong("the channel header", error))?;
    let signature_header = SignatureHeader::decode(header.signature_header)
        .map_err(|error| wrong("the signature header", error))?;
    Ok(Opened {
        payload: envelope.payload,
        signature: envelope.signature,
        channel_header,
        creator: signature_header.creator,
        data: payload.data,
    })
}

/// Seconds and nanoseconds by the wall clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or(0),
    }
}

fn nonce() -> Result<Bytes, CryptoError> {
    let mut nonce = [0; NONCE_LEN];
    getrandom::fill(&mut nonce).map_err(|error| CryptoError::Sign(error.to_string()))?;
    Ok(Bytes::copy_from_slice(&nonce))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// As in Fabric.
const NONCE_LEN: usize = 24;
