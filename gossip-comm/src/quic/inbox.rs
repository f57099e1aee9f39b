//! What the layer above has not read yet.
//!
//! One queue keeps events in order. Its bound is not its length but what stands behind each event: a
//! message occupies bytes of its connection's own allowance until it is read, so a flood from one peer
//! stops the reading of that peer's streams and of nobody else's.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::comm::Event;

/// Events on their way up.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    ready: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Queued>,
    closed: bool,
}

/// An event, and the bytes it occupies until it is read.
#[derive(Debug)]
pub(super) struct Queued {
    event: Event,
    _occupies: Option<OwnedSemaphorePermit>,
}

impl Queued {
    pub(super) fn message(event: Event, occupies: OwnedSemaphorePermit) -> Self {
        Self { event, _occupies: Some(occupies) }
    }
}

impl Inbox {
    /// Queues an event about connections, dials or requests: at most a few for each of these.
    pub(super) fn push(&self, event: Event) {
        self.push_all([Queued { event, _occupies: None }]);
    }

    /// Queues messages that have been admitted.
    pub(super) fn push_all(&self, events: impl IntoIterator<Item = Queued>) {
        let mut state = self.lock();
        if !state.closed {
            state.waiting.extend(events);
        }
        drop(state);
        self.ready.notify_one();
    }

    /// The next event; nothing once closed and read to the end. Nothing is lost if the future is dropped.
    pub(super) async fn next(&self) -> Option<Event> {
        loop {
            let ready = self.ready.notified();
            {
                let mut state = self.lock();
                if let Some(queued) = state.waiting.pop_front() {
                    return Some(queued.event);
                }
                if state.closed {
                    // The next reader must not wait either.
                    self.ready.notify_one();
                    return None;
                }
            }
            ready.await;
        }
    }

    /// How many events wait.
    pub(super) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Nothing comes in any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.ready.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that one connection may have waiting in the inbox.
#[derive(Clone, Debug)]
pub(super) struct Allowance {
    bytes: Arc<Semaphore>,
    max: usize,
}

impl Allowance {
    pub(super) fn new(bytes_max: usize) -> Self {
        let max = bytes_max.min(Semaphore::MAX_PERMITS).min(u32::MAX as usize);
        Self { bytes: Arc::new(Semaphore::new(max)), max }
    }

    /// Room for `bytes`, if there is room at once.
    pub(super) fn try_occupy(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.bytes).try_acquire_many_owned(self.permits(bytes)).ok()
    }

    /// Waits until `bytes` fit; one larger than the whole allowance waits to be alone. Nothing
    /// once `stop` is cancelled.
    pub(super) async fn occupy(
        &self,
        bytes: usize,
        stop: &CancellationToken,
    ) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            permit = Arc::clone(&self.bytes).acquire_many_owned(self.permits(bytes)) => permit.ok(),
            () = stop.cancelled() => None,
        }
    }

    fn permits(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.clamp(1, self.max)).unwrap_or(u32::MAX)
    }
}
