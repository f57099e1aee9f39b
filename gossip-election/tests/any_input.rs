//! Whatever an election is told, in whatever order: no panic, no endless waking, no leader without lease.

#![allow(missing_docs, clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "tests")]

use std::time::Duration;

use gossip_api::{BlockHash, ChannelId, Height, Machine, Mono, Now, PkiId, SeqNum, Wall};
use gossip_election::{Action, Claim, ClaimKind, Election, ElectionConfig, Input};
use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

fn pki(n: u8) -> PkiId {
    PkiId::from_bytes([n; 32])
}

#[derive(Clone, Debug)]
enum Step {
    Tell(Input),
    Pass(u64),
    /// The machine sleeps: time passes without its ticks.
    Sleep(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let number = prop_oneof![0..300_u64, Just(u64::MAX), Just(1 << 63)];
    let height = number.clone().prop_map(Height::new);
    let kind =
        prop_oneof![Just(ClaimKind::Propose), Just(ClaimKind::Declare), Just(ClaimKind::Resign)];
    let claim = (kind, number.clone(), height.clone()).prop_map(|(kind, term, height)| Claim {
        kind,
        term,
        height,
    });
    let members = proptest::collection::vec((0..6_u8).prop_map(pki), 0..6);
    prop_oneof![
        2 => members.prop_map(|alive| Step::Tell(Input::Members { alive })),
        6 => (0..6_u8, claim).prop_map(|(from, claim)| {
            Step::Tell(Input::Heard { from: pki(from), claim })
        }),
        1 => height.clone().prop_map(|height| Step::Tell(Input::Height { height })),
        1 => height.clone().prop_map(|height| Step::Tell(Input::Arrived { height })),
        1 => height.prop_map(|height| Step::Tell(Input::Proved { height })),
        1 => (0..3_u64).prop_map(|n| Step::Tell(Input::Beacon {
            number: SeqNum::new(n * Election::BEACON_EVERY),
            hash: BlockHash::from_bytes([n as u8; 32]),
        })),
        1 => number.prop_map(|term| Step::Tell(Input::Term { term })),
        1 => Just(Step::Tell(Input::Yield)),
        6 => (1..3_000_u64).prop_map(Step::Pass),
        1 => (1..60_000_u64).prop_map(Step::Sleep),
    ]
}

struct Checked {
    election: Election,
    now: Mono,
    leads: bool,
    term: u64,
}

impl Checked {
    fn tell(&mut self, input: Input) {
        let now = Now { mono: self.now, wall: Wall::default() };
        for action in self.election.handle(now, input) {
            match action {
                Action::Lead { .. } | Action::Follow { .. } => {
                    let leads = matches!(action, Action::Lead { .. });
                    assert_ne!(self.leads, leads, "lead and follow alternate");
                    self.leads = leads;
                }
                Action::Persist { term } => {
                    assert!(term > self.term, "a term never falls");
                    self.term = term;
                }
                Action::Say(claim) => {
                    assert!(claim.term <= self.term, "a term is on disk before it is spoken");
                }
                Action::Fetch { .. } | Action::Probe => {}
            }
        }
        assert_eq!(self.leads, self.election.is_leader());
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now.after(time);
        let mut ticks = 0;
        while let Some(wakeup) = self.election.next_wakeup().filter(|wakeup| wakeup.at <= until) {
            ticks += 1;
            assert!(ticks < 1_000, "woken without end: {}", wakeup.why);
            self.now = self.now.max(wakeup.at);
            self.tell(Input::Tick);
        }
        self.now = until;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn an_election_survives_everything(steps in proptest::collection::vec(step(), 0..120)) {
        let now = Now { mono: Mono::ZERO, wall: Wall::default() };
        let config = ElectionConfig::dynamic().checked().unwrap();
        let channel = ChannelId::new("trade").unwrap();
        let rng = ChaCha8Rng::seed_from_u64(1);
        let election = Election::new(channel, pki(0), config, rng, now);
        let mut checked = Checked { election, now: Mono::ZERO, leads: false, term: 0 };
        checked.tell(Input::Tick);
        for step in steps {
            match step {
                Step::Tell(Input::Term { term }) => {
                    checked.term = checked.term.max(term);
                    checked.tell(Input::Term { term });
                }
                Step::Tell(input) => checked.tell(input),
                Step::Pass(time) => checked.pass(Duration::from_millis(time)),
                Step::Sleep(time) => checked.now = checked.now.after(Duration::from_millis(time)),
            }
        }
        checked.tell(Input::Stop);
        prop_assert!(!checked.leads);
        prop_assert_eq!(checked.election.next_wakeup(), None);
    }
}
