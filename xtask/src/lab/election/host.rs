//! What surrounds the candidates: an ordering service, disks, and what is seen from outside.

use std::time::Duration;

use gossip_api::{Height, Now};
use gossip_comm::{Effect, Event, Host};

use super::candidate::{Action, Candidate, Input};

/// One candidate from outside.
#[derive(Clone, Debug, Default)]
pub(super) struct Outside {
    pub(super) leads: bool,
    pub(super) fetches: bool,
    /// What its disk holds.
    pub(super) term: Option<u64>,
}

/// The world of all candidates.
#[derive(Default)]
pub(super) struct World {
    pub(super) peers: Vec<Outside>,
    /// Height of the ordering service.
    pub(super) tip: Height,
    /// How often it was asked for its newest header.
    pub(super) probes: u64,
}

impl World {
    fn outside(&mut self, peer: usize) -> &mut Outside {
        self.peers.get_mut(peer).expect("peers are numbered in order")
    }

    /// Whoever begins to take blocks gets what there is.
    fn deliver(&self, wanted: bool) -> Vec<Effect<Input>> {
        let ordered = Effect::InputAfter(ORDERER_AWAY, Input::Ordered(self.tip));
        wanted.then_some(ordered).into_iter().collect()
    }
}

impl Host for World {
    type Machine = Candidate;

    fn perform(&mut self, peer: usize, _: Now, action: Action) -> Vec<Effect<Input>> {
        match action {
            Action::Comm(command) => vec![Effect::Command(command)],
            Action::Leads(leads) => {
                assert_ne!(self.outside(peer).leads, leads, "lead and follow alternate");
                self.outside(peer).leads = leads;
                self.deliver(leads)
            }
            Action::Fetches(fetches) => {
                self.outside(peer).fetches = fetches;
                self.deliver(fetches)
            }
            Action::Probe => {
                self.probes += 1;
                vec![Effect::InputAfter(ORDERER_AWAY, Input::Header(self.tip))]
            }
            Action::StoreTerm(term) => {
                let held = &mut self.outside(peer).term;
                assert!(held.is_none_or(|held| held < term), "terms rise");
                *held = Some(term);
                vec![Effect::InputAfter(DISK_TAKES, Input::TermStored)]
            }
        }
    }

    fn receive(&mut self, _: &Candidate, _: usize, _: Now, event: Event) -> Vec<Effect<Input>> {
        let input = match event {
            Event::Connected(connected) => Input::Connected(connected.peer),
            Event::Disconnected { peer, .. } => Input::Disconnected(peer),
            Event::Received { from, message } => {
                Input::Received { from, message: Box::new(message.message) }
            }
            Event::DialFailed { .. }
            | Event::Request { .. }
            | Event::Response { .. }
            | Event::ResponseEnd { .. } => return Vec::new(),
        };
        vec![Effect::Input(input)]
    }

    fn tick(&mut self, _: usize, _: Now) -> Input {
        Input::Tick
    }
}

/// From the ordering service to a peer, the question included.
pub(super) const ORDERER_AWAY: Duration = Duration::from_millis(10);

/// What it takes to store a term.
const DISK_TAKES: Duration = Duration::from_millis(5);
