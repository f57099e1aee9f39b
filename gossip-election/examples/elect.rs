//! An election alone: three candidates in one loop, whose claims reach each other at once.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use gossip_api::{ChannelId, Height, Machine as _, Mono, Now, PkiId, Wall};
use gossip_election::{Action, Election, ElectionConfig, Input};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;

/// Runs the example.
///
/// # Errors
/// If anything does not go as it should.
pub fn main() -> Result<(), Box<dyn Error>> {
    let ids: Vec<PkiId> = (1..=3).map(|number| PkiId::from_bytes([number; 32])).collect();
    let at = |mono| Now { mono, wall: Wall::from_unix_seconds(0) };
    let config = ElectionConfig::dynamic().checked()?;
    let channel = ChannelId::new("trade")?;
    let mut candidates = BTreeMap::new();
    let mut inbox: Vec<(PkiId, Input)> = Vec::new();
    for id in &ids {
        let rng = ChaCha8Rng::seed_from_u64(u64::from(id.as_bytes()[0]));
        let election = Election::new(channel.clone(), *id, config.clone(), rng, at(Mono::ZERO));
        candidates.insert(*id, election);
        let alive = ids.iter().filter(|other| *other != id).copied().collect();
        inbox.extend([
            (*id, Input::Members { alive }),
            (*id, Input::Height { height: Height::new(1) }),
        ]);
        inbox.push((*id, Input::Tick));
    }
    let mut now = Mono::ZERO;
    for _ in 0..100 {
        for (to, input) in std::mem::take(&mut inbox) {
            let Some(candidate) = candidates.get_mut(&to) else { continue };
            for action in candidate.handle(at(now), input) {
                match action {
                    Action::Say(claim) => {
                        let others = ids.iter().filter(|other| **other != to);
                        inbox
                            .extend(others.map(|other| (*other, Input::Heard { from: to, claim })));
                    }
                    Action::Lead { why } => println!("{to:?} leads: {why}"),
                    Action::Follow { why } => println!("{to:?} follows: {why}"),
                    Action::Persist { .. } | Action::Fetch { .. } | Action::Probe => {}
                }
            }
        }
        now = now.after(Duration::from_millis(100));
        inbox.extend(ids.iter().map(|id| (*id, Input::Tick)));
    }
    let leaders = candidates.values().filter(|candidate| candidate.is_leader()).count();
    if leaders == 1 { Ok(()) } else { Err(format!("{leaders} leaders").into()) }
}
