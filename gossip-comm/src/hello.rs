//! Who is there? The exchange of hellos, without any I/O.
//!
//! The dialler speaks first, the acceptor answers once it has believed the dialler; so a dialler that
//! has believed its answer knows that the connection stands on both sides. Nothing is kept of a peer
//! before its signature over this very session has been checked.
//!
//! ```text
//!   dialler:  speak ------------> hear* heard -> Greeting
//!   acceptor: hear* heard -> Greeting -> speak
//! ```
//!
//! Whoever moves the bytes also keeps the time: an exchange has no deadline of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gossip_api::message::{Features, Hello, HelloBinding, HelloLimits, WIRE_VERSION};
use gossip_api::{
    CryptoError, Epoch, Expiration, IdentityMap, MessageCryptoService, Mono, NetworkId, Now, OrgId,
    PeerIdentity, PkiId, SecurityAdvisor, WireError,
};

/// Our own part of hellos.
#[derive(Clone, Debug)]
pub struct Me {
    /// Fingerprint of `identity`.
    pub pki_id: PkiId,
    /// Who we are.
    pub identity: PeerIdentity,
    /// Which life of us.
    pub epoch: Epoch,
    /// What we can do beside what every peer can.
    pub features: Features,
    /// What we take.
    pub limits: HelloLimits,
}

/// What a believed hello says.
#[derive(Clone, Debug)]
pub struct Greeting {
    /// Who.
    pub peer: PkiId,
    /// Its identity.
    pub identity: PeerIdentity,
    /// Its organisation.
    pub org: Option<OrgId>,
    /// Which life of it.
    pub epoch: Epoch,
    /// The fingerprint that our own hello stated.
    pub own: PkiId,
    /// The epoch that our own hello stated.
    pub own_epoch: Epoch,
    /// SHA-256 of our own TLS certificate on this session.
    pub own_leaf: [u8; 32],
    /// SHA-256 of the other side's.
    pub peer_leaf: [u8; 32],
    /// Until when its identity is valid.
    pub expiration: Expiration,
    /// The highest wire version that both speak.
    pub wire_version: u8,
    /// What both can do.
    pub features: Features,
    /// Greatest block frame that it takes.
    pub block_frame_max: usize,
}

/// What hellos are judged by.
#[derive(Clone, Copy)]
pub struct Court<'a> {
    /// The network that both must belong to.
    pub network: &'a NetworkId,
    /// Judges identities and signatures.
    pub mcs: &'a dyn MessageCryptoService,
    /// Tells organisations.
    pub advisor: &'a dyn SecurityAdvisor,
    /// Where believed identities go.
    pub identities: &'a IdentityMap,
    /// Which versions peers have spoken.
    pub versions: &'a Versions,
}

impl fmt::Debug for Court<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Court").field("network", self.network).finish_non_exhaustive()
    }
}

/// One side of one exchange.
#[derive(Debug)]
pub struct Exchange {
    me: Arc<Me>,
    binding: HelloBinding,
    heard: Vec<u8>,
    /// Something that is no hello has been heard: nothing behind it is listened to.
    spoilt: bool,
}

impl Exchange {
    /// Begins on the session that `binding` describes as we see it.
    pub const fn new(me: Arc<Me>, binding: HelloBinding) -> Self {
        Self { me, binding, heard: Vec::new(), spoilt: false }
    }

    /// Our own hello, signed for this session, as it goes on the stream.
    ///
    /// # Errors
    /// If the host cannot sign.
    pub fn speak(&self, court: &Court<'_>) -> Result<Vec<u8>, HelloError> {
        let hello = Hello {
            identity: self.me.identity.clone(),
            epoch: self.me.epoch,
            wire_version: WIRE_VERSION,
            features: self.me.features,
            limits: self.me.limits,
            signature: Default::default(),
        };
        let hello = hello.sign(&self.binding, court.network, court.mcs).map_err(HelloError::Own)?;
        hello.encode().map_err(HelloError::Malformed)
    }

    /// Takes in bytes of the other side's hello, in order, in pieces of any size.
    ///
    /// # Errors
    /// As soon as it is clear that they are no hello, and for whatever comes then; what is kept never exceeds
    /// the longest one.
    pub fn hear(&mut self, bytes: &[u8]) -> Result<(), HelloError> {
        if self.spoilt {
            return Err(behind_nonsense());
        }
        let heard = self.listen(bytes);
        self.spoilt |= heard.is_err();
        heard
    }

    fn listen(&mut self, bytes: &[u8]) -> Result<(), HelloError> {
        let room = (LENGTH_LEN + Hello::ENCODED_MAX).saturating_sub(self.heard.len());
        self.heard.extend_from_slice(bytes.get(..bytes.len().min(room)).unwrap_or_default());
        let Some(length) = self.heard.first_chunk().copied().map(u32::from_le_bytes) else {
            return Ok(());
        };
        let length = length as usize;
        if length > Hello::ENCODED_MAX {
            let max = Hello::ENCODED_MAX;
            return Err(WireError::TooLarge { found: length, max }.into());
        }
        let trailing =
            bytes.len().saturating_sub(room) + self.heard.len().saturating_sub(LENGTH_LEN + length);
        if trailing > 0 { Err(WireError::Trailing(trailing).into()) } else { Ok(()) }
    }

    /// The other side's stream has ended: checks what it said. Only when everything holds is its
    /// identity kept.
    ///
    /// # Errors
    /// Why the peer is not let in; nothing is kept of it.
    pub fn heard(&self, now: Now, court: &Court<'_>) -> Result<Greeting, HelloError> {
        if self.spoilt {
            return Err(behind_nonsense());
        }
        let found = self.heard.len();
        let Some((length, body)) = self.heard.split_first_chunk::<LENGTH_LEN>() else {
            return Err(WireError::Truncated { needed: LENGTH_LEN, found }.into());
        };
        let needed = LENGTH_LEN + u32::from_le_bytes(*length) as usize;
        if found < needed {
            return Err(WireError::Truncated { needed, found }.into());
        }
        self.believe(&Hello::decode(body)?, now, court)
    }

    /// Cheap checks first, the signature last.
    fn believe(&self, hello: &Hello, now: Now, court: &Court<'_>) -> Result<Greeting, HelloError> {
        if hello.wire_version < WIRE_VERSION {
            return Err(HelloError::Version(hello.wire_version));
        }
        let Court { mcs, advisor, .. } = *court;
        let identity = &hello.identity;
        let no_fingerprint = HelloError::Identity(CryptoError::EmptyIdentity);
        let peer = mcs.pki_id_of_cert(identity).ok_or(no_fingerprint)?;
        if peer == self.me.pki_id {
            return Err(HelloError::Itself);
        }
        let expiration = mcs.expiration(identity).map_err(HelloError::Identity)?;
        if expiration.is_past(now.wall) {
            return Err(HelloError::Identity(CryptoError::Expired));
        }
        mcs.validate_identity(identity).map_err(HelloError::Identity)?;
        let as_it_sees_it = self.binding.other();
        hello.verify(&peer, &as_it_sees_it, court.network, mcs).map_err(HelloError::Signature)?;
        court.versions.spoken(peer, hello.wire_version, now.mono)?;
        court.identities.put(identity, mcs, advisor, now).map_err(HelloError::Identity)?;
        Ok(Greeting {
            peer,
            identity: identity.clone(),
            org: court.identities.org_of(&peer),
            epoch: hello.epoch,
            own: self.me.pki_id,
            own_epoch: self.me.epoch,
            own_leaf: self.binding.own_leaf,
            peer_leaf: self.binding.peer_leaf,
            expiration,
            wire_version: hello.wire_version.min(WIRE_VERSION),
            features: Features(self.me.features.0 & hello.features.0),
            block_frame_max: usize::try_from(hello.limits.block_frame_max).unwrap_or(usize::MAX),
        })
    }
}

/// The highest wire version that each identity has spoken lately: who spoke a higher one may not be
/// made to speak a lower one.
#[derive(Debug)]
pub struct Versions {
    /// How long a version is remembered.
    memory: Duration,
    seen: Mutex<BTreeMap<PkiId, (u8, Mono)>>,
}

impl Versions {
    /// Remembers for `memory`; not at all if that is zero.
    pub const fn new(memory: Duration) -> Self {
        Self { memory, seen: Mutex::new(BTreeMap::new()) }
    }

    /// How many identities are remembered.
    pub fn len(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether nobody is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A peer that has proved who it is says that `version` is its highest.
    ///
    /// # Errors
    /// If it said a higher one not long ago.
    pub fn spoken(&self, peer: PkiId, version: u8, now: Mono) -> Result<(), HelloError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&(highest, at)) = seen.get(&peer)
            && version < highest
            && now.since(at) < self.memory
        {
            return Err(HelloError::Downgrade { version, highest });
        }
        if !seen.contains_key(&peer) && seen.len() >= VERSIONS_MAX {
            let oldest = seen.iter().min_by_key(|(_, (_, at))| *at).map(|(id, _)| *id);
            oldest.and_then(|id| seen.remove(&id));
        }
        seen.insert(peer, (version, now));
        Ok(())
    }
}

/// Why a peer was not let in. The other side learns nothing of it.
#[derive(Debug, thiserror::Error)]
pub enum HelloError {
    /// It said nothing for too long.
    #[error("no hello in time")]
    Silent,
    /// The connection ended first.
    #[error("connection lost before its hello: {0}")]
    Lost(String),
    /// What came is no hello.
    #[error("hello is malformed: {0}")]
    Malformed(#[from] WireError),
    /// It speaks only older versions.
    #[error("wire version {0} is not spoken here")]
    Version(u8),
    /// It has spoken a higher version not long ago.
    #[error("wire version {version} after {highest}: somebody may want to hide the newer one")]
    Downgrade {
        /// What it says.
        version: u8,
        /// What it said.
        highest: u8,
    },
    /// TLS was done without a certificate.
    #[error("tls session shows no certificate")]
    NoCertificate,
    /// It is us.
    #[error("hello of this peer itself")]
    Itself,
    /// The host does not accept its identity.
    #[error("identity refused: {0}")]
    Identity(CryptoError),
    /// The signature is not by that identity, or not for this session.
    #[error("hello is not signed for this session: {0}")]
    Signature(CryptoError),
    /// It sent too much not long ago.
    #[error("sent more than it may, and is left alone for a while")]
    Banned,
    /// The host could not sign our own.
    #[error("cannot sign our own hello: {0}")]
    Own(CryptoError),
}

impl HelloError {
    /// The label of counters and logs.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Lost(_) => "lost",
            Self::Malformed(_) => "malformed",
            Self::Version(_) => "version",
            Self::Downgrade { .. } => "downgrade",
            Self::NoCertificate => "no_certificate",
            Self::Itself => "itself",
            Self::Identity(CryptoError::Expired) => "expired",
            Self::Identity(_) => "identity",
            Self::Signature(_) => "signature",
            Self::Banned => "banned",
            Self::Own(_) => "own",
        }
    }
}

fn behind_nonsense() -> HelloError {
    WireError::Misplaced("a hello behind what is none").into()
}

const LENGTH_LEN: usize = 4;
/// Identities whose version is remembered.
const VERSIONS_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lower_version_is_refused_for_as_long_as_the_higher_is_remembered() {
        let versions = Versions::new(Duration::from_secs(10));
        let at = |seconds| Mono::ZERO.after(Duration::from_secs(seconds));
        let peer = PkiId::from_bytes([1; 32]);
        assert!(versions.spoken(peer, 2, at(0)).is_ok());
        let lower = versions.spoken(peer, 1, at(9));
        assert!(matches!(lower, Err(HelloError::Downgrade { version: 1, highest: 2 })));
        assert!(versions.spoken(PkiId::from_bytes([2; 32]), 1, at(9)).is_ok(), "somebody else");
        assert!(versions.spoken(peer, 3, at(9)).is_ok());
        assert!(versions.spoken(peer, 2, at(18)).is_err(), "remembered from the last time");
        assert!(versions.spoken(peer, 1, at(19)).is_ok(), "forgotten");
    }

    #[test]
    fn the_memory_of_versions_is_bounded() {
        let versions = Versions::new(Duration::from_secs(10));
        for number in 0..2 * VERSIONS_MAX as u64 {
            let mut id = [0; 32];
            id.iter_mut().zip(number.to_le_bytes()).for_each(|(to, from)| *to = from);
            let now = Mono::ZERO.after(Duration::from_millis(number));
            assert!(versions.spoken(PkiId::from_bytes(id), 1, now).is_ok());
        }
        assert_eq!(versions.len(), VERSIONS_MAX);
    }
}
