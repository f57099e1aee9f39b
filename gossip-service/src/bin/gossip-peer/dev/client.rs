//! Clients of an ordering service: one that sends transactions, and one that reads and verifies blocks.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use futures_util::future::try_join_all;
use gossip_api::{Block, BlockCodec as _, ChannelId, MessageCryptoService as _, SeqNum};
use peer_mcs::{Channel, Channels, FabricCodec, LocalMsp, Mcs, Tip};
use prost::Message as _;
use serde_json::json;
use tokio::sync::mpsc;
use tonic::Streaming;

use crate::Failure;
use crate::channels::read_genesis;
use crate::fabric::envelope::{Contents, Signer};
use crate::fabric::shapes::{BroadcastResponse, SeekPosition, kind};
use crate::grpc::client::{self, Target};
use crate::grpc::tls::{TlsPair, bundle};
use crate::grpc::{BROADCAST, tls::Loaded};
use crate::orderers::{Asker, Orderer, Settings, Us, Wanted, read};
use crate::source::file_name;

/// Who asks whom.
#[derive(Debug, Args)]
pub(crate) struct Who {
    /// Directory with `msp` and `tls` of who asks.
    #[arg(long, value_name = "DIR")]
    home: PathBuf,
    /// Id of its MSP.
    #[arg(long, value_name = "ID")]
    msp_id: String,
    /// The channel's genesis block: whom to believe.
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// Address of the orderer or relay.
    #[arg(long, value_name = "HOST:PORT")]
    address: String,
    /// One JSON object instead of a sentence.
    #[arg(long)]
    json: bool,
}

/// What to send.
#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    #[command(flatten)]
    who: Who,
    /// Transactions to send.
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Bytes of each.
    #[arg(long, default_value_t = 1024)]
    bytes: usize,
    /// Milliseconds between two of them.
    #[arg(long, default_value_t = 0)]
    every_ms: u64,
}

/// What to read.
#[derive(Debug, Args)]
pub(crate) struct FetchArgs {
    #[command(flatten)]
    who: Who,
    /// First block.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Last block; the newest there is now, without it.
    #[arg(long)]
    to: Option<u64>,
    /// Readers at once, each with a connection of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    readers: u16,
    /// Directory to write the blocks to, as `block_NNNNNN.pb`.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Give up after so many seconds.
    #[arg(long, default_value_t = 60)]
    within: u64,
}

/// One identity that asks one server about one channel.
pub(super) struct Client {
    pub(super) us: Us,
    mcs: Arc<Mcs>,
    channel: ChannelId,
    genesis: Block,
    orderer: Orderer,
}

impl Client {
    pub(super) fn new(
        home: &Path,
        msp_id: &str,
        genesis: &Path,
        address: &str,
    ) -> Result<Self, Failure> {
        let msp = LocalMsp::from_dir(&home.join("msp"), msp_id)
            .map_err(|error| Failure::Config(error.to_string()))?;
        let genesis = read_genesis(genesis)?;
        let view = Channel::from_config_block(&genesis)
            .map_err(|error| Failure::Config(format!("--genesis: {error}")))?;
        let roots = bundle(view.tls_cas().iter().map(|ca| ca.certificate.as_ref()));
        let channel = view.id().clone();
        let channels = Arc::new(Channels::new());
        channels.join(view).map_err(|error| Failure::Config(error.to_string()))?;
        let identity = msp.identity().clone();
        let mcs = Arc::new(Mcs::new(Arc::new(msp), Arc::clone(&channels)));
        let us = Us {
            signer: Signer { identity, mcs: Arc::clone(&mcs) as _ },
            tls: TlsPair { cert: home.join("tls/server.crt"), key: home.join("tls/server.key") },
            channels,
            settings: Settings::default(),
        };
        let orderer =
            Orderer { address: address.to_owned(), org: "its organisation".into(), roots };
        Ok(Self { us, mcs, channel, genesis, orderer })
    }

    fn of(who: &Who) -> Result<Self, Failure> {
        Self::new(&who.home, &who.msp_id, &who.genesis, &who.address)
    }

    async fn one(&self, channel: &ChannelId, position: SeekPosition) -> Result<Block, String> {
        let wanted = Wanted { start: position, stop: position, headers_only: false, wait: false };
        let asker = Asker::connect(&self.us, &self.orderer).await?;
        let mut replies = asker.seek(&self.us, channel, wanted).await?;
        read(replies.message().await)
    }

    /// The newest block's number, and the config block in force.
    pub(super) async fn newest_config(&self, channel: &ChannelId) -> Result<(u64, Block), String> {
        let newest = self.one(channel, SeekPosition::NEWEST).await?;
        let number = peer_mcs::last_config(&newest).map_err(|error| error.to_string())?;
        let config = self.one(channel, SeekPosition::at(number.get())).await?;
        Ok((newest.number.get(), config))
    }
}

/// A runtime of one thread: a tool needs no more.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Run(format!("cannot start the runtime: {error}")))
}

/// A stream of Broadcast.
pub(super) struct Broadcasting {
    requests: mpsc::Sender<Bytes>,
    replies: Streaming<Bytes>,
}

impl Broadcasting {
    pub(super) async fn open(client: &Client) -> Result<Self, String> {
        let Loaded { identity, .. } = client.us.tls.load()?;
        let channel = client::connect(Target {
            address: &client.orderer.address,
            roots: &client.orderer.roots,
            identity: Some(identity),
            connect_timeout: client.us.settings.connect_timeout,
            keep_alive: client.us.settings.keep_alive,
        });
        let channel = channel
            .await
            .map_err(|reason| format!("orderer {}: {reason}", client.orderer.address))?;
        let (requests, sent) = mpsc::channel(PIPELINE);
        let sent = futures_util::stream::unfold(sent, |mut sent: mpsc::Receiver<Bytes>| async {
            let next = sent.recv().await?;
            Some((next, sent))
        });
        let replies =
            client::open(channel, BROADCAST, sent).await.map_err(|status| client::told(&status))?;
        Ok(Self { requests, replies })
    }

    pub(super) async fn send(&self, envelope: Bytes) -> Result<(), String> {
        self.requests.send(envelope).await.map_err(|_| "the orderer closed the stream".to_owned())
    }

    /// Waits for the next answer; an error unless it is SUCCESS.
    pub(super) async fn answer(&mut self) -> Result<(), String> {
        let answer = self.replies.message().await.map_err(|status| client::told(&status))?;
        let answer = answer.ok_or("the orderer ended the stream")?;
        let answer = BroadcastResponse::decode(answer).map_err(|error| error.to_string())?;
        match answer.status {
            200 => Ok(()),
            code => Err(format!("the orderer answered {code}: {}", answer.info)),
        }
    }
}

/// Sends transactions, at a pace.
pub(crate) fn submit(args: &SubmitArgs) -> Result<(), Failure> {
    let client = Client::of(&args.who)?;
    let started = Instant::now();
    runtime()?.block_on(submit_all(args, &client)).map_err(Failure::Run)?;
    let seconds = started.elapsed().as_secs_f64();
    if args.who.json {
        println!("{}", json!({"accepted": args.count, "seconds": seconds}));
    } else {
        println!("{} transactions accepted in {seconds:.1} s", args.count);
    }
    Ok(())
}

async fn submit_all(args: &SubmitArgs, client: &Client) -> Result<(), String> {
    let mut broadcasting = Broadcasting::open(client).await?;
    let mut unanswered = 0usize;
    for _ in 0..args.count {
        let mut data = vec![0; args.bytes];
        getrandom::fill(&mut data).map_err(|error| error.to_string())?;
        let envelope = client.us.signer.seal(Contents {
            kind: kind::ENDORSER_TRANSACTION,
            channel: &client.channel,
            tls_cert_hash: Bytes::new(),
            is_transaction: true,
            data: data.into(),
        });
        let envelope = envelope.map_err(|error| error.to_string())?.encode_to_vec();
        broadcasting.send(envelope.into()).await?;
        unanswered += 1;
        if unanswered == PIPELINE || args.every_ms > 0 {
            broadcasting.answer().await?;
            unanswered -= 1;
        }
        if args.every_ms > 0 {
            tokio::time::sleep(Duration::from_millis(args.every_ms)).await;
        }
    }
    for _ in 0..unanswered {
        broadcasting.answer().await?;
    }
    Ok(())
}

/// Reads blocks, verifies each as a peer does, and tells how fast that was.
pub(crate) fn fetch(args: &FetchArgs) -> Result<(), Failure> {
    let client = Client::of(&args.who)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Run(format!("cannot start the runtime: {error}")))?;
    let limit = Duration::from_secs(args.within);
    let work = async {
        match tokio::time::timeout(limit, fetch_all(args, client)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("not done within {} s", args.within)),
        }
    };
    let total = runtime.block_on(work).map_err(Failure::Run)?;
    let Total { blocks, bytes, seconds } = total;
    let mb_s = bytes as f64 / 1e6 / seconds.max(1e-9);
    if args.who.json {
        let line = json!({
            "readers": args.readers, "blocks": blocks, "bytes": bytes, "seconds": seconds,
            "mb_s": mb_s,
        });
        println!("{line}");
    } else {
        println!("{blocks} blocks, all verified, {bytes} bytes in {seconds:.2} s");
    }
    Ok(())
}

/// Over all readers; every block counted was verified.
struct Total {
    blocks: u64,
    bytes: u64,
    seconds: f64,
}

async fn fetch_all(args: &FetchArgs, client: Client) -> Result<Total, String> {
    let client = Arc::new(client);
    let to = match args.to {
        Some(to) => to,
        None => client.one(&client.channel, SeekPosition::NEWEST).await?.number.get(),
    };
    let mut askers = Vec::new();
    for _ in 0..args.readers {
        askers.push(Asker::connect(&client.us, &client.orderer).await?);
    }
    let started = Instant::now();
    let readers = askers.into_iter().enumerate().map(|(index, asker)| {
        let client = Arc::clone(&client);
        let out = args.out.clone().filter(|_| index == 0);
        let range = (args.from, to);
        let task = tokio::spawn(async move { read_range(&client, asker, range, out).await });
        async move { task.await.map_err(|error| error.to_string())? }
    });
    let read = try_join_all(readers).await?;
    let seconds = started.elapsed().as_secs_f64();
    let blocks = read.iter().map(|(blocks, _)| blocks).sum();
    let bytes = read.iter().map(|(_, bytes)| bytes).sum();
    Ok(Total { blocks, bytes, seconds })
}

/// One reader: blocks and bytes that it verified.
async fn read_range(
    client: &Client,
    asker: Asker,
    (from, to): (u64, u64),
    out: Option<PathBuf>,
) -> Result<(u64, u64), String> {
    let wanted = Wanted {
        start: SeekPosition::at(from),
        stop: SeekPosition::at(to),
        headers_only: false,
        wait: true,
    };
    let mut replies = asker.seek(&client.us, &client.channel, wanted).await?;
    let (mut blocks, mut bytes) = (0, 0);
    let mut tip = None;
    for number in from..=to {
        let block = read(replies.message().await)?;
        client.verify(SeqNum::new(number), tip, &block)?;
        tip = Some(Tip::of(&block));
        blocks += 1;
        bytes += block.len() as u64;
        if let Some(dir) = &out {
            let file = dir.join(file_name(block.number));
            std::fs::write(&file, FabricCodec.join(&block))
                .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
        }
    }
    Ok((blocks, bytes))
}

impl Client {
    /// As a peer verifies what an ordering service gives it.
    fn verify(&self, number: SeqNum, tip: Option<Tip>, block: &Block) -> Result<(), String> {
        let told = |error: gossip_api::BlockError| error.to_string();
        if number == SeqNum::new(0) {
            let same = block.header() == self.genesis.header();
            return if same { Ok(()) } else { Err("another channel's genesis block".into()) };
        }
        match tip {
            Some(tip) => self.mcs.verify_successor(&self.channel, &tip, block).map_err(told)?,
            None => self.mcs.verify_block(&self.channel, number, block).map_err(told)?,
        }
        if FabricCodec.is_config(block) {
            let applied = self.us.channels.apply(&self.channel, block);
            applied.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// Transactions sent and not yet answered.
const PIPELINE: usize = 64;
