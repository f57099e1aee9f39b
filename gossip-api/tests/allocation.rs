//! F1: what decoding takes is bounded by what was received, whatever the bytes claim.
//!
//! One test alone in its process: the allocator counts for all threads.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

mod support;

use std::alloc::System;

use bytes::Bytes;
use gossip_api::message::{Hello, Kind, WIRE_VERSION};
use gossip_api::{Envelope, Message};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use support::random::Draw;
use support::samples;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes allocated while `run` runs, those freed meanwhile included.
fn allocated<T>(run: impl FnOnce() -> T) -> usize {
    let region = Region::new(ALLOCATOR);
    let result = run();
    let taken = region.change().bytes_allocated;
    drop(result);
    taken
}

fn check(frame: &Bytes) {
    let taken = allocated(|| Envelope::decode(frame).and_then(Envelope::open));
    let bound = TIMES * frame.len() + FIXED;
    assert!(taken <= bound, "{} bytes received, {taken} allocated", frame.len());
}

/// Fields are at most four times as large in memory as on the wire, the growing of their lists included.
const TIMES: usize = 4;
/// The longest list of elements that are larger in memory than four times on the wire: 64 members.
const FIXED: usize = 4 << 10;

fn frame(class: u8, body: &[u8]) -> Bytes {
    let mut frame = vec![WIRE_VERSION, class];
    frame.extend((body.len() as u64).to_le_bytes());
    frame.extend(body);
    frame.extend(0u64.to_le_bytes());
    frame.into()
}

/// The body of a list's message: what stands in front of the count, the greatest count, the smallest
/// element, and what stands behind the elements.
type List = (Kind, Vec<u8>, usize, Vec<u8>, Vec<u8>);

fn lists() -> Vec<List> {
    let hash = vec![0; 32];
    let pull = [vec![0; 8], vec![0; 8], vec![0; 4]].concat();
    let member = [vec![0; 8], vec![0; 8], vec![0; 8], vec![0, 0]].concat();
    let page = [vec![0; 8], vec![0]].concat();
    vec![
        (Kind::Beats, vec![], 1024, vec![0; 56], vec![]),
        (Kind::MembershipRequest, [vec![0; 8], member.clone()].concat(), 1024, vec![0; 28], vec![]),
        (Kind::MembershipResponse, vec![0; 8], 64, member, page),
        (Kind::Digest, pull.clone(), 1024, vec![0; 8], vec![]),
        (Kind::Request, pull, 1024, vec![0; 8], vec![]),
        (Kind::Probe, vec![], 64, vec![0; 17], vec![]),
        (Kind::ProofOfLife, [hash.clone(), vec![0; 16]].concat(), 64, vec![0; 8], vec![]),
        (Kind::StateInfoSnapshot, hash, 256, vec![0; 16], vec![]),
        (Kind::PeerIdentities, vec![0; 8], 64, vec![0; 8], vec![]),
    ]
}

fn body(kind: Kind, front: &[u8], count: u64, elements: &[u8], back: &[u8]) -> Vec<u8> {
    let number = samples().iter().position(|message| message.kind() == kind).unwrap();
    let number = u32::try_from(number).unwrap().to_le_bytes();
    [&number, front, &count.to_le_bytes(), elements, back].concat()
}

const fn class_of(kind: Kind) -> u8 {
    match kind {
        Kind::MembershipRequest | Kind::MembershipResponse | Kind::PeerIdentities => 2,
        _ => 1,
    }
}

#[test]
fn decoding_allocates_a_small_multiple_of_what_was_received() {
    for (kind, front, max, element, back) in lists() {
        // As many of the smallest elements as there may be: they weigh most against their bytes.
        let full = body(kind, &front, max as u64, &element.repeat(max), &back);
        let full = frame(class_of(kind), &full);
        Envelope::decode(&full).unwrap().open().unwrap();
        check(&full);
        for claim in [max as u64, max as u64 + 1, 1 << 20, 1 << 40, u64::MAX] {
            let few = body(kind, &front, claim, &element, &[]);
            let few = frame(class_of(kind), &few);
            assert!(Envelope::decode(&few).unwrap().open().is_err(), "{kind:?} {claim}");
            check(&few);
        }
    }
    let mut draw = Draw::seeded(1);
    for kind in samples().iter().map(Message::kind) {
        for _ in 0..512 {
            let message = draw.message(kind);
            let mut bytes = draw.envelope(&message).encode().unwrap().concat().split_off(4);
            check(&bytes.clone().into());
            // A length, or whatever else stands there, becomes huge.
            let at = draw.below(bytes.len() as u64);
            bytes.iter_mut().skip(at).take(8).for_each(|byte| *byte = 0xff);
            check(&bytes.clone().into());
            let taken = allocated(|| Hello::decode(&bytes));
            assert!(taken <= TIMES * bytes.len() + FIXED);
        }
    }
    // The frame's own lengths claim more than there is.
    for claim in [1u64 << 17, 1 << 40, u64::MAX] {
        let claimed = [&[WIRE_VERSION, 1][..], &claim.to_le_bytes()].concat();
        assert!(Envelope::decode(&claimed.clone().into()).is_err());
        check(&claimed.into());
    }
}
