//! The peers of a run, each a process of its own.

use std::fs::{self, File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::layout::Place;
use super::status::{self, Channel, Ways};
use crate::shell::exists;

/// One peer: its place, its process if it runs, and what it last told.
pub(crate) struct Peer {
    /// Where it lives.
    pub(crate) place: Place,
    /// What the demo does to it.
    pub(crate) part: Part,
    /// What it last told, if it runs.
    pub(crate) channel: Option<Channel>,
    before: Ways,
    process: Option<Child>,
}

/// A peer's part in the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Takes the blocks of its organisation from the source.
    Leader,
    /// Runs from the start to the end.
    Follower,
    /// Is killed half way and started again.
    Victim,
    /// Starts late.
    Late,
    /// Loses its right to the channel by a block of the channel itself.
    Revoked,
    /// Has an identity that runs out while blocks come.
    Expiring,
    /// Belongs to an organisation that is added while blocks come.
    Newcomer,
}

impl Part {
    /// Whether it is not there from the start.
    pub(crate) fn comes_late(self) -> bool {
        matches!(self, Self::Late | Self::Newcomer)
    }

    /// Whether it is shut out of the channel in the end.
    pub(crate) fn is_shut_out(self) -> bool {
        matches!(self, Self::Revoked | Self::Expiring)
    }
}

impl Peer {
    /// A peer that does not run yet.
    pub(crate) fn new(place: Place, part: Part) -> Self {
        Self { place, part, channel: None, before: Ways::default(), process: None }
    }

    /// Starts the peer; its output goes to the file `log` of its directory.
    pub(crate) fn start(&mut self, program: &Path) -> Result<()> {
        let log = self.log()?;
        let mut command = bound_to_us(program);
        command.args(["node", "start", "--config"]).arg(self.place.config());
        // A group of its own: Ctrl-C reaches us alone, and we end the peers in order.
        command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process =
            command.spawn().with_context(|| format!("cannot start {}", self.place.name))?;
        self.process = Some(process);
        Ok(())
    }

    /// Number of its process.
    pub(crate) fn pid(&self) -> Result<u32> {
        Ok(self.process.as_ref().context("it does not run")?.id())
    }

    /// Whether its process was started and not ended by us.
    pub(crate) fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// Asks the peer how it is; an error if its process ended by itself.
    pub(crate) fn poll(&mut self, channel: &str) -> Result<()> {
        let Some(process) = &mut self.process else { return Ok(()) };
        if let Some(status) = process.try_wait()? {
            self.process = None;
            bail!(
                "{} ended by itself ({status}); its last words:\n{}",
                self.place.name,
                self.last_words()
            );
        }
        if let Some(found) =
            status::fetch(self.place.operations).ok().and_then(|s| s.channel(channel))
        {
            self.channel = Some(found);
        }
        Ok(())
    }

    /// Ends the process with SIGKILL, as a crash would.
    pub(crate) fn kill(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        if let Some(channel) = self.channel.take() {
            self.before += channel.ways;
        }
        Ok(())
    }

    /// Asks the process to end.
    pub(crate) fn terminate(&self) {
        if let Some(process) = &self.process {
            // An error means that it is gone already.
            let _ = kill_process(Pid::from_child(process), Signal::TERM);
        }
    }

    /// Waits until the process has ended; none if it still runs at `deadline`.
    pub(crate) fn wait(&mut self, deadline: Instant) -> Result<Option<ExitStatus>> {
        let Some(process) = &mut self.process else { return Ok(None) };
        let status = wait_until(process, deadline)?;
        if status.is_some() {
            self.process = None;
        }
        Ok(status)
    }

    /// Blocks in its ledger, as last told.
    pub(crate) fn height(&self) -> u64 {
        self.channel.as_ref().map_or(0, |channel| channel.height)
    }

    /// How its blocks came, over all its processes.
    pub(crate) fn ways(&self) -> Ways {
        let mut ways = self.before;
        if let Some(channel) = &self.channel {
            ways += channel.ways;
        }
        ways
    }

    /// The end of its log.
    pub(crate) fn last_words(&self) -> String {
        let text = fs::read(self.place.home.join("log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<_> = text.lines().collect();
        lines.get(lines.len().saturating_sub(LAST_WORDS)..).unwrap_or_default().join("\n")
    }

    fn log(&self) -> Result<File> {
        let path = self.place.home.join("log");
        let log = OpenOptions::new().create(true).append(true).open(&path);
        log.with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Whatever happens to us, the process does not stay behind.
impl Drop for Peer {
    fn drop(&mut self) {
        self.terminate();
        let deadline = Instant::now() + GRACE;
        if !matches!(self.wait(deadline), Ok(Some(_))) {
            let _ = self.kill();
        }
    }
}

/// A command that the kernel kills when we die, where `setpriv` can arrange that.
pub(crate) fn bound_to_us(program: &Path) -> Command {
    if !exists("setpriv") {
        return undisturbed(Command::new(program));
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    undisturbed(command)
}

/// `command` without the variables by which our user's shell would change a peer's configuration.
pub(crate) fn undisturbed(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().to_ascii_uppercase().starts_with("CORE_") {
            command.env_remove(name);
        }
    }
    command
}

/// Waits for `process` until `deadline`.
pub(crate) fn wait_until(process: &mut Child, deadline: Instant) -> Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = process.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

const GRACE: Duration = Duration::from_secs(2);
const LAST_WORDS: usize = 10;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use rustix::process::test_kill_process;

    use super::*;

    /// A peer whose program is a shell script, and its directory.
    fn started(name: &str, script: &str) -> (Peer, PathBuf) {
        let home = std::env::temp_dir().join(format!("peers-{name}-{}", std::process::id()));
        fs::create_dir_all(&home).unwrap();
        let program = home.join("program");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        let place =
            Place { name: name.to_owned(), org: 1, home: home.clone(), gossip: 1, operations: 2 };
        let mut peer = Peer::new(place, Part::Follower);
        peer.start(&program).unwrap();
        (peer, home)
    }

    fn pid(peer: &Peer) -> Pid {
        Pid::from_child(peer.process.as_ref().unwrap())
    }

    /// Waits until the peer's log says something.
    fn wait_for_words(peer: &Peer) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while peer.last_words().is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn nothing_is_left_of_a_dropped_peer() {
        let (peer, home) = started("dropped", "exec sleep 600");
        let pid = pid(&peer);
        assert!(test_kill_process(pid).is_ok());
        drop(peer);
        fs::remove_dir_all(home).unwrap();
        assert!(test_kill_process(pid).is_err());
    }

    #[test]
    fn a_peer_that_does_not_listen_is_killed() {
        let (peer, home) = started("deaf", "trap '' TERM\necho deaf\nwhile :; do sleep 0.1; done");
        wait_for_words(&peer);
        let pid = pid(&peer);
        drop(peer);
        fs::remove_dir_all(home).unwrap();
        assert!(test_kill_process(pid).is_err());
    }

    #[test]
    fn a_peer_that_ends_by_itself_is_an_error_with_its_last_words() {
        let (mut peer, home) = started("broken", "echo 'no such key: peer.x'\nexit 2");
        let deadline = Instant::now() + Duration::from_secs(20);
        let error = loop {
            if let Err(error) = peer.poll("trade") {
                break error.to_string();
            }
            assert!(Instant::now() < deadline, "the end is not noticed");
        };
        fs::remove_dir_all(home).unwrap();
        assert!(error.contains("broken ended by itself") && error.contains("no such key: peer.x"));
    }
}
