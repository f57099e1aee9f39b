//! A whole peer, put together as `gossip-peer node start` does.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use bytes::Bytes;
use gossip_api::{
    Block, BlockCodec, BlockHash, ChannelId, Endpoint, Epoch, IdentityMap, IdentityMapConfig,
    MessageCryptoService, NetworkId, OrgId, SecurityAdvisor,
};
use gossip_comm::quic::{QuicComm, QuicParts};
use gossip_comm::{Clock, Comm, CommConfig, SecretBytes, TlsMaterial};
use gossip_service::node::SpreadMode;
use gossip_service::store::BlockStore;
use gossip_service::{Channel, Parts, PeerSelf, Service};
use peer_mcs::{Advisor, Channels, FabricCodec, LocalMsp, Mcs};
use prometheus::Registry;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::lab::crypto::signers::{Signer, fixture, joined};
use crate::lab::whole::{OneLife, machines};

/// Who a peer is: one of the fixtures' network.
#[derive(Clone, Copy)]
pub(super) struct Who {
    org: u8,
    number: u8,
}

impl Who {
    /// The late peer, then the sources.
    pub(super) fn nth(index: u8) -> Self {
        Self { org: index / PEERS_PER_ORG + 1, number: index % PEERS_PER_ORG }
    }

    fn dir(self) -> String {
        let Self { org, number } = self;
        format!("peerOrganizations/org{org}.test/peers/peer{number}.org{org}.test")
    }
}

/// A peer's transport and what it needs to become a service.
pub(super) struct Node {
    pub(super) comm: Arc<QuicComm>,
    pub(super) mcs: Arc<Mcs>,
    pub(super) endpoint: Endpoint,
    pub(super) me: PeerSelf,
    advisor: Arc<Advisor>,
    channels: Arc<Channels>,
    identities: Arc<IdentityMap>,
    registry: Registry,
    clock: Clock,
}

impl Node {
    /// Opens the transport on a free port of loopback.
    pub(super) fn bind(who: Who, network: &NetworkId) -> Result<Self> {
        let signer = Signer::node(&format!("{}/msp", who.dir()), &format!("Org{}MSP", who.org))?;
        let local: Arc<LocalMsp> = Arc::clone(signer.local());
        let channels = joined(CHANNEL)?;
        let mcs = Arc::new(Mcs::new(Arc::clone(&local), Arc::clone(&channels)));
        let advisor = Arc::new(Advisor::new(Arc::clone(&local), Arc::clone(&channels)));
        let identity = local.identity().clone();
        let clock = Clock::start();
        let registry = Registry::new();
        let config = IdentityMapConfig::default().checked()?;
        let identities = IdentityMap::new(config, &identity, &*mcs, &*advisor, clock.now())?;
        let identities = Arc::new(identities);
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let parts = QuicParts {
            identity: identity.clone(),
            epoch: Epoch::new(1),
            mcs: Arc::clone(&mcs) as Arc<dyn MessageCryptoService>,
            advisor: Arc::clone(&advisor) as Arc<dyn SecurityAdvisor>,
            identities: Arc::clone(&identities),
            registry: registry.clone(),
            clock,
        };
        let tls = tls(&fixture("crypto").join(who.dir()), &channels)?;
        let comm = CommConfig::new(listen, network.clone(), tls).checked()?;
        let comm = Arc::new(QuicComm::bind(comm, parts)?);
        let endpoint = Endpoint::new(&comm.local_addr().to_string())?;
        let pki_id = mcs.pki_id_of_cert(&identity).context("the identity has no fingerprint")?;
        let me = PeerSelf {
            pki_id,
            identity,
            org: OrgId::new(&format!("Org{}MSP", who.org))?,
            epoch: Epoch::new(1),
            external_endpoint: Some(endpoint.clone()),
            internal_endpoint: endpoint.clone(),
            metadata: Bytes::new(),
        };
        Ok(Self { comm, mcs, endpoint, me, advisor, channels, identities, registry, clock })
    }

    /// Starts the peer, over `comm` if one stands around the transport, and lets it join the channel.
    pub(super) async fn serve(
        &self,
        comm: Arc<dyn Comm>,
        store: BlockStore,
        network: &NetworkId,
        bootstrap: Vec<Endpoint>,
    ) -> Result<Service> {
        let service = Service::start(Parts {
            me: self.me.clone(),
            network: network.clone(),
            config: machines(SpreadMode::default(), false)?,
            bootstrap,
            delivery: None,
            mcs: Arc::clone(&self.mcs) as Arc<dyn MessageCryptoService>,
            advisor: Arc::clone(&self.advisor) as Arc<dyn SecurityAdvisor>,
            codec: Arc::new(FabricCodec),
            identities: Arc::clone(&self.identities),
            epochs: Arc::new(OneLife),
            comm,
            clock: self.clock,
            registry: self.registry.clone(),
            rng: gossip_comm::sim::seeded(u64::from(self.comm.local_addr().port()), 1),
        })?;
        let channel = self.channels.current(&channel()).context("the channel is not joined")?;
        let genesis: BlockHash = channel.genesis_hash().context("no genesis block")?;
        service
            .join(Channel {
                config: channel,
                genesis,
                ledger: Arc::new(store),
                source: None,
                terms: Arc::new(OneLife),
                conflicts: None,
                host: Arc::new(OneLife),
            })
            .await?;
        Ok(service)
    }
}

fn tls(dir: &Path, channels: &Channels) -> Result<TlsMaterial> {
    let pem = |error| anyhow!("{}: {error}", dir.display());
    let certificate = CertificateDer::from_pem_file(dir.join("tls/server.crt")).map_err(pem)?;
    let key = PrivateKeyDer::from_pem_file(dir.join("tls/server.key")).map_err(pem)?;
    let cas = channels.all().into_iter().flat_map(|channel| channel.tls_cas());
    Ok(TlsMaterial {
        chain: vec![certificate.to_vec()],
        key: SecretBytes::new(key.secret_der().to_vec()),
        roots: cas.map(|ca| ca.certificate.to_vec()).collect(),
    })
}

/// The channel of the fixtures that everybody is in.
pub(super) fn channel() -> ChannelId {
    ChannelId::new(CHANNEL).expect("short")
}

/// The channel's first block.
pub(super) fn genesis() -> Result<Block> {
    let bytes = std::fs::read(fixture(CHANNEL).join("genesis.block"))?;
    Ok(FabricCodec.split(&bytes.into())?)
}

const CHANNEL: &str = "trade";

/// Peers of each organisation in the fixtures.
const PEERS_PER_ORG: u8 = 3;
