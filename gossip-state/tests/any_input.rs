//! Whatever the machines are told, in whatever order: no panic, no lost order, no endless waking.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

mod common;

use common::{Host, chain, fork, ms, pki};
use gossip_api::{Block, BlockError, BlockHash, Height, SeqNum};
use gossip_state::invariants::in_order_exactly_once;
use gossip_state::{Action, BlockOrigin, Input, RequestOutcome, StateConfig};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Offer { number: usize, flavour: bool, origin: u8 },
    Verdict { index: usize, good: bool },
    Stray { number: u64, good: bool },
    Judgement { good: bool, dismissed: bool },
    Header { number: usize, flavour: bool, sighted: bool },
    Commit { good: bool },
    Claim { who: u8, height: u64 },
    Gone(u8),
    End { id: u64, outcome: u8 },
    Halted(u64),
    Resume(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let height = prop_oneof![0..60_u64, Just(u64::MAX), Just(1 << 63)];
    prop_oneof![
        8 => (0..40_usize, any::<bool>(), 0..6_u8)
            .prop_map(|(number, flavour, origin)| Step::Offer { number, flavour, origin }),
        8 => (0..8_usize, proptest::bool::weighted(0.8))
            .prop_map(|(index, good)| Step::Verdict { index, good }),
        1 => (height.clone(), any::<bool>()).prop_map(|(number, good)| Step::Stray { number, good }),
        2 => (any::<bool>(), any::<bool>())
            .prop_map(|(good, dismissed)| Step::Judgement { good, dismissed }),
        2 => (0..40_usize, any::<bool>(), any::<bool>())
            .prop_map(|(number, flavour, sighted)| Step::Header { number, flavour, sighted }),
        6 => proptest::bool::weighted(0.8).prop_map(|good| Step::Commit { good }),
        2 => (0..6_u8, height.clone()).prop_map(|(who, height)| Step::Claim { who, height }),
        1 => (0..6_u8).prop_map(Step::Gone),
        2 => (0..20_u64, 0..4_u8).prop_map(|(id, outcome)| Step::End { id, outcome }),
        1 => height.prop_map(Step::Halted),
        1 => (0..40_usize).prop_map(Step::Resume),
        3 => (1..5_000_u64).prop_map(Step::Pass),
    ]
}

fn origin(which: u8) -> BlockOrigin {
    match which {
        0 => BlockOrigin::Source,
        1 => BlockOrigin::Push { from: pki(1) },
        2 => BlockOrigin::Pull { from: pki(2) },
        3 => BlockOrigin::Local,
        request => BlockOrigin::Range { from: pki(request), request: u64::from(request) },
    }
}

fn take(host: &mut Host, index: usize) -> Option<(Block, BlockOrigin)> {
    let mut places = host.actions.iter().enumerate();
    let verifies = places.by_ref().filter(|(_, a)| matches!(a, Action::Verify { .. }));
    let (at, _) = verifies.take(index + 1).last()?;
    match host.actions.remove(at) {
        Action::Verify { block, origin } => Some((block, origin)),
        _ => None,
    }
}

fn apply(host: &mut Host, step: Step, blocks: &[Block], other: &[Block]) {
    match step {
        Step::Offer { number, flavour, origin: which } => {
            let block = if flavour { &other[number] } else { &blocks[number] };
            host.offer(block, origin(which));
        }
        Step::Verdict { index, good } => {
            let Some((block, origin)) = take(host, index) else { return };
            let number = block.number;
            let error = BlockError::PolicyNotSatisfied { number, policy: "p".into() };
            host.tell(if good {
                Input::Verified { block, origin }
            } else {
                Input::Refused { number, origin, error }
            });
        }
        Step::Stray { number, good } => {
            let number = SeqNum::new(number);
            let origin = BlockOrigin::Local;
            let block = Block { number, ..blocks[0].clone() };
            let error = BlockError::DataHashMismatch(number);
            host.tell(if good {
                Input::Verified { block, origin }
            } else {
                Input::Refused { number, origin, error }
            });
        }
        Step::Judgement { good, dismissed } => {
            let is_judge = |action: &Action| matches!(action, Action::Judge { .. });
            let Some(at) = host.actions.iter().position(is_judge) else { return };
            let Action::Judge { header, origin } = host.actions.remove(at) else { return };
            let number = header.number;
            let error = BlockError::PolicyNotSatisfied { number, policy: "p".into() };
            let then = if good { Ok(()) } else { Err(error.clone()) };
            let now = if good && !dismissed { Ok(()) } else { Err(error) };
            host.tell(Input::Judged { number, origin, then, now });
        }
        Step::Header { number, flavour, sighted } => {
            let header = if flavour { other[number].clone() } else { blocks[number].clone() };
            let origin = origin(1);
            host.tell(if sighted {
                Input::Sighted { header, origin }
            } else {
                Input::Header { header }
            });
        }
        Step::Commit { good: true } => host.commit_asked(),
        Step::Commit { good: false } => {
            let is_commit = |action: &Action| matches!(action, Action::Commit { .. });
            if let Some(at) = host.actions.iter().position(is_commit) {
                host.actions.remove(at);
                host.tell(Input::CommitFailed { reason: "no".into() });
            }
        }
        Step::Claim { who, height } => host.claim(who, height),
        Step::Gone(who) => host.tell(Input::PeerGone { peer: pki(who) }),
        Step::End { id, outcome } => {
            let outcome = match outcome {
                0 => RequestOutcome::Complete,
                1 => RequestOutcome::TimedOut,
                2 => RequestOutcome::Broken,
                _ => RequestOutcome::Refused,
            };
            host.tell(Input::RequestEnded { id, outcome });
        }
        Step::Halted(number) => {
            host.tell(Input::Halted { number: SeqNum::new(number), kept: None })
        }
        Step::Resume(number) => {
            let accept: BlockHash = blocks[number].header().hash();
            host.tell(Input::Resume { accept });
        }
        Step::Pass(time) => host.pass(ms(time)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_ledger_gets_a_linked_chain_and_nothing_breaks(
        steps in proptest::collection::vec(step(), 0..150),
        configs in proptest::collection::btree_set(1_u64..40, 0..5),
    ) {
        let blocks = chain(40, 300);
        let other = fork(&blocks[..7], 40, 300, 1);
        let config = StateConfig {
            window_blocks: 20,
            range_blocks: 5,
            range_bytes: 1_500,
            budget_bytes: 6_000,
            commit_bytes: 1_000,
            ..StateConfig::default()
        };
        let mut host = Host::with(1, config);
        host.configs = configs;
        host.verifies = false;
        host.commits = false;
        for step in steps {
            apply(&mut host, step, &blocks, &other);
            let now = gossip_api::Now { mono: host.now, wall: gossip_api::Wall::default() };
            let _ = host.machine.stalled_reason(now).map(|reason| reason.to_string());
        }
        prop_assert!(in_order_exactly_once(Height::new(1), host.ledger.iter().copied()));
        prop_assert!(host.machine.stats().buffered_bytes <= 6_000 + 1_000);
    }
}
