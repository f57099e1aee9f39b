//! What is pulled, as the engine sees it, and as it stands in a digest.

use std::collections::{BTreeMap, BTreeSet};

use gossip_api::message::ItemId;
use gossip_api::{Epoch, Height, PkiId, SeqNum};

use super::Holdings;

/// Blocks of a channel: a key is a number, and there is one version of each.
#[derive(Debug)]
pub(crate) struct Blocks {
    /// Blocks that can be served.
    pub(crate) served: Vec<SeqNum>,
    /// Everything below is held.
    pub(crate) height: Height,
    /// Held above the height, or on their way.
    pub(crate) accepted: BTreeSet<SeqNum>,
}

impl Holdings for Blocks {
    type Key = SeqNum;
    type Version = ();

    fn served(&self, _: &PkiId) -> Vec<(SeqNum, ())> {
        self.served.iter().map(|number| (*number, ())).collect()
    }

    fn lacks(&self, number: &SeqNum, (): &()) -> bool {
        number.get() >= self.height.get() && !self.accepted.contains(number)
    }

    /// From the first block on that the digest lists: who is further behind catches up.
    fn owed(&self, _: &PkiId, listed: &BTreeMap<SeqNum, ()>) -> Vec<(SeqNum, ())> {
        let first = listed.first_key_value().map(|(number, ())| *number).unwrap_or_default();
        let lacked = self.served.iter().copied();
        let lacked = lacked.filter(|number| *number >= first && !listed.contains_key(number));
        lacked.map(|number| (number, ())).collect()
    }
}

/// Which life of a peer, and the how-manieth word of it.
pub(crate) type Spoken = (Epoch, u64);

/// State infos of a channel: a key is a peer, a version what it said last.
#[derive(Debug)]
pub(crate) struct Infos {
    /// What may be told to the peer in question, in the order of peers.
    pub(crate) told: Vec<(PkiId, Spoken)>,
    /// What is held, whoever may hear of it.
    pub(crate) held: BTreeMap<PkiId, Spoken>,
    /// Whose word counts: members of the channel's organisations that are alive.
    pub(crate) members: BTreeSet<PkiId>,
}

impl Holdings for Infos {
    type Key = PkiId;
    type Version = Spoken;

    fn served(&self, _: &PkiId) -> Vec<(PkiId, Spoken)> {
        self.told.clone()
    }

    fn lacks(&self, peer: &PkiId, spoken: &Spoken) -> bool {
        self.members.contains(peer) && self.held.get(peer).is_none_or(|held| spoken > held)
    }

    fn owed(&self, _: &PkiId, listed: &BTreeMap<PkiId, Spoken>) -> Vec<(PkiId, Spoken)> {
        let is_owed = |peer: &PkiId, spoken: &Spoken| listed.get(peer).is_none_or(|of| spoken > of);
        self.told.iter().filter(|(peer, spoken)| is_owed(peer, spoken)).copied().collect()
    }
}

/// An item of a digest, and back.
pub(crate) trait Named: Sized {
    /// How it is called on the wire.
    fn name(&self) -> ItemId;
    /// What a name says; nothing if it is no name of this kind.
    fn of(name: &ItemId) -> Option<Self>;
}

impl Named for (SeqNum, ()) {
    fn name(&self) -> ItemId {
        ItemId::block(self.0)
    }

    fn of(name: &ItemId) -> Option<Self> {
        Some((name.as_block()?, ()))
    }
}

impl Named for (PkiId, Spoken) {
    fn name(&self) -> ItemId {
        let (peer, (epoch, sequence)) = *self;
        ItemId::state_info(peer, epoch, sequence)
    }

    fn of(name: &ItemId) -> Option<Self> {
        let (peer, epoch, sequence) = name.as_state_info()?;
        Some((peer, (epoch, sequence)))
    }
}
