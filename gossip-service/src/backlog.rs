//! Signatures that wait for a processor: bounded, and half of the room is kept for what peers of our own
//! organisation send, however much all others do.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Room for signatures that wait.
#[derive(Debug)]
pub(crate) struct Backlog {
    all: Arc<Semaphore>,
    foreign: Arc<Semaphore>,
}

/// Room for one of them; given back when dropped.
#[derive(Debug)]
#[expect(dead_code, reason = "held for its drop")]
pub(crate) struct Place(OwnedSemaphorePermit, Option<OwnedSemaphorePermit>);

impl Backlog {
    pub(crate) fn new(max: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(max)), foreign: Arc::new(Semaphore::new(max / 2)) }
    }

    /// Room for what a peer sent, of our own organisation or not, if there is any.
    pub(crate) fn place(&self, own_org: bool) -> Option<Place> {
        let take = |room: &Arc<Semaphore>| Arc::clone(room).try_acquire_owned().ok();
        let foreign = if own_org { None } else { Some(take(&self.foreign)?) };
        Some(Place(take(&self.all)?, foreign))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_leave_half_of_the_room_to_our_own_organisation() {
        let backlog = Backlog::new(8);
        let foreign: Vec<_> = (0..100).filter_map(|_| backlog.place(false)).collect();
        assert_eq!(foreign.len(), 4);
        let own: Vec<_> = (0..100).filter_map(|_| backlog.place(true)).collect();
        assert_eq!(own.len(), 4);
        drop(foreign);
        assert_eq!((0..100).filter_map(|_| backlog.place(true)).count(), 100, "each is given back");
        let own_alone: Vec<_> = (0..100).filter_map(|_| backlog.place(true)).collect();
        assert_eq!(own_alone.len(), 4, "and may use what others leave");
    }
}
