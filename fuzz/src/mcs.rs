//! Doors of `peer-mcs`: Fabric's bytes, from strangers, from orderers and from an operator's disk.
#![allow(unreachable_pub, dead_code, reason = "a module of several programs")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use gossip_api::{
    BlockCodec as _, ChannelId, MessageCryptoService as _, PeerIdentity, SecurityAdvisor as _,
};
use peer_mcs::{Advisor, Channel, Channels, FabricCodec, LocalMsp, Mcs, Tip, fuzz};
use prost::Message as _;

/// A target's name and its body.
pub type Door = (&'static str, fn(&[u8]));

/// Every door.
pub const DOORS: [Door; 9] = [
    ("block", block),
    ("identity", identity),
    ("certificate", certificate),
    ("crl", crl),
    ("msp_config", msp_config),
    ("msp_directory", msp_directory),
    ("msp_settings", msp_settings),
    ("channel_config", channel_config),
    ("shapes", shapes),
];

/// A serialized `common.Block`, judged in every way in both of the fixtures' channels.
pub fn block(bytes: &[u8]) {
    let Ok(block) = FabricCodec.split(&Bytes::copy_from_slice(bytes)) else { return };
    assert_eq!(FabricCodec.split(&FabricCodec.join(&block)).as_ref(), Ok(&block));
    let _ = (FabricCodec.is_config(&block), peer_mcs::channel_of(&block));
    let _ = peer_mcs::last_config(&block);
    let mut believed = 0;
    for (channel, peer) in peers() {
        let whole = peer.verify_block(channel, block.number, &block);
        let attested = peer.verify_block_attestation(channel, &block);
        let _ = peer.verify_successor(channel, &Tip::of(&block), &block);
        let _ = peer.verify_attested_successor(channel, &Tip::of(&block), &block);
        assert_eq!(whole, peer.verify_block(channel, block.number, &block), "the cache agrees");
        assert!(whole.is_err() || attested.is_ok(), "whole but not attested");
        believed += u8::from(whole.is_ok());
    }
    assert!(believed < 2, "a block of two channels");
}

/// A `msp.SerializedIdentity`.
pub fn identity(bytes: &[u8]) {
    let Ok(identity) = PeerIdentity::new(bytes.to_vec()) else { return };
    for (channel, peer) in peers() {
        let verdict = peer.validate_identity(&identity);
        assert_eq!(verdict, peer.validate_identity(&identity), "the cache agrees");
        assert_eq!(verdict.is_ok(), peer.expiration(&identity).is_ok());
        assert!(peer.verify(&identity, b"no signature", b"message").is_err());
        assert!(peer.verify_by_channel(channel, &identity, b"none", b"message").is_err());
        let advisor = Advisor::new(peer.local().clone(), peer.channels().clone());
        assert!(verdict.is_err() || advisor.org_by_peer_identity(&identity).is_some());
        assert!(verdict.is_err() || peer.pki_id_of_cert(&identity).is_some());
    }
}

/// A certificate in DER, and as PEM.
pub fn certificate(bytes: &[u8]) {
    fuzz::certificate(bytes);
    fuzz::pem(bytes);
}

/// A revocation list.
pub fn crl(bytes: &[u8]) {
    fuzz::revocation_list(bytes);
}

/// A serialized `msp.FabricMSPConfig`.
pub fn msp_config(bytes: &[u8]) {
    fuzz::msp_config(bytes);
}

/// The `config.yaml` of an MSP.
pub fn msp_settings(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        fuzz::msp_settings(text);
    }
}

/// Files of an MSP's directory, one after the other with a zero byte between them, in the order of [`FILES`].
pub fn msp_directory(bytes: &[u8]) {
    static DIR: OnceLock<tempfile::TempDir> = OnceLock::new();
    let dir = DIR.get_or_init(|| private_copy(PEER0));
    let mut parts = bytes.split(|byte| *byte == 0);
    for file in FILES {
        let path = dir.path().join(file);
        match parts.next().filter(|part| !part.is_empty()) {
            Some(part) => fs::write(&path, part).expect("a temporary directory can be written"),
            None => drop(fs::remove_file(&path)),
        }
    }
    let _ = LocalMsp::from_dir(dir.path(), "Org1MSP");
}

/// What [`msp_directory`] takes, from a genuine directory.
pub fn msp_directory_seed() -> Vec<u8> {
    let dir = private_copy(PEER0);
    LocalMsp::from_dir(dir.path(), "Org1MSP").expect("a genuine directory");
    let read = |file: &&str| fs::read(dir.path().join(file)).unwrap_or_default();
    FILES.iter().map(read).collect::<Vec<_>>().join(&0)
}

/// The data of a config block: a channel begins with it, or is changed by it.
pub fn channel_config(bytes: &[u8]) {
    let mut config = genesis("trade");
    config.data = Bytes::copy_from_slice(bytes);
    config.data_hash = peer_mcs::data_hash(&config).to_vec().into();
    if let Ok(channel) = Channel::from_config_block(&config) {
        let _ = (channel.tls_cas(), channel.consenters().len());
        let _ = channel.next(&config);
    }
    static TRADE: OnceLock<Channel> = OnceLock::new();
    let trade = TRADE.get_or_init(|| {
        Channel::from_config_block(&genesis("trade")).expect("a genuine genesis block")
    });
    let _ = trade.next(&config);
}

/// Our readers by hand beside prost's: what both take, both read alike, and ours takes nothing more than
/// known fields of another wire type, as Go does.
pub fn shapes(bytes: &[u8]) {
    let whole = Bytes::copy_from_slice(bytes);
    match (theirs::Block::decode(bytes), FabricCodec.split(&whole)) {
        (Ok(theirs), Ok(ours)) => {
            let header = theirs.header.clone().unwrap_or_default();
            assert_eq!(header.number, ours.number.get());
            assert_eq!(header.previous_hash, ours.previous_hash);
            assert_eq!(header.data_hash, ours.data_hash);
            let entries = |bytes: &Bytes| theirs::Entries::decode(bytes.clone());
            assert_eq!(Ok(theirs.data.clone().unwrap_or_default()), entries(&ours.data));
            assert_eq!(Ok(theirs.metadata.clone().unwrap_or_default()), entries(&ours.metadata));
            let again = FabricCodec.split(&theirs.encode_to_vec().into());
            assert_eq!(again.map(|block| block.number), Ok(ours.number));
        }
        (Ok(theirs), Err(_)) => assert!(theirs.header.is_none()),
        (Err(error), Ok(_)) => assert!(is_about_wire_types(&error), "{error}"),
        (Err(_), Err(_)) => {}
    }
    let canonical = fuzz::envelope(bytes);
    match theirs::Envelope::decode(bytes).map(|theirs| theirs.encode_to_vec()) {
        // prost drops unknown fields: equality with its encoding means that there are none.
        Ok(again) if again == bytes => assert_eq!(canonical, Some(true)),
        Ok(again) => assert!(canonical != Some(true) || bytes.starts_with(&again)),
        Err(error) => assert!(canonical.is_none() || is_about_wire_types(&error), "{error}"),
    }
    let Ok(identity) = PeerIdentity::new(bytes.to_vec()) else { return };
    match theirs::SerializedIdentity::decode(bytes) {
        Ok(_) => assert_eq!(peer_mcs::pki_id(&identity).is_some(), !bytes.is_empty()),
        Err(error) => {
            assert!(
                peer_mcs::pki_id(&identity).is_none() || is_about_wire_types(&error),
                "{error}"
            );
        }
    }
}

/// Go takes a known field of the wrong type for an unknown one; prost refuses it.
fn is_about_wire_types(error: &prost::DecodeError) -> bool {
    let text = error.to_string();
    text.contains("invalid wire type") || text.contains("recursion limit")
}

/// The same messages as prost reads them.
mod theirs {
    use bytes::Bytes;

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Block {
        #[prost(message, optional, tag = "1")]
        pub(super) header: Option<Header>,
        #[prost(message, optional, tag = "2")]
        pub(super) data: Option<Entries>,
        #[prost(message, optional, tag = "3")]
        pub(super) metadata: Option<Entries>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Header {
        #[prost(uint64, tag = "1")]
        pub(super) number: u64,
        #[prost(bytes = "bytes", tag = "2")]
        pub(super) previous_hash: Bytes,
        #[prost(bytes = "bytes", tag = "3")]
        pub(super) data_hash: Bytes,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Entries {
        #[prost(bytes = "bytes", repeated, tag = "1")]
        pub(super) entries: Vec<Bytes>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct SerializedIdentity {
        #[prost(string, tag = "1")]
        pub(super) mspid: String,
        #[prost(bytes = "bytes", tag = "2")]
        pub(super) id_bytes: Bytes,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Envelope {
        #[prost(bytes = "bytes", tag = "1")]
        pub(super) payload: Bytes,
        #[prost(bytes = "bytes", tag = "2")]
        pub(super) signature: Bytes,
    }
}

/// peer0 of org1, in each of the fixtures' channels.
fn peers() -> &'static [(ChannelId, Mcs)] {
    static PEERS: OnceLock<Vec<(ChannelId, Mcs)>> = OnceLock::new();
    PEERS.get_or_init(|| ["trade", "bft"].map(peer).into())
}

fn peer(name: &str) -> (ChannelId, Mcs) {
    let dir = private_copy(PEER0);
    let local = LocalMsp::from_dir(dir.path(), "Org1MSP").expect("a genuine directory");
    let channel = Channel::from_config_block(&genesis(name)).expect("a genuine genesis block");
    let id = channel.id().clone();
    let channels = Channels::new();
    channels.join(channel).expect("no other channel of the name");
    (id, Mcs::new(Arc::new(local), Arc::new(channels)))
}

fn genesis(channel: &str) -> gossip_api::Block {
    let bytes = fs::read(fixture(channel).join("genesis.block")).expect("a fixture");
    FabricCodec.split(&bytes.into()).expect("a genuine block")
}

/// A path below the fixtures of a genuine Fabric network.
pub fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../peer-mcs/tests/fixtures").join(path)
}

/// A copy of a fixture's directory with all that Fabric knows in one, its keys readable by us alone.
fn private_copy(path: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a temporary directory");
    let from = fixture(path);
    for dir in [
        "cacerts",
        "intermediatecerts",
        "admincerts",
        "tlscacerts",
        "crls",
        "signcerts",
        "keystore",
    ] {
        let to = copy.path().join(dir);
        fs::create_dir(&to).expect("a temporary directory can be written");
        let Ok(entries) = fs::read_dir(from.join(dir)) else { continue };
        for entry in entries.flatten() {
            copy_file(&entry.path(), &to.join("one.pem"));
        }
    }
    copy_file(&from.join("config.yaml"), &copy.path().join("config.yaml"));
    // Fabric names the certificate of each role's issuer by its file.
    let settings = copy.path().join("config.yaml");
    let text = fs::read_to_string(&settings).unwrap_or_default();
    let text = text.replace("ca.org1.test-cert.pem", "one.pem");
    fs::write(&settings, text).expect("a temporary directory can be written");
    copy
}

fn copy_file(from: &Path, to: &Path) {
    fs::copy(from, to).expect("a fixture");
    fs::set_permissions(to, fs::Permissions::from_mode(0o600)).expect("a file of ours");
}

const PEER0: &str = "crypto/peerOrganizations/org1.test/peers/peer0.org1.test/msp";

/// The files of an MSP's directory that an operator supplies.
const FILES: [&str; 7] = [
    "config.yaml",
    "cacerts/one.pem",
    "signcerts/one.pem",
    "crls/one.pem",
    "intermediatecerts/one.pem",
    "admincerts/one.pem",
    "tlscacerts/one.pem",
];
