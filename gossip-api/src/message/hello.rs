//! The first words on a connection, both ways, before anything else is read.

use serde::{Deserialize, Serialize};

use super::envelope::signed_bytes;
use crate::bounded::Blob;
use crate::crypto::{MessageCryptoService, check_signature_form};
use crate::error::{CryptoError, WireError};
use crate::id::{Epoch, NetworkId, PkiId};
use crate::identity::PeerIdentity;

/// The wire version this build speaks.
pub const WIRE_VERSION: u8 = 1;

/// Which side of the connection speaks: defeats reflection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The side that dialled.
    Dialler,
    /// The side that was dialled.
    Acceptor,
}

impl Role {
    /// The other side.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Dialler => Self::Acceptor,
            Self::Acceptor => Self::Dialler,
        }
    }
}

/// Optional abilities, one bit each; unknown bits are ignored by whoever does not know them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Features(pub u64);

/// What the speaker will take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelloLimits {
    /// Greatest block frame in bytes.
    pub block_frame_max: u64,
}

/// The proof that the peer at the other end of *this* TLS session holds the key of its identity.
// fabric: gossip/message.proto ConnEstablish
// fabric-differs: bound to the TLS exporter of the session, not to a certificate hash alone, so that it cannot be replayed or relayed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The speaker's identity.
    pub identity: PeerIdentity,
    /// Which life of the speaker.
    pub epoch: Epoch,
    /// The highest wire version it speaks.
    pub wire_version: u8,
    /// What else it can do.
    pub features: Features,
    /// What it will take.
    pub limits: HelloLimits,
    /// By the identity's key, over [`HelloBinding`] and all of the above.
    pub signature: Blob<{ Hello::SIGNATURE_MAX }>,
}

/// What ties a hello to one session, known to both ends and to nobody else.
#[derive(Clone, Debug)]
pub struct HelloBinding {
    /// Who speaks.
    pub role: Role,
    /// TLS exporter of the session: label `EXPORTER-fabric-gossip-1-hello`, context = network id.
    pub exporter: [u8; 32],
    /// SHA-256 of the speaker's TLS leaf certificate.
    pub own_leaf: [u8; 32],
    /// SHA-256 of the listener's TLS leaf certificate.
    pub peer_leaf: [u8; 32],
}

impl HelloBinding {
    /// The same session as the other side speaks of it.
    #[must_use]
    pub fn other(&self) -> Self {
        Self {
            role: self.role.other(),
            exporter: self.exporter,
            own_leaf: self.peer_leaf,
            peer_leaf: self.own_leaf,
        }
    }
}

impl Hello {
    /// Longest signature in bytes: DER of P-384 fits.
    pub const SIGNATURE_MAX: usize = 112;
    /// Label under which the exporter is drawn.
    pub const EXPORTER_LABEL: &'static [u8] = b"EXPORTER-fabric-gossip-1-hello";
    /// Longest encoded hello in bytes.
    pub const ENCODED_MAX: usize = PeerIdentity::MAX_LEN + 256;

    /// Signs a hello for one session.
    ///
    /// # Errors
    /// If the identity has no fingerprint or the host cannot sign.
    pub fn sign(
        mut self,
        binding: &HelloBinding,
        network: &NetworkId,
        mcs: &dyn MessageCryptoService,
    ) -> Result<Self, CryptoError> {
        let pki_id = mcs.pki_id_of_cert(&self.identity).ok_or(CryptoError::EmptyIdentity)?;
        let signature = mcs.sign(&self.signed_bytes(&pki_id, binding, network))?;
        self.signature =
            Blob::new(signature).map_err(|error| CryptoError::Sign(error.to_string()))?;
        Ok(self)
    }

    /// Checks a hello received on the session that `binding` describes *as its speaker sees it*.
    ///
    /// The identity must have been validated before.
    ///
    /// # Errors
    /// If the signature is not canonical or not by the identity over this session.
    pub fn verify(
        &self,
        pki_id: &PkiId,
        binding: &HelloBinding,
        network: &NetworkId,
        mcs: &dyn MessageCryptoService,
    ) -> Result<(), CryptoError> {
        let signature = self.signature.as_bytes();
        check_signature_form(signature)?;
        mcs.verify(&self.identity, signature, &self.signed_bytes(pki_id, binding, network))
    }

    /// The hello's bytes: u32 little-endian length, then the body.
    ///
    /// # Errors
    /// Never for a hello whose identity is within its bounds.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        super::codec::encode_hello(self)
    }

    /// Reads the body (without its length).
    ///
    /// # Errors
    /// If it is not exactly one canonical hello.
    pub fn decode(body: &[u8]) -> Result<Self, WireError> {
        super::codec::decode_hello(body)
    }

    fn signed_bytes(&self, pki_id: &PkiId, binding: &HelloBinding, network: &NetworkId) -> Vec<u8> {
        let mut body = Vec::with_capacity(160);
        body.push(match binding.role {
            Role::Dialler => 1,
            Role::Acceptor => 2,
        });
        body.extend(binding.exporter);
        body.extend(binding.own_leaf);
        body.extend(binding.peer_leaf);
        body.extend(pki_id.as_bytes());
        body.extend(self.epoch.get().to_le_bytes());
        body.push(self.wire_version);
        body.extend(self.features.0.to_le_bytes());
        body.extend(self.limits.block_frame_max.to_le_bytes());
        signed_bytes("hello", network, &[], &body)
    }
}

/// Application error codes with which a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseReason {
    /// The peer stops, or no longer needs the connection.
    Done,
    /// The hello was refused. One code for every cause, so that nothing can be learned from it.
    Refused,
    /// Another connection between the same two peers stays.
    Duplicate,
    /// Bytes that are no message.
    Malformed,
    /// The other side sent more than it may.
    Overload,
    /// The identity is no longer valid here.
    Expelled,
    /// The other side sent what no honest peer sends.
    Faulty,
}

impl CloseReason {
    /// The code on the wire.
    pub const fn code(self) -> u32 {
        match self {
            Self::Done => 0,
            Self::Refused => 1,
            Self::Duplicate => 2,
            Self::Malformed => 3,
            Self::Overload => 4,
            Self::Expelled => 5,
            Self::Faulty => 6,
        }
    }

    /// The reason behind a code; an unknown one counts as [`CloseReason::Done`].
    pub const fn from_code(code: u64) -> Self {
        match code {
            1 => Self::Refused,
            2 => Self::Duplicate,
            3 => Self::Malformed,
            4 => Self::Overload,
            5 => Self::Expelled,
            6 => Self::Faulty,
            _ => Self::Done,
        }
    }
}
