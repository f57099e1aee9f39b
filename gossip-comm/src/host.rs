//! What joins a machine to a transport.
//!
//! A machine speaks in its own inputs and actions and knows no transport; a transport speaks
//! [`Command`] and [`Event`] and knows no machine. A [`Host`] is the pair of functions between them
//! (and the name of the machine's tick); the simulation and the tokio driver run the same one.

use std::time::Duration;

use gossip_api::{Machine, Now};

use crate::comm::{Command, Event};

/// Joins a machine to a transport: two functions, from its actions to commands and from events to its inputs.
///
/// `peer` tells several machines of one simulation apart; a driver of one machine passes 0. Neither
/// function waits or blocks.
pub trait Host {
    /// What is run.
    type Machine: Machine;

    /// Carries out one action of the machine; called in the order in which the machine gave them.
    fn perform(
        &mut self,
        peer: usize,
        now: Now,
        action: <Self::Machine as Machine>::Action,
    ) -> Vec<Effect<<Self::Machine as Machine>::Input>>;

    /// Takes in one event of the transport; `machine` may be asked whether it wants a message at all.
    fn receive(
        &mut self,
        machine: &Self::Machine,
        peer: usize,
        now: Now,
        event: Event,
    ) -> Vec<Effect<<Self::Machine as Machine>::Input>>;

    /// The input that tells the machine that a wake-up it asked for is due.
    fn tick(&mut self, peer: usize, now: Now) -> <Self::Machine as Machine>::Input;
}

/// What a [`Host`] wants done, in the order given.
#[derive(Clone, Debug)]
pub enum Effect<I> {
    /// Tell the transport.
    Command(Command),
    /// Tell the machine, before anything else happens.
    Input(I),
    /// Tell the machine once this time has passed: the simulated duration of work outside it.
    InputAfter(Duration, I),
}
