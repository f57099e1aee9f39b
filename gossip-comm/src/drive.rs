//! Runs a machine on tokio.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;

use futures_core::Stream;
use gossip_api::{Machine, Mono};

use crate::clock::Clock;
use crate::comm::Comm;
use crate::host::{Effect, Host};

/// Runs `machine` over `comm` until `shutdown` completes or the transport has stopped; returns the machine.
///
/// `inputs` carries what comes from elsewhere: requests of the process, results of work done outside. It
/// may end early. Must be called within a tokio runtime with time enabled.
pub async fn drive<H: Host>(
    mut host: H,
    machine: H::Machine,
    comm: &dyn Comm,
    clock: &Clock,
    inputs: impl Stream<Item = <H::Machine as Machine>::Input>,
    shutdown: impl Future<Output = ()>,
) -> H::Machine {
    let (mut inputs, mut shutdown) = (pin!(inputs), pin!(shutdown));
    let mut run = Run { machine, comm, later: BTreeMap::new(), delayed: 0 };
    let mut open = true;
    loop {
        let effects = tokio::select! {
            biased;
            () = &mut shutdown => break,
            () = sleep_until(clock, run.next_deadline()) => run.due(&mut host, clock),
            input = poll_fn(|cx| inputs.as_mut().poll_next(cx)), if open => {
                open = input.is_some();
                input.into_iter().map(Effect::Input).collect()
            }
            event = comm.next_event() => match event {
                Some(event) => host.receive(&run.machine, 0, clock.now(), event),
                None => break,
            },
        };
        run.carry_out(&mut host, clock, effects);
    }
    run.machine
}

/// A machine with what it waits for.
struct Run<'comm, M: Machine> {
    machine: M,
    comm: &'comm dyn Comm,
    later: BTreeMap<(Mono, u64), M::Input>,
    delayed: u64,
}

impl<M: Machine> Run<'_, M> {
    fn next_deadline(&self) -> Option<Mono> {
        let wakeup = self.machine.next_wakeup().map(|wakeup| wakeup.at);
        let later = self.later.keys().next().map(|(at, _)| *at);
        wakeup.into_iter().chain(later).min()
    }

    /// The delayed input that is due, or else a tick.
    fn due<H: Host<Machine = M>>(&mut self, host: &mut H, clock: &Clock) -> Vec<Effect<M::Input>> {
        let now = clock.now();
        match self.later.first_entry() {
            Some(first) if first.key().0 <= now.mono => vec![Effect::Input(first.remove())],
            _ => vec![Effect::Input(host.tick(0, now))],
        }
    }

    fn carry_out<H: Host<Machine = M>>(
        &mut self,
        host: &mut H,
        clock: &Clock,
        effects: Vec<Effect<M::Input>>,
    ) {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Command(command) => self.comm.command(command),
                Effect::InputAfter(wait, input) => {
                    self.delayed += 1;
                    self.later.insert((clock.mono().after(wait), self.delayed), input);
                }
                Effect::Input(input) => {
                    let now = clock.now();
                    let actions = self.machine.handle(now, input);
                    let fresh = actions.into_iter().flat_map(|action| host.perform(0, now, action));
                    fresh.collect::<Vec<_>>().into_iter().rev().for_each(|e| effects.push_front(e));
                }
            }
        }
    }
}

async fn sleep_until(clock: &Clock, deadline: Option<Mono>) {
    match deadline {
        Some(at) => tokio::time::sleep(at.since(clock.mono())).await,
        None => std::future::pending().await,
    }
}
