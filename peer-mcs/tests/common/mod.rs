//! Fixtures of a genuine Fabric network, and peers set up from them.
#![allow(dead_code, reason = "every test file uses another part of it")]
#![allow(unreachable_pub, reason = "a module of tests has no other visibility to choose")]

pub mod org;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use gossip_api::{Block, BlockCodec, ChannelId, PeerIdentity};
use peer_mcs::{Channel, Channels, FabricCodec, LocalMsp, Mcs};
use tempfile::TempDir;

pub fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(path)
}

pub fn read(path: &str) -> Bytes {
    let path = fixture(path);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).into()
}

pub fn block(channel: &str, number: u64) -> Block {
    FabricCodec.split(&read(&format!("{channel}/blocks/block_{number:06}.pb"))).unwrap()
}

pub fn identity(name: &str) -> PeerIdentity {
    PeerIdentity::new(read(&format!("identities/{name}.bin"))).unwrap()
}

pub fn id(channel: &str) -> ChannelId {
    ChannelId::new(channel).unwrap()
}

/// Copies a directory, its files readable by their owner alone.
pub fn copy_private(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_private(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
            fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}

/// A private copy of a peer's MSP directory.
pub fn msp_dir(peer: &str) -> TempDir {
    let org = peer.split_once('.').unwrap().1;
    let dir = tempfile::tempdir().unwrap();
    copy_private(&fixture(&format!("crypto/peerOrganizations/{org}/peers/{peer}/msp")), dir.path());
    dir
}

pub fn local(peer: &str, msp: &str) -> Arc<LocalMsp> {
    Arc::new(LocalMsp::from_dir(msp_dir(peer).path(), msp).unwrap())
}

/// The channels of a peer that has joined one channel and committed its config blocks up to one.
pub fn channels(channel: &str, config_block: u64) -> Arc<Channels> {
    let channels = Channels::new();
    channels.join(Channel::from_config_block(&block(channel, 0)).unwrap()).unwrap();
    for number in [16, 18, 36, 48] {
        let is_config = (channel == "bft") == (number == 16);
        if is_config && number <= config_block {
            channels.apply(&id(channel), &block(channel, number)).unwrap();
        }
    }
    Arc::new(channels)
}

/// peer0 of org1 in one channel as of a config block.
pub fn peer0(channel: &str, config_block: u64) -> Mcs {
    Mcs::new(local("peer0.org1.test", "Org1MSP"), channels(channel, config_block))
}
