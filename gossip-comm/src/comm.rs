//! The contract that real QUIC and the simulated network both serve.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use gossip_api::message::CloseReason;
use gossip_api::{
    Endpoint, Envelope, Epoch, OrgId, PeerIdentity, PkiId, RemotePeer, SignedMessage,
};

/// What the layer above tells the transport to do. Commands never wait.
#[derive(Clone, Debug)]
pub enum Command {
    /// Have a connection to whoever answers at `endpoint`.
    ///
    /// Answered by [`Event::Connected`] (also if there is one already) or [`Event::DialFailed`].
    Dial {
        /// Where.
        endpoint: Endpoint,
        /// Who must answer; anybody acceptable if not given.
        expect: Option<PkiId>,
    },
    /// Send one message, over the peer's connection or, if there is none, after dialling its endpoint.
    ///
    /// Best effort: what does not fit the peer's outbox, or cannot be delivered, is dropped and counted.
    Send {
        /// To whom.
        to: RemotePeer,
        /// What; block frames get a stream of their own.
        envelope: Envelope,
    },
    /// Ask over a stream of its own. Answered by any number of [`Event::Response`] and one [`Event::ResponseEnd`].
    Request {
        /// Whom.
        to: RemotePeer,
        /// The caller's name for the exchange; must not be in use.
        id: RequestId,
        /// The question.
        envelope: Envelope,
        /// Silence after which the exchange is given up; counted anew from each part.
        patience: Duration,
    },
    /// One part of an answer.
    Respond {
        /// Which exchange, as [`Event::Request`] named it.
        to: InboundId,
        /// The part.
        envelope: Envelope,
    },
    /// The answer is complete.
    EndResponse {
        /// Which exchange.
        to: InboundId,
    },
    /// Close the connection to a peer, if there is one.
    Close {
        /// Whose.
        peer: PkiId,
        /// Told to the other side.
        reason: CloseReason,
    },
}

/// What the transport tells the layer above.
#[derive(Clone, Debug)]
pub enum Event {
    /// A peer has proved its identity on a new connection, or a dial found it connected already.
    Connected(Connected),
    /// The last connection to a peer is gone.
    Disconnected {
        /// Whose.
        peer: PkiId,
        /// Why.
        cause: DisconnectCause,
    },
    /// A dial came to nothing. The transport does not retry by itself.
    DialFailed {
        /// Where.
        endpoint: Endpoint,
        /// Why, in words for a log.
        reason: String,
    },
    /// A message, not trusted beyond the connection it came over.
    Received {
        /// Whose connection.
        from: PkiId,
        /// The message.
        message: SignedMessage,
    },
    /// A question that came with a stream to answer it on.
    Request {
        /// Whose connection.
        from: PkiId,
        /// Name under which to answer.
        id: InboundId,
        /// The question.
        message: SignedMessage,
    },
    /// Part of an answer to our question.
    Response {
        /// Whose connection.
        from: PkiId,
        /// Our name for the exchange.
        id: RequestId,
        /// The part.
        message: SignedMessage,
    },
    /// Our exchange is over.
    ResponseEnd {
        /// Our name for it.
        id: RequestId,
        /// Whether the other side said that the answer was complete.
        outcome: ResponseOutcome,
    },
}

/// A peer that has proved who it is.
#[derive(Clone, Debug)]
pub struct Connected {
    /// Who.
    pub peer: PkiId,
    /// Its identity, valid when the connection was made.
    pub identity: PeerIdentity,
    /// Its organisation.
    pub org: Option<OrgId>,
    /// Which life of it: what its hello states.
    pub epoch: Epoch,
    /// The endpoint that was dialled; nothing if the peer dialled us.
    pub dialled: Option<Endpoint>,
}

/// Names an exchange that we began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Names an exchange that another peer began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InboundId(pub u64);

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseOutcome {
    /// The other side finished its answer.
    Complete,
    /// Nothing came for the time the request allowed.
    TimedOut,
    /// The connection broke, or there was none.
    Broken,
    /// The other side does not answer questions now.
    Refused,
}

/// Why a connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisconnectCause {
    /// We closed it.
    Local(CloseReason),
    /// The other side closed it.
    Remote(CloseReason),
    /// Nothing was heard for the idle time-out.
    Silent,
    /// The network or the process at the other end failed.
    Broken,
}

/// The transport as a value to hand to: what [`Command`] and [`Event`] are spoken over.
#[async_trait]
pub trait Comm: Send + Sync {
    /// Hands over a command. Never waits; after [`stop`](Self::stop) nothing happens.
    fn command(&self, command: Command);

    /// The next event; nothing once the transport has stopped and all events are read.
    ///
    /// One reader at a time: events are in order.
    async fn next_event(&self) -> Option<Event>;

    /// Moves events that have come already to the end of `into`, `max` at most; never waits.
    ///
    /// Whoever has just been given one by [`next_event`](Self::next_event) takes the others of its
    /// batch so, which costs one lock for all of them.
    fn try_events(&self, into: &mut Vec<Event>, max: usize);

    /// So many members of each organisation are known to live, ourselves not counted. What an organisation may
    /// send follows from it where the transport limits that; elsewhere nothing does.
    fn set_known_alive(&self, _members: BTreeMap<OrgId, usize>) {}

    /// Closes every connection and waits until no task is left. Idempotent.
    async fn stop(&self);
}
