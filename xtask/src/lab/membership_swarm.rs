//! `cargo xtask sim swarm`: membership under whatever may befall it, a story per seed.

/// Which stories.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 200)]
    pub(crate) seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    pub(crate) first: u64,
    /// One JSON object on the last line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(feature = "lab")]
pub(crate) use lab::run;

#[cfg(feature = "lab")]
mod lab {
    use std::panic::catch_unwind;
    use std::time::{Duration, Instant};

    use anyhow::{Result, bail};
    use serde::Serialize;

    use super::Args;
    use crate::lab::members::swarm::{INVARIANTS, tell};

    /// What is printed.
    #[derive(Serialize)]
    struct Report {
        seeds: u64,
        failed: Vec<u64>,
        virtual_s: f64,
        steps: u64,
        healed_ms_max: f64,
        invariants: [&'static str; INVARIANTS.len()],
        history: String,
        wall_s: f64,
    }

    /// Tells every story, prints, and fails with the failing seeds, the last one last.
    pub(crate) fn run(args: &Args) -> Result<()> {
        let started = Instant::now();
        let (mut failed, mut virtual_time, mut steps, mut history) = (Vec::new(), 0.0, 0, 0_u64);
        let mut healed = Duration::ZERO;
        for seed in args.first..args.first.saturating_add(args.seeds) {
            match catch_unwind(|| tell(seed)) {
                Ok(told) => {
                    virtual_time += told.virtual_time.as_secs_f64();
                    steps += told.steps;
                    history = history.rotate_left(1) ^ told.history;
                    healed = healed.max(told.healed_in);
                }
                Err(_) => failed.push(seed),
            }
        }
        let report = Report {
            seeds: args.seeds,
            failed: failed.clone(),
            virtual_s: virtual_time,
            steps,
            healed_ms_max: healed.as_secs_f64() * 1e3,
            invariants: INVARIANTS,
            history: format!("{history:016x}"),
            wall_s: started.elapsed().as_secs_f64(),
        };
        println!(
            "{}",
            if args.json {
                serde_json::to_string(&report)?
            } else {
                serde_json::to_string_pretty(&report)?
            }
        );
        match failed.last() {
            None => Ok(()),
            Some(last) => bail!("{} of {} seeds failed\nSIM_SEED={last}", failed.len(), args.seeds),
        }
    }
}
