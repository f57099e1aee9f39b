//! The relay: Fabric's Deliver, served from this peer's ledgers.
//!
//! An unmodified Fabric peer with `peer.deliveryclient.addressOverrides` pointing here takes its blocks from
//! the peer next to it instead of from the ordering service.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use gossip_api::{ChannelId, Ledger, LedgerError};
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::{Status, Streaming};

use crate::Failure;
use crate::config;
use crate::deliver::{Chain, Deliver, Metrics, Sharing};
use crate::grpc::server::{self, AtomicBroadcast, Caller, Listening, Replies};
use crate::grpc::tls::{TlsPair, bundle};
use crate::orderers::Us;

/// Serves blocks; accepts none.
pub(crate) struct Relay {
    deliver: Arc<Deliver>,
    /// Taken when serving begins.
    listener: Mutex<Option<TcpListener>>,
    tls: TlsPair,
    mutual: bool,
    roots: watch::Sender<Arc<str>>,
}

impl Relay {
    /// Takes the address, and serves nothing yet.
    pub(crate) async fn bind(
        place: config::Relay,
        us: &Us,
        registry: &Registry,
    ) -> Result<Arc<Self>, Failure> {
        let listener = TcpListener::bind(place.listen).await.map_err(|error| {
            Failure::Config(format!(
                "gossipPeer.relay.listenAddress {}: {error}: choose an address that is free",
                place.listen
            ))
        })?;
        let metrics = Metrics::new(registry).map_err(|error| Failure::Run(error.to_string()))?;
        let channels = Arc::clone(&us.channels);
        let deliver = Deliver::new(channels, Arc::clone(&us.signer.mcs), place.mutual, metrics);
        Ok(Arc::new(Self {
            deliver: Arc::new(deliver),
            listener: Mutex::new(Some(listener)),
            tls: us.tls.clone(),
            mutual: place.mutual,
            roots: watch::Sender::new("".into()),
        }))
    }

    /// A ledger that tells its readers of every commit to `ledger`.
    pub(crate) async fn before(
        &self,
        channel: ChannelId,
        ledger: Arc<dyn Ledger>,
    ) -> Result<Arc<dyn Ledger>, LedgerError> {
        let chain = Arc::new(
            Chain::new(channel, ledger, self.deliver.metrics(), Sharing::default()).await?,
        );
        self.deliver.add(&chain);
        Ok(chain)
    }

    /// The CAs of the certificates that clients may show.
    pub(crate) fn trust<'a>(&self, roots: impl IntoIterator<Item = &'a [u8]>) {
        if !self.mutual {
            return;
        }
        let bundle: Arc<str> = bundle(roots).into();
        self.roots.send_if_modified(|held| {
            let changed = *held != bundle;
            held.clone_from(&bundle);
            changed
        });
    }

    /// Shows the certificate that the files hold now to whoever connects from now on.
    pub(crate) fn renew(&self) {
        self.roots.send_modify(|_| {});
    }

    /// Ends every stream; a client that asks again finds whoever listens then.
    pub(crate) fn stop(&self) {
        self.deliver.stopping().cancel();
    }

    /// Serves until it is stopped; the answer says why not any more.
    pub(crate) async fn serve(&self) -> String {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(listener) = listener else { return "the relay is served already".into() };
        let listening = Listening {
            listener,
            tls: self.tls.clone(),
            mutual: self.mutual,
            roots: self.roots.subscribe(),
        };
        let service = Arc::new(Service(Arc::clone(&self.deliver)));
        match server::serve(listening, service, self.deliver.stopping().clone()).await {
            Ok(()) => "the relay was stopped".into(),
            Err(reason) => format!("the relay: {reason}"),
        }
    }
}

struct Service(Arc<Deliver>);

impl AtomicBroadcast for Service {
    fn deliver(&self, caller: Caller, requests: Streaming<Bytes>) -> Replies {
        self.0.serve(caller, requests)
    }

    fn broadcast(&self, _: Caller, _: Streaming<Bytes>) -> Result<Replies, Status> {
        Err(Status::unimplemented(
            "a peer orders nothing: send transactions to an orderer of the channel",
        ))
    }
}
