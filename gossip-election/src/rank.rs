//! Which of two candidates is the better one.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use gossip_api::{BlockHash, ChannelId, Height, Mono, PkiId, SeqNum};
use sha2::{Digest, Sha256};

/// What is known for comparing candidates.
#[derive(Debug)]
pub(crate) struct Order {
    channel: ChannelId,
    beacons: BTreeMap<SeqNum, BlockHash>,
    height: Height,
    proved: Height,
    /// Our height at some instants of the last ten seconds, for the channel's pace.
    pace: VecDeque<(Mono, Height)>,
    /// Who withheld blocks or yielded, and until when it is last choice.
    suspects: BTreeMap<PkiId, Mono>,
}

/// A peer that would lead, with the height that it says it can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) peer: PkiId,
    pub(crate) height: Height,
}

impl Order {
    pub(crate) const fn new(channel: ChannelId) -> Self {
        Self {
            channel,
            beacons: BTreeMap::new(),
            height: Height::new(0),
            proved: Height::new(0),
            pace: VecDeque::new(),
            suspects: BTreeMap::new(),
        }
    }

    pub(crate) const fn height(&self) -> Height {
        self.height
    }

    pub(crate) fn proved(&self) -> Height {
        self.proved.max(self.height)
    }

    pub(crate) fn set_height(&mut self, now: Mono, height: Height) {
        self.height = height;
        let is_due = self.pace.back().is_none_or(|(at, _)| now.since(*at) >= PACE_STEP);
        if is_due {
            self.pace.push_back((now, height));
        }
        self.forget(now);
    }

    /// Forgets what is over: suspicions, and all but the newest height that is older than the pace looks back.
    pub(crate) fn forget(&mut self, now: Mono) {
        self.suspects.retain(|_, until| *until > now);
        while self.pace.get(1).is_some_and(|(at, _)| now.since(*at) >= PACE) {
            self.pace.pop_front();
        }
    }

    pub(crate) fn set_proved(&mut self, height: Height) {
        self.proved = self.proved.max(height);
    }

    pub(crate) fn beacon(&mut self, number: SeqNum, hash: BlockHash) {
        self.beacons.insert(number, hash);
        while self.beacons.len() > BEACONS_MAX {
            self.beacons.pop_first();
        }
    }

    /// Makes a peer last choice for a while.
    pub(crate) fn suspect(&mut self, peer: PkiId, until: Mono) {
        self.suspects.insert(peer, until);
    }

    pub(crate) fn is_suspect(&self, peer: &PkiId, now: Mono) -> bool {
        self.suspects.get(peer).is_some_and(|until| *until > now)
    }

    /// Blocks that a candidate may be behind without being of the lower class.
    pub(crate) fn slack(&self) -> u64 {
        let first = self.pace.front().map_or(self.height, |(_, height)| *height);
        self.height.get().saturating_sub(first.get()).max(SLACK_BLOCKS)
    }

    /// A claimed height, as far as it may count: a claim beyond what is proved wins nothing.
    pub(crate) fn believable(&self, claimed: Height) -> Height {
        claimed.min(Height::new(self.proved().get().saturating_add(self.slack())))
    }

    /// Whether `low` is so far under `high` that it must not lead before it.
    pub(crate) fn is_lower_class(&self, low: Height, high: Height) -> bool {
        high.get().saturating_sub(low.get()) > self.slack()
    }

    /// Whether `left` is to lead rather than `right`, if `best` is the height of the best candidate.
    pub(crate) fn is_better(
        &self,
        left: Candidate,
        right: Candidate,
        best: Height,
        now: Mono,
    ) -> bool {
        let lower = left.height.min(right.height);
        let key = |candidate: Candidate| {
            (
                self.is_suspect(&candidate.peer, now),
                self.is_lower_class(candidate.height, best),
                self.rank(candidate.peer, lower),
            )
        };
        key(left) < key(right)
    }

    /// Nobody can choose it: the beacon is not known when keys are made, and changes.
    fn rank(&self, peer: PkiId, height: Height) -> [u8; 32] {
        let beacon = self.beacons.range(..=SeqNum::new(height.get())).next_back();
        let mut hasher = Sha256::new();
        hasher.update(b"fabric-gossip/1 leader rank\0");
        hasher.update((self.channel.as_str().len() as u64).to_le_bytes());
        hasher.update(self.channel.as_str().as_bytes());
        hasher.update(beacon.map_or([0; 32], |(_, hash)| *hash.as_bytes()));
        hasher.update(peer.as_bytes());
        hasher.finalize().into()
    }

    /// The best of several for the task of asking the ordering service: the same order, without heights.
    pub(crate) fn first(&self, peers: impl Iterator<Item = PkiId>, now: Mono) -> Option<PkiId> {
        peers.min_by_key(|peer| (self.is_suspect(peer, now), self.rank(*peer, self.proved())))
    }
}

/// protocol.md 5: at most this many blocks, or ten seconds of blocks, under the best candidate.
const SLACK_BLOCKS: u64 = 64;
const PACE: Duration = Duration::from_secs(10);
const PACE_STEP: Duration = Duration::from_millis(500);

/// Candidates more than a beacon apart are of different classes; a few more do no harm.
const BEACONS_MAX: usize = 4;
