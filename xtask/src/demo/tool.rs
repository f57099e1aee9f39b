//! Processes around the peers: the orderer, those who send to it, those who read.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::interrupt::Interrupt;
use super::peers::{bound_to_us, wait_until};

/// A process, and the files that its output goes to. It ends with the value.
pub(crate) struct Tool {
    name: String,
    out: PathBuf,
    log: PathBuf,
    process: Child,
}

impl Tool {
    /// Starts `program` with `args`; its output goes to files in `dir`.
    pub(crate) fn start(program: &Path, dir: &Path, name: &str, args: &[&str]) -> Result<Self> {
        let (out, log) = (dir.join(format!("{name}.out")), dir.join(format!("{name}.log")));
        let create = |path: &Path| {
            File::create(path).with_context(|| format!("cannot write {}", path.display()))
        };
        let mut command = bound_to_us(program);
        command.args(args).process_group(0).stdin(Stdio::null());
        command.stdout(create(&out)?).stderr(create(&log)?);
        let process = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name: name.to_owned(), out, log, process })
    }

    /// Runs it to its end.
    pub(crate) fn run(
        program: &Path,
        (dir, name): (&Path, &str),
        args: &[&str],
        interrupt: &Interrupt,
    ) -> Result<Value> {
        let mut tool = Self::start(program, dir, name, args)?;
        let deadline = Instant::now() + RUN_MAX;
        loop {
            if let Some(answer) = tool.poll()? {
                return Ok(answer);
            }
            ensure!(Instant::now() < deadline, "{name} does not end");
            interrupt.rest(Duration::from_millis(20))?;
        }
    }

    /// What it said, if it has ended well; an error if it has ended badly.
    pub(crate) fn poll(&mut self) -> Result<Option<Value>> {
        let Some(status) = self.process.try_wait()? else { return Ok(None) };
        if !status.success() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let words: Vec<_> = log.lines().rev().take(5).collect();
            bail!("{} failed ({status}): {}", self.name, words.join(" | "));
        }
        let out = fs::read_to_string(&self.out)?;
        let last = out.lines().last().unwrap_or_default();
        Ok(Some(serde_json::from_str(last).unwrap_or(Value::Null)))
    }

    /// An error if it has ended.
    pub(crate) fn ensure_runs(&mut self) -> Result<()> {
        ensure!(self.poll()?.is_none(), "{} ended by itself", self.name);
        Ok(())
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        // An error means that it is gone already.
        let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
        if !matches!(wait_until(&mut self.process, Instant::now() + GRACE), Ok(Some(_))) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

const RUN_MAX: Duration = Duration::from_secs(120);
const GRACE: Duration = Duration::from_secs(6);
