//! One connection to one orderer, and what is asked over it.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use gossip_api::{Block, BlockCodec as _, ChannelId};
use peer_mcs::FabricCodec;
use prost::Message as _;
use tonic::transport::Channel;
use tonic::{Status as GrpcStatus, Streaming};

use super::Us;
use super::endpoints::Orderer;
use crate::fabric::envelope::Contents;
use crate::fabric::shapes::{DeliverResponse, Reply, SeekInfo, SeekPosition, advice, kind};
use crate::grpc::client::{self, Target};
use crate::grpc::{DELIVER, tls::Loaded};

/// A connection that stands.
pub(crate) struct Asker {
    channel: Channel,
    leaf_hash: Bytes,
}

/// Blocks wanted: from, to, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) start: SeekPosition,
    pub(crate) stop: SeekPosition,
    pub(crate) headers_only: bool,
    pub(crate) wait: bool,
}

impl Asker {
    /// Connects, with the TLS certificate as the files have it now.
    pub(crate) async fn connect(us: &Us, orderer: &Orderer) -> Result<Self, String> {
        let Loaded { identity, leaf_hash } = us.tls.load()?;
        let channel = client::connect(Target {
            address: &orderer.address,
            roots: &orderer.roots,
            identity: Some(identity),
            connect_timeout: us.settings.connect_timeout,
            keep_alive: us.settings.keep_alive,
        });
        let channel = channel.await.map_err(|reason| {
            format!("{reason}; check that it runs, that the address is right, and that its TLS certificate is issued for it by a TLS CA of its organisation in the channel")
        })?;
        Ok(Self { channel, leaf_hash })
    }

    /// Asks; the answer comes with the first block.
    pub(crate) async fn seek(
        &self,
        us: &Us,
        channel: &ChannelId,
        wanted: Wanted,
    ) -> Result<Streaming<Bytes>, String> {
        let Wanted { start, stop, headers_only, wait } = wanted;
        let seek = SeekInfo {
            start: Some(start),
            stop: Some(stop),
            behavior: if wait { SeekInfo::BLOCK_UNTIL_READY } else { SeekInfo::FAIL_IF_NOT_READY },
            error_response: 0,
            content_type: if headers_only { SeekInfo::HEADER_WITH_SIG } else { SeekInfo::BLOCK },
        };
        let envelope = us.signer.seal(Contents {
            kind: kind::DELIVER_SEEK_INFO,
            channel,
            tls_cert_hash: self.leaf_hash.clone(),
            is_transaction: false,
            data: seek.encode_to_vec().into(),
        });
        let envelope = envelope.map_err(|error| error.to_string())?.encode_to_vec();
        let requests = stream::iter([Bytes::from(envelope)]);
        client::open(self.channel.clone(), DELIVER, requests)
            .await
            .map_err(|status| client::told(&status))
    }
}

/// The next block of a stream; an error if it ended or says why it gives none.
pub(crate) fn read(message: Result<Option<Bytes>, GrpcStatus>) -> Result<Block, String> {
    let message = message.map_err(|status| client::told(&status))?;
    let bytes = message.ok_or("it ended the stream")?;
    let response = DeliverResponse::decode(bytes)
        .map_err(|error| format!("its answer does not decode: {error}"))?;
    match response.reply {
        Some(Reply::Block(block)) => {
            FabricCodec.split(&block).map_err(|error| format!("its block is none: {error}"))
        }
        Some(Reply::Status(200)) => Err("it ended a stream that has no end".into()),
        Some(Reply::Status(code)) => Err(advice(code)),
        None => Err("it answered neither block nor status".into()),
    }
}

/// Connects to `orderer` and asks for its newest block, header and signatures.
pub(crate) async fn seek_newest(
    us: &Us,
    orderer: &Orderer,
    channel: &ChannelId,
) -> Result<Block, String> {
    let wanted = Wanted {
        start: SeekPosition::NEWEST,
        stop: SeekPosition::NEWEST,
        headers_only: true,
        wait: true,
    };
    let asking = async {
        let asker = Asker::connect(us, orderer).await?;
        let mut replies = asker.seek(us, channel, wanted).await?;
        read(replies.message().await)
    };
    match tokio::time::timeout(NEWEST_WITHIN, asking).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {} s", NEWEST_WITHIN.as_secs())),
    }
}

/// The newest block is there already: who takes longer does not answer.
const NEWEST_WITHIN: Duration = Duration::from_secs(10);
