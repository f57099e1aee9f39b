//! What the transport counts. Fabric's names where Fabric has them.

use gossip_api::message::Class;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// The transport's counters and gauges.
#[derive(Clone, Debug)]
pub(crate) struct CommMetrics {
    /// Messages handed to the network.
    pub(crate) sent: IntCounter,
    /// Messages received and decoded.
    pub(crate) received: IntCounter,
    /// Messages dropped because a queue was full.
    pub(crate) overflow: IntCounter,
    /// Messages dropped for another reason, by `reason`.
    pub(crate) dropped: IntCounterVec,
    /// Received messages by class.
    received_by_class: PerClass,
    /// Peers not let in, by `reason`.
    pub(crate) hellos_refused: IntCounterVec,
    /// Newcomers turned away before TLS, by `reason`.
    pub(crate) incoming_refused: IntCounterVec,
    /// Connections closed for what they sent, by `reason`.
    pub(crate) offences: IntCounterVec,
    /// Messages sent as datagrams.
    pub(crate) datagrams: IntCounter,
    /// Dials that came to nothing.
    pub(crate) dials_failed: IntCounter,
    /// Connections to peers that were connected already.
    pub(crate) duplicates: IntCounter,
    /// Authenticated connections.
    pub(crate) connections: IntGauge,
    /// Connections that have not proved who they are.
    pub(crate) half_open: IntGauge,
}

impl CommMetrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let received_by_class =
            by("gossip_comm_frames_received", "Messages received, by class", "class")?;
        let metrics = Self {
            sent: IntCounter::new("gossip_comm_messages_sent", "Messages sent")?,
            received: IntCounter::new("gossip_comm_messages_received", "Messages received")?,
            overflow: IntCounter::new(
                "gossip_comm_overflow_count",
                "Messages dropped because a queue was full",
            )?,
            dropped: by("gossip_comm_messages_dropped", "Messages not delivered", "reason")?,
            received_by_class: PerClass {
                control: received_by_class.with_label_values(&["control"]),
                membership: received_by_class.with_label_values(&["membership"]),
                block: received_by_class.with_label_values(&["block"]),
            },
            hellos_refused: by("gossip_comm_hellos_refused", "Peers not let in", "reason")?,
            incoming_refused: by(
                "gossip_comm_incoming_refused",
                "Connections turned away or made to prove their address",
                "reason",
            )?,
            offences: by("gossip_comm_offences", "Connections or streams ended by us", "reason")?,
            datagrams: IntCounter::new("gossip_comm_datagrams_sent", "Messages sent as datagrams")?,
            dials_failed: IntCounter::new("gossip_comm_dials_failed", "Dials without result")?,
            duplicates: IntCounter::new(
                "gossip_comm_duplicate_connections",
                "Connections to peers that were connected already",
            )?,
            connections: IntGauge::new("gossip_comm_connections", "Authenticated connections")?,
            half_open: IntGauge::new("gossip_comm_half_open", "Connections without hello yet")?,
        };
        for counter in [
            &metrics.sent,
            &metrics.received,
            &metrics.overflow,
            &metrics.datagrams,
            &metrics.dials_failed,
            &metrics.duplicates,
        ] {
            registry.register(Box::new(counter.clone()))?;
        }
        for vector in [
            &metrics.dropped,
            &received_by_class,
            &metrics.hellos_refused,
            &metrics.incoming_refused,
            &metrics.offences,
        ] {
            registry.register(Box::new(vector.clone()))?;
        }
        for gauge in [&metrics.connections, &metrics.half_open] {
            registry.register(Box::new(gauge.clone()))?;
        }
        Ok(metrics)
    }

    /// Counts messages that were decoded.
    pub(crate) fn received(&self, received: &Received) {
        let Received { control, membership, block } = *received;
        self.received.inc_by(control + membership + block);
        let by_class = &self.received_by_class;
        let counters = [&by_class.control, &by_class.membership, &by_class.block];
        for (counter, count) in counters.into_iter().zip([control, membership, block]) {
            if count > 0 {
                counter.inc_by(count);
            }
        }
    }

    /// Counts messages that will not arrive.
    pub(crate) fn drop_messages(&self, reason: &'static str, count: usize) {
        if count > 0 {
            self.dropped.with_label_values(&[reason]).inc_by(count as u64);
        }
    }
}

/// How many messages came together, by class.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Received {
    control: u64,
    membership: u64,
    block: u64,
}

impl Received {
    /// One message.
    pub(crate) fn one(class: Class) -> Self {
        let mut received = Self::default();
        received.count(class);
        received
    }

    /// One more.
    pub(crate) const fn count(&mut self, class: Class) {
        match class {
            Class::Control => self.control += 1,
            Class::Membership => self.membership += 1,
            Class::Block => self.block += 1,
        }
    }
}

/// One counter per class, looked up once.
#[derive(Clone, Debug)]
struct PerClass {
    control: IntCounter,
    membership: IntCounter,
    block: IntCounter,
}

fn by(name: &str, help: &str, label: &str) -> Result<IntCounterVec, prometheus::Error> {
    IntCounterVec::new(Opts::new(name, help), &[label])
}
