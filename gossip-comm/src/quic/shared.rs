//! What all tasks of the transport share, and how links come and go.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use gossip_api::message::{CloseReason, Features, HelloLimits};
use gossip_api::{
    Checked, CryptoError, Endpoint, IdentityMap, MessageCryptoService, OrgId, PkiId, RemotePeer,
    SecurityAdvisor, Wall, WireError,
};
use quinn::Connection;
use rustls::pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::exchange::{Answer, ask};
use super::gate::Gate;
use super::inbox::Inbox;
use super::link::Link;
use super::outbox::Outbox;
use super::quota::{Bans, OrgQuotas, Quota};
use super::table::{Peer, Table};
use super::{QuicParts, dial, endpoint};
use crate::clock::{Clock, wall};
use crate::comm::{Connected, Event, InboundId, RequestId, ResponseOutcome};
use crate::config::{CommConfig, TlsMaterial};
use crate::duplicate::dial_window;
use crate::error::CommError;
use crate::hello::{Court, Greeting, Me, Versions};
use crate::metrics::CommMetrics;
use crate::tls::{Secrets, TlsSet};

/// The transport without its handle.
pub(super) struct Shared {
    pub(super) config: Checked<CommConfig>,
    pub(super) me: ArcSwap<Me>,
    pub(super) tls: ArcSwap<TlsSet>,
    pub(super) mcs: Arc<dyn MessageCryptoService>,
    pub(super) advisor: Arc<dyn SecurityAdvisor>,
    pub(super) identities: Arc<IdentityMap>,
    pub(super) clock: Clock,
    pub(super) metrics: CommMetrics,
    pub(super) inbox: Inbox,
    bans: Bans,
    pub(super) org_quotas: OrgQuotas,
    /// Cancelled when the transport stops.
    pub(super) cancel: CancellationToken,
    pub(super) tasks: TaskTracker,
    secrets: Secrets,
    table: Mutex<Table>,
    gate: Gate,
    versions: Versions,
    /// Nothing once stopped, so that the socket is given back.
    endpoint: Mutex<Option<quinn::Endpoint>>,
    runtime: tokio::runtime::Handle,
}

impl Shared {
    pub(super) fn open(
        config: Checked<CommConfig>,
        parts: QuicParts,
        runtime: tokio::runtime::Handle,
    ) -> Result<(Arc<Self>, quinn::Endpoint), CommError> {
        let pki_id = parts.mcs.pki_id_of_cert(&parts.identity).ok_or(CryptoError::EmptyIdentity)?;
        let limits = HelloLimits { block_frame_max: config.streams.block_frame_max as u64 };
        let features = Features::default();
        let me = Me { pki_id, identity: parts.identity, epoch: parts.epoch, features, limits };
        let versions = Versions::new(config.version_memory);
        let secrets = Secrets::new(config.secret.as_ref());
        let tls = TlsSet::new(&config.tls, &config, &secrets)?;
        let metrics = CommMetrics::register(&parts.registry)?;
        let tasks = TaskTracker::new();
        let endpoint = endpoint::open(&config, &tls, &secrets, tasks.clone())?;
        let shared = Arc::new(Self {
            config,
            me: ArcSwap::from_pointee(me),
            tls: ArcSwap::from_pointee(tls),
            mcs: parts.mcs,
            advisor: parts.advisor,
            identities: parts.identities,
            clock: parts.clock,
            metrics,
            inbox: Inbox::default(),
            bans: Bans::default(),
            org_quotas: OrgQuotas::default(),
            cancel: CancellationToken::new(),
            tasks,
            secrets,
            table: Mutex::default(),
            gate: Gate::default(),
            versions,
            endpoint: Mutex::new(Some(endpoint.clone())),
            runtime,
        });
        Ok((shared, endpoint))
    }

    /// Runs a task that [`super::QuicComm::stop`] waits for. Commands may come from outside the runtime.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(task, &self.runtime);
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn endpoint(&self) -> Option<quinn::Endpoint> {
        self.endpoint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What hellos are judged by.
    pub(super) fn court(&self) -> Court<'_> {
        Court {
            network: &self.config.network,
            mcs: &*self.mcs,
            advisor: &*self.advisor,
            identities: &self.identities,
            versions: &self.versions,
        }
    }

    /// Whether a peer has lately been closed for sending too much.
    pub(super) fn is_banned(&self, peer: &PkiId) -> bool {
        self.bans.holds(peer, self.clock.mono())
    }

    /// Whether a newcomer may try: fewer connections than allowed, and the layer above keeps up with
    /// their comings and goings.
    pub(super) fn has_room(&self) -> bool {
        let max = self.config.connections_max;
        self.table().links < max && self.inbox.len() < EVENTS_MAX
    }

    /// Takes in an authenticated connection; `dialled` is where we reached it.
    ///
    /// # Errors
    /// If it cannot be kept, with what to tell the other side.
    pub(super) fn install(
        self: &Arc<Self>,
        greeting: Greeting,
        connection: Connection,
        dialled: Option<&Endpoint>,
    ) -> Result<(), CloseReason> {
        let peer_until = self.valid_until(&connection)?;
        let own = self.me.load().pki_id;
        let mut table = self.table();
        if table.stopping {
            return Err(CloseReason::Done);
        }
        if table.links >= self.config.connections_max {
            return Err(CloseReason::Overload);
        }
        table.links += 1;
        let id = table.number();
        let connected = connected(&greeting, dialled);
        let peer = table.peers.entry(greeting.peer);
        let peer = peer.or_insert_with(|| Peer::new(Outbox::new(&self.config.outbox)));
        let outbox = Arc::clone(&peer.outbox);
        let by_us = dialled.is_some();
        let link = Link::new(self, id, greeting, connection, peer_until, by_us, outbox);
        let link = Arc::new(link);
        if peer.links.is_empty() || dialled.is_some() {
            self.inbox.push(Event::Connected(connected));
        }
        self.metrics.duplicates.inc_by(u64::from(!peer.links.is_empty()));
        peer.dialling = None;
        dialled.iter().for_each(|endpoint| peer.reached_at(endpoint));
        peer.add(own, Arc::clone(&link), dial_window(&self.config));
        self.metrics.connections.set(i64::try_from(table.links).unwrap_or(i64::MAX));
        let Greeting { wire_version, features, .. } = &link.greeting;
        debug!(peer = %link.greeting.peer, by_us, mode = ?link.mode(), wire_version, ?features, "connection stands");
        self.spawn(Arc::clone(&link).run(Arc::clone(self)));
        if let Some(endpoint) = dialled {
            dial::succeeded(self, &mut table, endpoint, link.greeting.peer);
        }
        self.ask_what_waits(&mut table, link.greeting.peer);
        drop(table);
        self.look_again(&link);
        Ok(())
    }

    /// Roots or revocations that changed while a link was being let in have missed it: it was not in the table.
    fn look_again(&self, link: &Link) {
        let untrusted = self.valid_until(&link.connection).is_err();
        if untrusted || self.mcs.validate_identity(&link.greeting.identity).is_err() {
            info!(peer = %link.greeting.peer, "no longer let in");
            link.close(CloseReason::Expelled);
        }
    }

    /// Starts the questions that waited for a connection.
    fn ask_what_waits(self: &Arc<Self>, table: &mut Table, peer: PkiId) {
        let Some(peer) = table.peers.get_mut(&peer) else { return };
        let Some(active) = peer.active().cloned() else { return };
        let questions = std::mem::take(&mut peer.questions);
        for question in questions {
            let asking = ask(Arc::clone(self), Arc::clone(&active), question);
            active.spawn_work(self, asking);
        }
    }

    /// A link and all its tasks have ended.
    pub(super) fn link_gone(self: &Arc<Self>, link: &Link) {
        let mut table = self.table();
        table.links = table.links.saturating_sub(1);
        self.metrics.connections.set(i64::try_from(table.links).unwrap_or(i64::MAX));
        let id = link.greeting.peer;
        let Some(peer) = table.peers.get_mut(&id) else { return };
        peer.links.retain(|other| other.id != link.id);
        peer.promote();
        if !peer.links.is_empty() {
            return self.ask_what_waits(&mut table, id);
        }
        let cause = link.cause();
        debug!(peer = %id, ?cause, "last connection gone");
        if let Some(peer) = table.peers.remove(&id) {
            self.metrics.drop_messages("disconnected", peer.outbox.len());
            for question in peer.questions {
                table.requests.remove(&question.id);
                let outcome = ResponseOutcome::Broken;
                self.inbox.push(Event::ResponseEnd { id: question.id, outcome });
            }
        }
        self.inbox.push(Event::Disconnected { peer: id, cause });
    }

    /// The other side of a link has nothing more to send on it.
    pub(super) fn other_done(self: &Arc<Self>, link: &Link) {
        link.other_done.cancel();
        let mut table = self.table();
        if let Some(peer) = table.peers.get_mut(&link.greeting.peer) {
            peer.follow(link);
        }
        self.ask_what_waits(&mut table, link.greeting.peer);
    }

    /// Names a question of another peer, whose answer is to come.
    pub(super) fn begin_answer(&self, answer: Arc<Answer>) -> InboundId {
        let mut table = self.table();
        let id = InboundId(table.number());
        table.answers.insert(id, answer);
        id
    }

    pub(super) fn end_answer(&self, id: InboundId) {
        self.table().answers.remove(&id);
    }

    pub(super) fn end_request(&self, id: RequestId, outcome: ResponseOutcome) {
        let mut table = self.table();
        if table.requests.remove(&id) {
            self.inbox.push(Event::ResponseEnd { id, outcome });
        }
    }

    /// Until when the certificate that the other side showed is valid. One that was let in and is trusted no
    /// longer, because the roots have changed meanwhile, is not kept.
    fn valid_until(&self, connection: &Connection) -> Result<Option<Wall>, CloseReason> {
        let (chain, tls) = (chain_of(connection), self.tls.load());
        tls.still_trusts(&chain, wall()).map_err(|_| CloseReason::Expelled)?;
        Ok(tls.valid_until(&chain))
    }

    /// Uses other TLS material from now on: peers that it does not trust are closed at once, to the others
    /// we show our new certificate.
    pub(super) fn set_tls(self: &Arc<Self>, material: &TlsMaterial) -> Result<(), CommError> {
        let set = Arc::new(TlsSet::new(material, &self.config, &self.secrets)?);
        let endpoint = self.endpoint().ok_or(CommError::Stopped)?;
        endpoint.set_server_config(Some((*set.server).clone()));
        self.tls.store(Arc::clone(&set));
        info!("tls certificate and roots replaced");
        for link in self.links() {
            if let Err(reason) = set.still_trusts(&chain_of(&link.connection), wall()) {
                info!(peer = %link.greeting.peer, reason, "certificate no longer trusted");
                link.close(CloseReason::Expelled);
            }
        }
        self.renew();
        Ok(())
    }

    /// Shows another identity of ours from now on.
    pub(super) fn set_me(self: &Arc<Self>, me: Me) {
        self.me.store(Arc::new(me));
        self.renew();
    }

    /// Has a new connection to every peer that we showed something else than we would now, where we know
    /// where to dial it. The old ones give way to the new ones.
    fn renew(self: &Arc<Self>) {
        let (me, tls) = (self.me.load_full(), self.tls.load_full());
        let mut table = self.table();
        table.renewed = self.clock.mono();
        let outdated = |peer: &Peer| {
            let link = peer.active().filter(|link| link.is_outdated(&me, &tls.own_leaf))?;
            Some((link.greeting.peer, peer.endpoints.last()?.clone()))
        };
        let again: Vec<_> = table.peers.values().filter_map(outdated).collect();
        for (peer, endpoint) in again {
            // What cannot be dialled now is closed in a few seconds, and then it is dialled by whoever needs it.
            if let Err(reason) = dial::begin(self, &mut table, &endpoint, Some(peer), true) {
                debug!(%peer, reason, "not dialled anew");
            }
        }
    }

    /// Closes what has run out: links of peers whose identity or certificate has, and those on which we
    /// show an identity or certificate that we have replaced some time ago.
    fn close_expired(&self) {
        let now = wall();
        let (me, tls) = (self.me.load_full(), self.tls.load_full());
        let renewed = self.table().renewed;
        let grace_is_over = self.clock.mono().since(renewed) > RENEWAL;
        for link in self.links() {
            if link.has_expired(now) {
                info!(peer = %link.greeting.peer, "identity or certificate of a connected peer has expired");
                link.close(CloseReason::Expelled);
            } else if grace_is_over && link.is_outdated(&me, &tls.own_leaf) {
                link.close(CloseReason::Done);
            }
        }
    }

    /// Closes links to peers whose identity is no longer accepted.
    pub(super) fn recheck(&self) {
        for link in self.links() {
            if let Err(error) = self.mcs.validate_identity(&link.greeting.identity) {
                info!(peer = %link.greeting.peer, %error, "identity no longer accepted");
                link.close(CloseReason::Expelled);
            }
        }
    }

    /// Ends every connection and takes nobody in any more.
    pub(super) fn close_all(&self, reason: CloseReason) {
        self.table().stopping = true;
        self.cancel.cancel();
        self.links().iter().for_each(|link| link.close(reason));
        let endpoint = self.endpoint.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(endpoint) = endpoint {
            endpoint.close(reason.code().into(), b"");
        }
        self.tasks.close();
    }

    /// Counts, and now and then writes down, that a peer was not let in.
    pub(super) fn refused(&self, reason: &'static str, why: &dyn fmt::Display) {
        self.metrics.hellos_refused.with_label_values(&[reason]).inc();
        if let Some(suppressed) = self.gate.pass(reason, self.clock.mono()) {
            info!(reason, %why, suppressed, "peer refused");
        }
    }

    /// Counts, and now and then writes down, that a peer sent what it must not.
    pub(super) fn offence(&self, link: &Link, reason: &'static str, why: &dyn fmt::Display) {
        self.metrics.offences.with_label_values(&[reason]).inc();
        if let Some(suppressed) = self.gate.pass(reason, self.clock.mono()) {
            info!(peer = %link.greeting.peer, reason, %why, suppressed, "peer misbehaves");
        }
    }

    /// Closes a link whose peer does not stop sending too much, and leaves the peer alone for a while.
    pub(super) fn ban(&self, link: &Link) {
        let wait = self.bans.add(link.greeting.peer, self.clock.mono());
        self.offence(link, "overload", &format_args!("is left alone for {wait:?}"));
        link.close(CloseReason::Overload);
    }

    /// What a new connection of `org` may send.
    pub(super) fn quota_of(&self, org: Option<&OrgId>) -> Quota {
        let (config, now) = (&self.config.quota, self.clock.mono());
        Quota::new(config, self.org_quotas.of(org, config, now), now)
    }

    /// A message of our own is larger than any may be: a mistake of the layer above.
    pub(super) fn too_large(&self, to: &RemotePeer, why: &WireError) {
        self.metrics.drop_messages("too_large", 1);
        if self.gate.pass("too_large", self.clock.mono()).is_some() {
            warn!(to = %to.pki_id, %why, "message of our own cannot be sent");
        }
    }

    fn links(&self) -> Vec<Arc<Link>> {
        self.table().peers.values().flat_map(|peer| peer.links.iter().cloned()).collect()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("me", &self.me.load().pki_id).finish_non_exhaustive()
    }
}

/// Closes links whose identity or certificate runs out, within a second of its doing so.
pub(super) async fn watch_expiry(shared: Arc<Shared>) {
    let mut every = tokio::time::interval(EXPIRY_CHECK);
    loop {
        tokio::select! {
            _ = every.tick() => {}
            () = shared.cancel.cancelled() => return,
        }
        shared.close_expired();
    }
}

fn connected(greeting: &Greeting, dialled: Option<&Endpoint>) -> Connected {
    Connected {
        peer: greeting.peer,
        identity: greeting.identity.clone(),
        org: greeting.org.clone(),
        epoch: greeting.epoch,
        dialled: dialled.cloned(),
    }
}

/// The certificates that the other side showed.
fn chain_of(connection: &Connection) -> Vec<CertificateDer<'static>> {
    let chain = connection.peer_identity().and_then(|identity| identity.downcast().ok());
    chain.map(|chain| *chain).unwrap_or_default()
}

/// How long a connection on which we show what we have replaced may still stand.
const RENEWAL: Duration = Duration::from_secs(5);
const EXPIRY_CHECK: Duration = Duration::from_millis(500);
/// Events above which newcomers wait until the layer above has caught up.
const EVENTS_MAX: usize = 1 << 20;
