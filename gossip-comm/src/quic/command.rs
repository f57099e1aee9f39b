//! Commands of the layer above. None of them waits.

use std::sync::Arc;

use bytes::BytesMut;
use gossip_api::message::CloseReason;
use gossip_api::{Endpoint, Envelope, PkiId, RemotePeer};

use super::exchange::{Question, ask};
use super::outbox::Outbox;
use super::table::Peer;
use super::{Shared, Table, dial};
use crate::comm::{Command, Connected, Event, InboundId, RequestId, ResponseOutcome};

/// Does what the layer above says.
pub(super) fn carry_out(shared: &Arc<Shared>, command: Command) {
    let mut table = shared.table();
    if table.stopping {
        return;
    }
    match command {
        Command::Dial { endpoint, expect } => on_dial(shared, &mut table, &endpoint, expect),
        Command::Send { to, envelope } => on_send(shared, &mut table, &to, envelope),
        Command::Request { to, id, envelope, patience } => {
            let question = Question { id, envelope, patience };
            on_request(shared, &mut table, &to, question);
        }
        Command::Respond { to, envelope } => on_respond(shared, &table, to, envelope),
        Command::EndResponse { to } => {
            if let Some(answer) = table.answers.get(&to) {
                answer.end();
            }
        }
        Command::Close { peer, reason } => on_close(&table, &peer, reason),
    }
}

fn on_dial(shared: &Arc<Shared>, table: &mut Table, endpoint: &Endpoint, expect: Option<PkiId>) {
    let there = table.at(endpoint);
    let known = match expect {
        Some(expect) => table.active(&expect).filter(|_| there.is_none_or(|id| id == expect)),
        None => there.and_then(|id| table.active(&id)),
    };
    if let Some(link) = known {
        return shared.inbox.push(Event::Connected(Connected {
            peer: link.greeting.peer,
            identity: link.greeting.identity.clone(),
            org: link.greeting.org.clone(),
            epoch: link.greeting.epoch,
            dialled: Some(endpoint.clone()),
        }));
    }
    if let Err(reason) = dial::begin(shared, table, endpoint, expect, true) {
        let reason = reason.to_owned();
        shared.inbox.push(Event::DialFailed { endpoint: endpoint.clone(), reason });
    }
}

fn on_send(shared: &Arc<Shared>, table: &mut Table, to: &RemotePeer, envelope: Envelope) {
    match reach(shared, table, to) {
        Ok(peer) if envelope.rides_datagrams() && fly(shared, peer, &envelope) => {}
        Ok(peer) => match peer.outbox.push(envelope) {
            Ok(0) => {}
            Ok(dropped) => shared.metrics.overflow.inc_by(dropped as u64),
            Err(error) => shared.too_large(to, &error),
        },
        Err(reason) => shared.metrics.drop_messages(reason, 1),
    }
}

/// Sends a message as a datagram; false if it has to go over the control stream: there is no connection
/// yet, the other side takes no datagrams, or this one is too long for a packet.
fn fly(shared: &Shared, peer: &Peer, envelope: &Envelope) -> bool {
    let Some(link) = peer.active() else { return false };
    let mut frame = BytesMut::with_capacity(envelope.encoded_len());
    if envelope.encode_into(&mut frame).is_err() {
        return false;
    }
    let flown = link.connection.send_datagram(frame.freeze()).is_ok();
    shared.metrics.sent.inc_by(u64::from(flown));
    shared.metrics.datagrams.inc_by(u64::from(flown));
    flown
}

fn on_request(shared: &Arc<Shared>, table: &mut Table, to: &RemotePeer, question: Question) {
    let id = question.id;
    let refused = |id: RequestId| {
        let outcome = ResponseOutcome::Broken;
        shared.inbox.push(Event::ResponseEnd { id, outcome });
    };
    if table.requests.len() >= REQUESTS_MAX || !table.requests.insert(id) {
        return refused(id);
    }
    let reached = reach(shared, table, to);
    match reached {
        Ok(peer) => match peer.active().cloned() {
            Some(link) => {
                let asking = ask(Arc::clone(shared), Arc::clone(&link), question);
                link.spawn_work(shared, asking);
            }
            None => peer.questions.push(question),
        },
        Err(_) => {
            table.requests.remove(&id);
            refused(id);
        }
    }
}

/// The peer's entry, connected or about to be.
fn reach<'table>(
    shared: &Arc<Shared>,
    table: &'table mut Table,
    to: &RemotePeer,
) -> Result<&'table mut Peer, &'static str> {
    if to.pki_id == shared.me.load().pki_id {
        return Err("itself");
    }
    if !table.peers.contains_key(&to.pki_id) {
        let endpoint = to.endpoint.as_ref().ok_or("not_connected")?;
        if table.peers.len() >= shared.config.connections_max + shared.config.dials_max {
            return Err("too_many_peers");
        }
        dial::begin(shared, table, endpoint, Some(to.pki_id), false).map_err(|_| "not_dialled")?;
        let mut peer = Peer::new(Outbox::new(&shared.config.outbox));
        peer.dialling = Some(endpoint.clone());
        table.peers.insert(to.pki_id, peer);
    }
    table.peers.get_mut(&to.pki_id).ok_or("not_connected")
}

fn on_respond(shared: &Shared, table: &Table, to: InboundId, envelope: Envelope) {
    match table.answers.get(&to) {
        Some(answer) if answer.push(envelope) => {}
        Some(_) => shared.metrics.overflow.inc(),
        None => shared.metrics.drop_messages("not_asked", 1),
    }
}

fn on_close(table: &Table, peer: &PkiId, reason: CloseReason) {
    if let Some(peer) = table.peers.get(peer) {
        peer.links.iter().for_each(|link| link.close(reason));
    }
}

/// Questions without outcome at once.
const REQUESTS_MAX: usize = 4096;
