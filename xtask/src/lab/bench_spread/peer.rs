//! A whole peer, put together as `gossip-peer node start` does.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use gossip_api::{
    Block, BlockSource, ChannelId, Endpoint, Epoch, IdentityMap, IdentityMapConfig,
    MessageCryptoService, NetworkId, OrgId, SecurityAdvisor,
};
use gossip_comm::quic::{QuicComm, QuicParts};
use gossip_comm::{Clock, CommConfig};
use gossip_service::node::SpreadMode;
use gossip_service::{Channel, Parts, PeerSelf, Service};
use peer_mcs::{Advisor, Channels, FabricCodec, Mcs};
use prometheus::Registry;
use tokio::sync::mpsc;

use super::counted::{CountedComm, CountedMcs, Counts};
use super::ledger::{Fed, Memory};
use super::network::{CHANNEL, MSP, Network};
use crate::lab::whole::{OneLife, machines};

/// A running peer, and what is known of it from outside.
pub(super) struct Running {
    pub(super) service: Service,
    pub(super) ledger: Arc<Memory>,
    pub(super) counts: Arc<Counts>,
    pub(super) endpoint: Endpoint,
}

impl Running {
    /// Starts a peer; the one with a feed leads.
    pub(super) async fn start(
        network: &Network,
        index: u32,
        mode: SpreadMode,
        bootstrap: Vec<Endpoint>,
        feed: Option<mpsc::UnboundedReceiver<Block>>,
    ) -> Result<Self> {
        let counts = Arc::new(Counts::default());
        let local = network.msp(index)?;
        let trust = peer_mcs::Channel::from_config_block(&network.genesis)?;
        let channels = Arc::new(Channels::new());
        let joined = channels.join(trust)?;
        let judge = Mcs::new(Arc::clone(&local), Arc::clone(&channels));
        let mcs: Arc<dyn MessageCryptoService> =
            Arc::new(CountedMcs { mcs: judge, counts: Arc::clone(&counts) });
        let advisor: Arc<dyn SecurityAdvisor> =
            Arc::new(Advisor::new(Arc::clone(&local), Arc::clone(&channels)));
        let identity = local.identity().clone();
        let clock = Clock::start();
        let registry = Registry::new();
        let identities = IdentityMap::new(
            IdentityMapConfig::default().checked()?,
            &identity,
            &*mcs,
            &*advisor,
            clock.now(),
        )?;
        let identities = Arc::new(identities);
        let name = NetworkId::new("bench")?;
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let parts = QuicParts {
            identity: identity.clone(),
            epoch: Epoch::new(1),
            mcs: Arc::clone(&mcs),
            advisor: Arc::clone(&advisor),
            identities: Arc::clone(&identities),
            registry: registry.clone(),
            clock,
        };
        let config = CommConfig::new(listen, name.clone(), network.material()?).checked()?;
        let comm = Arc::new(QuicComm::bind(config, parts)?);
        let endpoint = Endpoint::new(&comm.local_addr().to_string())?;
        let me = PeerSelf {
            pki_id: mcs.pki_id_of_cert(&identity).context("no fingerprint")?,
            identity,
            org: OrgId::new(MSP)?,
            epoch: Epoch::new(1),
            external_endpoint: Some(endpoint.clone()),
            internal_endpoint: endpoint.clone(),
            metadata: Bytes::new(),
        };
        let service = Service::start(Parts {
            me,
            network: name,
            config: machines(mode, feed.is_some())?,
            bootstrap,
            delivery: None,
            mcs,
            advisor,
            codec: Arc::new(FabricCodec),
            identities,
            epochs: Arc::new(OneLife),
            comm: Arc::new(CountedComm { comm, counts: Arc::clone(&counts) }),
            clock,
            registry,
            rng: gossip_comm::sim::seeded(u64::from(index), 1),
        })?;
        let ledger = Arc::new(Memory::new(channel(), network.genesis.clone()));
        let source = feed.map(|feed| {
            let source: Arc<dyn BlockSource> = Arc::new(Fed(Mutex::new(Some(feed))));
            source
        });
        service
            .join(Channel {
                config: joined,
                genesis: network.genesis.header().hash(),
                ledger: Arc::clone(&ledger) as Arc<_>,
                source,
                terms: Arc::new(OneLife),
                host: Arc::new(OneLife),
                conflicts: None,
            })
            .await?;
        Ok(Self { service, ledger, counts, endpoint })
    }
}

pub(super) fn channel() -> ChannelId {
    ChannelId::new(CHANNEL).expect("short")
}
