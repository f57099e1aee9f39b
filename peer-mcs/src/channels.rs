//! The trust of all channels that a peer has joined.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use gossip_api::{Block, ChannelId, SeqNum};

use crate::channel::Channel;
use crate::error::ChannelError;

/// Channels joined, each with the configurations it has had.
///
/// Readers never wait: a change replaces the whole map at once, and who is verifying goes on with the
/// view it has taken. Share it in an [`Arc`].
#[derive(Debug, Default)]
pub struct Channels {
    joined: ArcSwap<BTreeMap<ChannelId, Arc<History>>>,
    /// Held by whoever replaces the map.
    writing: Mutex<()>,
}

/// One channel's views, oldest first; never empty.
#[derive(Debug)]
pub(crate) struct History(Vec<Arc<Channel>>);

impl History {
    /// The view after the newest config block known.
    pub(crate) fn current(&self) -> &Arc<Channel> {
        self.0.last().expect("invariant: a joined channel has a view")
    }

    /// The view under which block `number` is verified: a config block is verified under the one before it.
    fn for_block(&self, number: SeqNum) -> &Arc<Channel> {
        let before = self.0.iter().rev().find(|view| view.config_block() < number);
        before.or(self.0.first()).expect("invariant: a joined channel has a view")
    }
}

impl Channels {
    /// No channel joined.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a channel, as of its genesis block or a later config block.
    ///
    /// # Errors
    /// [`ChannelError::AlreadyJoined`].
    pub fn join(&self, channel: Channel) -> Result<Arc<Channel>, ChannelError> {
        let channel = Arc::new(channel);
        self.update(|joined| {
            if joined.contains_key(channel.id()) {
                return Err(ChannelError::AlreadyJoined(channel.id().clone()));
            }
            joined.insert(channel.id().clone(), Arc::new(History(vec![channel.clone()])));
            Ok(channel.clone())
        })
    }

    /// Removes a channel; its MSPs accept nobody from then on.
    pub fn leave(&self, channel: &ChannelId) {
        let removed: Result<_, std::convert::Infallible> =
            self.update(|joined| Ok(joined.remove(channel)));
        let Ok(_) = removed;
    }

    /// Applies a config block that was verified and committed; returns the view in force from then on.
    ///
    /// To be called at commit, before any later block is verified or sent. Earlier views are kept for
    /// blocks before it. A block that was applied before changes nothing.
    ///
    /// # Errors
    /// If the channel is not joined or the block does not follow its configuration.
    pub fn apply(&self, channel: &ChannelId, block: &Block) -> Result<Arc<Channel>, ChannelError> {
        self.update(|joined| {
            let history =
                joined.get(channel).ok_or(ChannelError::NoSuchChannel(channel.clone()))?;
            let current = history.current();
            if block.number <= current.config_block() {
                return Ok(current.clone());
            }
            let next = Arc::new(current.next(block)?);
            let mut views = history.0.clone();
            views.push(next.clone());
            let surplus = views.len().saturating_sub(MAX_VIEWS);
            views.drain(..surplus);
            joined.insert(channel.clone(), Arc::new(History(views)));
            Ok(next)
        })
    }

    /// The channel's view after its newest config block.
    pub fn current(&self, channel: &ChannelId) -> Option<Arc<Channel>> {
        self.joined.load().get(channel).map(|history| history.current().clone())
    }

    /// The view under which block `number` of the channel is verified.
    pub fn for_block(&self, channel: &ChannelId, number: SeqNum) -> Option<Arc<Channel>> {
        self.joined.load().get(channel).map(|history| history.for_block(number).clone())
    }

    /// The current views of all channels, in order of their names.
    pub fn all(&self) -> Vec<Arc<Channel>> {
        self.joined.load().values().map(|history| history.current().clone()).collect()
    }

    /// Runs `judge` over the current views in order of names until it gives something.
    pub(crate) fn find_map<T>(
        &self,
        mut judge: impl FnMut(&Arc<Channel>) -> Option<T>,
    ) -> Option<T> {
        self.joined.load().values().find_map(|history| judge(history.current()))
    }

    /// Forgets which identities and blocks were found good, which changes nothing but the time it takes
    /// to find them good again.
    pub fn forget_cached(&self) {
        for history in self.joined.load().values() {
            history.0.iter().for_each(|view| view.forget_cached());
        }
    }

    fn update<T, E>(
        &self,
        change: impl FnOnce(&mut BTreeMap<ChannelId, Arc<History>>) -> Result<T, E>,
    ) -> Result<T, E> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut joined = BTreeMap::clone(&self.joined.load());
        let result = change(&mut joined)?;
        self.joined.store(Arc::new(joined));
        Ok(result)
    }
}

/// Views kept per channel. A block older than the oldest of them is verified under that one.
const MAX_VIEWS: usize = 64;
