//! Real QUIC endpoints.
//!
//! ```text
//!   command --> table (who is connected, being dialled, waited for) --> outbox of a peer --> link --> network
//!   event  <-- inbox (one order, bytes bounded per connection) <------------------------ link <-- network
//! ```
//!
//! [`QuicComm`] hands commands to the table under one short lock and never waits. Each link is a
//! handful of tasks that end with it; every task of the transport and of its endpoint is tracked, so that
//! [`stop`](crate::Comm::stop) returns when none is left.
//!
//! # Invariants
//! - Nothing of a peer is parsed beyond its hello, or kept, before the hello was believed.
//! - At most one link of a peer takes messages from its outbox.
//! - `Connected` comes before anything else of a peer, `Disconnected` after everything else.
//! - A link closes nothing but itself.

mod command;
mod dial;
mod endpoint;
mod exchange;
mod frame;
mod gate;
mod hello;
mod inbox;
mod link;
mod outbox;
mod quota;
mod reader;
mod shared;
mod table;
mod writer;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use gossip_api::message::CloseReason;
use gossip_api::{
    Checked, CryptoError, Epoch, IdentityMap, MessageCryptoService, OrgId, PeerIdentity,
    SecurityAdvisor,
};
use prometheus::Registry;
use tracing::warn;

use self::shared::Shared;
use self::table::Table;
use crate::clock::Clock;
use crate::comm::{Comm, Command, Event};
use crate::config::{CommConfig, TlsMaterial};
use crate::error::CommError;
use crate::hello::Me;

/// What the transport needs of the rest of the process.
pub struct QuicParts {
    /// Who we are.
    pub identity: PeerIdentity,
    /// Which life of us.
    pub epoch: Epoch,
    /// Judges hellos and signs ours.
    pub mcs: Arc<dyn MessageCryptoService>,
    /// Tells organisations.
    pub advisor: Arc<dyn SecurityAdvisor>,
    /// Where believed identities go.
    pub identities: Arc<IdentityMap>,
    /// Where metrics go.
    pub registry: Registry,
    /// The process's clock.
    pub clock: Clock,
}

impl fmt::Debug for QuicParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicParts").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

/// The transport over QUIC.
///
/// Dropping it ends everything without waiting; [`stop`](Comm::stop) waits.
#[derive(Debug)]
pub struct QuicComm {
    shared: Arc<Shared>,
    local: SocketAddr,
}

impl QuicComm {
    /// Opens the socket and begins to take in peers.
    ///
    /// # Errors
    /// If the address cannot be listened on, the TLS material or our identity cannot be used, metrics of
    /// the same names are registered already, or there is no tokio runtime.
    pub fn bind(config: Checked<CommConfig>, parts: QuicParts) -> Result<Self, CommError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| CommError::NoRuntime)?;
        let (shared, endpoint) = Shared::open(config, parts, runtime)?;
        let listen = |source| CommError::Listen { address: shared.config.listen, source };
        let local = endpoint.local_addr().map_err(listen)?;
        shared.spawn(endpoint::accept(Arc::clone(&shared), endpoint));
        shared.spawn(shared::watch_expiry(Arc::clone(&shared)));
        Ok(Self { shared, local })
    }

    /// The address listened on.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// States another life of us in hellos from now on.
    pub fn set_epoch(&self, epoch: Epoch) {
        let me = self.shared.me.load_full();
        self.shared.me.store(Arc::new(Me { epoch, ..(*me).clone() }));
    }

    /// Shows another identity of ours from now on. Peers that we know where to dial are dialled anew, and the
    /// old connections give way; those that dialled us have a few seconds to do so again.
    ///
    /// # Errors
    /// If it has no fingerprint.
    pub fn set_identity(&self, identity: PeerIdentity) -> Result<(), CommError> {
        let pki_id = self.shared.mcs.pki_id_of_cert(&identity).ok_or(CryptoError::EmptyIdentity)?;
        let me = self.shared.me.load_full();
        self.shared.set_me(Me { pki_id, identity, ..(*me).clone() });
        Ok(())
    }

    /// Uses another certificate and other roots from now on. Peers whose certificate the new roots do not
    /// cover are closed at once; to the others the new certificate is shown as by
    /// [`set_identity`](Self::set_identity).
    ///
    /// # Errors
    /// If the material cannot be used; then nothing changes.
    pub fn set_tls(&self, material: &TlsMaterial) -> Result<(), CommError> {
        self.shared.set_tls(material)
    }

    /// Closes connections to peers whose identity the host no longer accepts.
    ///
    /// To be called when a channel's configuration or a revocation list has changed; expiry is noticed without it.
    pub fn recheck(&self) {
        self.shared.recheck();
    }
}

#[async_trait]
impl Comm for QuicComm {
    fn command(&self, command: Command) {
        command::carry_out(&self.shared, command);
    }

    async fn next_event(&self) -> Option<Event> {
        self.shared.inbox.next().await
    }

    fn try_events(&self, into: &mut Vec<Event>, max: usize) {
        self.shared.inbox.take(into, max);
    }

    /// An organisation may send as much as so many peers, between 4 and 128.
    fn set_known_alive(&self, members: BTreeMap<OrgId, usize>) {
        self.shared.org_quotas.set_alive(members);
    }

    async fn stop(&self) {
        self.shared.close_all(CloseReason::Done);
        let patience = self.shared.config.stop_timeout;
        if tokio::time::timeout(patience, self.shared.tasks.wait()).await.is_err() {
            warn!(tasks = self.shared.tasks.len(), "transport tasks did not end in time");
        }
        self.shared.inbox.close();
    }
}

impl Drop for QuicComm {
    fn drop(&mut self) {
        self.shared.close_all(CloseReason::Done);
        self.shared.inbox.close();
    }
}
