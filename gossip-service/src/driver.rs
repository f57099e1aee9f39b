//! The loop that runs a peer, and what it can be asked from outside.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gossip_api::{ChannelId, GossipError, Machine, Message, NetworkMember, PkiId, Verified};
use gossip_comm::{Clock, Comm};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::trace;

use crate::effects::Effects;
use crate::hosting::Ask;
use crate::joining::Channel;
use crate::peer::{ChannelStatus, Input, Peer};
use crate::traffic::OrgTraffic;

/// What reaches the loop besides the transport's events.
#[allow(clippy::large_enum_variant, reason = "nearly every note is an input")]
pub(crate) enum Note {
    /// Something for the machine: the answer to an action, or a block of a source.
    Input(Input),
    /// A message whose signature holds; about a channel, under the configuration of this sequence.
    Verified {
        /// Over whose connection.
        from: PkiId,
        /// The message.
        message: Verified<Message>,
        /// The channel, and the sequence of its configuration when the check began.
        judged: Option<(ChannelId, Option<u64>)>,
    },
    /// A channel to join, with what it takes.
    Join(Box<Channel>, oneshot::Sender<Result<(), GossipError>>),
    /// Something that the host asks for.
    Ask(Box<Ask>),
    /// The peer is about to stop; answered when its goodbyes are on their way.
    Stopping(oneshot::Sender<()>),
    /// How do things stand?
    Status(oneshot::Sender<Status>),
}

impl From<Input> for Note {
    fn from(input: Input) -> Self {
        Self::Input(input)
    }
}

/// How a peer stands, for people.
#[derive(Clone, Debug)]
pub struct Status {
    /// Alive members of the network, never ourselves.
    pub members: Vec<NetworkMember>,
    /// Peers connected.
    pub connections: usize,
    /// Identities known.
    pub identities: usize,
    /// Who of those connected dialled us: proof that our address can be reached.
    pub dialled_us: usize,
    /// How long the peer has been running.
    pub uptime: Duration,
    /// Each channel.
    pub channels: Vec<ChannelStatus>,
    /// Bytes of messages by organisation.
    pub traffic: BTreeMap<String, OrgTraffic>,
    /// What each channel's own source of blocks is called, where there is one.
    pub sources: BTreeMap<ChannelId, String>,
}

/// Runs the peer until it is told to stop.
pub(crate) async fn run(
    mut peer: Peer,
    mut effects: Effects,
    comm: Arc<dyn Comm>,
    mut notes: mpsc::Receiver<Note>,
    clock: Clock,
    shutdown: CancellationToken,
) {
    loop {
        let wakeup = peer.next_wakeup();
        let wait = wakeup.map(|wakeup| wakeup.at.since(clock.mono()));
        let input = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(event) = comm.next_event() => effects.receive(clock.now(), &peer, event),
            Some(note) = notes.recv() => effects.note(clock.now(), &peer, note),
            () = sleep(wait) => {
                trace!(why = wakeup.map(|wakeup| wakeup.why), "woke up");
                Some(Input::Tick)
            }
        };
        let Some(input) = input else { continue };
        let actions = peer.handle(clock.now(), input);
        actions.into_iter().for_each(|action| effects.perform(action));
        effects.refresh(&peer);
    }
}

/// Sleeps for `wait`; for ever if there is none.
async fn sleep(wait: Option<std::time::Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}
