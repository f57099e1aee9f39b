//! One directory per peer: a genuine identity and a `core.yaml`.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::ports::Ports;

/// Where a peer lives and listens.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Its name, such as `peer0.org1.test`.
    pub(crate) name: String,
    /// Number of its organisation.
    pub(crate) org: u8,
    /// Its directory.
    pub(crate) home: PathBuf,
    /// UDP port of the gossip endpoint.
    pub(crate) gossip: u16,
    /// TCP port of the operations endpoint.
    pub(crate) operations: u16,
}

impl Place {
    /// A directory below `run` and two ports for peer `number` of organisation `org`.
    pub(crate) fn claim(run: &Path, (number, org): (u8, u8), ports: &mut Ports) -> Result<Self> {
        let name = format!("peer{number}.org{org}.test");
        let home = run.join(&name);
        Ok(Self { name, org, home, gossip: ports.next()?, operations: ports.next()? })
    }

    /// The peer's configuration.
    pub(crate) fn config(&self) -> PathBuf {
        self.home.join("core.yaml")
    }
}

/// What the peers of one run share.
pub(crate) struct Shared<'a> {
    /// The recorded network: identities, genesis block, blocks.
    pub(crate) fixtures: &'a Path,
    /// The directory that leaders read blocks from.
    pub(crate) source: &'a Path,
}

/// Makes the peer's directory; it is a leader if it is itself the `bootstrap` of its organisation.
pub(crate) fn lay_out(place: &Place, bootstrap: &Place, shared: &Shared<'_>) -> Result<()> {
    let org = format!("org{}.test", place.org);
    let identity =
        shared.fixtures.join("crypto/peerOrganizations").join(org).join("peers").join(&place.name);
    private_dir(&place.home)?;
    private_dir(&place.home.join("data"))?;
    for part in ["msp", "tls"] {
        copy_private(&identity.join(part), &place.home.join(part))?;
    }
    let genesis = shared.fixtures.join("trade/genesis.block");
    write_private(&place.home.join("genesis.block"), &read(&genesis)?)?;
    let leader = place.name == bootstrap.name;
    let lead = match leader {
        true => Lead::Named { source: shared.source },
        false => Lead::Never,
    };
    write_private(&place.config(), core_yaml(place, bootstrap.gossip, &lead).as_bytes())
}

/// Where a peer takes blocks from if it leads, and who decides whether it does.
enum Lead<'a> {
    /// It leads, and reads a directory.
    Named { source: &'a Path },
    /// It never leads.
    Never,
    /// Its organisation elects, and the ordering service gives the blocks.
    Elected { genesis: &'a Path, relay: u16 },
}

/// Writes the configuration of a peer that was enrolled: it takes part in elections, takes blocks from the
/// ordering service, and relays them on TCP port `relay`.
pub(crate) fn configure(
    place: &Place,
    bootstrap: u16,
    (genesis, relay): (&Path, u16),
) -> Result<()> {
    private_dir(&place.home.join("data"))?;
    let lead = Lead::Elected { genesis, relay };
    write_private(&place.config(), core_yaml(place, bootstrap, &lead).as_bytes())
}

/// A directory that its owner alone may enter.
pub(crate) fn private_dir(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make the directory {}", path.display()))
}

/// Copies a directory; every file becomes readable by its owner alone.
pub(crate) fn copy_private(from: &Path, to: &Path) -> Result<()> {
    private_dir(to)?;
    let entries = fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))?;
    for entry in entries {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_private(&entry.path(), &target)?;
        } else {
            write_private(&target, &read(&entry.path())?)?;
        }
    }
    Ok(())
}

fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(content)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The peer's `core.yaml`: Fabric's keys, and our own section `gossipPeer`.
fn core_yaml(place: &Place, bootstrap: u16, lead: &Lead<'_>) -> String {
    let Place { name, org, gossip, operations, .. } = place;
    let leadership = match lead {
        Lead::Named { .. } => "useLeaderElection: false\n    orgLeader: true",
        Lead::Never => "useLeaderElection: false\n    orgLeader: false",
        Lead::Elected { .. } => "useLeaderElection: true",
    };
    let own = match lead {
        Lead::Named { source } => {
            let source = quoted(source);
            format!(
                "channels:\n    - genesis: genesis.block\n      source:\n        file: {source}"
            )
        }
        Lead::Never => {
            "channels:\n    - genesis: genesis.block\n      source:\n        orderers: false"
                .to_owned()
        }
        Lead::Elected { genesis, relay } => {
            let genesis = quoted(genesis);
            format!(
                "relay:\n    listenAddress: 127.0.0.1:{relay}\n  channels:\n    - genesis: {genesis}"
            )
        }
    };
    format!(
        "peer:
  id: {name}
  networkId: demo
  listenAddress: 127.0.0.1:{gossip}
  address: 127.0.0.1:{gossip}
  localMspId: Org{org}MSP
  mspConfigPath: msp
  fileSystemPath: data
  tls:
    enabled: true
    cert:
      file: tls/server.crt
    key:
      file: tls/server.key
    rootcert:
      file: tls/ca.crt
    clientAuthRequired: true
  gossip:
    bootstrap: 127.0.0.1:{bootstrap}
    endpoint: 127.0.0.1:{gossip}
    externalEndpoint: 127.0.0.1:{gossip}
    {leadership}
operations:
  listenAddress: 127.0.0.1:{operations}
gossipPeer:
  dataDir: data
  {own}
"
    )
}

/// A path as a YAML scalar, whatever it holds: JSON strings are YAML.
fn quoted(path: &Path) -> String {
    serde_json::Value::from(path.to_string_lossy()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        let home = PathBuf::from("run/peer1.org2.test");
        Place { name: "peer1.org2.test".into(), org: 2, home, gossip: 21, operations: 22 }
    }

    #[test]
    fn a_leader_reads_the_source_and_a_follower_does_not() {
        let leader = core_yaml(&place(), 21, &Lead::Named { source: Path::new("a \"b\"") });
        assert!(leader.contains("orgLeader: true"));
        assert!(
            leader.ends_with(
                "genesis: genesis.block\n      source:\n        file: \"a \\\"b\\\"\"\n"
            )
        );
        let follower = core_yaml(&place(), 7, &Lead::Never);
        assert!(follower.contains("orgLeader: false"));
        assert!(follower.contains("bootstrap: 127.0.0.1:7\n"));
        assert!(follower.contains("localMspId: Org2MSP\n"));
        assert!(follower.contains("orderers: false"));
    }

    #[test]
    fn an_elected_peer_takes_blocks_from_the_ordering_service_and_relays_them() {
        let lead = Lead::Elected { genesis: Path::new("g"), relay: 9 };
        let yaml = core_yaml(&place(), 7, &lead);
        assert!(yaml.contains("useLeaderElection: true\n"));
        assert!(yaml.contains("relay:\n    listenAddress: 127.0.0.1:9\n"));
        assert!(yaml.ends_with("- genesis: \"g\"\n"));
    }

    #[test]
    fn nobody_else_may_read_a_peers_directory() {
        let run = std::env::temp_dir().join(format!("layout-{}", std::process::id()));
        let fixtures = crate::shell::root().join("peer-mcs/tests/fixtures");
        let place = Place { home: run.join("peer1.org2.test"), ..place() };
        let shared = Shared { fixtures: &fixtures, source: &run };
        lay_out(&place, &place, &shared).unwrap();
        let mode =
            |path: &str| fs::metadata(place.home.join(path)).unwrap().permissions().mode() & 0o777;
        let modes = ["", "msp", "msp/keystore/priv_sk", "tls/server.key", "core.yaml"].map(mode);
        fs::remove_dir_all(&run).unwrap();
        assert_eq!(modes, [0o700, 0o700, 0o600, 0o600, 0o600]);
    }
}
