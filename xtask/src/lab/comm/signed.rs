//! Signed messages, checked on arrival by as many threads as there are cores.
//!
//! A state info passes the door that it passes in a peer. No kind of 10 KiB or more is signed by its author:
//! there, what the door does is done to a signature over body and payload.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use anyhow::{Result, anyhow, ensure};
use bytes::Bytes;
use gossip_api::message::signed_bytes;
use gossip_api::{
    Envelope, IdentityMap, IdentityMapConfig, MessageCryptoService as _, Mono, NetworkId, Now,
    SignedMessage, Verified, Wall, check_signature_form,
};
use peer_mcs::{Advisor, Mcs};
use serde::Serialize;

use super::ours::Ours;
use super::payload::Size;
use super::peers::network;
use super::rows::{Batches, Watch, in_time};
use crate::lab::crypto::signers::{PEER0_ORG1, PEER0_ORG2, Signer, joined};
use crate::lab::meter::thread_seconds;

/// How much of what checking alone allows was reached.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Share {
    bytes: usize,
    /// Checks per second of processor time of one core.
    one_core_s: f64,
    /// Checks per second of all cores, of messages that are there already.
    pool_s: f64,
    /// Messages checked per second on arrival, over checks of one core times cores.
    of_cores: f64,
    /// The same, over what the pool does without a transport, in the same rounds.
    of_pool: f64,
    /// The part of all processor time, both ends and QUIC included, that is spent on checking.
    of_cpu: f64,
}

/// Signed messages of one size, and who checks them.
pub(crate) struct Signatures {
    size: Size,
    envelopes: Arc<Vec<Envelope>>,
    judge: Arc<Judge>,
    cores: usize,
}

struct Judge {
    mcs: Mcs,
    identities: IdentityMap,
    network: NetworkId,
    by_door: bool,
    author: gossip_api::PkiId,
}

impl Judge {
    fn check(&self, signed: SignedMessage) -> bool {
        if self.by_door {
            let (map, network) = (&self.identities, &self.network);
            return Verified::signed(signed, None, map, network, &self.mcs, Mono::ZERO).is_ok();
        }
        let SignedMessage { message, envelope } = signed;
        let Some(identity) = self.identities.get(&self.author, Mono::ZERO) else { return false };
        let covered = covered(&envelope, &message);
        let (name, context) = (message.kind().name(), message.channel_context());
        let bytes = signed_bytes(name, &self.network, &context, &covered);
        check_signature_form(envelope.signature()).is_ok()
            && self.mcs.verify(&identity, envelope.signature(), &bytes).is_ok()
    }
}

/// Body and payload.
fn covered(envelope: &Envelope, message: &gossip_api::Message) -> Bytes {
    match message.block() {
        Some(block) => {
            [envelope.body(), &block.data, &block.metadata].map(AsRef::as_ref).concat().into()
        }
        None => envelope.body().clone(),
    }
}

impl Signatures {
    pub(crate) fn new(size: Size) -> Result<Self> {
        let author = Signer::node(PEER0_ORG1, "Org1MSP")?;
        let own = Signer::node(PEER0_ORG2, "Org2MSP")?;
        let channels = joined("trade")?;
        let mcs = Mcs::new(own.local().clone(), channels.clone());
        let advisor = Advisor::new(own.local().clone(), channels);
        let now = Now { mono: Mono::ZERO, wall: Wall::from_unix_seconds(0) };
        let bounds = IdentityMapConfig::default().checked()?;
        let identities = IdentityMap::new(bounds, own.identity(), &mcs, &advisor, now)?;
        let id = identities.put(author.identity(), &mcs, &advisor, now)?;
        let network = network()?;
        let envelopes = (0..size.signed).map(|number| {
            let message = size.message(id, number as u64)?;
            let envelope = Envelope::unsigned(&message);
            let covered = covered(&envelope, &message);
            let (name, context) = (message.kind().name(), message.channel_context());
            let signature = author.sign(&signed_bytes(name, &network, &context, &covered))?;
            Ok(envelope.with_signature(signature)?)
        });
        let envelopes = Arc::new(envelopes.collect::<Result<Vec<_>>>()?);
        let by_door = size.bytes < 1 << 10;
        let judge = Arc::new(Judge { mcs, identities, network, by_door, author: id });
        let cores = std::thread::available_parallelism()?.get();
        Ok(Self { size, envelopes, judge, cores })
    }

    /// Checks on arrival and checks of what is there take turns.
    pub(crate) async fn race(&self, ours: &Ours, rounds: u32) -> Result<(Batches, Share)> {
        let one_core_s = self.one_core()?;
        let (mut arriving, mut there) = (Batches::default(), Batches::default());
        for round in 0..=rounds {
            for turn in 0..2 {
                let by_wire = (round + turn) % 2 == 0;
                let watch = Watch::start();
                if by_wire {
                    in_time("comm_signed", self.batch(ours)).await?
                } else {
                    self.pool_alone()?
                }
                if round > 0 {
                    let batches = if by_wire { &mut arriving } else { &mut there };
                    batches.push(&watch, self.size.signed);
                }
            }
        }
        let (checked, pool_s) = (arriving.messages_s(), there.messages_s());
        let of_cores = checked / (one_core_s * self.cores as f64);
        let of_pool = checked / pool_s;
        let of_cpu = 1.0 / (one_core_s * arriving.cpu_s_per_message());
        let bytes = self.size.bytes;
        let share = Share { bytes, one_core_s, pool_s, of_cores, of_pool, of_cpu };
        Ok((arriving, share))
    }

    /// Sends all of them and waits until all are checked.
    pub(crate) async fn batch(&self, ours: &Ours) -> Result<()> {
        let mut pool = Pool::start(&self.judge, self.cores);
        let envelopes = Arc::clone(&self.envelopes);
        let make = move |number: usize| {
            envelopes.get(number).cloned().expect("invariant: as many as are asked for")
        };
        ours.batch(self.size.signed, make, |message| pool.check(message)).await?;
        tokio::task::block_in_place(|| pool.finish(self.size.signed))
    }

    /// Microseconds from before a message is sent until it is checked, by whoever received it.
    pub(crate) async fn singles(&self, ours: &Ours) -> Result<Vec<f64>> {
        let envelopes = Arc::clone(&self.envelopes);
        let make = move |number: usize| {
            envelopes.get(number).cloned().expect("invariant: as many as are asked for")
        };
        let count = self.size.singles.min(self.size.signed);
        let mut good = 0;
        let times = ours.singles(count, make, |message| {
            good += usize::from(self.judge.check(message));
        });
        let times = times.await?;
        ensure!(good == count, "{good} of {count} signatures are good");
        Ok(times)
    }

    fn pool_alone(&self) -> Result<()> {
        tokio::task::block_in_place(|| {
            let mut pool = Pool::start(&self.judge, self.cores);
            for envelope in self.envelopes.iter().cloned() {
                pool.check(envelope.open()?);
            }
            pool.finish(self.size.signed)
        })
    }

    /// Checks per second of this thread's processor time.
    fn one_core(&self) -> Result<f64> {
        let count = self.size.signed.min(2_000);
        let opened = self.envelopes.iter().take(count).cloned().map(Envelope::open);
        let opened = opened.collect::<Result<Vec<_>, _>>()?;
        let before = thread_seconds();
        let good = opened.into_iter().filter(|signed| self.judge.check(signed.clone())).count();
        let took = thread_seconds() - before;
        ensure!(good == count, "{good} of {count} signatures are good");
        Ok(count as f64 / took)
    }
}

/// Threads that check.
struct Pool {
    workers: Vec<Sender<Vec<SignedMessage>>>,
    ends: Vec<JoinHandle<usize>>,
    waiting: Vec<SignedMessage>,
    next: usize,
}

impl Pool {
    fn start(judge: &Arc<Judge>, threads: usize) -> Self {
        let mut pool = Self { workers: Vec::new(), ends: Vec::new(), waiting: Vec::new(), next: 0 };
        for _ in 0..threads {
            let (sender, receiver) = channel::<Vec<SignedMessage>>();
            let judge = Arc::clone(judge);
            pool.workers.push(sender);
            pool.ends.push(std::thread::spawn(move || {
                let all = receiver.into_iter().flatten();
                all.filter(|signed| judge.check(signed.clone())).count()
            }));
        }
        pool
    }

    fn check(&mut self, message: SignedMessage) {
        self.waiting.push(message);
        if self.waiting.len() >= HANDFUL {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        let handful = std::mem::take(&mut self.waiting);
        let worker = self.workers.get(self.next % self.workers.len().max(1));
        self.next += 1;
        if let Some(worker) = worker {
            // A worker that is gone is noticed by what it did not count.
            let _ = worker.send(handful);
        }
    }

    fn finish(mut self, wanted: usize) -> Result<()> {
        self.hand_over();
        self.workers.clear();
        let mut good = 0;
        for end in self.ends {
            good += end.join().map_err(|_| anyhow!("a checking thread panicked"))?;
        }
        ensure!(good == wanted, "{good} of {wanted} signatures are good");
        Ok(())
    }
}

/// Messages handed to a thread at once.
const HANDFUL: usize = 16;
