//! What holds after every step; tests and simulations call it.

use std::collections::BTreeSet;

use gossip_api::{Epoch, PkiId};

use crate::connect::{ANCHORS_MAX, REVIVALS_MAX};
use crate::discovery::Discovery;
use crate::member::{Announced, Status};
use crate::probe::{ROUTES_MAX, UNSIGNED_MAX};
use crate::sync::CHECKS_MAX;

/// Checks everything that has to hold of a machine between two inputs.
///
/// # Errors
/// The first sentence that does not hold.
pub fn check(discovery: &Discovery) -> Result<(), String> {
    nobody_is_told_of_itself(discovery)?;
    announcements_match(discovery)?;
    endpoints_are_unique(discovery)?;
    the_view_agrees_with_itself(discovery)?;
    bounds_hold(discovery)
}

/// What is kept beside the members, to be found quickly, says what they say. Not looked at in large views,
/// which the same code keeps.
fn the_view_agrees_with_itself(discovery: &Discovery) -> Result<(), String> {
    if discovery.view.len() <= VIEW_CHECKED_MAX && !discovery.view.is_consistent() {
        return Err("the view's index differs from its members".into());
    }
    Ok(())
}

/// Members of the largest view whose index is compared with them.
const VIEW_CHECKED_MAX: usize = 64;

/// How far each member's life has come, as far as we know: its epoch, and the beats of it. Neither goes back
/// while a member is remembered.
pub fn progress(discovery: &Discovery) -> impl Iterator<Item = (PkiId, Epoch, u64)> {
    let rows = discovery.view.rows().iter();
    rows.map(|row| (row.member().pki_id(), row.epoch, row.progress))
}

/// No member is both alive and dead, and the layers above have been told what the view says.
fn announcements_match(discovery: &Discovery) -> Result<(), String> {
    for row in discovery.view.rows() {
        let (status, announced) = (row.status, row.announced);
        let expected = match announced {
            Announced::Nothing => matches!(status, Status::Known | Status::Dead { .. }),
            Announced::Alive => status.is_live(),
            Announced::Dead => status.is_dead(),
        };
        if !expected {
            let peer = row.short;
            return Err(format!("{peer:?} is {status:?} and was announced as {announced:?}"));
        }
    }
    Ok(())
}

/// We are no member of our own view.
fn nobody_is_told_of_itself(discovery: &Discovery) -> Result<(), String> {
    let own = discovery.own.me.pki_id;
    let known = discovery.view.find(&own).is_some();
    if known || discovery.connected(&own) { Err("we are in our own view".into()) } else { Ok(()) }
}

/// One peer answers at one endpoint: whoever answered last.
fn endpoints_are_unique(discovery: &Discovery) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    let dialled = discovery.connections.links.values().filter_map(|link| link.dialled.as_ref());
    for endpoint in dialled {
        if !seen.insert(endpoint) {
            return Err(format!("two peers answered at {endpoint}"));
        }
    }
    Ok(())
}

/// Nothing has outgrown its bound.
fn bounds_hold(discovery: &Discovery) -> Result<(), String> {
    let config = &discovery.config;
    let connections = &discovery.connections;
    let bounds = [
        ("members", discovery.view.len(), config.members_max),
        ("the dead", discovery.view.dead(), config.dead_max + ANCHORS_MAX),
        ("dials", connections.dials_len(), config.dials_max + REVIVALS_MAX + ANCHORS_MAX + 1),
        ("anchors", connections.anchors_len(), ANCHORS_MAX),
        ("probes", discovery.probes.len(), config.members_max),
        ("questions passed on", discovery.probes.routes_len(), ROUTES_MAX),
        ("nonces to sign", discovery.probes.unsigned_len(), UNSIGNED_MAX),
        ("checks", discovery.exchange.checks_len(), CHECKS_MAX),
        ("beats to relay", discovery.relay.fresh.len(), config.members_max + 1),
    ];
    match bounds.iter().find(|(_, found, max)| found > max) {
        Some((what, found, max)) => Err(format!("{found} {what}, at most {max} allowed")),
        None => Ok(()),
    }
}
