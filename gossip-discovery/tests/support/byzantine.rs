//! Members that do not keep to the protocol: they replay, forge, promise futures, and keep to themselves what
//! they should pass on. What they sign with their own key is genuine.

use bytes::Bytes;
use gossip_api::message::{Beat, Beats, MemberEntry, MembershipResponse, Message, SealedRecord};
use gossip_api::{Bounded, Envelope, Epoch, RemotePeer};
use gossip_comm::{Command, Effect};
use gossip_discovery::Input;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use super::Membership;

/// What one of them is up to.
#[derive(Debug)]
pub(crate) struct Evil {
    rng: ChaCha8Rng,
    beats: Vec<Beat>,
    entries: Vec<MemberEntry>,
}

impl Evil {
    pub(crate) const fn new(rng: ChaCha8Rng) -> Self {
        Self { rng, beats: Vec::new(), entries: Vec::new() }
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.rng.next_u64().is_multiple_of(count)
    }

    /// Old beats for new ones, and damaged ones.
    fn beats(&mut self, beats: Beats) -> Beats {
        let mut told = beats.beats.into_vec();
        self.beats.extend(told.iter().take(4).cloned());
        if self.beats.len() > CAPTURED {
            self.beats.remove(0);
        }
        if self.one_in(4) {
            told.extend(self.beats.iter().cloned());
        }
        for beat in &mut told {
            if self.one_in(8) {
                beat.preimage[0] ^= 1;
            }
            if self.one_in(16) {
                beat.sequence += 1 + self.rng.next_u64() % 600;
            }
            if self.one_in(32) {
                beat.epoch = Epoch::new(beat.epoch.get().saturating_add(1 << 21));
            }
        }
        Beats { beats: Bounded::truncated(told) }
    }

    /// Records with other contents under their member's name, others' identities, and old ones.
    fn answer(&mut self, response: MembershipResponse) -> MembershipResponse {
        let mut alive = response.alive.into_vec();
        self.entries.extend(alive.iter().take(2).cloned());
        if self.entries.len() > CAPTURED {
            self.entries.remove(0);
        }
        for entry in &mut alive {
            if self.one_in(4) {
                let (mut record, signed) = entry.record.open().unwrap();
                record.epoch = Epoch::new(record.epoch.get() + 1 + self.rng.next_u64() % 10);
                let envelope = Envelope::unsigned(&Message::Record(record))
                    .with_signature(Bytes::copy_from_slice(signed.envelope.signature()));
                entry.record = SealedRecord::from_envelope(&envelope.unwrap()).unwrap();
            }
            if self.one_in(8)
                && let Some(other) = self.entries.first()
            {
                entry.identity = other.identity.clone();
            }
        }
        if self.one_in(2) {
            alive.extend(self.entries.iter().cloned());
        }
        MembershipResponse { alive: Bounded::truncated(alive), ..response }
    }
}

impl Membership {
    /// What a member that does not keep to the protocol sends in place of `message`.
    pub(crate) fn twist(
        &mut self,
        peer: usize,
        to: RemotePeer,
        message: Message,
    ) -> Vec<Effect<Input>> {
        let Some(evil) = self.evil.get_mut(&peer) else { return Vec::new() };
        let message = match message {
            // A neighbour that keeps what it hears to itself.
            Message::Beats(_) | Message::Probe(_) if evil.one_in(2) => return Vec::new(),
            Message::Beats(beats) => Message::Beats(evil.beats(beats)),
            Message::MembershipResponse(response) => {
                Message::MembershipResponse(evil.answer(response))
            }
            other => other,
        };
        let mut sent = vec![Envelope::unsigned(&message)];
        if evil.one_in(8) {
            sent.extend(self.promise(peer));
        }
        let send = |envelope| Effect::Command(Command::Send { to: to.clone(), envelope });
        sent.into_iter().map(send).collect()
    }

    /// A record of its own, genuine but for an epoch that nobody can have reached.
    fn promise(&mut self, peer: usize) -> Option<Envelope> {
        let own = self.peers[peer].crypto.identity().clone();
        let evil = self.evil.get(&peer)?;
        let entry = evil.entries.iter().find(|entry| entry.identity == own)?;
        let (mut record, _) = entry.record.open().ok()?;
        if record.pki_id != self.peers[peer].crypto.pki_id() {
            return None;
        }
        record.epoch = Epoch::new(u64::MAX / 2);
        Some(self.sign(peer, Message::Record(record)).envelope().clone())
    }
}

/// What one of them remembers for later.
const CAPTURED: usize = 64;
