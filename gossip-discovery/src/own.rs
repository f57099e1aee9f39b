//! What we say of ourselves: the record, its secret, and the chain of beats.

use bytes::Bytes;
use gossip_api::message::{
    Beat, MemberEntry, Message, Record, SealedRecord, Secret, ShortId, chain_step,
};
use gossip_api::{
    Blob, Endpoint, Epoch, Mono, NetworkMember, OrgId, PeerIdentity, PkiId, Verified,
};
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use crate::disclose::Subject;

/// Who we are, as the host says.
#[derive(Clone, Debug)]
pub struct Me {
    /// Our fingerprint.
    pub pki_id: PkiId,
    /// Our identity.
    pub identity: PeerIdentity,
    /// Our organisation.
    pub org: OrgId,
    /// Which life of ours this is; persisted by the host before it is used.
    pub epoch: Epoch,
    /// Where other organisations may dial us; nothing hides us from them.
    pub external_endpoint: Option<Endpoint>,
    /// Where our organisation dials us.
    pub internal_endpoint: Endpoint,
    /// Opaque to the layer; at most 1 KiB, longer is cut.
    pub metadata: Bytes,
}

/// A hash chain, disclosed from its end.
#[derive(Clone, Debug)]
struct Chain {
    /// From the seed to the last link.
    links: Vec<[u8; 32]>,
    first_beat: u64,
}

impl Chain {
    fn draw(rng: &mut ChaCha8Rng, first_beat: u64, len: u32) -> Self {
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        let links = std::iter::successors(Some(seed), |link| Some(chain_step(link)))
            .take(usize::try_from(len).unwrap_or(0).saturating_add(1))
            .collect();
        Self { links, first_beat }
    }

    fn end(&self) -> [u8; 32] {
        self.links.last().copied().unwrap_or_default()
    }

    fn len(&self) -> u32 {
        u32::try_from(self.links.len().saturating_sub(1)).unwrap_or(u32::MAX)
    }

    /// The link of beat `sequence`: as many steps before the end as the beat has predecessors, and one.
    fn link(&self, sequence: u64) -> Option<[u8; 32]> {
        let index = usize::try_from(sequence.checked_sub(self.first_beat)?).ok()?;
        let from_seed = self.links.len().checked_sub(index.checked_add(2)?)?;
        self.links.get(from_seed).copied()
    }
}

/// Our record as it is published, and as it is about to be.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) me: Me,
    chain_len: u32,
    secret: Secret,
    chain: Chain,
    version: u32,
    /// Whether something changed since the record was signed.
    stale: bool,
    /// The record that the host is signing, and since when.
    signing: Option<(Record, Mono)>,
    published: Option<Published>,
    next_sequence: u64,
    beat: Option<Beat>,
}

#[derive(Debug)]
struct Published {
    record: Record,
    sealed: SealedRecord,
    message: Verified<Message>,
}

impl Own {
    pub(crate) fn new(me: Me, chain_len: u32, rng: &mut ChaCha8Rng) -> Self {
        let mut salt = [0; 32];
        rng.fill_bytes(&mut salt);
        let secret = Secret { internal_endpoint: me.internal_endpoint.clone(), salt };
        let chain = Chain::draw(rng, 0, chain_len);
        Self {
            me,
            chain_len,
            secret,
            chain,
            version: 0,
            stale: true,
            signing: None,
            published: None,
            next_sequence: 0,
            beat: None,
        }
    }

    pub(crate) fn short(&self) -> ShortId {
        ShortId::of(&self.me.pki_id)
    }

    /// The record to be signed, if one is due and the host is not at it already.
    // fabric: gossip/discovery/discovery_impl.go aliveMsgAndInternalEndpoint
    pub(crate) fn record_due(&mut self, now: Mono, rng: &mut ChaCha8Rng) -> Option<Record> {
        let waiting = self.signing.as_ref().is_some_and(|(_, since)| !is_lost(now, *since));
        if !self.stale || waiting {
            return None;
        }
        if self.chain_used_up() {
            self.chain = Chain::draw(rng, self.next_sequence, self.chain_len);
        }
        let record = Record {
            pki_id: self.me.pki_id,
            epoch: self.me.epoch,
            version: self.version,
            endpoint: self.me.external_endpoint.clone(),
            secret: self.secret.commitment(&self.me.pki_id, self.me.epoch),
            metadata: Blob::new(self.me.metadata.clone()).unwrap_or_default(),
            first_beat: self.chain.first_beat,
            chain_len: self.chain.len(),
            chain_end: self.chain.end(),
        };
        self.version = self.version.saturating_add(1);
        self.stale = false;
        self.signing = Some((record.clone(), now));
        Some(record)
    }

    /// The host signed. The message to publish, if it is the record we asked for.
    pub(crate) fn signed(&mut self, verified: Verified<Record>) -> Option<Verified<Message>> {
        let (expected, _) = self.signing.as_ref()?;
        if verified.message() != expected {
            return None;
        }
        self.signing = None;
        let record = verified.message().clone();
        let sealed = SealedRecord::from_envelope(verified.envelope())?;
        let message = verified.narrow(|record| Some(Message::Record(record)))?;
        self.published = Some(Published { record, sealed, message: message.clone() });
        Some(message)
    }

    /// Discloses the next link; nothing while no record covers it.
    pub(crate) fn next_beat(&mut self) -> Option<Beat> {
        let covered = self.published.as_ref()?.record.first_beat == self.chain.first_beat
            && self.published.as_ref()?.record.epoch == self.me.epoch;
        if !covered {
            return None;
        }
        let preimage = self.chain.link(self.next_sequence)?;
        let sequence = self.next_sequence;
        let beat = Beat { member: self.short(), epoch: self.me.epoch, sequence, preimage };
        self.next_sequence += 1;
        self.beat = Some(beat.clone());
        self.stale |= self.chain_used_up();
        Some(beat)
    }

    /// Replaces the metadata; what exceeds the bound is cut.
    // fabric: gossip/discovery/discovery_impl.go UpdateMetadata
    pub(crate) fn set_metadata(&mut self, metadata: Bytes) {
        self.me.metadata = metadata.slice(..metadata.len().min(METADATA_MAX));
        self.stale = true;
    }

    /// Replaces the endpoint that is told to everybody.
    // fabric: gossip/discovery/discovery_impl.go UpdateEndpoint
    pub(crate) fn set_endpoint(&mut self, endpoint: Option<Endpoint>) {
        self.me.external_endpoint = endpoint;
        self.stale = true;
    }

    /// Moves to another life: everything of the former one is void.
    pub(crate) fn set_epoch(&mut self, epoch: Epoch, rng: &mut ChaCha8Rng) {
        self.me.epoch = epoch;
        rng.fill_bytes(&mut self.secret.salt);
        self.next_sequence = 0;
        self.chain = Chain::draw(rng, 0, self.chain_len);
        self.version = 0;
        self.beat = None;
        self.signing = None;
        self.published = None;
        self.stale = true;
    }

    /// Our entry, if it is signed.
    pub(crate) fn entry(&self, with_secret: bool) -> Option<MemberEntry> {
        let published = self.published.as_ref()?;
        Some(MemberEntry {
            identity: self.me.identity.clone(),
            record: published.sealed.clone(),
            secret: Some(self.secret.clone()).filter(|_| with_secret),
            beat: self.beat.clone().map(Box::new),
        })
    }

    pub(crate) fn published(&self) -> Option<(&Record, &Verified<Message>)> {
        self.published.as_ref().map(|published| (&published.record, &published.message))
    }

    pub(crate) const fn newest_beat(&self) -> Option<&Beat> {
        self.beat.as_ref()
    }

    /// Sequence of the newest beat, from 1; 0 for none.
    pub(crate) fn progress(&self) -> u64 {
        self.beat.as_ref().map_or(0, |beat| beat.sequence.saturating_add(1))
    }

    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject { org: &self.me.org, inside: true, external: self.me.external_endpoint.is_some() }
    }

    /// Whether `endpoint` leads to ourselves.
    // fabric: gossip/discovery/discovery_impl.go isMyOwnEndpoint
    pub(crate) fn is_own_endpoint(&self, endpoint: &Endpoint) -> bool {
        if *endpoint == self.me.internal_endpoint
            || self.me.external_endpoint.as_ref() == Some(endpoint)
        {
            return true;
        }
        let port = |endpoint: &Endpoint| {
            endpoint.as_str().rsplit_once(':').map(|(_, port)| port.to_owned())
        };
        let loopback = ["localhost:", "127.0.0.1:", "[::1]:"]
            .iter()
            .any(|prefix| endpoint.as_str().starts_with(prefix));
        loopback && port(endpoint) == port(&self.me.internal_endpoint)
    }

    pub(crate) fn network_member(&self) -> NetworkMember {
        NetworkMember {
            pki_id: self.me.pki_id,
            org: Some(self.me.org.clone()),
            endpoint: self.me.external_endpoint.clone(),
            internal_endpoint: Some(self.me.internal_endpoint.clone()),
            metadata: self.me.metadata.clone(),
            height: None,
        }
    }

    fn chain_used_up(&self) -> bool {
        self.chain.link(self.next_sequence).is_none()
    }
}

fn is_lost(now: Mono, since: Mono) -> bool {
    now.since(since) >= SIGNING_LOST
}

/// Greatest length of metadata; the record's own bound.
const METADATA_MAX: usize = 1024;
/// A signature that took longer is asked for again.
const SIGNING_LOST: std::time::Duration = std::time::Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn every_beat_of_a_chain_is_accepted_by_its_record() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let pki_id = PkiId::from_bytes([7; 32]);
        let chain = Chain::draw(&mut rng, 100, 8);
        let record = Record {
            pki_id,
            epoch: Epoch::new(1),
            version: 0,
            endpoint: None,
            secret: [0; 32],
            metadata: Blob::default(),
            first_beat: 100,
            chain_len: chain.len(),
            chain_end: chain.end(),
        };
        let mut known: Option<(u64, [u8; 32])> = None;
        for sequence in 100..108 {
            let preimage = chain.link(sequence).expect("eight beats");
            let beat =
                Beat { member: ShortId::of(&pki_id), epoch: Epoch::new(1), sequence, preimage };
            assert!(record.accepts(&beat, None), "{sequence} from the chain's end");
            let newest = known.as_ref().map(|(sequence, link)| (*sequence, link));
            assert!(record.accepts(&beat, newest), "{sequence} from the beat before");
            known = Some((sequence, preimage));
        }
        assert_eq!(chain.link(99), None);
        assert_eq!(chain.link(108), None);
    }
}
