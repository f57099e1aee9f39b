//! Restarts without farewell, changes at run time, and a machine that lives on it all.
#![cfg(feature = "quic")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks for one thing at a time")]

mod support;

use std::time::{Duration, Instant};

use gossip_api::{Envelope, Epoch, Machine, Mono, Now, RemotePeer, Wakeup};
use gossip_comm::{Clock, Comm, Command, DisconnectCause, Effect, Event, Host, SecretBytes, drive};
use support::{TestPeer, World, control, number_of};

#[test]
fn h13_a_restart_without_farewell_is_noticed_by_the_next_packet() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("runtime");
    let world = World::new();
    let mut config = world.config();
    config.secret = Some(SecretBytes::new(vec![5; 32]));
    let a = runtime.block_on(async { world.peer(1) });

    // A life that ends like a killed process: nothing runs any more from one moment to the next.
    let person = world.person(2);
    let (ready, is_ready) = std::sync::mpsc::channel();
    let (kill, is_killed) = tokio::sync::oneshot::channel::<()>();
    let first = config.clone();
    let life = std::thread::spawn(move || {
        let doomed = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let doomed = doomed.expect("runtime");
        let b = doomed.block_on(async {
            let b = TestPeer::start(person, first, Epoch::new(1));
            ready.send((b.remote(), b.comm.local_addr())).expect("the test waits");
            let _ = is_killed.await;
            b
        });
        drop(doomed);
        drop(b);
    });
    let (remote, address) = is_ready.recv().expect("an address");
    config.listen = address;
    runtime.block_on(async {
        let envelope = Envelope::unsigned(&control(1));
        a.comm.command(Command::Send { to: remote.clone(), envelope });
        a.until(|event| connected(event).map(|_| ())).await;
    });
    kill.send(()).expect("it lives");
    life.join().expect("it ends");

    runtime.block_on(async {
        let b = TestPeer::start(world.person(2), config, Epoch::new(2));
        let began = Instant::now();
        let envelope = Envelope::unsigned(&control(2));
        a.comm.command(Command::Send { to: remote, envelope });
        let cause = a.until(|event| match event {
            Event::Disconnected { cause, .. } => Some(cause),
            _ => None,
        });
        assert_eq!(cause.await, DisconnectCause::Broken);
        let took = began.elapsed();
        assert!(took < Duration::from_secs(2), "{took:?}: not a stateless reset but a time-out");
        a.send(&b, &control(3));
        // The message before it may have been early enough for the old connection, or not.
        while number_of(&b.received().await) != 3 {}
    });
}

#[tokio::test]
async fn a_new_epoch_and_identity_show_in_later_hellos() {
    let world = World::new();
    let (a, b) = (world.peer(1), world.peer(2));
    b.comm.set_epoch(Epoch::new(9));
    a.dial(&b);
    let found = a.until(connected).await;
    assert_eq!((found.peer, found.epoch), (b.id, Epoch::new(9)));
    let renewed = world.person(2);
    b.comm.set_identity(renewed.identity.clone()).expect("an identity");
    a.send(&b, &control(1));
    assert_eq!(number_of(&b.received().await), 1, "what stands goes on standing");
}

#[tokio::test]
async fn a_machine_is_driven() {
    let world = World::new();
    let (a, b) = (world.peer(1), world.peer(2));
    let clock = Clock::start();
    let echo = Echo { peer: b.remote(), heard: 0, next: Some(clock.mono()) };
    let driving = async {
        let done = futures_util::future::pending::<()>();
        let inputs = futures_util::stream::iter([Input::Begin]);
        tokio::select! {
            machine = drive(Bridge, echo, &a.comm, &clock, inputs, done) => machine,
            () = tokio::time::sleep(support::SOON) => unreachable!("the machine stops its transport"),
        }
    };
    let answering = async {
        for number in 1..=3 {
            assert_eq!(number_of(&b.received().await), number);
            b.send(&a, &control(number));
        }
        b.received().await;
        a.comm.stop().await;
    };
    let (machine, ()) = tokio::join!(driving, answering);
    assert_eq!(machine.heard, 3);
}

/// Sends a number, and the next one after each answer.
struct Echo {
    peer: RemotePeer,
    heard: u64,
    next: Option<Mono>,
}

enum Input {
    Begin,
    Heard,
    Tick,
}

struct Say(RemotePeer, u64);

impl Machine for Echo {
    type Input = Input;
    type Action = Say;

    fn handle(&mut self, now: Now, input: Input) -> Vec<Say> {
        match input {
            Input::Begin => Vec::new(),
            Input::Heard => {
                self.heard += 1;
                self.next = Some(now.mono.after(Duration::from_millis(10)));
                Vec::new()
            }
            Input::Tick => {
                self.next = None;
                vec![Say(self.peer.clone(), self.heard + 1)]
            }
        }
    }

    fn next_wakeup(&self) -> Option<Wakeup> {
        self.next.map(|at| Wakeup { at, why: "the next number is due" })
    }
}

struct Bridge;

impl Host for Bridge {
    type Machine = Echo;

    fn perform(&mut self, _: usize, _: Now, Say(to, number): Say) -> Vec<Effect<Input>> {
        vec![Effect::Command(Command::Send { to, envelope: Envelope::unsigned(&control(number)) })]
    }

    fn receive(&mut self, _: &Echo, _: usize, _: Now, event: Event) -> Vec<Effect<Input>> {
        match event {
            Event::Received { .. } => {
                vec![Effect::InputAfter(Duration::from_millis(5), Input::Heard)]
            }
            _ => Vec::new(),
        }
    }

    fn tick(&mut self, _: usize, _: Now) -> Input {
        Input::Tick
    }
}

fn connected(event: Event) -> Option<gossip_comm::Connected> {
    match event {
        Event::Connected(connected) => Some(connected),
        _ => None,
    }
}
