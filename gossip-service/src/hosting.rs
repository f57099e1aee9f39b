//! What the host asks of a running peer, and what it hears of it: subscriptions, acknowledged messages,
//! blocks handed in, channels left.

use std::collections::BTreeMap;
use std::sync::Arc;

use gossip_api::message::Kind;
use gossip_api::{
    Block, ChannelId, Envelope, ErrorText, GossipError, JoinChannelMessage, Message, NetworkMember,
    Nonce, PkiId, Predicate, RemotePeer, SendCriteria, select_peers,
};
use gossip_comm::{Comm, Command};
use rand_chacha::ChaCha8Rng;
use rand_core::Rng as _;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::joining::Channel;
use crate::peer::{Input, Peer};

/// What the host asks for; answered at once, or when what it waits for has happened.
pub(crate) enum Ask {
    /// A look at the machine.
    Look(Look),
    /// Send to these, as far as they may have it.
    Send { message: Message, to: Vec<RemotePeer> },
    /// Send to some, and hear what they say.
    SendByCriteria {
        message: Message,
        criteria: SendCriteria,
        answer: oneshot::Sender<Result<Sent, GossipError>>,
    },
    /// Hear of messages.
    Accept { subscription: Subscription, done: oneshot::Sender<()> },
    /// What a channel was joined with.
    Channel { name: ChannelId, answer: oneshot::Sender<Option<Channel>> },
    /// Take a block.
    Payload { channel: ChannelId, block: Block, answer: oneshot::Sender<Taken> },
    /// Leave a channel.
    Leave { channel: ChannelId, answer: oneshot::Sender<Result<(), GossipError>> },
    /// Take over a configuration.
    Configured {
        config: Arc<dyn JoinChannelMessage>,
        answer: oneshot::Sender<Result<(), GossipError>>,
    },
}

/// What the host wants to know of the machine.
pub(crate) type Look = Box<dyn FnOnce(&Peer) + Send>;

/// What became of a block that the host handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is in the buffer, or was there already.
    Yes,
    /// There is no room for it yet.
    Full,
    /// The channel is not joined.
    NoSuchChannel,
}

/// An acknowledged message that has been sent.
pub(crate) struct Sent {
    /// To whom.
    pub(crate) to: Vec<PkiId>,
    /// What each of them says, as it comes.
    pub(crate) acks: mpsc::Receiver<(PkiId, Option<ErrorText>)>,
}

/// Somebody who wants to hear of messages.
pub(crate) struct Subscription {
    wanted: Predicate,
    what: Heard,
    queue: broadcast::Sender<(PkiId, Message)>,
}

/// Which messages a subscription is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Those that the core acted upon.
    Validated,
    /// Those that the core leaves to the host.
    PassedThrough,
}

impl Subscription {
    /// A subscription, and where to read it.
    pub(crate) fn new(
        wanted: Predicate,
        what: Heard,
    ) -> (Self, broadcast::Receiver<(PkiId, Message)>) {
        let (queue, reader) = broadcast::channel(UNREAD_MAX);
        (Self { wanted, what, queue }, reader)
    }

    /// Puts a message in the queue, where the oldest makes room. Tells whether anybody reads it still.
    fn offer(&self, what: Heard, from: PkiId, message: &Message) -> bool {
        if self.what == what && (self.wanted)(message) {
            return self.queue.send((from, message.clone())).is_ok();
        }
        self.queue.receiver_count() > 0
    }
}

/// The host's open business with a peer.
pub(crate) struct Hosting {
    rng: ChaCha8Rng,
    subscriptions: Vec<Subscription>,
    /// Acknowledged messages under way: who is waited for, and where its word goes.
    open: BTreeMap<Nonce, mpsc::Sender<(PkiId, Option<ErrorText>)>>,
    leaving: BTreeMap<ChannelId, oneshot::Sender<Result<(), GossipError>>>,
}

impl Hosting {
    pub(crate) fn new(rng: ChaCha8Rng) -> Self {
        Self { rng, subscriptions: Vec::new(), open: BTreeMap::new(), leaving: BTreeMap::new() }
    }

    /// Hears of messages from now on, unless too many do already: then nothing comes.
    pub(crate) fn subscribe(&mut self, subscription: Subscription) {
        self.subscriptions.retain(|held| held.queue.receiver_count() > 0);
        if self.subscriptions.len() < SUBSCRIPTIONS_MAX {
            self.subscriptions.push(subscription);
        }
    }

    /// Gives a message to whoever wants it.
    pub(crate) fn deliver(&mut self, from: PkiId, message: &Message) {
        if let Message::Acknowledgement(ack) = message {
            if let Some(waiting) = self.open.get(&ack.nonce) {
                // Who waited may have heard enough.
                let _ = waiting.try_send((from, ack.error.clone()));
            }
            return;
        }
        let is_private = matches!(
            message.kind(),
            Kind::PrivateData | Kind::PrivateDataRequest | Kind::PrivateDataResponse
        );
        let what = if is_private { Heard::PassedThrough } else { Heard::Validated };
        self.subscriptions.retain(|held| held.offer(what, from, message));
    }

    /// Sends to up to `max_peers` of those that meet the criteria.
    // fabric: gossip/gossip/gossip_impl.go SendByCriteria
    pub(crate) fn send_by_criteria(
        &mut self,
        peer: &Peer,
        comm: &dyn Comm,
        message: Message,
        criteria: &SendCriteria,
    ) -> Result<Sent, GossipError> {
        let kind = message.kind().name();
        let nonce = Nonce::new(self.rng.next_u64());
        let message = message.with_ack_nonce(nonce).ok_or(GossipError::NotAcknowledged(kind))?;
        self.open.retain(|_, waiting| !waiting.is_closed());
        if self.open.len() >= OPEN_MAX {
            return Err(GossipError::Overloaded("too many messages wait to be acknowledged"));
        }
        let chosen = self.choose(peer, &message, criteria)?;
        if chosen.len() < criteria.min_ack {
            return Err(GossipError::Criteria(format!(
                "{} peers meet the criteria, {} have to acknowledge",
                chosen.len(),
                criteria.min_ack
            )));
        }
        let (waiting, acks) = mpsc::channel(chosen.len().max(1));
        self.open.insert(nonce, waiting);
        for member in &chosen {
            send(comm, member.remote(), &message);
        }
        Ok(Sent { to: chosen.into_iter().map(|member| member.pki_id).collect(), acks })
    }

    fn choose(
        &mut self,
        peer: &Peer,
        message: &Message,
        criteria: &SendCriteria,
    ) -> Result<Vec<NetworkMember>, GossipError> {
        let pool: Vec<NetworkMember> = match &criteria.channel {
            Some(channel) if !peer.is_joined(channel) => {
                return Err(GossipError::NoSuchChannel(channel.clone()));
            }
            Some(channel) => {
                peer.peers_of_channel(channel).into_iter().map(|held| held.member).collect()
            }
            None => peer.members(),
        };
        Ok(select_peers(&mut self.rng, criteria.max_peers, &pool, |member| {
            criteria.eligible.as_ref().is_none_or(|eligible| eligible(member))
                && peer.may_be_sent(message, &member.pki_id)
        }))
    }

    pub(crate) fn is_leaving(&self, channel: &ChannelId) -> bool {
        self.leaving.contains_key(channel)
    }

    /// Begins to leave a channel.
    pub(crate) fn leave(
        &mut self,
        peer: &Peer,
        channel: ChannelId,
        answer: oneshot::Sender<Result<(), GossipError>>,
    ) -> Option<Input> {
        if !peer.is_joined(&channel) {
            // Who asked may have given up.
            let _ = answer.send(Err(GossipError::NoSuchChannel(channel)));
            return None;
        }
        self.leaving.insert(channel.clone(), answer);
        Some(Input::Leave(channel))
    }

    /// A channel is left.
    pub(crate) fn left(&mut self, channel: &ChannelId) {
        if let Some(answer) = self.leaving.remove(channel) {
            // Who asked may have given up.
            let _ = answer.send(Ok(()));
        }
    }
}

/// Takes a block into the buffer, if there is room.
// fabric: gossip/state/state.go AddPayload
pub(crate) fn take_payload(
    peer: &Peer,
    channel: ChannelId,
    block: Block,
    answer: oneshot::Sender<Taken>,
) -> Option<Input> {
    let (taken, input) = if !peer.is_joined(&channel) {
        (Taken::NoSuchChannel, None)
    } else if peer.has_block(&channel, block.number) {
        (Taken::Yes, None)
    } else if peer.room_for(&channel, block.number, block.len()) {
        (Taken::Yes, Some(Input::FromHost { channel, block }))
    } else {
        (Taken::Full, None)
    };
    match answer.send(taken) {
        Ok(()) => input,
        // Who asked has given up, and will not expect the block to be taken.
        Err(_) => None,
    }
}

/// Sends a message of the host's to those that may have it; how many may not.
pub(crate) fn send_all(
    peer: &Peer,
    comm: &dyn Comm,
    message: &Message,
    to: Vec<RemotePeer>,
) -> usize {
    let (allowed, refused): (Vec<_>, Vec<_>) =
        to.into_iter().partition(|remote| peer.may_be_sent(message, &remote.pki_id));
    allowed.into_iter().for_each(|remote| send(comm, remote, message));
    refused.len()
}

fn send(comm: &dyn Comm, to: RemotePeer, message: &Message) {
    comm.command(Command::Send { to, envelope: Envelope::unsigned(message) });
}

/// Messages that one subscriber may leave unread; then it loses the oldest. Fabric: 110, and then everybody waits.
const UNREAD_MAX: usize = 128;

/// Subscriptions that are read.
const SUBSCRIPTIONS_MAX: usize = 64;

/// Acknowledged messages under way.
const OPEN_MAX: usize = 1024;
