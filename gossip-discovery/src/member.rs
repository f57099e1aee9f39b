//! A member, and what we think of it.

use gossip_api::message::{Record, SealedRecord, Secret};
use gossip_api::{Endpoint, Mono, NetworkMember, OrgId, PeerIdentity, PkiId};

/// What we think of a member.
///
/// ```text
///               proof of life              late, or connection lost
///   Known -----------------------> Alive -------------------------> Suspect
///     |                              ^    <-------------------------   |
///     | no proof                     |          proof of life          | no proof
///     '-----------> Dead ------------'                                 v
///                         proof of life                              Dead
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Heard of; nothing shows that it lives.
    Known,
    /// It proved that it lives, and has been heard since.
    Alive,
    /// It should have been heard. Others are still told that it lives.
    Suspect,
    /// It did not answer when asked.
    Dead {
        /// Since when.
        since: Mono,
    },
}

impl Status {
    /// Whether layers above and neighbours are told of it as alive.
    pub(crate) const fn is_live(self) -> bool {
        matches!(self, Self::Alive | Self::Suspect)
    }

    pub(crate) const fn is_dead(self) -> bool {
        matches!(self, Self::Dead { .. })
    }
}

/// What the layers above have been told of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Announced {
    Nothing,
    Alive,
    Dead,
}

/// Pauses between attempts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backoff {
    pub(crate) failures: u32,
    pub(crate) not_before: Mono,
}

/// A member.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) identity: PeerIdentity,
    pub(crate) org: OrgId,
    pub(crate) record: Record,
    pub(crate) sealed: SealedRecord,
    /// Bytes that its entry takes in a page, at most.
    pub(crate) entry_len: usize,
    pub(crate) secret: Option<Secret>,
    pub(crate) status: Status,
    pub(crate) announced: Announced,
    /// When we learned of it.
    pub(crate) learned: Mono,
    /// The neighbour who brought its record: a way to it, until a beat shows a newer one.
    pub(crate) via: Option<PkiId>,
    pub(crate) backoff: Backoff,
    /// How often it was asked in vain to prove that it lives.
    pub(crate) proof_tries: u32,
}

impl Member {
    pub(crate) const fn pki_id(&self) -> PkiId {
        self.record.pki_id
    }

    /// Where to dial it: the internal endpoint if we know it.
    pub(crate) fn dial_endpoint(&self) -> Option<&Endpoint> {
        let internal = self.secret.as_ref().map(|secret| &secret.internal_endpoint);
        internal.or(self.record.endpoint.as_ref())
    }

    /// Whether `endpoint` is one of its own, by its own word.
    pub(crate) fn claims(&self, endpoint: &Endpoint) -> bool {
        let internal = self.secret.as_ref().map(|secret| &secret.internal_endpoint);
        internal == Some(endpoint) || self.record.endpoint.as_ref() == Some(endpoint)
    }

    pub(crate) fn network_member(&self) -> NetworkMember {
        NetworkMember {
            pki_id: self.record.pki_id,
            org: Some(self.org.clone()),
            endpoint: self.record.endpoint.clone(),
            internal_endpoint: self.secret.as_ref().map(|secret| secret.internal_endpoint.clone()),
            metadata: self.record.metadata.as_bytes().clone(),
            height: None,
        }
    }
}
