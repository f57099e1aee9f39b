//! What the layer above has not read yet.
//!
//! One queue keeps events in order. Its bound is not its length but what stands behind each event: a
//! message occupies bytes of its connection's own allowance until it is read, so a flood from one peer
//! stops the reading of that peer's streams and of nobody else's. Messages that came together are
//! queued, accounted and handed up together.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gossip_api::{PkiId, SignedMessage};
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
    /// How many events those are.
    events: usize,
    closed: bool,
}

/// Something on its way up, and the bytes it occupies until it is read.
#[derive(Debug)]
enum Queued {
    /// One event.
    One(Box<Event>, Occupied),
    /// Messages that came together from one peer; never empty.
    Many(PkiId, VecDeque<SignedMessage>, Occupied),
}

/// Frees the bytes when it is dropped.
#[derive(Debug)]
struct Occupied(#[expect(dead_code, reason = "held for its drop")] Option<OwnedSemaphorePermit>);

impl State {
    /// Takes the first event; what it occupied is free once nothing of its batch is left.
    fn pop(&mut self) -> Option<Event> {
        let event = match self.waiting.pop_front()? {
            Queued::One(event, occupied) => {
                drop(occupied);
                *event
            }
            Queued::Many(from, mut messages, occupies) => {
                let message = messages.pop_front()?;
                if !messages.is_empty() {
                    self.waiting.push_front(Queued::Many(from, messages, occupies));
                }
                Event::Received { from, message }
            }
        };
        self.events = self.events.saturating_sub(1);
        Some(event)
    }

    /// Takes up to `max` events, batches as wholes where they fit.
    fn take(&mut self, into: &mut Vec<Event>, max: usize) {
        let mut room = max;
        while room > 0 {
            match self.waiting.pop_front() {
                Some(Queued::Many(from, mut messages, occupies)) => {
                    let count = messages.len().min(room);
                    let taken = messages.drain(..count);
                    into.extend(taken.map(|message| Event::Received { from, message }));
                    self.events = self.events.saturating_sub(count);
                    room -= count;
                    if !messages.is_empty() {
                        self.waiting.push_front(Queued::Many(from, messages, occupies));
                    }
                }
                Some(Queued::One(event, occupied)) => {
                    drop(occupied);
                    into.push(*event);
                    self.events = self.events.saturating_sub(1);
                    room -= 1;
                }
                None => return,
            }
        }
    }
}

impl Inbox {
    /// Queues an event about connections, dials or requests: at most a few for each of these.
    pub(super) fn push(&self, event: Event) {
        self.queue(Queued::One(Box::new(event), Occupied(None)), 1);
    }

    /// Queues a message that has been admitted, with what it occupies.
    pub(super) fn push_message(&self, event: Event, occupies: OwnedSemaphorePermit) {
        self.queue(Queued::One(Box::new(event), Occupied(Some(occupies))), 1);
    }

    /// Queues messages that have been admitted together.
    pub(super) fn push_batch(
        &self,
        from: PkiId,
        messages: VecDeque<SignedMessage>,
        occupies: OwnedSemaphorePermit,
    ) {
        let count = messages.len();
        if count > 0 {
            self.queue(Queued::Many(from, messages, Occupied(Some(occupies))), count);
        }
    }

    fn queue(&self, queued: Queued, count: usize) {
        let mut state = self.lock();
        if !state.closed {
            state.waiting.push_back(queued);
            state.events += count;
        }
        drop(state);
        self.ready.notify_one();
    }

    /// Moves up to `max` events to `into` without waiting.
    pub(super) fn take(&self, into: &mut Vec<Event>, max: usize) {
        let mut state = self.lock();
        state.take(into, max);
    }

    /// The next event; nothing once closed and read to the end. Nothing is lost if the future is dropped.
    pub(super) async fn next(&self) -> Option<Event> {
        loop {
            let ready = self.ready.notified();
            {
                let mut state = self.lock();
                if let Some(event) = state.pop() {
                    return Some(event);
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
        self.lock().events
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
