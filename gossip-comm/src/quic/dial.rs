//! Finding out who answers at an endpoint.

use std::sync::Arc;

use gossip_api::message::CloseReason;
use gossip_api::{Endpoint, PkiId};
use quinn::Connection;

use super::endpoint::{close, refuse, widen};
use super::hello;
use super::table::{Dial, Peer};
use super::{Shared, Table};
use crate::comm::{Event, ResponseOutcome};
use crate::hello::{Greeting, HelloError};
use crate::tls::{SERVER_NAME, random};

/// Has `endpoint` dialled unless it is being dialled already.
///
/// `asked` says that somebody wants exactly that; sending alone respects the endpoint's rest.
///
/// # Errors
/// If it is not dialled, with the reason in words.
pub(super) fn begin(
    shared: &Arc<Shared>,
    table: &mut Table,
    endpoint: &Endpoint,
    expect: Option<PkiId>,
    asked: bool,
) -> Result<(), &'static str> {
    if let Some(dial) = table.dials.get_mut(endpoint) {
        if !dial.wanted.contains(&expect) {
            if dial.wanted.len() >= WANTED_MAX {
                return Err("too many peers expected at one endpoint");
            }
            dial.wanted.push(expect);
        }
        return Ok(());
    }
    if !asked && table.backoff.holds(endpoint, shared.clock.mono()) {
        return Err("endpoint is left alone after failures");
    }
    if table.dials.len() >= shared.config.dials_max {
        return Err("too many dials under way");
    }
    table.dials.insert(endpoint.clone(), Dial { wanted: vec![expect] });
    shared.spawn(run(Arc::clone(shared), endpoint.clone()));
    Ok(())
}

async fn run(shared: Arc<Shared>, endpoint: Endpoint) {
    let dialled = tokio::select! {
        dialled = connect(&shared, &endpoint) => dialled,
        () = shared.cancel.cancelled() => Err("stopping".into()),
    };
    let failure = match dialled {
        Ok((greeting, connection)) => arrived(&shared, &endpoint, greeting, &connection).err(),
        Err(reason) => Some(reason),
    };
    if let Some(reason) = failure {
        failed(&shared, &endpoint, reason);
    }
}

/// Name resolution, TLS, hello.
async fn connect(
    shared: &Arc<Shared>,
    endpoint: &Endpoint,
) -> Result<(Greeting, Connection), String> {
    let tls = shared.tls.load_full();
    let shaking = shake_hands(shared, endpoint, &tls.client);
    let shaken = tokio::time::timeout(shared.config.dial_timeout, shaking).await;
    let connection = shaken.map_err(|_| "no tls handshake in time".to_owned())??;
    let greeted = hello::dial(shared, &connection, tls.own_leaf);
    let greeted = tokio::time::timeout(shared.config.hello_timeout, greeted).await;
    match greeted.unwrap_or(Err(HelloError::Silent)) {
        Ok(greeting) => Ok((greeting, connection)),
        Err(error) => {
            let reason = error.to_string();
            refuse(shared, &connection, &error).await;
            Err(reason)
        }
    }
}

async fn shake_hands(
    shared: &Shared,
    endpoint: &Endpoint,
    client: &quinn::ClientConfig,
) -> Result<Connection, String> {
    let socket = shared.endpoint().ok_or("stopping")?;
    let addresses = tokio::net::lookup_host(endpoint.as_str()).await;
    let mut reason = "no address".to_owned();
    for address in addresses.map_err(|error| error.to_string())?.take(ADDRESSES_MAX) {
        match socket.connect_with(client.clone(), address, SERVER_NAME) {
            Ok(connecting) => match connecting.await {
                Ok(connection) => return Ok(connection),
                Err(error) => reason = error.to_string(),
            },
            Err(error) => reason = error.to_string(),
        }
    }
    Err(reason)
}

/// Somebody answered: keeps the connection if anybody wants whom it leads to.
fn arrived(
    shared: &Arc<Shared>,
    endpoint: &Endpoint,
    greeting: Greeting,
    connection: &Connection,
) -> Result<(), String> {
    let found = greeting.peer;
    let wanted = match shared.table().dials.get(endpoint) {
        Some(dial) => dial.wanted.clone(),
        None => return Err("stopping".into()),
    };
    if !wanted.iter().any(|expect| expect.is_none_or(|expect| expect == found)) {
        close(connection, CloseReason::Done);
        return Err(format!("{found} answers there, another peer was expected"));
    }
    widen(connection, &shared.config);
    shared.install(greeting, connection.clone(), Some(endpoint)).map_err(|reason| {
        close(connection, reason);
        format!("connection given up: {reason:?}")
    })
}

/// The dial of `endpoint` has led to `found`. Under the same lock as the connection's entry into the table:
/// whoever dials after that finds the one or the other, and is answered.
pub(super) fn succeeded(shared: &Shared, table: &mut Table, endpoint: &Endpoint, found: PkiId) {
    table.backoff.succeeded(endpoint);
    let dial = table.dials.remove(endpoint).unwrap_or_default();
    let given_up = table.give_up(endpoint, Some(found));
    let unmet = dial.wanted.iter().flatten().any(|expect| *expect != found);
    abandon(shared, table, given_up);
    if unmet {
        let reason = format!("{found} answers there, another peer was expected too");
        shared.inbox.push(Event::DialFailed { endpoint: endpoint.clone(), reason });
    }
}

fn failed(shared: &Arc<Shared>, endpoint: &Endpoint, reason: String) {
    shared.metrics.dials_failed.inc();
    let luck = f64::from(u16::from_le_bytes(random::<2>())) / f64::from(u16::MAX);
    let mut table = shared.table();
    table.dials.remove(endpoint);
    if !table.stopping {
        table.backoff.failed(endpoint, &reason, shared.clock.mono(), luck);
    }
    let given_up = table.give_up(endpoint, None);
    abandon(shared, &mut table, given_up);
    shared.inbox.push(Event::DialFailed { endpoint: endpoint.clone(), reason });
}

/// Drops what waited for peers that were not reached.
fn abandon(shared: &Shared, table: &mut Table, peers: Vec<Peer>) {
    for peer in peers {
        shared.metrics.drop_messages("not_reached", peer.outbox.len());
        for question in peer.questions {
            table.requests.remove(&question.id);
            let outcome = ResponseOutcome::Broken;
            shared.inbox.push(Event::ResponseEnd { id: question.id, outcome });
        }
    }
}

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;
/// Different peers that may be expected at one endpoint.
const WANTED_MAX: usize = 16;
