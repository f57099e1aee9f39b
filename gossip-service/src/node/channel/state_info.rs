//! The newest state info of every peer of a channel.

use std::collections::BTreeMap;
use std::time::Duration;

use gossip_api::message::StateInfo;
use gossip_api::{ChannelTag, Epoch, Height, Message, Mono, PkiId, Verified};

use crate::node::pull::items::Spoken;

/// One state info per peer: the newest, by (epoch, sequence).
// fabric: gossip/gossip/channel/channel.go stateInfoCache
#[derive(Debug, Default)]
pub(crate) struct StateInfos {
    infos: BTreeMap<PkiId, Verified<Message>>,
    /// How many each has said in the present period, and since when that lasts.
    said: BTreeMap<PkiId, (Mono, u32)>,
}

impl StateInfos {
    /// Keeps a state info unless one as new is held, or the store is full of others.
    pub(crate) fn put(&mut self, now: Mono, message: Verified<Message>) -> bool {
        let Some(info) = info_of(&message) else { return false };
        let (peer, epoch, sequence) = (info.pki_id, info.epoch, info.sequence);
        let full = self.infos.len() >= INFOS_MAX && !self.infos.contains_key(&peer);
        if full || !self.is_news(&peer, epoch, sequence) {
            return false;
        }
        let said = self.said.entry(peer).or_insert((now, 0));
        if now.since(said.0) >= SAID_PERIOD {
            *said = (now, 0);
        }
        said.1 = said.1.saturating_add(1);
        self.infos.insert(peer, message);
        true
    }

    /// Whether a peer has said so much lately that no more is verified.
    pub(crate) fn is_flooding(&self, now: Mono, peer: &PkiId) -> bool {
        let said = self.said.get(peer);
        said.is_some_and(|(since, count)| *count >= SAID_MAX && now.since(*since) < SAID_PERIOD)
    }

    pub(crate) fn is_news(&self, peer: &PkiId, epoch: Epoch, sequence: u64) -> bool {
        self.info(peer).is_none_or(|held| (epoch, sequence) > (held.epoch, held.sequence))
    }

    pub(crate) fn remove(&mut self, peer: &PkiId) -> bool {
        self.said.remove(peer);
        self.infos.remove(peer).is_some()
    }

    /// Whether nothing was heard of the peer here.
    pub(crate) fn is_missing(&self, peer: &PkiId) -> bool {
        !self.infos.contains_key(peer)
    }

    pub(crate) fn height_of(&self, peer: &PkiId) -> Option<Height> {
        self.info(peer).filter(|info| !info.left_channel).map(|info| info.height)
    }

    pub(crate) fn tag_of(&self, peer: &PkiId) -> Option<ChannelTag> {
        self.info(peer).map(|info| info.tag)
    }

    /// Takes out all but `own`.
    pub(crate) fn take_others(&mut self, own: &PkiId) -> Vec<Verified<Message>> {
        let kept = self.infos.remove(own);
        let others = std::mem::take(&mut self.infos).into_values().collect();
        self.infos.extend(kept.map(|info| (*own, info)));
        others
    }

    /// Who is here, as far as we know.
    pub(crate) fn present(&self) -> impl Iterator<Item = PkiId> {
        let infos = self.infos.values().filter_map(info_of);
        infos.filter(|info| !info.left_channel).map(|info| info.pki_id)
    }

    pub(crate) fn get(&self, peer: &PkiId) -> Option<&Verified<Message>> {
        self.infos.get(peer)
    }

    pub(crate) fn len(&self) -> usize {
        self.infos.len()
    }

    /// Who said what last.
    pub(crate) fn spoken(&self) -> impl Iterator<Item = (PkiId, Spoken)> {
        let infos = self.infos.values().filter_map(info_of);
        infos.map(|info| (info.pki_id, (info.epoch, info.sequence)))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Verified<Message>> {
        self.infos.values()
    }

    fn info(&self, peer: &PkiId) -> Option<&StateInfo> {
        self.infos.get(peer).and_then(info_of)
    }
}

fn info_of(message: &Verified<Message>) -> Option<&StateInfo> {
    if let Message::StateInfo(info) = message.message() { Some(info) } else { None }
}

/// State infos of one peer that are verified in a period; it says one in four seconds, and when it comes or goes.
const SAID_MAX: u32 = 8;

/// The period.
const SAID_PERIOD: Duration = Duration::from_secs(4);

/// State infos kept per channel; as many as a channel may have peers.
const INFOS_MAX: usize = 4096;
