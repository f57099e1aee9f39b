//! Two transports of ours, driven through `Command` and `Event` alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use gossip_api::{Envelope, Message, RemotePeer, SignedMessage};
use gossip_comm::{Comm as _, CommConfig, Command, Event, RequestId, ResponseOutcome, acknowledge};
use tokio::sync::Notify;

use super::bare::micros;
use super::peers::{Authority, Peer};

/// Two connected peers.
pub(crate) struct Ours {
    near: Arc<Peer>,
    far: Arc<Peer>,
    to: RemotePeer,
}

impl Ours {
    pub(crate) async fn connect(authority: &Authority) -> Result<Self> {
        let near = Arc::new(Peer::start(1, config(authority)?)?);
        let far = Arc::new(Peer::start(2, config(authority)?)?);
        near.connect(&far).await?;
        let to = RemotePeer { pki_id: far.id, endpoint: None };
        Ok(Self { near, far, to })
    }

    /// Sends `count` envelopes that `make` gives and hands each message that arrives to `take`, until
    /// all have come.
    pub(crate) async fn batch(
        &self,
        count: usize,
        make: impl Fn(usize) -> Envelope + Send + 'static,
        mut take: impl FnMut(SignedMessage) + Send,
    ) -> Result<()> {
        let flight = Arc::new(Flight::default());
        let (near, to) = (Arc::clone(&self.near), self.to.clone());
        let sending = tokio::spawn({
            let flight = Arc::clone(&flight);
            async move {
                for number in 0..count {
                    let envelope = make(number);
                    flight.board(envelope.encoded_len()).await;
                    near.comm.command(Command::Send { to: to.clone(), envelope });
                }
            }
        });
        let mut events = Vec::with_capacity(EVENTS);
        let mut arrived = 0;
        while arrived < count {
            events.push(next(&self.far).await?);
            self.far.comm.try_events(&mut events, EVENTS);
            let mut bytes = 0;
            for event in events.drain(..) {
                if let Some(message) = received(event)? {
                    bytes += message.envelope.encoded_len();
                    arrived += 1;
                    take(message);
                }
            }
            flight.land(bytes);
        }
        sending.await?;
        ensure!(arrived == count, "{arrived} of {count} messages");
        Ok(())
    }

    /// Microseconds from before one envelope is made until `take` has done with its message.
    pub(crate) async fn singles(
        &self,
        count: usize,
        make: impl Fn(usize) -> Envelope,
        mut take: impl FnMut(SignedMessage),
    ) -> Result<Vec<f64>> {
        let mut times = Vec::with_capacity(count);
        for number in 0..count {
            let began = Instant::now();
            let envelope = make(number);
            self.near.comm.command(Command::Send { to: self.to.clone(), envelope });
            loop {
                if let Some(message) = received(next(&self.far).await?)? {
                    break take(message);
                }
            }
            times.push(micros(began));
        }
        Ok(times)
    }

    /// Sends `count` messages that the other side acknowledges, `at_once` under way; microseconds of each.
    pub(crate) async fn acknowledged(
        &self,
        message: &Message,
        count: usize,
        at_once: usize,
    ) -> Result<Vec<f64>> {
        let far = Arc::clone(&self.far);
        let answering = tokio::spawn(async move {
            let mut answered = 0;
            while answered < count {
                if let Event::Request { id, .. } = next(&far).await? {
                    acknowledge(id, None).into_iter().for_each(|command| far.comm.command(command));
                    answered += 1;
                }
            }
            anyhow::Ok(())
        });
        let mut times = vec![0.0; count];
        let mut began = vec![Instant::now(); count];
        let (mut asked, mut ended) = (0, 0);
        while ended < count {
            while asked < count && asked - ended < at_once {
                if let Some(slot) = began.get_mut(asked) {
                    *slot = Instant::now();
                }
                self.near.comm.command(Command::Request {
                    to: self.to.clone(),
                    id: RequestId(asked as u64),
                    envelope: Envelope::unsigned(message),
                    patience: Duration::from_secs(10),
                });
                asked += 1;
            }
            if let Event::ResponseEnd { id, outcome } = next(&self.near).await? {
                ensure!(outcome == ResponseOutcome::Complete, "{outcome:?}");
                let index = usize::try_from(id.0)?;
                if let (Some(time), Some(began)) = (times.get_mut(index), began.get(index)) {
                    *time = micros(*began);
                }
                ended += 1;
            }
        }
        answering.await??;
        Ok(times)
    }
}

/// What comes next; a connection that is lost ends the measurement.
async fn next(peer: &Peer) -> Result<Event> {
    let event = peer.comm.next_event().await.context("the transport has stopped")?;
    still_there(&event)?;
    Ok(event)
}

/// The message that an event brings, if it brings one.
fn received(event: Event) -> Result<Option<SignedMessage>> {
    still_there(&event)?;
    Ok(if let Event::Received { message, .. } = event { Some(message) } else { None })
}

fn still_there(event: &Event) -> Result<()> {
    if let Event::Disconnected { cause, .. } = event {
        bail!("connection lost: {cause:?}");
    }
    Ok(())
}

/// Bytes sent and not yet read by the layer above: `Comm` drops what does not fit, so that a sender which
/// wants every message to arrive has to know.
#[derive(Default)]
struct Flight {
    bytes: AtomicUsize,
    landed: Notify,
}

impl Flight {
    async fn board(&self, len: usize) {
        while self.bytes.load(Ordering::Acquire) > FLIGHT_BYTES {
            let landed = self.landed.notified();
            if self.bytes.load(Ordering::Acquire) > FLIGHT_BYTES {
                landed.await;
            }
        }
        self.bytes.fetch_add(len, Ordering::AcqRel);
    }

    fn land(&self, len: usize) {
        let before = self.bytes.fetch_sub(len, Ordering::AcqRel);
        if before > FLIGHT_BYTES && before - len <= FLIGHT_BYTES {
            self.landed.notify_one();
        }
    }
}

/// Ours, but for the quota, which a benchmark exceeds on purpose, and room for what is under way.
fn config(authority: &Authority) -> Result<CommConfig> {
    let mut config = authority.config()?;
    config.quota.per_second = u32::MAX;
    config.quota.burst = u32::MAX;
    config.outbox.control_bytes = 4 * FLIGHT_BYTES;
    config.inbox.control_bytes = 16 << 20;
    Ok(config)
}

const FLIGHT_BYTES: usize = 4 << 20;
/// Events taken at once.
const EVENTS: usize = 1024;

/// The same message again and again, encoded each time.
pub(crate) fn again(message: &Message) -> impl Fn(usize) -> Envelope + Send + 'static {
    let message = message.clone();
    move |_| Envelope::unsigned(&message)
}
