//! Fabric's `Comm`, for whoever drives no machine: calls that wait for their answer, and subscriptions.
//!
//! A [`Switchboard`] reads the events of a transport and hands each to whom it concerns. It works over any
//! [`Comm`], and is not used by the peer itself, whose machines take the events as they are.
//!
//! A subscription holds a bounded number of messages. Who reads too slowly loses the oldest, which is
//! counted, and delays nobody.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_core::Stream;
use gossip_api::message::CloseReason;
use gossip_api::{Endpoint, Envelope, PkiId, RemotePeer, SignedMessage};
use tokio::sync::oneshot;

use crate::acks::{AckId, AckReport, AckedSend, AckedSends};
use crate::comm::{Comm, Command, Connected, Event, InboundId, RequestId};

/// A message as a subscription hands it out.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Whose connection.
    pub from: PkiId,
    /// The message, not trusted beyond the connection it came over.
    pub message: SignedMessage,
    /// Under what name to answer or acknowledge, if an answer is expected.
    pub answer_to: Option<InboundId>,
}

/// Why a call came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Nobody that is let in answers there.
    #[error("not reached: {0}")]
    NotReached(String),
    /// It took too long.
    #[error("no answer in time")]
    TimedOut,
    /// The transport has stopped.
    #[error("transport is stopped")]
    Stopped,
}

/// Calls and subscriptions over a transport.
// fabric: gossip/comm/comm.go Comm
pub struct Switchboard {
    comm: Arc<dyn Comm>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Replaced as a whole, so that predicates are asked without a lock.
    subscribers: Arc<Vec<Subscriber>>,
    dead: Vec<Weak<Mutex<Queue<PkiId>>>>,
    switched: Vec<Weak<Mutex<Queue<PkiId>>>>,
    calls: BTreeMap<Endpoint, Vec<Call>>,
    /// Nothing once the transport has stopped.
    acks: Option<AckedSends>,
    reports: BTreeMap<AckId, oneshot::Sender<AckReport>>,
    /// Who was last found at an endpoint.
    found: BTreeMap<Endpoint, PkiId>,
}

/// Who wants which messages.
#[derive(Clone)]
struct Subscriber {
    queue: Weak<Mutex<Queue<Incoming>>>,
    wants: Arc<dyn Fn(&Incoming) -> bool + Send + Sync>,
}

/// Who is expected, and who waits to know.
type Call = (Option<PkiId>, oneshot::Sender<Result<Connected, CallError>>);

impl fmt::Debug for Switchboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Switchboard").finish_non_exhaustive()
    }
}

impl Switchboard {
    /// Stands between a transport and its users; nothing is handed out before [`run`](Self::run) runs.
    ///
    /// Requests that it makes are named from `first` on.
    pub fn new(comm: Arc<dyn Comm>, first: RequestId) -> Self {
        let state = State { acks: Some(AckedSends::new(first)), ..State::default() };
        Self { comm, state: Arc::new(Mutex::new(state)) }
    }

    /// Hands out events until the transport stops; then every subscription ends and every call fails.
    pub async fn run(&self) {
        let mut events = Vec::new();
        while let Some(event) = self.comm.next_event().await {
            events.push(event);
            self.comm.try_events(&mut events, EVENTS);
            let (messages, subscribers) = self.lock().on_events(events.drain(..));
            messages.iter().for_each(|message| deliver(&subscribers, message));
        }
        self.lock().stop();
    }

    /// Sends one message; never waits, best effort.
    // fabric: gossip/comm/comm_impl.go Send
    pub fn send(&self, to: RemotePeer, envelope: Envelope) {
        self.comm.command(Command::Send { to, envelope });
    }

    /// Sends and waits until enough have acknowledged, or all have answered or been silent for too long.
    pub async fn send_with_ack(&self, what: AckedSend) -> AckReport {
        let all: Vec<PkiId> = what.to.iter().map(|to| to.pki_id).collect();
        let broken = || AckReport::broken(&all);
        let reported = {
            let mut state = self.lock();
            let Some(acks) = state.acks.as_mut() else { return broken() };
            let (id, commands, done) = acks.send(what);
            if let Some(report) = done {
                return report;
            }
            let (report, reported) = oneshot::channel();
            state.reports.insert(id, report);
            drop(state);
            commands.into_iter().for_each(|command| self.comm.command(command));
            reported
        };
        reported.await.unwrap_or_else(|_| broken())
    }

    /// Finds out who answers at `endpoint`, with both identities proved; the connection stays.
    ///
    /// # Errors
    /// If nobody is let in there, somebody else than `expect` is, or it takes longer than `patience`.
    // fabric: gossip/comm/comm_impl.go Handshake
    pub async fn handshake(
        &self,
        endpoint: &Endpoint,
        expect: Option<PkiId>,
        patience: Duration,
    ) -> Result<Connected, CallError> {
        let (found, called) = oneshot::channel();
        {
            let mut state = self.lock();
            if state.has_stopped() {
                return Err(CallError::Stopped);
            }
            let calls = state.calls.entry(endpoint.clone()).or_default();
            calls.retain(|(_, call)| !call.is_closed());
            if calls.len() >= CALLS_MAX {
                return Err(CallError::NotReached("too many calls of one endpoint".into()));
            }
            calls.push((expect, found));
        }
        self.comm.command(Command::Dial { endpoint: endpoint.clone(), expect });
        match tokio::time::timeout(patience, called).await {
            Ok(Ok(found)) => found,
            Ok(Err(_)) => Err(CallError::Stopped),
            Err(_) => Err(CallError::TimedOut),
        }
    }

    /// Whether somebody that is let in answers at `endpoint`.
    ///
    /// # Errors
    /// As [`handshake`](Self::handshake).
    // fabric: gossip/comm/comm_impl.go Probe
    // fabric-differs: what answers has proved its identity; Fabric's ping asks nobody who it is.
    pub async fn probe(&self, endpoint: &Endpoint, patience: Duration) -> Result<(), CallError> {
        self.handshake(endpoint, None, patience).await.map(drop)
    }

    /// Messages that `predicate` accepts, from now on, until the transport stops.
    // fabric: gossip/comm/comm_impl.go Accept
    // fabric-differs: a slow reader loses the oldest messages; in Fabric it stops everybody's.
    pub fn accept(
        &self,
        predicate: impl Fn(&Incoming) -> bool + Send + Sync + 'static,
    ) -> Subscription<Incoming> {
        let mut state = self.lock();
        let (subscription, queue) = Subscription::new(MESSAGES_MAX, state.has_stopped());
        let subscribers = Arc::make_mut(&mut state.subscribers);
        subscribers.retain(|subscriber| subscriber.queue.strong_count() > 0);
        subscribers.push(Subscriber { queue, wants: Arc::new(predicate) });
        subscription
    }

    /// Peers whose last connection was lost or that could not be reached.
    // fabric: gossip/comm/comm_impl.go PresumedDead
    pub fn presumed_dead(&self) -> Subscription<PkiId> {
        let mut state = self.lock();
        let (subscription, queue) = Subscription::new(NOTICES_MAX, state.has_stopped());
        state.dead.push(queue);
        subscription
    }

    /// Peers in whose place, at the endpoint where they were, somebody else has proved an identity.
    // fabric: gossip/comm/comm_impl.go IdentitySwitch
    pub fn identity_switch(&self) -> Subscription<PkiId> {
        let mut state = self.lock();
        let (subscription, queue) = Subscription::new(NOTICES_MAX, state.has_stopped());
        state.switched.push(queue);
        subscription
    }

    /// Accepts, or refuses for a reason, a message that came with a name to answer under.
    pub fn acknowledge(&self, incoming: &Incoming, refused: Option<&str>) {
        if let Some(to) = incoming.answer_to {
            let answer = crate::acks::acknowledge(to, refused);
            answer.into_iter().for_each(|command| self.comm.command(command));
        }
    }

    /// Closes the connection to a peer.
    // fabric: gossip/comm/comm_impl.go CloseConn
    pub fn close(&self, peer: PkiId) {
        self.comm.command(Command::Close { peer, reason: CloseReason::Done });
    }

    /// Stops the transport, and with it [`run`](Self::run).
    // fabric: gossip/comm/comm_impl.go Stop
    pub async fn stop(&self) {
        self.comm.stop().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_stopped(&self) -> bool {
        self.acks.is_none()
    }

    /// Takes events in; says which messages are to be delivered, and to whom.
    fn on_events(
        &mut self,
        events: impl Iterator<Item = Event>,
    ) -> (Vec<Incoming>, Arc<Vec<Subscriber>>) {
        let messages = events.filter_map(|event| self.on_event(event)).collect();
        (messages, Arc::clone(&self.subscribers))
    }

    fn on_event(&mut self, event: Event) -> Option<Incoming> {
        let event = match self.acks.as_mut()?.receive(event) {
            Ok(None) => return None,
            Ok(Some((id, report))) => {
                if let Some(waiting) = self.reports.remove(&id) {
                    // Who does not wait any more does not want to know.
                    let _ = waiting.send(report);
                }
                return None;
            }
            Err(event) => *event,
        };
        match event {
            Event::Connected(connected) => self.on_connected(connected),
            Event::Disconnected { peer, .. } => publish(&mut self.dead, peer),
            Event::DialFailed { endpoint, reason } => self.on_dial_failed(&endpoint, &reason),
            Event::Received { from, message } => {
                return Some(Incoming { from, message, answer_to: None });
            }
            Event::Request { from, id, message } => {
                return Some(Incoming { from, message, answer_to: Some(id) });
            }
            // Answers to what was asked past the switchboard.
            Event::Response { .. } | Event::ResponseEnd { .. } => {}
        }
        None
    }

    fn on_connected(&mut self, connected: Connected) {
        let Some(endpoint) = connected.dialled.clone() else { return };
        let calls = self.calls.remove(&endpoint).unwrap_or_default();
        for (expect, call) in calls {
            let found = match expect.filter(|expect| *expect != connected.peer) {
                None => Ok(connected.clone()),
                Some(_) => Err(CallError::NotReached(format!("{} answers there", connected.peer))),
            };
            let _ = call.send(found);
        }
        if self.found.len() >= ENDPOINTS_MAX && !self.found.contains_key(&endpoint) {
            self.found.pop_first();
        }
        let before = self.found.insert(endpoint, connected.peer);
        if let Some(before) = before.filter(|before| *before != connected.peer) {
            publish(&mut self.switched, before);
        }
    }

    fn on_dial_failed(&mut self, endpoint: &Endpoint, reason: &str) {
        for (expect, call) in self.calls.remove(endpoint).unwrap_or_default() {
            let _ = call.send(Err(CallError::NotReached(reason.to_owned())));
            if let Some(expect) = expect {
                publish(&mut self.dead, expect);
            }
        }
    }

    fn stop(&mut self) {
        self.acks = None;
        self.reports.clear();
        self.calls.clear();
        for subscriber in std::mem::take(&mut self.subscribers).iter() {
            subscriber.queue.upgrade().iter().for_each(|queue| end(queue));
        }
        for queue in self.dead.drain(..).chain(self.switched.drain(..)) {
            queue.upgrade().iter().for_each(|queue| end(queue));
        }
    }
}

fn deliver(subscribers: &[Subscriber], incoming: &Incoming) {
    for subscriber in subscribers {
        if let Some(queue) = subscriber.queue.upgrade()
            && (subscriber.wants)(incoming)
        {
            push(&queue, incoming.clone(), incoming.message.envelope.encoded_len());
        }
    }
}

/// What a subscription has not handed out yet, for as long as it is kept. Ends when the transport stops.
pub struct Subscription<T> {
    queue: Arc<Mutex<Queue<T>>>,
}

struct Queue<T> {
    /// Each with its bytes.
    waiting: VecDeque<(T, usize)>,
    bytes: usize,
    max: usize,
    lost: u64,
    ended: bool,
    waker: Option<Waker>,
}

impl<T> Queue<T> {
    fn pop(&mut self) -> Option<T> {
        let (item, bytes) = self.waiting.pop_front()?;
        self.bytes = self.bytes.saturating_sub(bytes);
        Some(item)
    }
}

impl<T> Subscription<T> {
    fn new(max: usize, ended: bool) -> (Self, Weak<Mutex<Queue<T>>>) {
        let queue = Queue { waiting: VecDeque::new(), bytes: 0, max, lost: 0, ended, waker: None };
        let queue = Arc::new(Mutex::new(queue));
        let weak = Arc::downgrade(&queue);
        (Self { queue }, weak)
    }

    /// How many were lost because they were not read in time.
    pub fn lost(&self) -> u64 {
        lock(&self.queue).lost
    }
}

impl<T> fmt::Debug for Subscription<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subscription({} waiting)", lock(&self.queue).waiting.len())
    }
}

impl<T> Stream for Subscription<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut queue = lock(&self.queue);
        match queue.pop() {
            Some(item) => Poll::Ready(Some(item)),
            None if queue.ended => Poll::Ready(None),
            None => {
                queue.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

fn publish<T: Clone>(queues: &mut Vec<Weak<Mutex<Queue<T>>>>, item: T) {
    queues.retain(|queue| match queue.upgrade() {
        Some(queue) => {
            push(&queue, item.clone(), size_of::<T>());
            true
        }
        None => false,
    });
}

/// Puts `item` in; the oldest make room.
fn push<T>(queue: &Mutex<Queue<T>>, item: T, bytes: usize) {
    let waker = {
        let mut queue = lock(queue);
        while (queue.waiting.len() >= queue.max || queue.bytes + bytes > BYTES_MAX)
            && queue.pop().is_some()
        {
            queue.lost += 1;
        }
        queue.bytes += bytes;
        queue.waiting.push_back((item, bytes));
        queue.waker.take()
    };
    waker.into_iter().for_each(Waker::wake);
}

fn end<T>(queue: &Mutex<Queue<T>>) {
    let waker = {
        let mut queue = lock(queue);
        queue.ended = true;
        queue.waker.take()
    };
    waker.into_iter().for_each(Waker::wake);
}

fn lock<T>(queue: &Mutex<Queue<T>>) -> MutexGuard<'_, Queue<T>> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Messages that a subscription holds. Fabric: 10 + 10, and then everybody waits.
const MESSAGES_MAX: usize = 1024;
/// Bytes of messages that a subscription holds; one larger than this is held alone.
const BYTES_MAX: usize = 16 << 20;
/// Notices of peers that a subscription holds. Fabric: 100.
const NOTICES_MAX: usize = 1024;
/// Calls of one endpoint at once.
const CALLS_MAX: usize = 64;
/// Endpoints of which is remembered who was there.
const ENDPOINTS_MAX: usize = 1024;
/// Events taken at once.
const EVENTS: usize = 256;
