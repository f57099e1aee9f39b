//! One channel of the development orderer: what is accepted, and who writes its blocks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gossip_api::{Block, ChannelId, Ledger as _, SeqNum};
use gossip_service::store::BlockStore;
use peer_mcs::{Channel, Channels, Signed};
use prost::Message as _;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::batch::{Batch, Limits};
use super::genesis::{assemble, order_metadata};
use super::update::{apply, config_of};
use crate::deliver::Chain;
use crate::fabric::config::{BatchSize, Config, ConfigEnvelope, Text};
use crate::fabric::envelope::{Contents, Opened, Signer};
use crate::fabric::shapes::{Envelope, Metadata, MetadataSignature, Status, kind};

/// What a client is told: status, and why.
pub(super) type Answer = (Status, String);

/// The way into a channel.
pub(super) struct Entrance {
    trust: Arc<Channels>,
    id: ChannelId,
    /// Longest transaction; the writer changes it with the configuration.
    bytes_max: Arc<AtomicUsize>,
    inbox: mpsc::Sender<Accepted>,
}

/// What waits for its place in the chain.
enum Accepted {
    Transaction(Bytes),
    /// A configuration update, and who wants to know what became of it.
    Update(Bytes, Bytes, oneshot::Sender<Answer>),
}

/// Writes the blocks of one channel, one after the other.
pub(super) struct Writer {
    trust: Arc<Channels>,
    id: ChannelId,
    chain: Arc<Chain>,
    signer: Signer,
    config: Config,
    tip: Tip,
    batch: Batch,
    bytes_max: Arc<AtomicUsize>,
    inbox: mpsc::Receiver<Accepted>,
    /// Called when the configuration has changed.
    changed: Box<dyn Fn() + Send>,
}

struct Tip {
    next: SeqNum,
    hash: Bytes,
    last_config: u64,
}

/// The two ends of a channel whose newest block is held in `store`.
pub(super) async fn open(
    trust: &Arc<Channels>,
    view: &Channel,
    (store, chain): (&BlockStore, &Arc<Chain>),
    signer: Signer,
    changed: Box<dyn Fn() + Send>,
) -> Result<(Entrance, Writer), String> {
    let said = |error: gossip_api::LedgerError| error.to_string();
    let config_block = store.block(view.config_block()).await.map_err(said)?;
    let config_block = config_block.ok_or("the newest config block is not in the ledger")?;
    let config = config_of(&config_block)?;
    let limits = limits(&config)?;
    let last = store.current_height().last_block().ok_or("the ledger is empty")?;
    let last = store.block(last).await.map_err(said)?.ok_or("the last block is gone")?;
    let (inbox, accepted) = mpsc::channel(INBOX_LEN);
    let bytes_max = Arc::new(AtomicUsize::new(limits.bytes_max));
    let entrance = Entrance {
        trust: Arc::clone(trust),
        id: view.id().clone(),
        bytes_max: Arc::clone(&bytes_max),
        inbox,
    };
    let tip = Tip {
        next: last.number.next(),
        hash: Bytes::copy_from_slice(last.header().hash().as_bytes()),
        last_config: view.config_block().get(),
    };
    let writer = Writer {
        trust: Arc::clone(trust),
        id: view.id().clone(),
        chain: Arc::clone(chain),
        signer,
        config,
        tip,
        batch: Batch::new(limits),
        bytes_max,
        inbox: accepted,
        changed,
    };
    Ok((entrance, writer))
}

impl Entrance {
    /// Judges an envelope for this channel, and lets it in.
    // fabric: orderer/common/broadcast/broadcast.go ProcessMessage
    pub(super) async fn submit(&self, envelope: Bytes, opened: Opened) -> Answer {
        if let Err(answer) = self.check(&envelope, &opened) {
            return answer;
        }
        let closed = || (Status::ServiceUnavailable, "the orderer is stopping".to_owned());
        match opened.channel_header.kind {
            kind::CONFIG => (
                Status::BadRequest,
                "a CONFIG comes from the orderer alone: send the CONFIG_UPDATE".into(),
            ),
            kind::CONFIG_UPDATE => {
                let (told, answer) = oneshot::channel();
                let update = Accepted::Update(envelope, opened.data, told);
                if self.inbox.send(update).await.is_err() {
                    return closed();
                }
                answer.await.unwrap_or_else(|_| closed())
            }
            _ => match self.inbox.send(Accepted::Transaction(envelope)).await {
                Ok(()) => (Status::Success, String::new()),
                Err(_) => closed(),
            },
        }
    }

    // fabric: orderer/common/msgprocessor/standardchannel.go CreateStandardChannelFilters
    fn check(&self, envelope: &Bytes, opened: &Opened) -> Result<(), Answer> {
        let bad = |reason: String| Err((Status::BadRequest, reason));
        if opened.payload.is_empty() || opened.signature.is_empty() {
            return bad("the envelope has no payload or no signature".into());
        }
        let max = self.bytes_max.load(Ordering::Relaxed);
        if envelope.len() > max {
            return bad(format!("{} bytes, and the channel allows {max}", envelope.len()));
        }
        let Some(view) = self.trust.current(&self.id) else {
            return bad("the channel is not served".into());
        };
        let signed = Signed {
            identity: &opened.creator,
            message: &opened.payload,
            signature: &opened.signature,
        };
        if !view.is_satisfied(WRITERS, &[signed]) {
            let reason = "the channel's Writers policy does not accept the signature".to_owned();
            return Err((Status::Forbidden, reason));
        }
        Ok(())
    }
}

impl Writer {
    /// Writes blocks until `stop`, and then what still waits.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            let deadline = self.batch.deadline();
            let timeout = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                accepted = self.inbox.recv() => match accepted {
                    Some(accepted) => self.take(accepted).await,
                    None => break,
                },
                () = timeout => self.flush().await,
                () = stop.cancelled() => break,
            }
        }
        self.inbox.close();
        while let Some(accepted) = self.inbox.recv().await {
            self.take(accepted).await;
        }
        self.flush().await;
    }

    async fn take(&mut self, accepted: Accepted) {
        match accepted {
            Accepted::Transaction(envelope) => {
                for transactions in self.batch.push(envelope, Instant::now()) {
                    self.write(transactions).await;
                }
            }
            Accepted::Update(envelope, update, told) => {
                let answer = match self.reconfigure(envelope, &update).await {
                    Ok(()) => (Status::Success, String::new()),
                    Err(reason) => (Status::BadRequest, reason),
                };
                // Who asked may be gone; what became of it stands in the chain.
                let _ = told.send(answer);
            }
        }
    }

    async fn flush(&mut self) {
        if let Some(transactions) = self.batch.cut() {
            self.write(transactions).await;
        }
    }

    /// Orders what waits, then the new configuration in a block of its own.
    async fn reconfigure(&mut self, envelope: Bytes, update: &Bytes) -> Result<(), String> {
        let view = self.trust.current(&self.id).ok_or("the channel is not served")?;
        let config = apply(&view, &self.config, update)?;
        let last_update = Envelope::decode(envelope).map_err(|error| error.to_string())?;
        let contents =
            ConfigEnvelope { config: Some(config.clone()), last_update: Some(last_update) };
        let sealed = self.signer.seal(Contents {
            kind: kind::CONFIG,
            channel: &self.id,
            tls_cert_hash: Bytes::new(),
            is_transaction: false,
            data: contents.encode_to_vec().into(),
        });
        let sealed: Bytes = sealed.map_err(|error| error.to_string())?.encode_to_vec().into();
        let limits = limits(&config)?;
        self.flush().await;
        let number = self.tip.next;
        let metadata = Metadata::default();
        let hash = self.tip.hash.clone();
        let trial = assemble(number, hash, vec![sealed.clone()], &metadata);
        view.next(&trial).map_err(|error| format!("peers would refuse it: {error}"))?;
        let before = std::mem::replace(&mut self.tip.last_config, number.get());
        let Some(block) = self.write(vec![sealed]).await else {
            self.tip.last_config = before;
            return Err("the orderer is stopping".into());
        };
        self.config = config;
        self.batch.set_limits(limits);
        self.bytes_max.store(limits.bytes_max, Ordering::Relaxed);
        self.trust.apply(&self.id, &block).map_err(|error| error.to_string())?;
        (self.changed)();
        info!(channel = %self.id, %number, sequence = self.config.sequence, "configuration changed");
        Ok(())
    }

    /// Signs and stores a block, however long the disk refuses.
    async fn write(&mut self, transactions: Vec<Bytes>) -> Option<Block> {
        let (number, count) = (self.tip.next, transactions.len());
        let block = assemble(number, self.tip.hash.clone(), transactions, &Metadata::default());
        let block = match signed(block, &self.signer, self.tip.last_config) {
            Ok(block) => block,
            Err(reason) => {
                warn!(channel = %self.id, %number, reason, "cannot sign a block: its transactions are lost");
                return None;
            }
        };
        loop {
            match self.chain.commit(vec![block.clone()]).await {
                Ok(_) => break,
                Err(error) => {
                    warn!(channel = %self.id, %number, %error, "cannot store a block, trying again: free the disk");
                    tokio::time::sleep(STORE_AGAIN_AFTER).await;
                }
            }
        }
        self.tip.next = number.next();
        self.tip.hash = Bytes::copy_from_slice(block.header().hash().as_bytes());
        info!(channel = %self.id, %number, transactions = count, bytes = block.len(), "block");
        Some(block)
    }
}

/// `block` with the signature of `signer` over its header and the number of the config block in force.
// fabric: orderer/common/multichannel/blockwriter.go addBlockSignature
pub(super) fn signed(mut block: Block, signer: &Signer, last_config: u64) -> Result<Block, String> {
    let said = |error: gossip_api::CryptoError| error.to_string();
    let value = order_metadata(last_config);
    let signature_header = signer.signature_header().map_err(said)?;
    let message = [&value[..], &signature_header[..], &block.header().to_asn1()].concat();
    let signature = signer.sign(&message).map_err(said)?;
    let signatures = vec![MetadataSignature { signature_header, signature }];
    block.metadata = with_signature(&block.metadata, &Metadata { value, signatures });
    Ok(block)
}

fn with_signature(entries: &Bytes, metadata: &Metadata) -> Bytes {
    let mut entries = crate::fabric::shapes::Entries::decode(entries.clone()).unwrap_or_default();
    if let Some(first) = entries.entries.first_mut() {
        *first = metadata.encode_to_vec().into();
    }
    entries.encode_to_vec().into()
}

/// The channel's limits of blocks.
fn limits(config: &Config) -> Result<Limits, String> {
    let orderer = config
        .channel_group
        .as_ref()
        .and_then(|group| group.groups.get("Orderer"))
        .ok_or("the channel has no orderers")?;
    let value = |name: &str| orderer.values.get(name).map(|value| value.value.clone());
    let wrong = |error: prost::DecodeError| error.to_string();
    let size = BatchSize::decode(value("BatchSize").unwrap_or_default()).map_err(wrong)?;
    let timeout = Text::decode(value("BatchTimeout").unwrap_or_default()).map_err(wrong)?;
    let timeout = crate::config::parse_duration(&timeout.text)
        .ok_or_else(|| format!("BatchTimeout {:?} is no duration", timeout.text))?;
    let at_least_one = |value: u32| usize::try_from(value.max(1)).unwrap_or(usize::MAX);
    Ok(Limits {
        count_max: at_least_one(size.max_message_count),
        bytes_max: at_least_one(size.absolute_max_bytes),
        bytes_preferred: at_least_one(size.preferred_max_bytes),
        timeout,
    })
}

/// Path, below the channel group, of the policy of who may send transactions.
const WRITERS: &str = "Writers";
/// Transactions accepted and not yet looked at; who sends more waits.
const INBOX_LEN: usize = 256;
const STORE_AGAIN_AFTER: Duration = Duration::from_secs(1);
