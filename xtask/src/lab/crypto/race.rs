//! Two ways to do the same, in alternating batches.

use anyhow::{Result, ensure};

use crate::lab::meter::{median, thread_seconds};

/// Operations per second of processor time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Of what is measured.
    pub(super) ours: f64,
    /// Of what stands beside it.
    pub(super) theirs: f64,
}

/// Runs `ours` and `theirs` over the same inputs, `rounds` times, and takes the median of each.
///
/// `input` makes one input, outside of what is measured; it is used once by each side. The side that
/// begins changes from round to round.
///
/// # Errors
/// If an operation fails: what is refused early costs nothing.
pub(super) fn race<I>(
    rounds: u32,
    mut input: impl FnMut() -> Result<I>,
    ours: impl Fn(&I) -> bool,
    theirs: impl Fn(&I) -> bool,
) -> Result<Pace> {
    let mut batch = |size: usize| (0..size).map(|_| input()).collect::<Result<Vec<I>>>();
    let first = batch(TRIAL)?;
    time(&first, &theirs)?;
    let per_op = time(&first, &ours)?;
    let size = ((BATCH_S / per_op) as usize).clamp(TRIAL, BATCH_MAX);
    let (mut our_times, mut their_times) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let inputs = batch(size)?;
        if round % 2 == 0 {
            our_times.push(time(&inputs, &ours)?);
            their_times.push(time(&inputs, &theirs)?);
        } else {
            their_times.push(time(&inputs, &theirs)?);
            our_times.push(time(&inputs, &ours)?);
        }
    }
    Ok(Pace { ours: 1.0 / median(&our_times), theirs: 1.0 / median(&their_times) })
}

/// Seconds of this thread's processor time per operation.
fn time<I>(inputs: &[I], operation: impl Fn(&I) -> bool) -> Result<f64> {
    let before = thread_seconds();
    let good = inputs.iter().filter(|input| operation(input)).count();
    let took = thread_seconds() - before;
    ensure!(good == inputs.len(), "{good} of {} operations succeeded", inputs.len());
    Ok(took / inputs.len() as f64)
}

/// Operations by which a batch's size is found.
const TRIAL: usize = 8;
/// Processor time of one batch.
const BATCH_S: f64 = 0.01;
const BATCH_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_race_counts_only_what_succeeds() {
        let pace = race(3, || Ok(7u64), |n| *n == 7, |n| *n == 7).unwrap();
        assert!(pace.ours > 0.0 && pace.theirs > 0.0);
        assert!(race(3, || Ok(7u64), |n| *n == 8, |_| true).is_err());
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
    }
}
