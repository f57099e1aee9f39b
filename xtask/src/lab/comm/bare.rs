//! What stands beside ours: bare quinn with the same TLS, the same streams, the same batching and the same
//! bodies encoded and decoded, and nothing else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::{Buf as _, Bytes, BytesMut};
use gossip_api::{Envelope, Message};
use gossip_comm::StreamConfig;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connection, Endpoint, RecvStream, TransportConfig};
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use tokio::sync::Semaphore;

use super::payload::Size;
use super::peers::{Authority, SERVER_NAME};

/// Two connected endpoints.
pub(crate) struct Bare {
    near: Connection,
    far: Connection,
    _endpoints: [Endpoint; 2],
}

impl Bare {
    pub(crate) async fn connect(authority: &Authority) -> Result<Self> {
        let provider = Arc::new(default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(authority.root().to_vec()))?;
        let roots = Arc::new(roots);
        let own = || -> Result<_> {
            let (leaf, key) = authority.certificate()?;
            let key = PrivateKeyDer::try_from(key).map_err(|error| anyhow::anyhow!(error))?;
            Ok((vec![CertificateDer::from(leaf)], key))
        };
        let (chain, key) = own()?;
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        let mut server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier.build()?)
            .with_single_cert(chain, key)?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        let (chain, key) = own()?;
        let mut client = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        client.alpn_protocols = vec![ALPN.to_vec()];

        let transport = Arc::new(transport());
        let mut server =
            quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(server)?));
        server.transport_config(Arc::clone(&transport));
        let mut client = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(client)?));
        client.transport_config(transport);

        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Endpoint::server(server, any)?;
        let dialler = Endpoint::client(any)?;
        let dial = dialler.connect_with(client, listener.local_addr()?, SERVER_NAME)?;
        let (near, far) = tokio::join!(dial, async {
            let incoming = listener.accept().await.context("a dial")?;
            anyhow::Ok(incoming.await?)
        });
        Ok(Self { near: near?, far: far?, _endpoints: [listener, dialler] })
    }

    /// Sends `count` messages and waits until all were read.
    pub(crate) async fn batch(&self, size: Size, message: &Message, count: usize) -> Result<()> {
        let (near, far) = (self.near.clone(), self.far.clone());
        let message = message.clone();
        let (sent, read) = if size.is_large() {
            let reading = tokio::spawn(read_large(far, count));
            (tokio::spawn(send_large(near, message, count)), reading)
        } else {
            let reading = tokio::spawn(read_small(far, count));
            (tokio::spawn(send_small(near, message, count)), reading)
        };
        sent.await??;
        read.await?
    }

    /// Microseconds from before one message is encoded until it is decoded, `count` times.
    pub(crate) async fn singles(
        &self,
        size: Size,
        message: &Message,
        count: usize,
    ) -> Result<Vec<f64>> {
        if size.is_large() {
            return self.large_singles(message, count).await;
        }
        let mut stream = self.near.open_uni().await?;
        let mut reading: Option<RecvStream> = None;
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let began = Instant::now();
            let mut frame = BytesMut::new();
            Envelope::unsigned(message).encode_into(&mut frame)?;
            stream.write_chunk(frame.freeze()).await?;
            let stream = match &mut reading {
                Some(stream) => stream,
                none => none.insert(self.far.accept_uni().await?),
            };
            read_frames(stream, 1).await?;
            times.push(micros(began));
        }
        stream.finish()?;
        Ok(times)
    }

    /// What is longer than a window has to be read while it is written.
    async fn large_singles(&self, message: &Message, count: usize) -> Result<Vec<f64>> {
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let began = Instant::now();
            let reading = async {
                read_one(self.far.accept_uni().await?).await?;
                Ok(micros(began))
            };
            let ((), time) = tokio::try_join!(send_one(&self.near, message), reading)?;
            times.push(time);
        }
        Ok(times)
    }
}

async fn send_small(near: Connection, message: Message, count: usize) -> Result<()> {
    let mut stream = near.open_uni().await?;
    let mut batch = BytesMut::with_capacity(2 * BATCH_BYTES);
    for number in 1..=count {
        Envelope::unsigned(&message).encode_into(&mut batch)?;
        if batch.len() >= BATCH_BYTES || number == count {
            stream.write_chunk(batch.split().freeze()).await?;
        }
    }
    stream.finish()?;
    Ok(())
}

async fn read_small(far: Connection, count: usize) -> Result<()> {
    let mut stream = far.accept_uni().await?;
    read_frames(&mut stream, count).await
}

/// Reads so many frames; none may be left over.
async fn read_frames(stream: &mut RecvStream, count: usize) -> Result<()> {
    let (mut read, mut buffer) = (0, BytesMut::new());
    while read < count {
        let mut chunks = [const { Bytes::new() }; CHUNKS];
        let arrived = stream.read_chunks(&mut chunks).await?.context("more frames")?;
        for chunk in chunks.iter().take(arrived) {
            buffer.extend_from_slice(chunk);
        }
        let mut whole = whole_frames(&mut buffer);
        while whole.has_remaining() {
            std::hint::black_box(Envelope::take(&mut whole)?.open()?);
            read += 1;
        }
    }
    ensure!(buffer.is_empty() && read == count, "{read} of {count} frames");
    Ok(())
}

/// Cuts off what is there of whole frames.
fn whole_frames(buffer: &mut BytesMut) -> Bytes {
    let mut end = 0;
    while let Some(&[a, b, c, d]) = buffer.get(end..).unwrap_or_default().first_chunk::<4>() {
        let next = end + 4 + u32::from_le_bytes([a, b, c, d]) as usize;
        if next > buffer.len() {
            break;
        }
        end = next;
    }
    buffer.split_to(end).freeze()
}

async fn send_large(near: Connection, message: Message, count: usize) -> Result<()> {
    let room = Arc::new(Semaphore::new(ROOM_BYTES));
    let len = u32::try_from(Envelope::unsigned(&message).encoded_len())?;
    for _ in 0..count {
        let room = Arc::clone(&room).acquire_many_owned(len).await?;
        let (near, message) = (near.clone(), message.clone());
        tokio::spawn(async move {
            let sent = send_one(&near, &message).await;
            drop(room);
            sent
        });
    }
    // All have arrived when all of the room is free again.
    drop(room.acquire_many(u32::try_from(ROOM_BYTES)?).await?);
    Ok(())
}

async fn send_one(near: &Connection, message: &Message) -> Result<()> {
    let mut stream = near.open_uni().await?;
    stream.write_all_chunks(&mut Envelope::unsigned(message).encode()?).await?;
    stream.finish()?;
    stream.stopped().await?;
    Ok(())
}

async fn read_large(far: Connection, count: usize) -> Result<()> {
    let mut reads = Vec::with_capacity(count);
    for _ in 0..count {
        reads.push(tokio::spawn(read_one(far.accept_uni().await?)));
    }
    for read in reads {
        read.await??;
    }
    Ok(())
}

async fn read_one(mut stream: RecvStream) -> Result<()> {
    let mut frame = Bytes::from(stream.read_to_end(2 << 20).await?);
    std::hint::black_box(Envelope::take(&mut frame)?.open()?);
    ensure!(frame.is_empty(), "bytes behind a frame");
    Ok(())
}

pub(super) fn micros(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e6
}

/// The windows of ours.
fn transport() -> TransportConfig {
    let streams = StreamConfig::default();
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_uni_streams((streams.blocks + 1).into())
        .stream_receive_window(streams.stream_window.into())
        .receive_window(streams.connection_window.into())
        .send_window(u64::from(streams.send_window))
        .keep_alive_interval(Some(KEEP_ALIVE));
    transport
}

/// It stands idle while others are measured.
const KEEP_ALIVE: Duration = Duration::from_secs(3);
const ALPN: &[u8] = b"bare";
/// Written at once, as ours does.
const BATCH_BYTES: usize = 64 << 10;
/// Bytes of large messages under way, as ours has.
const ROOM_BYTES: usize = 4 << 20;
/// Pieces taken at once, as ours does.
const CHUNKS: usize = 32;
