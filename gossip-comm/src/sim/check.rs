//! Running one scenario under many seeds.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `scenario` with each of the seeds; or, if the environment has `SIM_SEED`, with that one alone.
///
/// # Panics
/// As the scenario does, with `SIM_SEED=<seed>` as the last line of the message.
pub fn check(seeds: impl IntoIterator<Item = u64>, scenario: impl Fn(u64)) {
    match std::env::var("SIM_SEED") {
        Ok(seed) => {
            let seed = seed.trim().parse().expect("SIM_SEED must be a decimal number below 2^64");
            check_one(seed, &scenario);
        }
        Err(_) => seeds.into_iter().for_each(|seed| check_one(seed, &scenario)),
    }
}

#[expect(clippy::panic, reason = "a failed scenario fails its test, and says with which seed")]
fn check_one(seed: u64, scenario: &impl Fn(u64)) {
    if let Err(cause) = catch_unwind(AssertUnwindSafe(|| scenario(seed))) {
        let text = cause
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| cause.downcast_ref::<&str>().copied())
            .unwrap_or("the scenario panicked");
        panic!("{text}\nSIM_SEED={seed}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failing_seed_is_the_last_line_of_the_message() {
        let failed = catch_unwind(|| {
            (0..10).for_each(|seed| check_one(seed, &|seed| assert!(seed < 7, "broken")));
        });
        let message = failed.expect_err("seed 7 fails");
        let message = message.downcast_ref::<String>().expect("a formatted message");
        assert_eq!(message, "broken\nSIM_SEED=7");
    }
}
