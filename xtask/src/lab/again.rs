//! From the everyday build to the laboratory: the same command once more, in release.

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::shell::{cargo, run};

/// Runs the same command line again in release and with the feature `lab`.
#[cfg_attr(feature = "lab", expect(dead_code, reason = "the laboratory is there already"))]
pub(crate) fn again_in_release() -> Result<()> {
    ensure!(
        std::env::var_os(AGAIN).is_none(),
        "xtask was built again and still lacks its feature `lab`"
    );
    run(&mut again(std::env::args_os().skip(1)))
}

fn again(args: impl Iterator<Item = OsString>) -> Command {
    let mut command =
        cargo(["run", "--quiet", "--release", "--package", "xtask", "--features", "lab", "--"]);
    command.args(args).env(AGAIN, "1");
    command
}

/// Set for the second start, so that there is no third.
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
