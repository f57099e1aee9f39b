//! What a catch-up consists of, each part alone and with the same blocks: moved, hashed, verified, stored.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use gossip_api::message::{StateRequest, StateResponse};
use gossip_api::{
    Block, Envelope, Ledger as _, Message, MessageCryptoService as _, Nonce, RemotePeer, SeqNum,
};
use gossip_comm::quic::QuicComm;
use gossip_comm::{Comm as _, Command, Event, RequestId, ResponseOutcome};
use gossip_service::store::BlockStore;
use gossip_state::StateConfig;
use peer_mcs::{Mcs, data_hash};
use serde::Serialize;

use super::node::{Node, channel};

/// Megabytes a second of each part; the parts are disjoint.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct PartRates {
    /// Over QUIC on loopback, asked for in ranges as a catch-up does; both ends.
    pub(super) comm: f64,
    /// The data hashed once, on one processor.
    pub(super) sha256: f64,
    /// What verification takes besides, on one processor.
    pub(super) verify: f64,
    /// Durably in the store, in commits as large as a catch-up's.
    pub(super) store: f64,
}

impl PartRates {
    /// What the parts would allow, one after the other.
    pub(super) fn one_after_the_other(&self) -> f64 {
        let parts = [self.comm, self.sha256, self.verify, self.store];
        1.0 / parts.iter().map(|rate| 1.0 / rate).sum::<f64>()
    }
}

/// The payload of some blocks in megabytes.
pub(super) fn megabytes(blocks: &[Block]) -> f64 {
    blocks.iter().map(Block::len).sum::<usize>() as f64 / 1e6
}

/// Hashing, and the whole of verification: MB/s each.
pub(super) fn hash_and_verify(mcs: &Mcs, blocks: &[Block]) -> Result<(f64, f64)> {
    let begin = Instant::now();
    let hashed = blocks.iter().filter(|block| data_hash(block)[..] == block.data_hash[..]).count();
    let hashing = begin.elapsed().as_secs_f64();
    ensure!(hashed == blocks.len(), "a block's data is not what its header says");
    let begin = Instant::now();
    for block in blocks {
        mcs.verify_block(&channel(), block.number, block)?;
    }
    // Verification hashes as well: what it takes besides is told apart.
    let besides = (begin.elapsed().as_secs_f64() - hashing).max(hashing / 1e3);
    let moved = megabytes(blocks);
    Ok((moved / hashing, moved / besides))
}

/// Committing to an empty store that holds the block below: MB/s.
pub(super) async fn commit(store: &BlockStore, blocks: &[Block]) -> Result<f64> {
    let config = StateConfig::default();
    let begin = Instant::now();
    let mut rest = blocks;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |block: &&Block| {
            bytes += block.len();
            bytes <= config.commit_bytes
        };
        let count = rest.iter().take(config.commit_blocks).take_while(fits).count().max(1);
        let (batch, later) = rest.split_at(count);
        store.commit(batch.to_vec()).await?;
        rest = later;
    }
    Ok(megabytes(blocks) / begin.elapsed().as_secs_f64())
}

/// Ranges over a fresh connection, nobody looking into them: MB/s.
pub(super) async fn transport(asker: &Node, server: &Node, blocks: &[Block]) -> Result<f64> {
    let serving = tokio::spawn(serve(Arc::clone(&server.comm), blocks.to_vec()));
    let expect = Some(server.me.pki_id);
    asker.comm.command(Command::Dial { endpoint: server.endpoint.clone(), expect });
    loop {
        match asker.comm.next_event().await.context("the transport stopped")? {
            Event::Connected(_) => break,
            Event::DialFailed { reason, .. } => anyhow::bail!("no connection: {reason}"),
            Event::Disconnected { .. }
            | Event::Received { .. }
            | Event::Request { .. }
            | Event::Response { .. }
            | Event::ResponseEnd { .. } => {}
        }
    }
    let rate = ask_all(asker, server, blocks).await;
    serving.abort();
    rate
}

async fn ask_all(asker: &Node, server: &Node, blocks: &[Block]) -> Result<f64> {
    let config = StateConfig::default();
    let first = blocks.first().context("no blocks")?;
    let in_range = (config.range_bytes / first.len() as u64).clamp(1, config.range_blocks);
    let end = first.number.get() + blocks.len() as u64;
    let to = RemotePeer { pki_id: server.me.pki_id, endpoint: Some(server.endpoint.clone()) };
    let begin = Instant::now();
    let (mut next, mut open, mut id, mut got) = (first.number.get(), 0, 0, 0);
    while got < blocks.len() {
        while open < config.requests_per_source && next < end {
            let request = StateRequest {
                nonce: Nonce::new(id),
                channel: channel(),
                from: SeqNum::new(next),
                to: SeqNum::new((next + in_range).min(end) - 1),
                bytes_max: u64::MAX,
            };
            let envelope = Envelope::unsigned(&Message::StateRequest(request));
            let (to, patience) = (to.clone(), config.patience);
            asker.comm.command(Command::Request { to, id: RequestId(id), envelope, patience });
            (next, open, id) = ((next + in_range).min(end), open + 1, id + 1);
        }
        match asker.comm.next_event().await.context("the transport stopped")? {
            Event::Response { .. } => got += 1,
            Event::ResponseEnd { outcome, .. } => {
                ensure!(outcome == ResponseOutcome::Complete, "an answer ended: {outcome:?}");
                open -= 1;
            }
            Event::Connected(_)
            | Event::Disconnected { .. }
            | Event::DialFailed { .. }
            | Event::Received { .. }
            | Event::Request { .. } => {}
        }
    }
    Ok(megabytes(blocks) / begin.elapsed().as_secs_f64())
}

/// Answers each request out of memory.
async fn serve(comm: Arc<QuicComm>, blocks: Vec<Block>) {
    let first = blocks.first().map_or(0, |block| block.number.get());
    while let Some(event) = comm.next_event().await {
        let Event::Request { id, message, .. } = event else { continue };
        let Message::StateRequest(request) = message.message else { continue };
        let asked = request.from.get()..=request.to.get();
        for number in asked {
            let index = usize::try_from(number - first).unwrap_or(usize::MAX);
            let Some(block) = blocks.get(index).cloned() else { break };
            let response = StateResponse { nonce: request.nonce, channel: channel(), block };
            let envelope = Envelope::unsigned(&Message::StateResponse(response));
            comm.command(Command::Respond { to: id, envelope });
        }
        comm.command(Command::EndResponse { to: id });
    }
}
