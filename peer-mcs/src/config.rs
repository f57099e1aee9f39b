//! Reading a channel's configuration, group by group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gossip_api::{AnchorPeer, OrgId};

use crate::channel::{Channel, Consenter};
use crate::error::MspError;
use crate::fabric;
use crate::fabric::block::SerializedIdentity;
use crate::fabric::config::{
    AnchorPeers, BlockDataHashingStructure, Capabilities, ConfigGroup, ConsensusType,
    HashingAlgorithm, OrdererAddresses, Orderers,
};
use crate::fabric::msp::{FabricMspConfig, IdemixMspConfig, MspConfig};
use crate::msp::{Msp, MspVersion};
use crate::policy::Msps;

/// Collects what the groups of a configuration say.
pub(crate) struct Reader<'a> {
    before: Option<&'a Channel>,
    version: MspVersion,
    pub(crate) capabilities: BTreeSet<String>,
    pub(crate) orderer_addresses: Vec<String>,
    pub(crate) application_orgs: BTreeMap<OrgId, Vec<AnchorPeer>>,
    pub(crate) orderer_orgs: BTreeMap<OrgId, Vec<String>>,
    pub(crate) consensus_type: String,
    pub(crate) consenters: Vec<Consenter>,
    pub(crate) consenter_identities: BTreeMap<u32, Vec<u8>>,
    pub(crate) msps: Msps,
    pub(crate) msp_configs: BTreeMap<String, MspConfig>,
}

/// Why a configuration is refused.
pub(crate) enum ReadError {
    Malformed(String),
    Msp(MspError),
}

impl From<String> for ReadError {
    fn from(reason: String) -> Self {
        Self::Malformed(reason)
    }
}

impl<'a> Reader<'a> {
    /// Begins with the channel group itself; MSPs may be taken over from the view `before`.
    ///
    /// # Errors
    /// If the channel asks for what this crate cannot do.
    // fabric: common/channelconfig/channel.go NewChannelConfig
    pub(crate) fn new(group: &ConfigGroup, before: Option<&'a Channel>) -> Result<Self, String> {
        let capabilities: BTreeSet<String> =
            value::<Capabilities>(group, "Capabilities")?.capabilities.into_keys().collect();
        if let Some(unknown) =
            capabilities.iter().find(|name| !CAPABILITIES.contains(&name.as_str()))
        {
            return Err(format!("channel capability {unknown} is not supported"));
        }
        let hashing: HashingAlgorithm = value(group, "HashingAlgorithm")?;
        if hashing.name != "SHA256" {
            return Err(format!("hashing algorithm {:?} is not supported", hashing.name));
        }
        let structure: BlockDataHashingStructure = value(group, "BlockDataHashingStructure")?;
        if structure.width != u32::MAX {
            return Err(format!("transactions hashed {} wide are not supported", structure.width));
        }
        Ok(Self {
            before,
            version: msp_version(&capabilities),
            capabilities,
            orderer_addresses: value::<OrdererAddresses>(group, "OrdererAddresses")?.addresses,
            application_orgs: BTreeMap::new(),
            orderer_orgs: BTreeMap::new(),
            consensus_type: String::new(),
            consenters: Vec::new(),
            consenter_identities: BTreeMap::new(),
            msps: Msps::default(),
            msp_configs: BTreeMap::new(),
        })
    }

    /// Reads the groups below the channel group.
    ///
    /// # Errors
    /// If Fabric would refuse the configuration.
    pub(crate) fn read_groups(&mut self, group: &ConfigGroup) -> Result<(), ReadError> {
        for (name, below) in &group.groups {
            match name.as_str() {
                APPLICATION => self.read_application(below)?,
                ORDERER => self.read_orderer(below)?,
                // What consortiums there are concerns orderers alone.
                "Consortiums" => {}
                other => return Err(format!("group {other} is not allowed in a channel").into()),
            }
        }
        Ok(())
    }

    fn read_application(&mut self, group: &ConfigGroup) -> Result<(), ReadError> {
        for org in group.groups.values() {
            let id = self.read_org(org)?;
            let anchors: AnchorPeers = value(org, "AnchorPeers")?;
            let anchors = anchors.anchor_peers.into_iter().map(|anchor| AnchorPeer {
                host: anchor.host,
                // A port that is none makes the entry useless, as 0 does.
                port: u16::try_from(anchor.port).unwrap_or(0),
            });
            self.application_orgs.entry(id).or_default().extend(anchors);
        }
        Ok(())
    }

    fn read_orderer(&mut self, group: &ConfigGroup) -> Result<(), ReadError> {
        self.consensus_type = value::<ConsensusType>(group, "ConsensusType")?.kind;
        for consenter in value::<Orderers>(group, "Orderers")?.consenter_mapping {
            let identity =
                SerializedIdentity { mspid: &consenter.msp_id, id_bytes: &consenter.identity };
            self.consenter_identities.entry(consenter.id).or_insert_with(|| identity.encode());
            self.consenters.push(Consenter {
                id: consenter.id,
                host: consenter.host,
                port: consenter.port,
                org: consenter.msp_id,
                server_tls_cert: consenter.server_tls_cert,
            });
        }
        for org in group.groups.values() {
            let id = self.read_org(org)?;
            let endpoints: OrdererAddresses = value(org, "Endpoints")?;
            self.orderer_orgs.entry(id).or_default().extend(endpoints.addresses);
        }
        Ok(())
    }

    /// Sets up an organisation's MSP, or takes it over from the view before if nothing of it changed.
    // fabric: common/channelconfig/msp.go ProposeMSP
    fn read_org(&mut self, org: &ConfigGroup) -> Result<OrgId, ReadError> {
        let config: MspConfig = value(org, "MSP")?;
        let name = match config.kind {
            MspConfig::FABRIC => self.read_msp(&config)?,
            MspConfig::IDEMIX => fabric::decode::<IdemixMspConfig>(&config.config)?.name,
            kind => return Err(format!("msps of kind {kind} are not known").into()),
        };
        OrgId::new(&name).map_err(|error| error.to_string().into())
    }

    fn read_msp(&mut self, config: &MspConfig) -> Result<String, ReadError> {
        let shape: FabricMspConfig = fabric::decode(&config.config)?;
        let name = shape.name.clone();
        match self.msp_configs.get(&name) {
            Some(known) if known == config => return Ok(name),
            Some(_) => return Err(format!("msp {name} is defined in two ways").into()),
            None => {}
        }
        let kept = self.before.and_then(|before| {
            let msp = before.msps.0.get(&name)?;
            let unchanged = before.msp_configs.get(&name) == Some(config);
            (unchanged && msp.version == self.version).then(|| msp.clone())
        });
        let msp = match kept {
            Some(msp) => msp,
            None => Arc::new(Msp::new(&shape, self.version).map_err(ReadError::Msp)?),
        };
        self.msps.0.insert(name.clone(), msp);
        self.msp_configs.insert(name.clone(), config.clone());
        Ok(name)
    }
}

/// The value called `name` in a group; its default if it is not there, as in Fabric.
// fabric: common/channelconfig/standardvalues.go DeserializeProtoValuesFromGroup
fn value<M: fabric::Shape>(group: &ConfigGroup, name: &str) -> Result<M, String> {
    match group.values.get(name) {
        Some(value) => fabric::decode(&value.value).map_err(|error| format!("{name}: {error}")),
        None => Ok(M::default()),
    }
}

// fabric: common/capabilities/channel.go MSPVersion
fn msp_version(capabilities: &BTreeSet<String>) -> MspVersion {
    let has = |name| capabilities.contains(name);
    if has("V3_0") {
        MspVersion::V3_0
    } else if has("V1_4_3") || has("V2_0") {
        MspVersion::V1_4_3
    } else if has("V1_3") || has("V1_4_2") {
        MspVersion::V1_3
    } else if has("V1_1") {
        MspVersion::V1_1
    } else {
        MspVersion::V1_0
    }
}

const APPLICATION: &str = "Application";
/// Name of the group of those who order.
pub(crate) const ORDERER: &str = "Orderer";
/// What this crate can do; a peer that lacks a capability must not process the channel.
const CAPABILITIES: [&str; 6] = ["V1_1", "V1_3", "V1_4_2", "V1_4_3", "V2_0", "V3_0"];
