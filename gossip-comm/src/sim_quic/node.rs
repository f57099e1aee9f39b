//! One peer: an endpoint, the links on it, and what waits for whom.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gossip_api::message::{Class, CloseReason, Features, HelloBinding, HelloLimits, Role};
use gossip_api::{Endpoint, Envelope, IdentityMap, IdentityMapConfig, Mono, Now, PkiId, WireError};
use quinn_proto::{
    ClientConfig, ConnectionHandle, DatagramEvent, Dir, EndpointConfig, Event as Quic,
    HashedConnectionIdGenerator, Incoming, StreamEvent, StreamId, Transmit, VarInt,
};

use super::link::{Carries, Frame, Inbound, Link, Stage, Talk, Up};
use super::{Datagram, PacketPeer, Tamper};
use crate::comm::{Connected, DisconnectCause, Event};
use crate::duplicate::{Facts, Mode, Verdict, dial_window, judge};
use crate::error::CommError;
use crate::hello::{Court, Exchange, Greeting, HelloError, Me, Versions};
use crate::tls::{SERVER_NAME, Secrets, TlsSet, bind};
use crate::transport::{BATCH_BYTES, GIVEN_UP, REFUSED, Widths, cause};

/// A peer.
pub(super) struct Node {
    pub(super) address: SocketAddr,
    pub(super) peer: PacketPeer,
    pub(super) identities: IdentityMap,
    pub(super) links: BTreeMap<usize, Link>,
    pub(super) events: Vec<(Mono, Event)>,
    /// Why peers were not let in, and what let-in peers did wrong, by name.
    pub(super) refused: BTreeMap<&'static str, u64>,
    pub(super) offences: BTreeMap<&'static str, u64>,
    /// Hellos as they came, believed or not.
    pub(super) overheard: VecDeque<Vec<u8>>,
    pub(super) tamper: Option<Tamper>,
    /// Messages dropped because too much waited.
    pub(super) overflow: u64,
    endpoint: quinn_proto::Endpoint,
    tls: TlsSet,
    secrets: Secrets,
    versions: Versions,
    me: Arc<Me>,
    outboxes: BTreeMap<PkiId, Outbox>,
    /// An arbitrary zero: QUIC sees differences alone.
    zero: Instant,
    buffer: Vec<u8>,
}

/// What waits for one peer.
#[derive(Debug, Default)]
struct Outbox {
    small: VecDeque<Frame>,
    blocks: VecDeque<Frame>,
}

/// Datagrams to be sent.
pub(super) type Output = Vec<Datagram>;

impl Node {
    pub(super) fn new(
        peer: PacketPeer,
        zero: Instant,
        now: Now,
        rng_seed: [u8; 32],
    ) -> Result<Self, CommError> {
        let secrets = Secrets::new(peer.config.secret.as_ref());
        let tls = TlsSet::new(&peer.config.tls, &peer.config, &secrets)?;
        let mut config = EndpointConfig::new(secrets.reset_key());
        let key = secrets.connection_id_key();
        config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(key)));
        config.rng_seed(Some(rng_seed));
        let server = Some(Arc::clone(&tls.server));
        let endpoint = quinn_proto::Endpoint::new(Arc::new(config), server, true, None);
        let bounds = IdentityMapConfig::default().checked().map_err(|e| CommError::Tls(e.0))?;
        let (mcs, advisor) = (&*peer.mcs, &*peer.advisor);
        let identities = IdentityMap::new(bounds, &peer.identity, mcs, advisor, now)?;
        let me = Me {
            pki_id: mcs
                .pki_id_of_cert(&peer.identity)
                .ok_or(gossip_api::CryptoError::EmptyIdentity)?,
            identity: peer.identity.clone(),
            epoch: peer.epoch,
            features: Features::default(),
            limits: HelloLimits { block_frame_max: peer.config.streams.block_frame_max as u64 },
        };
        Ok(Self {
            address: peer.config.listen,
            versions: Versions::new(peer.config.version_memory),
            me: Arc::new(me),
            peer,
            identities,
            links: BTreeMap::new(),
            events: Vec::new(),
            refused: BTreeMap::new(),
            offences: BTreeMap::new(),
            overheard: VecDeque::new(),
            tamper: None,
            overflow: 0,
            endpoint,
            tls,
            secrets,
            outboxes: BTreeMap::new(),
            zero,
            buffer: Vec::new(),
        })
    }

    pub(super) fn id(&self) -> PkiId {
        self.me.pki_id
    }

    /// Sessions that begin from now on use other TLS material.
    pub(super) fn set_tls(&mut self, material: &crate::TlsMaterial) -> Result<(), CommError> {
        self.tls = TlsSet::new(material, &self.peer.config, &self.secrets)?;
        self.endpoint.set_server_config(Some(Arc::clone(&self.tls.server)));
        Ok(())
    }

    /// When it wants to be woken.
    pub(super) fn wakeup(&mut self) -> Option<Mono> {
        let Self { links, peer, zero, .. } = self;
        let times = links.values_mut().flat_map(|link| {
            let timer = link.quic.poll_timeout().map(|at| mono(*zero, at));
            [timer, link.deadline(&peer.config)]
        });
        times.flatten().min()
    }

    /// A datagram has come.
    pub(super) fn receive(&mut self, now: Now, datagram: Datagram, out: &mut Output) {
        let at = self.instant(now);
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let Datagram { from, bytes, ecn, .. } = datagram;
        match self.endpoint.handle(at, from, None, ecn, bytes, &mut buffer) {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if let Some(link) = self.links.get_mut(&handle.0) {
                    link.quic.handle_event(event);
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => {
                self.welcome(now, incoming, &mut buffer, out);
            }
            Some(DatagramEvent::Response(transmit)) => self.emit(&transmit, &buffer, out),
            None => {}
        }
        self.buffer = buffer;
        self.drive(now, out);
    }

    /// A newcomer: proves its address first when there are many, and is turned away when there are too many.
    fn welcome(&mut self, now: Now, incoming: Incoming, buffer: &mut Vec<u8>, out: &mut Output) {
        let at = self.instant(now);
        let half_open = self
            .links
            .values()
            .filter(|link| link.dialled.is_none() && link.up().is_none())
            .count();
        let config = &self.peer.config;
        if half_open >= config.half_open_max {
            *self.refused.entry("full").or_default() += 1;
            let transmit = self.endpoint.refuse(incoming, buffer);
            return self.emit(&transmit, buffer, out);
        }
        if half_open >= config.retry_above && !incoming.remote_address_validated() {
            if let Ok(transmit) = self.endpoint.retry(incoming, buffer) {
                self.emit(&transmit, buffer, out);
            }
            return;
        }
        let server = Some(Arc::clone(&self.tls.server));
        match self.endpoint.accept(incoming, at, buffer, server) {
            Ok((handle, quic)) => {
                let link = Link::new(quic, now.mono, self.tls.own_leaf);
                self.links.insert(handle.0, link);
            }
            Err(error) => {
                let response = error.response;
                response.into_iter().for_each(|transmit| self.emit(&transmit, buffer, out));
            }
        }
    }

    /// Begins to find out who answers at `address`.
    pub(super) fn dial(
        &mut self,
        now: Now,
        endpoint: Endpoint,
        address: Option<SocketAddr>,
        expect: Option<PkiId>,
        client: Option<ClientConfig>,
    ) {
        let at = self.instant(now);
        let client = client.unwrap_or_else(|| self.tls.client.clone());
        let begun = address.ok_or_else(|| "no address".to_owned()).and_then(|to| {
            let connecting = self.endpoint.connect(at, client, to, SERVER_NAME);
            connecting.map_err(|error| error.to_string())
        });
        match begun {
            Ok((handle, quic)) => {
                let mut link = Link::new(quic, now.mono, self.tls.own_leaf);
                link.dialled = Some(endpoint);
                link.expect = expect;
                self.links.insert(handle.0, link);
            }
            Err(reason) => self.tell(now, Event::DialFailed { endpoint, reason }),
        }
    }

    /// Has a message sent as soon as there is a connection to `to`.
    pub(super) fn send(&mut self, to: PkiId, envelope: &Envelope) -> Result<(), WireError> {
        let frame = Frame { chunks: envelope.encode()?, len: envelope.encoded_len() };
        let bounds = &self.peer.config.outbox;
        let Outbox { small, blocks } = self.outboxes.entry(to).or_default();
        let bytes = |queue: &VecDeque<Frame>| queue.iter().map(|frame| frame.len).sum::<usize>();
        match envelope.class() {
            Class::Control | Class::Membership => {
                small.push_back(frame);
                while bytes(small) > bounds.control_bytes && small.len() > 1 {
                    small.pop_front();
                    self.overflow += 1;
                }
            }
            Class::Block
                if blocks.is_empty() || bytes(blocks) + frame.len <= bounds.block_bytes =>
            {
                blocks.push_back(frame);
            }
            Class::Block => self.overflow += 1,
        }
        Ok(())
    }

    /// Bytes that wait to be sent, with what QUIC has not acknowledged of blocks.
    pub(super) fn waiting(&self) -> usize {
        let queued = self.outboxes.values().flat_map(|out| out.small.iter().chain(&out.blocks));
        let under_way = self.links.values().flat_map(|link| link.blocks.values());
        queued.chain(under_way).map(|frame| frame.len).sum()
    }

    pub(super) fn close(&mut self, now: Now, peer: &PkiId, reason: CloseReason) {
        let handles: Vec<usize> = self.handles(|link| link.leads_to(peer));
        handles.into_iter().for_each(|handle| self.close_link(now, handle, reason));
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: Now, out: &mut Output) {
        let at = self.instant(now);
        for handle in self.handles(|_| true) {
            let Self { links, peer, .. } = self;
            let Some(link) = links.get_mut(&handle) else { continue };
            if link.quic.poll_timeout().is_some_and(|due| due <= at) {
                link.quic.handle_timeout(at);
            }
            if link.deadline(&peer.config).is_some_and(|due| due <= now.mono) {
                self.too_late(now, handle);
            }
        }
        self.drive(now, out);
    }

    fn too_late(&mut self, now: Now, handle: usize) {
        let Self { links, peer, offences, .. } = self;
        let Some(link) = links.get_mut(&handle) else { return };
        match &link.stage {
            Stage::Shaking => {
                self.refuse(now, handle, "tls_silent", "no tls handshake in time".into());
            }
            Stage::Hello(_) => self.refuse_hello(now, handle, &HelloError::Silent),
            Stage::Over => {}
            Stage::Up(up) => {
                if up.mode == Mode::Retired {
                    return self.close_link(now, handle, CloseReason::Duplicate);
                }
                for id in link.stalled(now.mono, &peer.config) {
                    *offences.entry("stalled").or_default() += 1;
                    link.streams.remove(&id);
                    // Fails only if the stream has ended, which serves as well.
                    let _ = link.quic.recv_stream(id).stop(GIVEN_UP.into());
                }
            }
        }
    }

    /// Moves everything on until nothing moves any more.
    pub(super) fn drive(&mut self, now: Now, out: &mut Output) {
        let at = self.instant(now);
        let mut buffer = std::mem::take(&mut self.buffer);
        loop {
            let mut moved = false;
            for handle in self.handles(|_| true) {
                while let Some(event) =
                    self.links.get_mut(&handle).and_then(|link| link.quic.poll())
                {
                    moved = true;
                    self.on_quic(now, handle, event);
                }
                self.fill(handle);
                self.retire(now, handle);
                let Some(link) = self.links.get_mut(&handle) else { continue };
                while let Some(event) = link.quic.poll_endpoint_events() {
                    moved = true;
                    let back = self.endpoint.handle_event(ConnectionHandle(handle), event);
                    back.into_iter().for_each(|event| link.quic.handle_event(event));
                }
                buffer.clear();
                let mut sent = Vec::new();
                while let Some(transmit) = link.quic.poll_transmit(at, 1, &mut buffer) {
                    sent.push((transmit, std::mem::take(&mut buffer)));
                }
                moved |= !sent.is_empty();
                sent.iter().for_each(|(transmit, bytes)| self.emit(transmit, bytes, out));
            }
            self.links.retain(|_, link| !link.quic.is_drained());
            if !moved {
                break;
            }
        }
        self.buffer = buffer;
    }

    fn on_quic(&mut self, now: Now, handle: usize, event: Quic) {
        match event {
            Quic::Connected => {
                if let Err(error) = self.greet(now, handle) {
                    self.refuse_hello(now, handle, &error);
                }
            }
            Quic::ConnectionLost { reason } => self.lost(now, handle, &reason),
            Quic::Stream(StreamEvent::Opened { dir }) => {
                let accept =
                    |node: &mut Self| node.links.get_mut(&handle)?.quic.streams().accept(dir);
                while let Some(id) = accept(self) {
                    self.opened(now, handle, id);
                }
            }
            Quic::Stream(StreamEvent::Readable { id }) => self.read(now, handle, id),
            Quic::Stream(StreamEvent::Finished { id }) => self.finished(handle, id),
            Quic::Stream(StreamEvent::Stopped { id, .. }) => {
                if let Some(link) = self.links.get_mut(&handle) {
                    link.writing.remove(&id);
                    link.blocks.remove(&id);
                    // Fails only if the stream has ended, which serves as well.
                    let _ = link.quic.send_stream(id).reset(GIVEN_UP.into());
                }
            }
            Quic::Stream(StreamEvent::Writable { .. } | StreamEvent::Available { .. })
            | Quic::HandshakeDataReady
            | Quic::DatagramReceived
            | Quic::DatagramsUnblocked => {}
        }
    }

    /// TLS is done: the exchange of hellos begins.
    fn greet(&mut self, now: Now, handle: usize) -> Result<(), HelloError> {
        let Some(link) = self.links.get_mut(&handle) else { return Ok(()) };
        let role = if link.dialled.is_some() { Role::Dialler } else { Role::Acceptor };
        let session = link.quic.crypto_session();
        let (data, identity) = (session.handshake_data(), session.peer_identity());
        let network = &self.peer.config.network;
        let binding =
            bind(role, network, link.own_leaf, data, identity, |exporter, label, context| {
                session.export_keying_material(exporter, label, context).is_ok()
            })?;
        let exchange = Exchange::new(Arc::clone(&self.me), binding.clone());
        let mut stream = None;
        if role == Role::Dialler {
            let own = self.own_hello(&exchange, &binding, &[])?;
            let Some(link) = self.links.get_mut(&handle) else { return Ok(()) };
            // Nothing was said only if somebody tampered with it: then there is no stream either.
            if !own.is_empty() {
                let id = link.quic.streams().open(Dir::Bi);
                let id = id.ok_or_else(|| HelloError::Lost("no stream for the hello".into()))?;
                link.write(id, [own.into()], true);
                stream = Some(id);
            }
        }
        let Some(link) = self.links.get_mut(&handle) else { return Ok(()) };
        let talk = Talk { exchange, binding, stream, heard: Vec::new() };
        link.stage = Stage::Hello(Box::new(talk));
        link.since = now.mono;
        Ok(())
    }

    fn own_hello(
        &mut self,
        exchange: &Exchange,
        binding: &HelloBinding,
        heard: &[u8],
    ) -> Result<Vec<u8>, HelloError> {
        let own = exchange.speak(&self.court())?;
        Ok(match &mut self.tamper {
            Some(tamper) => tamper(binding, heard, own),
            None => own,
        })
    }

    fn court(&self) -> Court<'_> {
        Court {
            network: &self.peer.config.network,
            mcs: &*self.peer.mcs,
            advisor: &*self.peer.advisor,
            identities: &self.identities,
            versions: &self.versions,
        }
    }

    fn opened(&mut self, now: Now, handle: usize, id: StreamId) {
        let Some(link) = self.links.get_mut(&handle) else { return };
        match &mut link.stage {
            Stage::Hello(talk) if talk.stream.is_none() && id.dir() == Dir::Bi => {
                talk.stream = Some(id);
            }
            Stage::Up(_) if id.dir() == Dir::Uni => {
                let frames = Default::default();
                let inbound = Inbound { frames, carries: Carries::Unknown, touched: now.mono };
                link.streams.insert(id, inbound);
            }
            Stage::Up(_) | Stage::Hello(_) | Stage::Shaking | Stage::Over => {
                // Questions are not answered here.
                let _ = link.quic.recv_stream(id).stop(REFUSED.into());
                if id.dir() == Dir::Bi {
                    let _ = link.quic.send_stream(id).reset(REFUSED.into());
                }
                return;
            }
        }
        self.read(now, handle, id);
    }

    fn read(&mut self, now: Now, handle: usize, id: StreamId) {
        let Some(link) = self.links.get_mut(&handle) else { return };
        match &mut link.stage {
            Stage::Hello(talk) if talk.stream == Some(id) => {
                if let Err(error) = self.listen(now, handle, id) {
                    self.refuse_hello(now, handle, &error);
                }
            }
            Stage::Up(_) if link.streams.contains_key(&id) => {
                if let Err(error) = self.read_frames(now, handle, id) {
                    tracing::debug!(%error, "what came is no frame");
                    *self.offences.entry("malformed").or_default() += 1;
                    self.close_link(now, handle, CloseReason::Malformed);
                }
            }
            Stage::Up(_) | Stage::Hello(_) | Stage::Shaking | Stage::Over => {}
        }
    }

    /// Reads the other side's hello.
    fn listen(&mut self, now: Now, handle: usize, id: StreamId) -> Result<(), HelloError> {
        let Some(link) = self.links.get_mut(&handle) else { return Ok(()) };
        let given_up = || HelloError::Lost("its stream was reset".into());
        let (bytes, ended) = link.take(id).ok_or_else(given_up)?;
        let Stage::Hello(talk) = &mut link.stage else { return Ok(()) };
        for bytes in &bytes {
            talk.exchange.hear(bytes)?;
            talk.heard.extend_from_slice(bytes);
        }
        if !ended {
            return Ok(());
        }
        let stage = std::mem::replace(&mut link.stage, Stage::Over);
        let Stage::Hello(talk) = stage else { return Ok(()) };
        let Talk { exchange, binding, heard, .. } = *talk;
        if self.overheard.len() >= OVERHEARD_MAX {
            self.overheard.pop_front();
        }
        self.overheard.push_back(heard.clone());
        let believed = exchange.heard(now, &self.court());
        // A tampering peer answers whatever it heard.
        let greeting = match believed {
            Err(error) if self.tamper.is_none() || binding.role == Role::Dialler => {
                return Err(error);
            }
            believed => believed,
        };
        if binding.role == Role::Acceptor {
            let own = self.own_hello(&exchange, &binding, &heard)?;
            let Some(link) = self.links.get_mut(&handle) else { return Ok(()) };
            link.write(id, [Bytes::from(own)], true);
        }
        self.install(now, handle, greeting?);
        Ok(())
    }

    /// Both sides are believed.
    fn install(&mut self, now: Now, handle: usize, greeting: Greeting) {
        let peer = greeting.peer;
        let widths = Widths::of(&self.peer.config);
        let first = !self.links.values().any(|link| link.leads_to(&peer));
        let Some(link) = self.links.get_mut(&handle) else { return };
        if link.expect.is_some_and(|expect| expect != peer) {
            let reason = format!("{peer} answers there, another peer was expected");
            let endpoint = link.dialled.clone();
            self.close_link(now, handle, CloseReason::Done);
            let failed = endpoint.map(|endpoint| Event::DialFailed { endpoint, reason });
            return failed.into_iter().for_each(|event| self.tell(now, event));
        }
        link.quic.set_receive_window(widths.window);
        link.quic.set_max_concurrent_streams(Dir::Uni, widths.uni);
        link.quic.set_max_concurrent_streams(Dir::Bi, widths.bidi);
        let dialled = link.dialled.clone();
        let connected = Connected {
            peer,
            identity: greeting.identity.clone(),
            org: greeting.org.clone(),
            epoch: greeting.epoch,
            dialled: dialled.clone(),
        };
        link.since = now.mono;
        let (born, mode) = (now.mono, Mode::Standby);
        let up = Up { greeting, born, mode, other_done: false, own_done: false };
        link.stage = Stage::Up(Box::new(up));
        if first || dialled.is_some() {
            self.tell(now, Event::Connected(connected));
        }
        self.settle(now, handle, peer);
    }

    /// Of several connections to one peer one stays.
    fn settle(&mut self, now: Now, fresh: usize, peer: PkiId) {
        let window = dial_window(&self.peer.config);
        let Some(new) = self.facts(fresh) else { return };
        let mut keep = true;
        for old in self.handles(|link| link.leads_to(&peer) && link.is_live()) {
            let Some(facts) = self.facts(old).filter(|_| old != fresh) else { continue };
            let done = self.links.get(&old).and_then(Link::up).is_some_and(|up| up.other_done);
            let outdated = new.born.since(facts.born) > window;
            let verdict = if done {
                Verdict::KeepNew
            } else {
                judge(self.id(), peer, &facts.facts, &new.facts, outdated)
            };
            match verdict {
                Verdict::KeepNew => self.set_mode(now, old, Mode::Retired),
                Verdict::Defer => self.set_mode(now, old, Mode::Standby),
                Verdict::KeepOld => keep = false,
            }
        }
        self.set_mode(now, fresh, if keep { Mode::Active } else { Mode::Retired });
        self.promote(now, &peer);
    }

    fn facts(&self, handle: usize) -> Option<Known> {
        let link = self.links.get(&handle)?;
        let up = link.up()?;
        let facts = Facts::of(&up.greeting, link.dialled.is_some());
        Some(Known { facts, born: up.born })
    }

    fn set_mode(&mut self, now: Now, handle: usize, mode: Mode) {
        if let Some(link) = self.links.get_mut(&handle) {
            link.set_mode(now.mono, mode);
        }
    }

    /// Sees to it that some link is active if one can be; the newest first.
    fn promote(&mut self, now: Now, peer: &PkiId) {
        let live = self.handles(|link| link.leads_to(peer) && link.is_live());
        let active = |handle: &usize| {
            let up = self.links.get(handle).and_then(Link::up);
            up.is_some_and(|up| up.mode == Mode::Active)
        };
        if live.iter().any(active) {
            return;
        }
        let born = |handle: &usize| self.links.get(handle).and_then(Link::up).map(|up| up.born);
        if let Some(newest) = live.into_iter().max_by_key(born) {
            self.set_mode(now, newest, Mode::Active);
        }
    }

    /// Puts what waits on the active link of its peer, as much as there is room for.
    fn fill(&mut self, handle: usize) {
        let Self { links, outboxes, peer, .. } = self;
        let Some(link) = links.get_mut(&handle) else { return };
        let target = link.up().filter(|up| up.mode == Mode::Active).map(|up| up.greeting.peer);
        if let Some(outbox) = target.and_then(|target| outboxes.get_mut(&target)) {
            while let Some(id) = link.control_stream().filter(|_| !outbox.small.is_empty()) {
                if link.backlog(id) >= BATCH_BYTES {
                    break;
                }
                let next = outbox.small.pop_front();
                next.into_iter().for_each(|frame| link.write(id, frame.chunks, false));
            }
            let room = peer.config.streams.send_window as usize / 2;
            while let Some(next) = outbox.blocks.front() {
                let under_way: usize = link.blocks.values().map(|block| block.len).sum();
                if under_way > 0 && under_way + next.len > room {
                    break;
                }
                let Some(id) = link.quic.streams().open(Dir::Uni) else { break };
                let Some(block) = outbox.blocks.pop_front() else { break };
                link.write(id, block.chunks.clone(), true);
                link.blocks.insert(id, block);
            }
        }
        link.flush();
    }

    /// A retired link ends in good order: all that was sent has arrived, all that was sent to us is read.
    fn retire(&mut self, now: Now, handle: usize) {
        let Some(link) = self.links.get_mut(&handle) else { return };
        let Some(up) = link.up().filter(|up| up.mode == Mode::Retired) else { return };
        let both = up.own_done && up.other_done;
        if both && !link.quic.is_closed() {
            return self.close_link(now, handle, CloseReason::Duplicate);
        }
        if !link.control_ended
            && link.blocks.is_empty()
            && link.writing.is_empty()
            && let Some(id) = link.control_stream()
        {
            link.control_ended = true;
            link.write(id, [], true);
            link.flush();
        }
    }

    fn finished(&mut self, handle: usize, id: StreamId) {
        let Some(link) = self.links.get_mut(&handle) else { return };
        link.blocks.remove(&id);
        if link.control == Some(id)
            && let Some(up) = link.up_mut()
        {
            up.own_done = true;
        }
    }

    fn read_frames(&mut self, now: Now, handle: usize, id: StreamId) -> Result<(), WireError> {
        let block_max = self.peer.config.streams.block_frame_max;
        let Some(link) = self.links.get_mut(&handle) else { return Ok(()) };
        let Some(from) = link.up().map(|up| up.greeting.peer) else { return Ok(()) };
        let Some((bytes, ended)) = link.take(id) else {
            link.streams.remove(&id);
            return Ok(());
        };
        let frames = link.frames(now.mono, id, &bytes, block_max)?;
        for frame in frames {
            let message = Envelope::decode(&frame)?.open()?;
            self.tell(now, Event::Received { from, message });
        }
        if !ended {
            return Ok(());
        }
        let Some(link) = self.links.get_mut(&handle) else { return Ok(()) };
        let Some(stream) = link.streams.remove(&id) else { return Ok(()) };
        match stream.carries {
            _ if stream.frames.len() > 0 => {
                return Err(WireError::Truncated { needed: 1, found: stream.frames.len() });
            }
            Carries::Block => {}
            Carries::Control => self.other_done(now, handle),
            // The control stream of a link that never sent a message.
            Carries::Unknown if !link.control_seen => {
                link.control_seen = true;
                self.other_done(now, handle);
            }
            Carries::Unknown => {}
        }
        Ok(())
    }

    /// The other side has ended a link in favour of another, if there is another.
    fn other_done(&mut self, now: Now, handle: usize) {
        let Some(up) = self.links.get_mut(&handle).and_then(Link::up_mut) else { return };
        up.other_done = true;
        let peer = up.greeting.peer;
        let others = self.handles(|link| link.leads_to(&peer) && link.is_live());
        if others.iter().any(|other| *other != handle) {
            self.set_mode(now, handle, Mode::Retired);
            self.promote(now, &peer);
        }
    }

    /// Turns a peer away without telling it why.
    fn refuse_hello(&mut self, now: Now, handle: usize, error: &HelloError) {
        self.refuse(now, handle, error.reason(), error.to_string());
    }

    fn refuse(&mut self, now: Now, handle: usize, name: &'static str, reason: String) {
        *self.refused.entry(name).or_default() += 1;
        let endpoint = self.links.get(&handle).and_then(|link| link.dialled.clone());
        self.close_link(now, handle, CloseReason::Refused);
        let failed = endpoint.map(|endpoint| Event::DialFailed { endpoint, reason });
        failed.into_iter().for_each(|event| self.tell(now, event));
    }

    fn close_link(&mut self, now: Now, handle: usize, reason: CloseReason) {
        let at = self.instant(now);
        let Some(link) = self.links.get_mut(&handle) else { return };
        if link.quic.is_closed() {
            return;
        }
        link.closed_for = Some(reason);
        link.quic.close(at, VarInt::from_u32(reason.code()), Bytes::new());
        let because = DisconnectCause::Local(reason);
        self.gone(now, handle, because, || "closed".to_owned());
    }

    fn lost(&mut self, now: Now, handle: usize, reason: &quinn_proto::ConnectionError) {
        let closed_for = self.links.get(&handle).and_then(|link| link.closed_for);
        let because = cause(Some(reason), closed_for);
        let was_dialling = self.links.get(&handle).is_some_and(|link| {
            link.dialled.is_some() && matches!(link.stage, Stage::Shaking | Stage::Hello(_))
        });
        let endpoint = self.links.get(&handle).and_then(|link| link.dialled.clone());
        self.gone(now, handle, because, || reason.to_string());
        if let Some(endpoint) = endpoint.filter(|_| was_dialling) {
            self.tell(now, Event::DialFailed { endpoint, reason: reason.to_string() });
        }
    }

    /// A link carries nothing any more.
    fn gone(
        &mut self,
        now: Now,
        handle: usize,
        because: DisconnectCause,
        why: impl FnOnce() -> String,
    ) {
        let Some(link) = self.links.get_mut(&handle) else { return };
        let stage = std::mem::replace(&mut link.stage, Stage::Over);
        let Stage::Up(up) = stage else { return };
        let peer = up.greeting.peer;
        tracing::debug!(%peer, why = why(), "connection gone");
        let unsent = std::mem::take(&mut link.blocks);
        if up.mode == Mode::Retired {
            let outbox = self.outboxes.entry(peer).or_default();
            unsent.into_values().rev().for_each(|block| outbox.blocks.push_front(block));
        }
        if self.links.values().any(|link| link.leads_to(&peer)) {
            self.promote(now, &peer);
        } else {
            self.outboxes.remove(&peer);
            self.tell(now, Event::Disconnected { peer, cause: because });
        }
    }

    fn tell(&mut self, now: Now, event: Event) {
        self.events.push((now.mono, event));
    }

    fn emit(&self, transmit: &Transmit, bytes: &[u8], out: &mut Output) {
        let bytes = bytes.get(..transmit.size).unwrap_or_default();
        let mut datagram = Datagram::new(self.address, transmit.destination, bytes);
        datagram.ecn = transmit.ecn;
        out.push(datagram);
    }

    pub(super) fn handles(&self, which: impl Fn(&Link) -> bool) -> Vec<usize> {
        self.links.iter().filter(|(_, link)| which(link)).map(|(handle, _)| *handle).collect()
    }

    pub(super) fn instant(&self, now: Now) -> Instant {
        self.zero + Duration::from_nanos(now.mono.as_nanos())
    }
}

/// What settles which of two links stays.
struct Known {
    facts: Facts,
    born: Mono,
}

fn mono(zero: Instant, at: Instant) -> Mono {
    Mono::ZERO.after(at.saturating_duration_since(zero))
}

/// Hellos remembered as they came.
const OVERHEARD_MAX: usize = 64;
