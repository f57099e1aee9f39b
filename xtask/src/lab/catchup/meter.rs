//! A transport that counts the blocks that came in and are still held by anybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use gossip_api::Message;
use gossip_api::message::StateResponse;
use gossip_comm::{Comm, Command, Event};

/// Bytes of blocks between their arrival and their last drop, wherever they are meanwhile.
#[derive(Debug, Default)]
pub(super) struct Held {
    now: AtomicU64,
    peak: AtomicU64,
}

impl Held {
    /// The most that was held at the same time.
    pub(super) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) {
        let now = self.now.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(now, Ordering::Relaxed);
    }
}

/// The real transport, but each block that an answer brings is counted until it is dropped.
pub(super) struct Metered<C> {
    pub(super) comm: Arc<C>,
    pub(super) held: Arc<Held>,
}

#[async_trait]
impl<C: Comm> Comm for Metered<C> {
    fn command(&self, command: Command) {
        self.comm.command(command);
    }

    async fn next_event(&self) -> Option<Event> {
        self.comm.next_event().await.map(|event| self.metered(event))
    }

    fn try_events(&self, into: &mut Vec<Event>, max: usize) {
        let mut events = Vec::new();
        self.comm.try_events(&mut events, max);
        into.extend(events.into_iter().map(|event| self.metered(event)));
    }

    async fn stop(&self) {
        self.comm.stop().await;
    }
}

impl<C> Metered<C> {
    fn metered(&self, event: Event) -> Event {
        let Event::Response { from, id, mut message } = event else { return event };
        if let Message::StateResponse(StateResponse { block, .. }) = &mut message.message {
            block.data = self.counted(std::mem::take(&mut block.data));
            block.metadata = self.counted(std::mem::take(&mut block.metadata));
        }
        Event::Response { from, id, message }
    }

    fn counted(&self, bytes: Bytes) -> Bytes {
        let held = Arc::clone(&self.held);
        held.take(bytes.len() as u64);
        Bytes::from_owner(Counted { bytes, held })
    }
}

struct Counted {
    bytes: Bytes,
    held: Arc<Held>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.held.now.fetch_sub(self.bytes.len() as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_counts_until_the_last_slice_of_it_is_gone() {
        let held = Arc::new(Held::default());
        let metered = Metered { comm: Arc::new(()), held: Arc::clone(&held) };
        let first = metered.counted(Bytes::from(vec![1; 100]));
        let slice = first.slice(10..20);
        drop(first);
        drop(metered.counted(Bytes::from(vec![1; 50])));
        assert_eq!(held.peak(), 150);
        drop(slice);
        drop(metered.counted(Bytes::from(vec![1; 160])));
        assert_eq!(held.peak(), 160);
    }
}
