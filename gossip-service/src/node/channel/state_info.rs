//! The newest state info of every peer of a channel.

use std::collections::BTreeMap;

use gossip_api::message::StateInfo;
use gossip_api::{ChannelTag, Epoch, Height, Message, PkiId, Verified};

/// One state info per peer: the newest, by (epoch, sequence).
// fabric: gossip/gossip/channel/channel.go stateInfoCache
#[derive(Debug, Default)]
pub(crate) struct StateInfos {
    infos: BTreeMap<PkiId, Verified<Message>>,
}

impl StateInfos {
    /// Keeps a state info unless one as new is held, or the store is full of others.
    pub(crate) fn put(&mut self, message: Verified<Message>) -> bool {
        let Some(info) = info_of(&message) else { return false };
        let (peer, epoch, sequence) = (info.pki_id, info.epoch, info.sequence);
        let full = self.infos.len() >= INFOS_MAX && !self.infos.contains_key(&peer);
        if full || !self.is_news(&peer, epoch, sequence) {
            return false;
        }
        self.infos.insert(peer, message);
        true
    }

    pub(crate) fn is_news(&self, peer: &PkiId, epoch: Epoch, sequence: u64) -> bool {
        self.info(peer).is_none_or(|held| (epoch, sequence) > (held.epoch, held.sequence))
    }

    pub(crate) fn remove(&mut self, peer: &PkiId) -> bool {
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

/// State infos kept per channel; as many as a channel may have peers.
const INFOS_MAX: usize = 4096;
