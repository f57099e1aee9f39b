//! What must hold after every step; checked in builds with debug assertions, simulations among them.

use gossip_api::{Height, SeqNum};

use crate::transfer::StateTransfer;

/// Panics, in builds with debug assertions, if the machine is in a state that it must never be in.
pub(crate) fn check(machine: &StateTransfer) {
    debug_assert!(
        machine.payloads.iter().all(|(number, _)| *number >= machine.height().next_block()),
        "the window holds a number that the ledger has"
    );
    debug_assert!(
        machine.payloads.len() as u64 <= machine.config.window_blocks,
        "the window is fuller than it may be"
    );
    debug_assert_eq!(
        machine.payloads.iter().map(|(_, slot)| slot.block.len()).sum::<usize>(),
        machine.payloads.bytes(),
        "the window's bytes are miscounted"
    );
    debug_assert!(
        machine.catchup.len() <= machine.config.requests_max.saturating_add(1),
        "more requests are in flight than allowed"
    );
}

/// Whether `numbers`, as a ledger was given them, are `from`, `from + 1` and so on: in order, without
/// gaps, each once.
pub fn in_order_exactly_once(from: Height, numbers: impl IntoIterator<Item = SeqNum>) -> bool {
    let mut expected = from.next_block();
    numbers.into_iter().all(|number| {
        let fits = number == expected;
        expected = number.next();
        fits
    })
}
