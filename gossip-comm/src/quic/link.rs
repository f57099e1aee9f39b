//! One authenticated connection, and the tasks that live with it.
//!
//! ```text
//!   outbox --control writer--> one uni stream      one uni stream --> control reader --+
//!      |                                                                               v
//!      +--block dispatcher---> a uni stream each   a uni stream each --> block reader --> inbox
//!                                                                                      ^
//!   requests ----------------> a bidi stream each <-- answers -------------------------+
//! ```
//!
//! A link owns its tasks and closes nothing but itself. When another connection to the same peer stays,
//! the link is *retired*: it sends nothing new, waits until what it has sent has arrived, ends its control
//! stream as the last of its streams, reads until the other side has done the same, and closes. So
//! nothing is lost when one of two connections gives way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use gossip_api::message::CloseReason;
use gossip_api::{Mono, Wall};
use quinn::Connection;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span, debug_span};

use super::inbox::Allowance;
use super::outbox::Outbox;
use super::quota::{Pressure, Quota};
use super::{Shared, endpoint, exchange, reader, writer};
use crate::comm::DisconnectCause;
use crate::duplicate::Mode;
use crate::hello::{Greeting, Me};
use crate::transport::{RETIREMENT, cause};

/// One authenticated connection.
#[derive(Debug)]
pub(super) struct Link {
    /// Unlike every other link of this process.
    pub(super) id: u64,
    pub(super) connection: Connection,
    pub(super) greeting: Greeting,
    /// Whether we dialled.
    pub(super) by_us: bool,
    /// End of the validity of the certificate that the other side showed.
    peer_until: Option<Wall>,
    /// When both hellos were believed.
    pub(super) born: Mono,
    pub(super) outbox: Arc<Outbox>,
    /// Cancelled when the other side has ended its control stream: it has nothing more to send.
    pub(super) other_done: CancellationToken,
    /// Cancelled when the connection is gone.
    pub(super) gone: CancellationToken,
    /// What we began on it: blocks being sent, requests being answered.
    pub(super) work: TaskTracker,
    /// Everything else that runs on it.
    tasks: TaskTracker,
    /// Bytes of blocks that may be under way.
    pub(super) block_room: Arc<Semaphore>,
    pub(super) block_room_max: u32,
    pub(super) small_in: Allowance,
    pub(super) block_in: Allowance,
    pub(super) control_seen: AtomicBool,
    mode: watch::Sender<Mode>,
    quota: Mutex<Quota>,
    closed_for: OnceLock<CloseReason>,
    /// Says whose connection it is, in every line that its tasks write.
    span: Span,
}

impl Link {
    pub(super) fn new(
        shared: &Shared,
        id: u64,
        greeting: Greeting,
        connection: Connection,
        peer_until: Option<Wall>,
        by_us: bool,
        outbox: Arc<Outbox>,
    ) -> Self {
        // Half of what may be unacknowledged is left to control messages and answers.
        let block_room_max = (shared.config.streams.send_window / 2).max(1);
        Self {
            id,
            span: debug_span!("conn", peer = ?greeting.peer, by_us),
            connection,
            peer_until,
            by_us,
            born: shared.clock.mono(),
            outbox,
            other_done: CancellationToken::new(),
            gone: CancellationToken::new(),
            work: TaskTracker::new(),
            tasks: TaskTracker::new(),
            block_room: Arc::new(Semaphore::new(block_room_max as usize)),
            block_room_max,
            small_in: Allowance::new(shared.config.inbox.control_bytes),
            block_in: Allowance::new(shared.config.inbox.block_bytes),
            control_seen: AtomicBool::new(false),
            mode: watch::Sender::new(Mode::Standby),
            quota: Mutex::new(shared.quota_of(greeting.org.as_ref())),
            greeting,
            closed_for: OnceLock::new(),
        }
    }

    /// Runs until the connection is gone and every task on it has ended.
    pub(super) async fn run(self: Arc<Self>, shared: Arc<Shared>) {
        self.spawn(&shared, writer::control(Arc::clone(&shared), Arc::clone(&self)));
        self.spawn_work(&shared, writer::blocks(Arc::clone(&shared), Arc::clone(&self)));
        self.spawn(&shared, Arc::clone(&self).end_in_time());
        tokio::join!(
            self.accept_streams(&shared),
            self.accept_requests(&shared),
            reader::datagrams(Arc::clone(&shared), Arc::clone(&self)),
        );
        self.gone.cancel();
        self.work.close();
        self.work.wait().await;
        self.tasks.close();
        self.tasks.wait().await;
        shared.link_gone(&self);
    }

    /// Runs a task that ends with the link.
    fn spawn(&self, shared: &Shared, task: impl Future<Output = ()> + Send + 'static) {
        shared.spawn(self.tasks.track_future(task.instrument(self.span.clone())));
    }

    /// Runs a task that sends something; a link that retires waits for it.
    pub(super) fn spawn_work(
        &self,
        shared: &Shared,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        shared.spawn(self.work.track_future(task.instrument(self.span.clone())));
    }

    /// Ends the connection; the first reason given holds.
    pub(super) fn close(&self, reason: CloseReason) {
        let reason = *self.closed_for.get_or_init(|| reason);
        endpoint::close(&self.connection, reason);
    }

    /// Why the connection is gone, once it is.
    pub(super) fn cause(&self) -> DisconnectCause {
        cause(self.connection.close_reason().as_ref(), self.closed_for.get().copied())
    }

    pub(super) fn mode(&self) -> Mode {
        *self.mode.borrow()
    }

    pub(super) fn watch_mode(&self) -> watch::Receiver<Mode> {
        self.mode.subscribe()
    }

    /// Changes what the link does; a retired one stays so.
    pub(super) fn set_mode(&self, mode: Mode) {
        self.mode.send_if_modified(|now| {
            let change = *now != Mode::Retired && *now != mode;
            if change {
                *now = mode;
            }
            change
        });
    }

    /// Whether it can still become or stay the one that sends.
    pub(super) fn is_live(&self) -> bool {
        self.mode() != Mode::Retired && self.connection.close_reason().is_none()
    }

    /// A retired link whose other side does not play along is closed all the same.
    async fn end_in_time(self: Arc<Self>) {
        let mut mode = self.watch_mode();
        tokio::select! {
            _ = mode.wait_for(|mode| *mode == Mode::Retired) => {}
            () = self.gone.cancelled() => return,
        }
        tokio::select! {
            () = tokio::time::sleep(RETIREMENT) => self.close(CloseReason::Duplicate),
            () = self.gone.cancelled() => {}
        }
    }

    async fn accept_streams(self: &Arc<Self>, shared: &Arc<Shared>) {
        // Streams that had arrived when the connection ended are still handed out before the error.
        while let Ok(stream) = self.connection.accept_uni().await {
            self.spawn(shared, reader::stream(Arc::clone(shared), Arc::clone(self), stream));
        }
    }

    async fn accept_requests(self: &Arc<Self>, shared: &Arc<Shared>) {
        while let Ok((send, recv)) = self.connection.accept_bi().await {
            self.spawn(shared, exchange::serve(Arc::clone(shared), Arc::clone(self), send, recv));
        }
    }

    /// Whether we show another identity or certificate by now than it was made with.
    pub(super) fn is_outdated(&self, me: &Me, own_leaf: &[u8; 32]) -> bool {
        self.greeting.own != me.pki_id || self.greeting.own_leaf != *own_leaf
    }

    /// Whether its peer's identity or certificate has run out.
    pub(super) fn has_expired(&self, now: Wall) -> bool {
        self.greeting.expiration.is_past(now) || self.peer_until.is_some_and(|until| until < now)
    }

    /// Whether what its peer sends now is to be dropped unread.
    pub(super) fn is_over_quota(&self, now: Mono) -> bool {
        self.quota.lock().unwrap_or_else(PoisonError::into_inner).is_over(now)
    }

    /// Takes the price of what its peer sent.
    pub(super) fn charge(&self, units: u64, now: Mono) -> Pressure {
        self.quota.lock().unwrap_or_else(PoisonError::into_inner).charge(units, now)
    }

    /// Marks that the other side's control stream has begun; false if it had already.
    pub(super) fn begin_control(&self) -> bool {
        !self.control_seen.swap(true, Ordering::Relaxed)
    }
}
