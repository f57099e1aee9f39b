//! What a peer's actions do in the world. Nothing here waits: work runs beside the loop and comes back as
//! an input.

use std::collections::BTreeMap;
use std::sync::Arc;

use gossip_api::message::Share;
use gossip_api::{
    Block, BlockCodec, BlockHash, ChannelId, GossipError, IdentityMap, JoinChannelMessage, Ledger,
    Message, MessageCryptoService, Mono, NetworkId, Now, OrgId, PkiId, SecurityAdvisor,
    SignedMessage, Verified,
};
use gossip_comm::{Clock, Comm, Event};
use gossip_state::BlockOrigin;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info, warn};

use crate::anchors::Tracker;
use crate::backlog::Backlog;
use crate::configure;
use crate::conflicts;
use crate::delivery::Delivery;
use crate::driver::{Note, Status};
use crate::hosting::{Ask, Hosting, send_all, take_payload};
use crate::joining::{Channel, DeliveryFactory, EpochStore};
use crate::metrics::ServiceMetrics;
use crate::node::coded::{Coded, ProvenShare};
use crate::peer::{Action, Input, Peer, ReadPurpose};
use crate::roll::Roll;
use crate::traffic::Traffic;
use crate::verify::{Judged, Trust, judge};

/// The world, as far as a peer acts on it.
pub(crate) struct Effects {
    shared: Arc<Shared>,
    comm: Arc<dyn Comm>,
    channels: BTreeMap<ChannelId, Channel>,
    deliveries: BTreeMap<ChannelId, Delivery>,
    hosting: Hosting,
    traffic: Traffic,
    /// When gauges are set again.
    gauge_at: Mono,
    roll: Roll,
    /// When certificates that have run out are looked for again.
    sweep_at: Mono,
    /// Told once the actions of a stop have been carried out.
    goodbye: Option<tokio::sync::oneshot::Sender<()>>,
}

/// What work beside the loop needs.
pub(crate) struct Shared {
    pub(crate) own: PkiId,
    pub(crate) org: OrgId,
    pub(crate) network: NetworkId,
    pub(crate) mcs: Arc<dyn MessageCryptoService>,
    pub(crate) advisor: Arc<dyn SecurityAdvisor>,
    pub(crate) codec: Arc<dyn BlockCodec>,
    pub(crate) identities: Arc<IdentityMap>,
    pub(crate) epochs: Arc<dyn EpochStore>,
    /// Sources of channels that are joined without one.
    pub(crate) factory: Option<Arc<dyn DeliveryFactory>>,
    /// What the channels name.
    pub(crate) tracker: Tracker,
    pub(crate) notes: mpsc::Sender<Note>,
    pub(crate) tasks: TaskTracker,
    pub(crate) shutdown: CancellationToken,
    /// Bounds work that keeps a processor busy.
    pub(crate) processors: Semaphore,
    /// Bounds signatures that wait for a processor.
    pub(crate) backlog: Backlog,
    pub(crate) clock: Clock,
    pub(crate) metrics: ServiceMetrics,
}

impl Shared {
    fn trust(&self) -> Trust<'_> {
        Trust {
            mcs: &*self.mcs,
            advisor: &*self.advisor,
            identities: &self.identities,
            network: &self.network,
        }
    }

    /// Runs `work` on a thread of its own kind and gives its result to the machine.
    fn compute<N: Into<Note> + Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Option<N> + Send + 'static,
    ) {
        let shared = Arc::clone(self);
        self.tasks.spawn(async move {
            let Ok(_processor) = shared.processors.acquire().await else { return };
            let worker = Arc::clone(&shared);
            let outcome = tokio::task::spawn_blocking(move || work(&worker)).await;
            match outcome {
                Ok(Some(note)) => shared.tell(note).await,
                Ok(None) => {}
                Err(failure) => error!(%failure, "work beside the loop failed"),
            }
        });
    }

    /// Runs `work` that waits for I/O and gives its result to the machine.
    fn spawn(self: &Arc<Self>, work: impl Future<Output = Input> + Send + 'static) {
        let shared = Arc::clone(self);
        self.tasks.spawn(async move {
            let stop = shared.shutdown.clone();
            let work = async { shared.tell(work.await).await };
            stop.run_until_cancelled(work).await;
        });
    }

    /// Runs `work` that nobody waits for, until everything stops.
    fn run(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.shutdown.clone();
        self.tasks.spawn(async move {
            stop.run_until_cancelled(work).await;
        });
    }

    pub(crate) async fn tell(&self, note: impl Into<Note>) {
        // The loop is gone only when everything stops.
        let _ = self.notes.send(note.into()).await;
    }
}

impl Effects {
    pub(crate) fn new(
        shared: Arc<Shared>,
        comm: Arc<dyn Comm>,
        hosting: Hosting,
        traffic: Traffic,
    ) -> Self {
        Self {
            shared,
            comm,
            channels: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            hosting,
            traffic,
            gauge_at: Mono::ZERO,
            roll: Roll::default(),
            sweep_at: Mono::ZERO,
            goodbye: None,
        }
    }

    /// Turns an event of the transport into an input, unless it is refused or has to be verified first.
    pub(crate) fn receive(&mut self, now: Now, peer: &Peer, event: Event) -> Option<Input> {
        let height = |channel: &ChannelId| peer.height(channel);
        self.traffic.count_event(now.mono, &self.shared.identities, &event, height);
        match event {
            Event::Connected(connected) => Some(Input::Connected(connected)),
            Event::Disconnected { peer, cause } => {
                debug!(%peer, ?cause, "disconnected");
                self.traffic.disconnected(&peer);
                Some(Input::Disconnected(peer))
            }
            Event::DialFailed { endpoint, reason } => {
                debug!(%endpoint, reason, "could not connect");
                Some(Input::DialFailed(endpoint))
            }
            Event::Received { from, message } => {
                let message = self.vouched(now, peer, from, message)?;
                Some(Input::Received { from, message })
            }
            Event::Request { from, id, message } => {
                Some(match self.vouched(now, peer, from, message) {
                    Some(message) => Input::Asked { from, inbound: id, message },
                    None => Input::AskedInVain(id),
                })
            }
            Event::Response { from, id, message } => {
                let message = self.vouched(now, peer, from, message)?;
                Some(Input::Answered { from, request: id, message })
            }
            Event::ResponseEnd { id, outcome } => Some(Input::AnswerEnded { request: id, outcome }),
        }
    }

    /// The message, if its connection vouches for it. One that needs its originator's signature is sent to
    /// be verified and comes back later.
    fn vouched(
        &self,
        now: Now,
        peer: &Peer,
        from: PkiId,
        message: SignedMessage,
    ) -> Option<Verified<Message>> {
        match judge(peer, now, from, message) {
            Judged::Vouched(verified) => Some(verified),
            Judged::Dropped(reason) => {
                self.shared.metrics.dropped(reason);
                None
            }
            Judged::ToProve(share) => {
                self.prove_later(from, *share);
                None
            }
            Judged::ToVerify(message, channel) => {
                let judged = channel.map(|name| {
                    let sequence = peer.config_sequence(&name);
                    (name, sequence)
                });
                self.verify_later(now, from, message, judged);
                None
            }
        }
    }

    fn prove_later(&self, from: PkiId, share: Share) {
        let own_org = self.shared.identities.org_of(&from).as_ref() == Some(&self.shared.org);
        let Some(place) = self.shared.backlog.place(own_org) else {
            self.shared.metrics.dropped("verification backlog");
            return;
        };
        self.shared.compute(move |shared| {
            let _place = place;
            Some(match ProvenShare::check(share) {
                Some(share) => Input::ShareProved { from, share },
                None => {
                    shared.metrics.dropped("share with a false branch");
                    Input::ShareFalse { from }
                }
            })
        });
    }

    fn verify_later(
        &self,
        now: Now,
        from: PkiId,
        message: SignedMessage,
        judged: Option<(ChannelId, Option<u64>)>,
    ) {
        let own_org = self.shared.identities.org_of(&from).as_ref() == Some(&self.shared.org);
        let Some(place) = self.shared.backlog.place(own_org) else {
            self.shared.metrics.dropped("verification backlog");
            return;
        };
        self.shared.compute(move |shared| {
            let _place = place;
            let channel = judged.as_ref().map(|(name, _)| name);
            match shared.trust().verify(now, message, channel) {
                Ok(message) => Some(Note::Verified { from, message, judged }),
                Err(error) => {
                    debug!(%from, %error, "message not believed");
                    shared.metrics.dropped("signature");
                    None
                }
            }
        });
    }

    /// Acts on what was asked from outside the loop.
    pub(crate) fn note(&mut self, now: Now, peer: &Peer, note: Note) -> Option<Input> {
        match note {
            Note::Input(input) => {
                if let Input::Committed { channel, outcome: Ok(height) } = &input {
                    self.traffic.committed(now.mono, channel, *height);
                }
                Some(input)
            }
            Note::Verified { from, message, judged: Some((name, sequence)) }
                if peer.config_sequence(&name) != sequence =>
            {
                // The channel's configuration changed meanwhile: the check began under the old one.
                let (content, envelope, _) = message.into_parts();
                let message = SignedMessage { message: content, envelope };
                let judged = Some((name.clone(), peer.config_sequence(&name)));
                self.verify_later(now, from, message, judged);
                None
            }
            Note::Verified { from, message, .. } => Some(Input::Received { from, message }),
            Note::Status(answer) => {
                let status = Status {
                    members: peer.members(),
                    connections: peer.connections(),
                    identities: self.shared.identities.len(),
                    dialled_us: peer.dialled_us(),
                    uptime: now.mono.since(Mono::ZERO),
                    channels: peer.channel_statuses(now),
                    traffic: self.traffic.by_org().clone(),
                    sources: self.source_names(),
                };
                // Who asked may have given up.
                let _ = answer.send(status);
                None
            }
            Note::Stopping(answer) => {
                self.goodbye = Some(answer);
                Some(Input::Stopping)
            }
            Note::Join(channel, answer) => {
                self.join(*channel, answer);
                None
            }
            Note::Ask(ask) => self.ask(peer, *ask),
        }
    }

    fn source_names(&self) -> BTreeMap<ChannelId, String> {
        let named = |(name, channel): (&ChannelId, &Channel)| {
            Some((name.clone(), channel.source.as_ref()?.name()))
        };
        self.channels.iter().filter_map(named).collect()
    }

    /// Does what the host asks for. Who asked may have given up: its answer is sent all the same.
    fn ask(&mut self, peer: &Peer, ask: Ask) -> Option<Input> {
        match ask {
            Ask::Look(look) => look(peer),
            Ask::Send { message, to } => {
                for _ in 0..send_all(peer, &*self.comm, &message, to) {
                    self.shared.metrics.dropped("not to be sent");
                }
            }
            Ask::SendByCriteria { message, criteria, answer } => {
                let sent = self.hosting.send_by_criteria(peer, &*self.comm, message, &criteria);
                let _ = answer.send(sent);
            }
            Ask::Accept { subscription, done } => {
                self.hosting.subscribe(subscription);
                let _ = done.send(());
            }
            Ask::Channel { name, answer } => {
                let _ = answer.send(self.channels.get(&name).cloned());
            }
            Ask::Payload { channel, block, answer } => {
                return take_payload(peer, channel, block, answer);
            }
            Ask::Leave { channel, answer } => return self.hosting.leave(peer, channel, answer),
            Ask::Configured { config, answer } => {
                let _ = answer.send(self.configured(peer, config));
            }
        }
        None
    }

    /// Takes over a configuration that the host hands in.
    fn configured(
        &self,
        peer: &Peer,
        config: Arc<dyn JoinChannelMessage>,
    ) -> Result<(), GossipError> {
        let name = config.channel();
        let unknown = || GossipError::NoSuchChannel(name.clone());
        let channel = self.channels.get(name).cloned().ok_or_else(unknown)?;
        let height = peer.height(name).ok_or_else(unknown)?;
        let (shared, comm) = (Arc::clone(&self.shared), Arc::clone(&self.comm));
        self.shared.tasks.spawn(async move {
            let genesis = channel.genesis;
            configure::reconfigure(&shared, &*comm, &*config, genesis, height).await;
        });
        Ok(())
    }

    // fabric: gossip/service/gossip_service.go InitializeChannel
    fn join(
        &mut self,
        mut channel: Channel,
        answer: tokio::sync::oneshot::Sender<Result<(), GossipError>>,
    ) {
        let name = channel.config.channel().clone();
        // A newcomer begins with a configuration that does not know it yet: with a source of its own it gets to
        // the one that does.
        // fabric: gossip/service/gossip_service.go amIinChannel
        let is_member = channel.config.members().contains(&self.shared.org);
        let refusal = if !is_member && channel.source.is_none() {
            Some(GossipError::NotAMember(name.clone()))
        } else if self.hosting.is_leaving(&name) {
            Some(GossipError::Overloaded("the channel is still being left"))
        } else {
            None
        };
        if let Some(refusal) = refusal {
            // Who asked may have given up.
            let _ = answer.send(Err(refusal));
            return;
        }
        if channel.source.is_none() {
            let factory = self.shared.factory.as_ref();
            channel.source = factory.and_then(|factory| factory.source(&*channel.config));
        }
        self.channels.insert(name, channel.clone());
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn(async move {
            let outcome = match channel.request(&*shared.codec).await {
                Ok(request) => {
                    let change = shared.tracker.take_over(&*channel.config);
                    shared.tell(Input::Join(request)).await;
                    configure::name_endpoints(&shared, change.named, change.unnamed).await;
                    Ok(())
                }
                Err(error) => Err(error),
            };
            let _ = answer.send(outcome);
        });
    }

    /// Carries out one action.
    pub(crate) fn perform(&mut self, action: Action) {
        match action {
            Action::Comm(command) => {
                self.traffic.count_command(&self.shared.identities, &command);
                self.comm.command(command);
            }
            Action::Sign(message) => self.sign(message),
            Action::CheckMember { from, entry } => self.shared.compute(move |shared| {
                let member = shared.trust().check_member(shared.clock.now(), entry);
                if let Err(error) = &member {
                    debug!(%from, %error, "member not believed");
                }
                Some(Input::MemberChecked { from, member: member.ok() })
            }),
            Action::RaiseEpoch { seen } => self.shared.compute(move |shared| {
                match shared.epochs.raise_above(seen) {
                    Ok(epoch) => Some(Input::EpochRaised(epoch)),
                    Err(failure) => {
                        error!(%failure, %seen, "cannot store a newer epoch: others will not believe us");
                        None
                    }
                }
            }),
            Action::IdentityConflict { epoch } => {
                warn!(%epoch, "another process runs with our identity: stop one of the two");
            }
            Action::VerifyBlock { channel, block, origin, attested } => {
                self.verify(channel, block, origin, attested);
            }
            Action::VerifyHeader { channel, sequence, from, header } => {
                self.shared.compute(move |shared| {
                    let verdict = shared.mcs.verify_block_attestation(&channel, &header);
                    Some(Input::HeaderChecked { channel, sequence, from, header, verdict })
                });
            }
            Action::JudgeHeader { channel, header, origin } => {
                self.shared.compute(move |shared| {
                    let number = header.number;
                    let then = shared.mcs.verify_block_attestation(&channel, &header);
                    let now = shared.mcs.verify_block_attestation_presently(&channel, &header);
                    Some(Input::HeaderJudged { channel, number, origin, then, now })
                });
            }
            Action::Recheck { channel, sequence, infos } => self.shared.compute(move |shared| {
                let held = shared.trust().recheck(shared.clock.now(), &channel, infos);
                Some(Input::Rechecked { channel, sequence, held })
            }),
            Action::EncodeShares { channel, number, data } => self.shared.compute(move |_| {
                let coded = Coded::of(&data).map_err(|error| error!(%channel, %number, %error, "data not coded"));
                Some(Input::Encoded { channel, number, coded: coded.ok() })
            }),
            Action::DecodeShares(job) => self.shared.compute(move |_| {
                let (channel, number, root) = (job.channel.clone(), job.header.number, job.root);
                let block = job.run();
                if let Err(error) = &block {
                    warn!(%channel, %number, %error, "shares of a block give no data");
                }
                Some(Input::Decoded { channel, number, root, block: block.ok() })
            }),
            Action::Convicted { channel, evidence } => {
                if let Some(held) = self.channels.get(&channel).cloned() {
                    let work = conflicts::convict(Arc::clone(&self.shared), held, *evidence);
                    self.shared.run(work);
                }
            }
            Action::Chosen { channel, way } => self.shared.metrics.chosen(&channel, way),
            Action::Commit { channel, blocks } => self.commit(channel, blocks),
            Action::MendBlock { channel, block } => self.mend(channel, block),
            Action::Read { channel, number, purpose } => self.read(channel, number, purpose),
            Action::StoreTerm { channel, term } => self.store_term(channel, term),
            Action::ProbeSource { channel } => self.probe(channel),
            Action::StartDelivery { channel, from } => self.start_delivery(channel, from),
            Action::StopDelivery(channel) => {
                self.deliveries.remove(&channel);
            }
            Action::Deliver { from, message } => self.hosting.deliver(from, &message),
            Action::Left(channel) => self.on_left(&channel),
            Action::Drop { from, reason } => {
                debug!(from = from.map(tracing::field::display), reason, "dropped");
                self.shared.metrics.dropped(reason);
            }
            Action::Refused { channel, from, number, error } => {
                self.on_refused(&channel, from, number, &error);
            }
            Action::Leader { channel, leading, why } => {
                info!(%channel, leading, why, "leadership");
                self.shared.metrics.leader(&channel, leading);
            }
            Action::Led { channel, leader: Some(leader), why } => {
                info!(%channel, %leader, why, "leadership of another peer");
            }
            Action::Led { channel, leader: None, why } => info!(%channel, why, "no leader"),
            Action::Conflict { channel, conflict } => {
                if let Some(held) = self.channels.get(&channel).cloned() {
                    let work = conflicts::keep(Arc::clone(&self.shared), held, *conflict);
                    self.shared.run(work);
                }
            }
            Action::Resumed { channel, number } => {
                if let Some(held) = self.channels.get(&channel).cloned() {
                    self.shared.run(conflicts::resume(held, number));
                }
            }
        }
    }

    /// Nothing is left of a channel: its ledger can be opened by others as soon as work under way is done.
    fn on_left(&mut self, channel: &ChannelId) {
        info!(%channel, "left");
        self.channels.remove(channel);
        self.deliveries.remove(channel);
        self.traffic.left(channel);
        let unnamed = self.shared.tracker.forget(channel);
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn(async move {
            configure::name_endpoints(&shared, Vec::new(), unnamed).await;
        });
        self.hosting.left(channel);
    }

    /// Cuts off whose certificate has run out. Who is connected counts as used.
    fn sweep(&self, peer: &Peer, now: Mono) {
        for connected in peer.connected() {
            self.shared.identities.get(connected, now);
        }
        let (shared, comm) = (Arc::clone(&self.shared), Arc::clone(&self.comm));
        self.shared.tasks.spawn(async move {
            configure::expel(&shared, &*comm, |_| false).await;
        });
    }

    /// Counts a refused block. One of our own source is an operator's business, and is asked for again.
    fn on_refused(
        &self,
        channel: &ChannelId,
        from: Option<PkiId>,
        number: gossip_api::SeqNum,
        error: &gossip_api::BlockError,
    ) {
        let class = error.class();
        self.shared.metrics.refused(channel, class);
        if let Some(from) = from {
            debug!(%channel, %from, %number, class, %error, "block refused");
            return;
        }
        warn!(%channel, %number, class, %error, "block of the source refused");
        if let Some(delivery) = self.deliveries.get(channel) {
            delivery.refused();
        }
    }

    /// Tells running deliveries what their channels can take now, and gauges how things stand.
    pub(crate) fn refresh(&mut self, peer: &Peer) {
        if let Some(goodbye) = self.goodbye.take() {
            // Who asked may have given up.
            let _ = goodbye.send(());
        }
        let now = self.shared.clock.now().mono;
        if now >= self.gauge_at {
            self.gauge_at = now.after(GAUGE_EVERY);
            self.roll.call(now, || peer.members());
            self.shared.metrics.members(&peer.member_stats());
            for status in peer.channel_stats() {
                self.shared.metrics.state(&status.0, &status.1);
                self.shared.metrics.peers_known(&status.0, status.2);
                self.shared.metrics.leader(&status.0, peer.leads(&status.0));
            }
        }
        if now >= self.sweep_at {
            self.sweep_at = now.after(SWEEP_EVERY);
            self.sweep(peer, now);
            self.comm.set_known_alive(alive_by_org(peer));
        }
        for (channel, delivery) in &self.deliveries {
            delivery.set_demand(peer.next_missing(channel), peer.has_room(channel));
        }
    }

    fn sign(&self, message: Message) {
        self.shared.compute(move |shared| {
            match Verified::own(message, shared.own, &shared.network, &*shared.mcs) {
                Ok(message) => Some(Input::Signed(message)),
                Err(failure) => {
                    error!(%failure, "cannot sign: check the key in the msp directory");
                    None
                }
            }
        });
    }

    fn verify(&self, channel: ChannelId, block: Block, origin: BlockOrigin, attested: bool) {
        self.shared.compute(move |shared| {
            let verdict = if attested {
                shared.mcs.verify_attested_block(&channel, block.number, &block)
            } else {
                shared.mcs.verify_block(&channel, block.number, &block)
            };
            Some(Input::BlockChecked { channel, block, origin, verdict })
        });
    }

    fn commit(&self, name: ChannelId, blocks: Vec<Block>) {
        let Some(channel) = self.channels.get(&name).cloned() else { return };
        let shared = Arc::clone(&self.shared);
        let comm = Arc::clone(&self.comm);
        self.shared.spawn(async move {
            let config = blocks.last().filter(|block| shared.codec.is_config(block)).cloned();
            let started = shared.clock.now().mono;
            let expected = blocks.first().map(|block| block.number);
            let outcome = channel.ledger.commit(blocks).await;
            if let (Err(_), Some(expected), Ok(height)) =
                (&outcome, expected, channel.ledger.height().await)
                && height.next_block() < expected
            {
                error!(channel = %name, %height, "the ledger lost its end: it is fetched again");
                shared.tell(Input::LedgerFell { channel: name.clone(), height }).await;
            }
            if let (Ok(height), Some(config)) = (&outcome, config) {
                configure::apply_config(&shared, &*comm, &channel, &name, &config, *height).await;
            }
            if outcome.is_ok() {
                shared.metrics.committed(&name, shared.clock.now().mono.since(started));
            }
            Input::Committed { channel: name, outcome: outcome.map_err(|error| error.to_string()) }
        });
    }

    fn read(&self, name: ChannelId, number: gossip_api::SeqNum, purpose: ReadPurpose) {
        let Some(channel) = self.channels.get(&name).cloned() else { return };
        let shared = Arc::clone(&self.shared);
        self.shared.spawn(async move {
            let block = match channel.ledger.block(number).await {
                Ok(block) => block,
                Err(failure) => {
                    error!(channel = %name, %number, %failure, "cannot read a block");
                    let hash = named_above(&*channel.ledger, number).await;
                    let damaged = Input::BlockDamaged { channel: name.clone(), number, hash };
                    shared.tell(damaged).await;
                    None
                }
            };
            Input::BlockRead { channel: name, purpose, block }
        });
    }

    /// Puts a block back that the ledger could not read.
    fn mend(&self, name: ChannelId, block: Block) {
        let Some(channel) = self.channels.get(&name).cloned() else { return };
        self.shared.spawn(async move {
            let number = block.number;
            let mended = channel.ledger.mend(block).await;
            match &mended {
                Ok(()) => info!(channel = %name, %number, "a damaged block was fetched again"),
                Err(failure) => {
                    error!(channel = %name, %number, %failure, "a damaged block stays so");
                }
            }
            Input::BlockMended { channel: name, number, done: mended.is_ok() }
        });
    }

    /// Asks the source for its newest header. No answer, or one that is not believed, says nothing about anybody.
    fn probe(&self, name: ChannelId) {
        let source = self.channels.get(&name).and_then(|channel| channel.source.clone());
        let Some(source) = source else {
            debug!(channel = %name, "no source to be asked for its newest header");
            return;
        };
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn(async move {
            let stop = shared.shutdown.clone();
            let newest = tokio::time::timeout(PROBE_PATIENCE, source.newest(&name));
            match stop.run_until_cancelled(newest).await {
                Some(Ok(Ok(block))) => {
                    shared.compute(move |shared| judge_newest(shared, name, &block))
                }
                Some(Ok(Err(error))) => debug!(channel = %name, %error, "source not probed"),
                Some(Err(_)) => debug!(channel = %name, "the source did not answer in time"),
                None => {}
            }
        });
    }

    /// Stores a term; tries again until it is stored, for nothing may be said under it before.
    fn store_term(&self, name: ChannelId, term: u64) {
        let Some(channel) = self.channels.get(&name).cloned() else { return };
        self.shared.spawn(async move {
            loop {
                let terms = Arc::clone(&channel.terms);
                match tokio::task::spawn_blocking(move || terms.set_term(term)).await {
                    Ok(Ok(())) => return Input::TermStored(name),
                    Ok(Err(reason)) => error!(channel = %name, term, reason, "term not stored"),
                    Err(failure) => error!(channel = %name, term, %failure, "term not stored"),
                }
                tokio::time::sleep(STORE_AGAIN_AFTER).await;
            }
        });
    }

    fn start_delivery(&mut self, name: ChannelId, from: gossip_api::SeqNum) {
        let source = self.channels.get(&name).and_then(|channel| channel.source.clone());
        let Some(source) = source else {
            warn!(channel = %name, "this peer should read a source of blocks, and none is configured");
            self.shared.spawn(async move { Input::SourceFailed(name) });
            return;
        };
        let notes = self.shared.notes.clone();
        let (delivery, work) =
            Delivery::start(name.clone(), source, from, notes, &self.shared.shutdown);
        self.shared.tasks.spawn(work);
        self.deliveries.insert(name, delivery);
    }
}

/// How many members of each organisation live, as far as we know.
fn alive_by_org(peer: &Peer) -> BTreeMap<OrgId, usize> {
    let mut alive = BTreeMap::new();
    for org in peer.members().into_iter().filter_map(|member| member.org) {
        *alive.entry(org).or_default() += 1;
    }
    alive
}

/// The hash by which the block above names block `number`.
async fn named_above(ledger: &dyn Ledger, number: gossip_api::SeqNum) -> Option<BlockHash> {
    let above = ledger.block(number.next()).await.ok()??;
    <[u8; 32]>::try_from(above.previous_hash.as_ref()).ok().map(BlockHash::from_bytes)
}

/// What the source calls its newest block, if orderers signed it.
fn judge_newest(shared: &Shared, channel: ChannelId, newest: &Block) -> Option<Input> {
    match shared.mcs.verify_block_attestation(&channel, newest) {
        Ok(()) => {
            let newest = Block { data: bytes::Bytes::new(), ..newest.clone() };
            Some(Input::Probed { channel, newest })
        }
        Err(error) => {
            let (number, class) = (newest.number, error.class());
            warn!(%channel, %number, class, %error, "newest header of the source not believed");
            None
        }
    }
}

/// How soon a certificate that ran out is noticed.
const SWEEP_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

/// Gauges follow the machine at this distance.
const GAUGE_EVERY: std::time::Duration = std::time::Duration::from_millis(250);

/// How long the source may take to name its newest header.
const PROBE_PATIENCE: std::time::Duration = std::time::Duration::from_secs(3);

/// Wait after a term could not be stored.
const STORE_AGAIN_AFTER: std::time::Duration = std::time::Duration::from_secs(1);
