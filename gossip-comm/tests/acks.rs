//! Messages that enough peers have to acknowledge, as a machine: no transport, no time.
#![allow(
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "a test looks for one thing at a time, and fails by panicking"
)]

use std::time::Duration;

use gossip_api::message::{Acknowledgement, Message, PullHello, PullKind};
use gossip_api::{ChannelId, Envelope, ErrorText, Nonce, PkiId, RemotePeer};
use gossip_comm::{
    AckId, AckOutcome, AckReport, AckedSend, AckedSends, Command, Event, RequestId, ResponseOutcome,
};

const FIRST: u64 = 100;

fn peer(number: u8) -> PkiId {
    PkiId::from_bytes([number; 32])
}

fn send(acks: &mut AckedSends, peers: u8, accepted_min: usize) -> (AckId, Vec<RequestId>) {
    let to = (1..=peers).map(|number| RemotePeer { pki_id: peer(number), endpoint: None });
    let envelope = Envelope::unsigned(&hello());
    let what = AckedSend { to: to.collect(), envelope, accepted_min, patience: Duration::ZERO };
    let (id, commands, done) = acks.send(what);
    assert_eq!(done, None);
    let ids = commands.iter().map(|command| match command {
        Command::Request { id, .. } => *id,
        other => panic!("{other:?}"),
    });
    (id, ids.collect())
}

fn hello() -> Message {
    let channel = ChannelId::new("trade").expect("short");
    Message::Hello(PullHello { nonce: Nonce::new(1), channel, kind: PullKind::Block })
}

fn said(id: RequestId, message: &Message) -> Event {
    let message = Envelope::unsigned(message).open().expect("own encoding");
    Event::Response { from: peer(1), id, message }
}

fn yes(id: RequestId) -> Event {
    said(id, &Message::Acknowledgement(Acknowledgement::accepted(Nonce::new(1))))
}

fn no(id: RequestId) -> Event {
    said(id, &Message::Acknowledgement(Acknowledgement::refused(Nonce::new(1), "no room")))
}

fn end(
    acks: &mut AckedSends,
    id: RequestId,
    outcome: ResponseOutcome,
) -> Option<(AckId, AckReport)> {
    acks.receive(Event::ResponseEnd { id, outcome }).expect("one of ours")
}

// fabric: gossip/comm/ack_test.go TestInterceptAcks
#[test]
fn what_answers_a_message_is_kept_and_all_else_handed_back() {
    let mut acks = AckedSends::new(RequestId(FIRST));
    let (_, ids) = send(&mut acks, 1, 1);
    assert_eq!(ids, [RequestId(FIRST)]);
    assert_eq!(acks.receive(yes(RequestId(FIRST))).expect("ours"), None);
    for event in [
        yes(RequestId(FIRST + 1)),
        Event::ResponseEnd { id: RequestId(1), outcome: ResponseOutcome::Complete },
        Event::Received {
            from: peer(1),
            message: Envelope::unsigned(&hello()).open().expect("ok"),
        },
    ] {
        let wanted = format!("{event:?}");
        let back = acks.receive(event).expect_err("for somebody else");
        assert_eq!(format!("{back:?}"), wanted);
    }
}

// fabric: gossip/comm/ack_test.go TestAck
#[test]
fn enough_acknowledgements_end_the_wait_and_failures_are_told_apart() {
    let mut acks = AckedSends::new(RequestId(FIRST));
    let complete = ResponseOutcome::Complete;

    // All of three.
    let (round, ids) = send(&mut acks, 3, 3);
    for id in &ids {
        acks.receive(yes(*id)).expect("ours");
    }
    assert_eq!(
        ids.iter().find_map(|id| end(&mut acks, *id, complete)).map(|(id, report)| {
            assert_eq!((report.accepted(), report.failed()), (3, 0));
            id
        }),
        Some(round)
    );

    // Two of three: nobody waits for the third, and its late answer is of no interest.
    let (_, ids) = send(&mut acks, 3, 2);
    let [first, second, third] = ids.try_into().expect("three");
    acks.receive(yes(first)).expect("ours");
    acks.receive(yes(second)).expect("ours");
    assert_eq!(end(&mut acks, first, complete), None);
    let (_, report) = end(&mut acks, second, complete).expect("enough");
    assert_eq!(report.accepted(), 2);
    assert_eq!(end(&mut acks, third, ResponseOutcome::TimedOut), None);

    // One refuses, one says nothing, one says something else, one is not reached, one ends without a word.
    let (_, ids) = send(&mut acks, 5, 1);
    let [refuses, silent, other, gone, wordless] = ids.try_into().expect("five");
    acks.receive(no(refuses)).expect("ours");
    acks.receive(said(other, &hello())).expect("ours");
    assert_eq!(end(&mut acks, refuses, complete), None);
    assert_eq!(end(&mut acks, silent, ResponseOutcome::TimedOut), None);
    assert_eq!(end(&mut acks, other, complete), None);
    assert_eq!(end(&mut acks, gone, ResponseOutcome::Broken), None);
    let (_, report) = end(&mut acks, wordless, complete).expect("all have been heard of");
    let refused = AckOutcome::Refused(ErrorText::cut("no room"));
    let outcomes: Vec<_> = report.outcomes.iter().map(|(_, outcome)| outcome.clone()).collect();
    let broken = AckOutcome::Broken;
    assert_eq!(outcomes, [refused, AckOutcome::TimedOut, broken.clone(), broken.clone(), broken]);
    assert_eq!((report.accepted(), report.failed()), (0, 5));
    assert_eq!(report.to_string(), "0 accepted, 1: no room, 3: not reached, 1: timed out");

    // With 0, one that refuses ends the wait.
    let (_, ids) = send(&mut acks, 2, 0);
    let [refuses, _] = ids.try_into().expect("two");
    acks.receive(no(refuses)).expect("ours");
    assert!(end(&mut acks, refuses, complete).is_some());
}

#[test]
fn nobody_and_too_many_are_answered_at_once() {
    let mut acks = AckedSends::new(RequestId(FIRST));
    for count in [0, 1025] {
        let to = vec![RemotePeer { pki_id: peer(1), endpoint: None }; count];
        let envelope = Envelope::unsigned(&hello());
        let what = AckedSend { to, envelope, accepted_min: 1, patience: Duration::ZERO };
        let (_, commands, done) = acks.send(what);
        assert!(commands.is_empty());
        assert_eq!(done.map(|report| report.failed()), Some(count));
    }
}
