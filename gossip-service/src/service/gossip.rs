//! Fabric's interfaces of the core and of the service, as a running [`Service`] serves them.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use gossip_api::{
    Accepted, Acks, Block, ChannelId, Gossip, GossipError, GossipService, Handed, Height,
    JoinChannelMessage, Message, NetworkMember, PassedThrough, PeerIdentitySet, PeerSignature,
    PeerSuspector, PkiId, Predicate, RemotePeer, RoutingFilter, SendCriteria, SeqNum,
    SubChannelSelectionCriteria, Verified, message::signed_bytes,
};
use tokio::sync::{broadcast, oneshot};

use super::Service;
use crate::configure;
use crate::driver::Note;
use crate::hosting::{Ask, Heard, Sent, Subscription, Taken};
use crate::joining::Channel;
use crate::peer::{Input, Peer};

#[async_trait]
impl Gossip for Service {
    async fn send(&self, message: Message, peers: Vec<RemotePeer>) -> Result<(), GossipError> {
        self.ask(Ask::Send { message, to: peers }).await
    }

    async fn peers(&self) -> Vec<NetworkMember> {
        self.look(Peer::members).await.unwrap_or_default()
    }

    async fn peers_of_channel(&self, channel: &ChannelId) -> Vec<NetworkMember> {
        let name = channel.clone();
        let peers = self.look(move |peer| peer.peers_of_channel(&name)).await;
        peers.unwrap_or_default().into_iter().map(|peer| peer.member).collect()
    }

    async fn update_metadata(&self, metadata: Bytes) -> Result<(), GossipError> {
        self.tell(Note::Input(Input::UpdateMetadata(metadata))).await
    }

    async fn update_ledger_height(
        &self,
        channel: &ChannelId,
        height: Height,
    ) -> Result<(), GossipError> {
        let held = self.channel(channel).await?.ledger.height().await?;
        if height > held {
            return Err(GossipError::AboveLedger { channel: channel.clone(), told: height, held });
        }
        self.tell(Note::Input(Input::LedgerMoved { channel: channel.clone(), height })).await
    }

    async fn gossip(&self, message: Message) -> Result<(), GossipError> {
        let kind = message.kind().name();
        let Message::Data(data) = message else { return Err(GossipError::NotSpread(kind)) };
        self.add_payload(&data.channel, data.block).await
    }

    async fn accept(&self, wanted: Predicate) -> Accepted {
        let service = self.clone();
        let reader = self.subscribe(wanted, Heard::Validated).await;
        Box::pin(stream::unfold((service, reader), |(service, mut reader)| async move {
            let item = service.next(&mut reader).await?;
            Some((item, (service, reader)))
        }))
    }

    async fn accept_passed_through(&self, wanted: Predicate) -> PassedThrough {
        let service = self.clone();
        let reader = self.subscribe(wanted, Heard::PassedThrough).await;
        Box::pin(stream::unfold((service, reader), |(service, mut reader)| async move {
            let (from, message) = service.next(&mut reader).await?;
            let notes = service.notes.clone();
            let answer = Arc::new(move |message| {
                let to = vec![RemotePeer { pki_id: from, endpoint: None }];
                // Best effort: an answer that finds no room is lost like one on the way.
                let _ = notes.try_send(Note::Ask(Box::new(Ask::Send { message, to })));
            });
            Some((Handed::new(from, message, answer), (service, reader)))
        }))
    }

    async fn join_chan(&self, config: Arc<dyn JoinChannelMessage>) -> Result<(), GossipError> {
        if !self.am_i_in_channel(&*config) {
            return Err(GossipError::NotAMember(config.channel().clone()));
        }
        self.config_updated(config).await
    }

    async fn leave_chan(&self, channel: &ChannelId) -> Result<(), GossipError> {
        let channel = channel.clone();
        self.ask_for(|answer| Ask::Leave { channel, answer }).await?
    }

    async fn suspect_peers(&self, suspect: PeerSuspector) {
        configure::expel(&self.shared, &*self.comm, move |identity| suspect(identity)).await;
    }

    async fn send_by_criteria(
        &self,
        message: Message,
        criteria: SendCriteria,
    ) -> Result<Acks, GossipError> {
        if criteria.max_peers == 0 {
            return Ok(Acks::default());
        }
        if criteria.timeout.is_zero() {
            return Err(GossipError::Criteria("no time to wait for acknowledgements".into()));
        }
        let (timeout, min_ack) = (criteria.timeout, criteria.min_ack);
        let sent = self.ask_for(|answer| Ask::SendByCriteria { message, criteria, answer });
        let mut sent = sent.await??;
        let mut acks = Acks::default();
        let collect = collect(&mut sent, min_ack, &mut acks);
        if tokio::time::timeout(timeout, collect).await.is_err() {
            sent.to.iter().for_each(|_| acks.fail("timed out"));
        }
        if acks.successes >= min_ack { Ok(acks) } else { Err(GossipError::TooFewAcks(acks)) }
    }

    async fn peer_filter(
        &self,
        channel: &ChannelId,
        criteria: SubChannelSelectionCriteria,
    ) -> Result<RoutingFilter, GossipError> {
        let name = channel.clone();
        let infos = self.look(move |peer| {
            let joined = peer.is_joined(&name);
            joined.then(|| peer.announcements(&name).cloned().collect::<Vec<_>>())
        });
        let infos = infos.await?.ok_or_else(|| GossipError::NoSuchChannel(channel.clone()))?;
        let accepted = infos.iter().filter_map(|info| {
            let signature = self.peer_signature(info)?;
            criteria(&signature).then(|| info.author())
        });
        let accepted: std::collections::BTreeSet<PkiId> = accepted.collect();
        Ok(Arc::new(move |member: &NetworkMember| accepted.contains(&member.pki_id)))
    }

    async fn self_membership_info(&self) -> Option<NetworkMember> {
        let own = self.look(Peer::self_member).await.ok()?;
        Some(NetworkMember { internal_endpoint: None, ..own })
    }

    async fn self_channel_info(&self, channel: &ChannelId) -> Option<Verified<Message>> {
        let (name, own) = (channel.clone(), self.shared.own);
        let info = self
            .look(move |peer| peer.announcements(&name).find(|info| info.author() == own).cloned());
        info.await.ok().flatten()
    }

    fn identity_info(&self) -> PeerIdentitySet {
        self.shared.identities.info()
    }

    fn is_in_my_org(&self, member: &NetworkMember) -> bool {
        self.shared.identities.org_of(&member.pki_id).is_some_and(|org| org == self.shared.org)
    }

    async fn stop(&self) {
        Self::stop(self).await;
    }
}

#[async_trait]
impl GossipService for Service {
    async fn block(
        &self,
        channel: &ChannelId,
        number: SeqNum,
    ) -> Result<Option<Block>, GossipError> {
        Ok(self.channel(channel).await?.ledger.block(number).await?)
    }

    async fn add_payload(&self, channel: &ChannelId, block: Block) -> Result<(), GossipError> {
        loop {
            let (name, offered) = (channel.clone(), block.clone());
            let taken =
                self.ask_for(|answer| Ask::Payload { channel: name, block: offered, answer });
            match taken.await? {
                Taken::Yes => return Ok(()),
                Taken::NoSuchChannel => return Err(GossipError::NoSuchChannel(channel.clone())),
                Taken::Full => tokio::time::sleep(LOOK_AGAIN_AFTER).await,
            }
        }
    }

    async fn config_updated(&self, config: Arc<dyn JoinChannelMessage>) -> Result<(), GossipError> {
        self.ask_for(|answer| Ask::Configured { config, answer }).await?
    }

    fn am_i_in_channel(&self, config: &dyn JoinChannelMessage) -> bool {
        config.members().contains(&self.shared.org)
    }
}

impl Service {
    /// What a channel was joined with.
    async fn channel(&self, name: &ChannelId) -> Result<Channel, GossipError> {
        let asked = name.clone();
        let channel = self.ask_for(|answer| Ask::Channel { name: asked, answer }).await?;
        channel.ok_or_else(|| GossipError::NoSuchChannel(name.clone()))
    }

    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Peer) -> T + Send + 'static,
    ) -> Result<T, GossipError> {
        self.ask_for(|answer| {
            Ask::Look(Box::new(move |peer| {
                // Who asked may have given up.
                let _ = answer.send(look(peer));
            }))
        })
        .await
    }

    async fn ask(&self, ask: Ask) -> Result<(), GossipError> {
        self.tell(Note::Ask(Box::new(ask))).await
    }

    async fn ask_for<T>(
        &self,
        ask: impl FnOnce(oneshot::Sender<T>) -> Ask,
    ) -> Result<T, GossipError> {
        let (answer, outcome) = oneshot::channel();
        self.ask(ask(answer)).await?;
        outcome.await.map_err(|_| GossipError::Stopped)
    }

    /// Where to read what is subscribed to; it ends at once if the service has stopped.
    async fn subscribe(
        &self,
        wanted: Predicate,
        what: Heard,
    ) -> broadcast::Receiver<(PkiId, Message)> {
        let (subscription, reader) = Subscription::new(wanted, what);
        // A refused subscription has been dropped, and with it what would be read.
        let _ = self.ask_for(|done| Ask::Accept { subscription, done }).await;
        reader
    }

    async fn next(
        &self,
        reader: &mut broadcast::Receiver<(PkiId, Message)>,
    ) -> Option<(PkiId, Message)> {
        loop {
            match reader.recv().await {
                Ok(item) => return Some(item),
                Err(broadcast::error::RecvError::Lagged(lost)) => {
                    self.shared.metrics.unread(lost);
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    fn peer_signature(&self, info: &Verified<Message>) -> Option<PeerSignature> {
        let identity = self.shared.identities.get(&info.author(), self.shared.clock.mono())?;
        let (kind, context) = (info.message().kind(), info.message().channel_context());
        let body = info.envelope().body();
        let message = signed_bytes(kind.name(), &self.shared.network, &context, body);
        Some(PeerSignature {
            signature: info.envelope().signature().clone(),
            message: Bytes::from(message),
            identity,
        })
    }
}

/// Counts what peers say until enough have taken it, or every one has spoken.
async fn collect(sent: &mut Sent, min_ack: usize, acks: &mut Acks) {
    while !sent.to.is_empty() && (acks.successes < min_ack || min_ack == 0) {
        let Some((from, error)) = sent.acks.recv().await else { return };
        let Some(at) = sent.to.iter().position(|peer| *peer == from) else { continue };
        sent.to.swap_remove(at);
        match error {
            None => acks.successes += 1,
            Some(why) => acks.fail(why.as_str()),
        }
    }
}

/// How soon a block that found no room is offered again.
const LOOK_AGAIN_AFTER: std::time::Duration = std::time::Duration::from_millis(20);
