//! The demo as it is by itself: a development orderer, elected leaders, and what may befall a network.
//!
//! One peer starts late, the elected leader of one organisation is killed, an organisation is added by a
//! configuration update, an identity runs out, and a client of Deliver reads through a peer's relay.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::interrupt::Interrupt;
use super::layout::{self, Place, private_dir};
use super::peers::{Part, Peer};
use super::ports::Ports;
use super::run::CHANNEL;
use super::table::{Screen, table};
use super::tool::Tool;
use super::verdict::Events;

/// A network while blocks spread through it.
pub(crate) struct Live<'a> {
    program: &'a Path,
    interrupt: &'a Interrupt,
    /// What `dev network` made.
    network: PathBuf,
    /// Address of the orderer.
    address: String,
    /// TCP ports of the relays, in the order of the peers.
    relays: Vec<u16>,
    every: Duration,
    expires_at: Instant,
    pub(crate) peers: Vec<Peer>,
    screen: Screen,
    orderer: Option<Tool>,
}

impl<'a> Live<'a> {
    /// Makes identities, a genesis block, and directories for every peer.
    pub(crate) fn prepare(
        program: &'a Path,
        home: &Path,
        ports: &mut Ports,
        (every, interrupt): (Duration, &'a Interrupt),
    ) -> Result<Self> {
        private_dir(home)?;
        let network = home.join("network");
        let address = format!("127.0.0.1:{}", ports.next()?);
        // Its time is up when some two thirds of the blocks are out.
        let lives = START_ALLOWANCE + every.saturating_mul(FIRST_BLOCKS);
        let expires = format!("{EXPIRING}={}", lives.as_secs());
        let count = TXS_PER_BLOCK.to_string();
        let dir = network.display().to_string();
        let args = [
            "dev",
            "network",
            "--dir",
            &dir,
            "--orderer",
            &address,
            "--expires",
            &expires,
            "--batch-count",
            &count,
            "--batch-timeout",
            "10s",
        ];
        Tool::run(program, (home, "network"), &args, interrupt)?;
        let mut live = Self {
            program,
            interrupt,
            network,
            address,
            relays: Vec::new(),
            every,
            expires_at: Instant::now() + lives,
            peers: Vec::new(),
            screen: Screen::new(),
            orderer: None,
        };
        for (number, org, part) in CAST {
            live.place((number, org), part, ports)?;
        }
        Ok(live)
    }

    /// A peer that was or will be enrolled below the network's directory.
    fn place(&mut self, (number, org): (u8, u8), part: Part, ports: &mut Ports) -> Result<()> {
        let place = Place::claim(&self.network.join("peers"), (number, org), ports)?;
        let relay = ports.next()?;
        let first = self.peers.iter().find(|peer| peer.place.org == org);
        let bootstrap = first.map_or(place.gossip, |peer| peer.place.gossip);
        private_dir(&place.home)?;
        layout::configure(&place, bootstrap, (&self.network.join("genesis.block"), relay))?;
        self.relays.push(relay);
        self.peers.push(Peer::new(place, part));
        Ok(())
    }

    /// Runs until every peer that may have every block has it. The blocks are in `recorded` afterwards.
    pub(crate) fn spread(&mut self, recorded: &Path) -> Result<Events> {
        let started = Instant::now();
        self.start_orderer()?;
        self.start_early_peers()?;
        let mut reader = self.start_reader()?;
        let mut feeder = self.start_feeder("first", FIRST_BLOCKS)?;
        self.reach(u64::from(FIRST_BLOCKS / 3), &mut feeder)?;
        self.start(|peer| peer.part == Part::Late, "is started, late")?;
        self.reach(u64::from(FIRST_BLOCKS * 2 / 3), &mut feeder)?;
        let failover = self.kill_the_leader()?;
        self.finish(&mut feeder, "the first transactions")?;
        self.start(|peer| peer.part == Part::Victim, "is started again")?;
        self.add_an_organisation()?;
        self.wait_for_expiry()?;
        let shut_out_at = self.record(recorded)?;
        let mut feeder = self.start_feeder("last", LAST_BLOCKS)?;
        self.finish(&mut feeder, "the last transactions")?;
        let relay_blocks = self.finish(&mut reader, "the reader of a relay")?;
        let goal = self.record(recorded)?;
        self.settle(goal)?;
        self.stop()?;
        Ok(Events {
            killed: 1,
            late: 1,
            took: started.elapsed(),
            failover: Some(failover),
            relay_blocks,
            shut_out_at,
        })
    }

    fn tool(&self, name: &str, args: &[&str]) -> Result<Tool> {
        Tool::start(self.program, &self.network, name, args)
    }

    fn start_orderer(&mut self) -> Result<()> {
        let home = self.network.join("orderer").display().to_string();
        let args = ["dev-orderer", "--client-auth", "--home", &home, "--listen", &self.address];
        self.orderer = Some(self.tool("orderer", &args)?);
        let deadline = Instant::now() + START_MAX;
        while TcpStream::connect(&self.address).is_err() {
            self.look()?;
            ensure!(Instant::now() < deadline, "the orderer does not listen");
        }
        self.screen.say("a development orderer orders");
        Ok(())
    }

    fn start_early_peers(&mut self) -> Result<()> {
        for peer in self.peers.iter_mut().filter(|peer| !peer.part.comes_late()) {
            peer.start(self.program)?;
        }
        let deadline = Instant::now() + START_MAX;
        while self.peers.iter().any(|peer| peer.runs() && peer.channel.is_none())
            || self.leader_of(1).is_none()
        {
            self.look()?;
            self.in_time(deadline, "not every peer is up")?;
        }
        self.screen.say("all peers but the late one are up, and leaders are elected");
        self.show();
        Ok(())
    }

    fn start(&mut self, which: impl Fn(&Peer) -> bool, what: &str) -> Result<()> {
        for peer in self.peers.iter_mut().filter(|peer| which(peer)) {
            peer.start(self.program)?;
            self.screen.say(&format!("{} {what}", peer.place.name));
        }
        self.show();
        Ok(())
    }

    /// Who sends or reads, and to whom.
    fn client(&self, name: &str, what: &str, org: u8, to: &str, more: &[&str]) -> Result<Tool> {
        let home = self.network.join("users").join(format!("admin.org{org}.test"));
        let (home, msp_id) = (home.display().to_string(), format!("Org{org}MSP"));
        let genesis = self.network.join("genesis.block").display().to_string();
        let args = [
            "dev",
            what,
            "--json",
            "--home",
            &home,
            "--msp-id",
            &msp_id,
            "--genesis",
            &genesis,
            "--address",
            to,
        ];
        self.tool(name, &[&args[..], more].concat())
    }

    /// Reads the first blocks through the relay of a peer of org2, as they come.
    fn start_reader(&self) -> Result<Tool> {
        let at = self.peers.iter().position(|peer| peer.place.name == RELAYING);
        let port = at.and_then(|at| self.relays.get(at)).context("nobody relays")?;
        let to = FIRST_BLOCKS.to_string();
        let more = ["--to", &to, "--within", "600"];
        self.client("reader", "fetch", 2, &format!("127.0.0.1:{port}"), &more)
    }

    fn start_feeder(&self, name: &str, blocks: u32) -> Result<Tool> {
        let count = (blocks * TXS_PER_BLOCK).to_string();
        let every = (self.every / TXS_PER_BLOCK).as_millis().to_string();
        let more = ["--count", &count, "--every-ms", &every, "--bytes", "4000"];
        self.client(&format!("feeder-{name}"), "submit", 1, &self.address, &more)
    }

    /// Reads every block there is from the orderer, and tells how many there are.
    fn record(&self, dir: &Path) -> Result<u64> {
        private_dir(dir)?;
        let dir = dir.display().to_string();
        let mut tool = self.client("record", "fetch", 1, &self.address, &["--out", &dir])?;
        let deadline = Instant::now() + SETTLE_MAX;
        loop {
            if let Some(answer) = tool.poll()? {
                return blocks(&answer).context("no number of blocks");
            }
            ensure!(Instant::now() < deadline, "the orderer's blocks cannot be read");
            self.interrupt.rest(Duration::from_millis(20))?;
        }
    }

    /// Waits for a tool to end; the blocks it tells of, if it does.
    fn finish(&mut self, tool: &mut Tool, what: &str) -> Result<u64> {
        let deadline = Instant::now() + self.every * (FIRST_BLOCKS + LAST_BLOCKS) + SETTLE_MAX;
        loop {
            if let Some(answer) = tool.poll()? {
                return Ok(blocks(&answer).unwrap_or(0));
            }
            self.look()?;
            self.in_time(deadline, what)?;
        }
    }

    /// Waits until somebody has so many blocks while `feeder` sends.
    fn reach(&mut self, height: u64, feeder: &mut Tool) -> Result<()> {
        let deadline = Instant::now() + self.every * FIRST_BLOCKS + SETTLE_MAX;
        while self.height() < height {
            feeder.poll()?;
            self.look()?;
            self.in_time(deadline, "blocks do not come")?;
        }
        Ok(())
    }

    fn height(&self) -> u64 {
        self.peers.iter().map(Peer::height).max().unwrap_or(0)
    }

    fn leader_of(&self, org: u8) -> Option<usize> {
        self.peers.iter().position(|peer| {
            peer.place.org == org
                && peer.runs()
                && peer.channel.as_ref().is_some_and(|channel| channel.leader)
        })
    }

    /// Kills the leader of org1, and waits for the next one.
    fn kill_the_leader(&mut self) -> Result<Duration> {
        let deadline = Instant::now() + START_MAX;
        let at = loop {
            if let Some(at) = self.leader_of(1) {
                break at;
            }
            self.look()?;
            self.in_time(deadline, "org1 has no leader")?;
        };
        let height = self.height();
        let peer = self.peers.get_mut(at).context("no such peer")?;
        peer.part = Part::Victim;
        peer.kill()?;
        let killed = Instant::now();
        let sentence = format!("{}, leader of org1, is killed at block {height}", peer.place.name);
        self.screen.say(&sentence);
        while self.leader_of(1).is_none() {
            self.poll()?;
            self.interrupt.rest(Duration::from_millis(10))?;
            self.in_time(killed + START_MAX, "org1 elects no other leader")?;
        }
        let took = killed.elapsed();
        self.screen.say(&format!("another one leads org1 after {} ms", took.as_millis()));
        Ok(took)
    }

    fn add_an_organisation(&mut self) -> Result<()> {
        let dir = self.network.display().to_string();
        let args = ["dev", "add-org", "--dir", &dir, "--org", "3", "--orderer", &self.address];
        Tool::run(self.program, (&self.network, "add-org"), &args, self.interrupt)?;
        self.start(|peer| peer.part == Part::Newcomer, "joins, of an organisation just added")
    }

    fn wait_for_expiry(&mut self) -> Result<()> {
        while Instant::now() < self.expires_at + EXPIRY_ALLOWANCE {
            self.look()?;
        }
        self.screen.say(&format!("the identity of {EXPIRING} has run out"));
        Ok(())
    }

    /// Waits until every peer that is not shut out has `goal` blocks.
    fn settle(&mut self, goal: u64) -> Result<()> {
        let deadline = Instant::now() + SETTLE_MAX;
        while self.peers.iter().any(|peer| !peer.part.is_shut_out() && peer.height() < goal) {
            self.look()?;
            self.in_time(deadline, &format!("not everybody has {goal} blocks"))?;
        }
        self.show();
        Ok(())
    }

    fn poll(&mut self) -> Result<()> {
        for peer in &mut self.peers {
            peer.poll(CHANNEL)?;
        }
        self.orderer.as_mut().map_or(Ok(()), Tool::ensure_runs)
    }

    /// Looks at everybody, shows it, and rests a moment.
    fn look(&mut self) -> Result<()> {
        self.poll()?;
        if self.screen.is_live() {
            self.show();
        }
        self.interrupt.rest(POLL_EVERY)
    }

    fn show(&mut self) {
        let table = table(&self.peers, &format!("orderer at {}", self.address));
        self.screen.draw(&table);
    }

    fn in_time(&self, deadline: Instant, what: &str) -> Result<()> {
        if Instant::now() < deadline {
            return Ok(());
        }
        let told = self.peers.iter().map(|peer| {
            let reason =
                peer.channel.as_ref().and_then(|channel| channel.stalled_reason.as_deref());
            format!("{} at {}: {}", peer.place.name, peer.height(), reason.unwrap_or("no reason"))
        });
        bail!("time is up: {what}; {}", told.collect::<Vec<_>>().join("; "))
    }

    /// Ends every peer, then the orderer.
    fn stop(&mut self) -> Result<()> {
        self.peers.iter().for_each(Peer::terminate);
        let deadline = Instant::now() + STOP_MAX;
        for peer in &mut self.peers {
            let runs = peer.runs();
            let ended = peer.wait(deadline)?.is_some() || !runs;
            ensure!(ended, "{} did not end in time", peer.place.name);
        }
        self.orderer = None;
        Ok(())
    }
}

fn blocks(answer: &Value) -> Option<u64> {
    answer.get("blocks").and_then(Value::as_u64)
}

/// All peers are asked to end before the first is waited for.
impl Drop for Live<'_> {
    fn drop(&mut self) {
        self.peers.iter().for_each(Peer::terminate);
    }
}

/// Number and organisation of each peer, and its part; whoever is elected in org1 becomes the victim.
const CAST: [(u8, u8, Part); 7] = [
    (0, 1, Part::Follower),
    (1, 1, Part::Follower),
    (2, 1, Part::Late),
    (0, 2, Part::Follower),
    (1, 2, Part::Follower),
    (2, 2, Part::Expiring),
    (0, 3, Part::Newcomer),
];
const EXPIRING: &str = "peer2.org2.test";
const RELAYING: &str = "peer0.org2.test";
const TXS_PER_BLOCK: u32 = 4;
/// Blocks before the new organisation comes, and after the expired identity is out.
const FIRST_BLOCKS: u32 = 36;
const LAST_BLOCKS: u32 = 18;
const START_ALLOWANCE: Duration = Duration::from_secs(8);
/// From the end of an identity until everybody has cut it off.
const EXPIRY_ALLOWANCE: Duration = Duration::from_secs(3);
const START_MAX: Duration = Duration::from_secs(60);
const SETTLE_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(10);
const POLL_EVERY: Duration = Duration::from_millis(100);
