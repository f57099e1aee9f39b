//! The laboratory: what simulates or measures, and therefore links the crates.
//!
//! All of it sits behind the feature `lab`, in release. The everyday build of xtask knows only the
//! names and arguments of its commands; when one is called it starts [`again_in_release`], once.
//!
//! A simulation is one module here, with its clap `Args` (always built) and its `run` (under
//! `#[cfg(feature = "lab")]`), and one variant of the command in `main.rs`:
//!
//! ```text
//! #[cfg(feature = "lab")]
//! { lab::spread::run(&args) }
//! #[cfg(not(feature = "lab"))]
//! { lab::again_in_release() }
//! ```

pub(crate) mod crypto;
pub(crate) mod spread;
/// Whole peers in the simulated network; `gossip-service` tests itself with the same.
#[cfg(feature = "lab")]
#[path = "../../../gossip-service/tests/support/mod.rs"]
mod world;

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::shell::{cargo, run};

/// Runs the same command line again in release and with the feature `lab`.
#[cfg(not(feature = "lab"))]
pub(crate) fn again_in_release() -> Result<()> {
    ensure!(
        std::env::var_os(AGAIN).is_none(),
        "xtask was built again and still lacks its feature `lab`"
    );
    run(&mut again(std::env::args_os().skip(1)))
}

#[cfg(any(test, not(feature = "lab")))]
fn again(args: impl Iterator<Item = OsString>) -> Command {
    let mut command =
        cargo(["run", "--quiet", "--release", "--package", "xtask", "--features", "lab", "--"]);
    command.args(args).env(AGAIN, "1");
    command
}

/// Set for the second start, so that there is no third.
#[cfg(any(test, not(feature = "lab")))]
const AGAIN: &str = "GOSSIP_XTASK_AGAIN";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_start_is_the_same_command_line_in_release_with_the_lab() {
        let command = again(["sim", "spread", "--seed", "7"].into_iter().map(OsString::from));
        let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy()).collect();
        let expect = "run --quiet --release --package xtask --features lab -- sim spread --seed 7";
        assert_eq!(args.join(" "), expect);
        assert!(command.get_envs().any(|(name, value)| name == AGAIN && value.is_some()));
    }
}
