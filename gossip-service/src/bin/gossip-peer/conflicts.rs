//! Conflicts of a channel: kept beside its blocks, and decided by `gossip-peer channel resume`. What convicts
//! a source of blocks in shares is kept at the same place.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use gossip_api::{BlockCodec as _, BlockHash, ChannelId, Ledger as _, SeqNum};
use gossip_service::store::{BlockStore, DataDir};
use gossip_service::{ConflictProof, ConflictStore, SourceProof};
use peer_mcs::{Channels, FabricCodec};
use serde_json::json;
use tracing::warn;

use crate::operations::{Operations, refuse};
use crate::{contradiction, evidence};

/// Beside the blocks the halt, in the data directory the evidence with the configuration that judges it.
pub(crate) struct Conflicts {
    pub(crate) channel: ChannelId,
    pub(crate) store: Arc<BlockStore>,
    pub(crate) data: DataDir,
    pub(crate) channels: Arc<Channels>,
}

impl ConflictStore for Conflicts {
    fn halted(&self) -> Result<Option<SeqNum>, String> {
        let value = self.store.value(HALTED).map_err(|error| error.to_string())?;
        let number = value.map(|bytes| bytes.as_ref().try_into().map(u64::from_le_bytes));
        let number = number.transpose().map_err(|_| "the stored halt is damaged".to_owned())?;
        Ok(number.map(SeqNum::new))
    }

    fn keep(&self, proof: &ConflictProof, halt: bool) -> Result<(), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let mut files = vec![(contradiction::OTHER, FabricCodec.join(&proof.other))];
        files.extend(proof.kept.iter().map(|kept| (contradiction::KEPT, FabricCodec.join(kept))));
        let config = self.config_of(proof.number)?;
        files.extend(config.map(|config| (evidence::CONFIG, config)));
        let files: Vec<(&str, &[u8])> =
            files.iter().map(|(name, bytes)| (*name, bytes.as_ref())).collect();
        let mark = FabricCodec.header_hash(&proof.other).to_string();
        let mark = mark.get(..16).unwrap_or(&mark);
        let dir = self.data.keep_evidence(&self.channel, proof.number, mark, &files);
        let dir = dir.map_err(|error| text(&error))?;
        warn!(channel = %self.channel, evidence = %dir.display(), "evidence kept");
        if halt {
            let number = proof.number.get().to_le_bytes();
            self.store.set_value(HALTED, Some(&number)).map_err(|error| text(&error))?;
        }
        Ok(())
    }

    fn convict(&self, proof: &SourceProof) -> Result<(), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let mut files: Vec<(&str, Bytes)> = vec![(evidence::SHARES, proof.evidence.clone())];
        let identity = proof.identity.as_ref().map(|identity| identity.as_bytes().clone());
        files.extend(identity.map(|identity| (evidence::SOURCE, identity)));
        let config = self.config_of(proof.number)?;
        files.extend(config.map(|config| (evidence::CONFIG, config)));
        let files: Vec<(&str, &[u8])> =
            files.iter().map(|(name, bytes)| (*name, bytes.as_ref())).collect();
        let mark = proof.source.to_string();
        let mark = mark.get(..16).unwrap_or(&mark);
        let dir = self.data.keep_evidence(&self.channel, proof.number, mark, &files);
        let dir = dir.map_err(|error| text(&error))?;
        warn!(channel = %self.channel, evidence = %dir.display(), "evidence kept");
        Ok(())
    }

    fn resume(&self) -> Result<(), String> {
        self.store.set_value(HALTED, None).map_err(|error| error.to_string())
    }
}

impl Conflicts {
    /// The block with the configuration that judges a number.
    fn config_of(&self, number: SeqNum) -> Result<Option<Bytes>, String> {
        let Some(judge) = self.channels.for_block(&self.channel, number) else { return Ok(None) };
        let config = self.store.block(judge.config_block());
        let config = tokio::runtime::Handle::current().block_on(config);
        let config = config.map_err(|error| error.to_string())?;
        Ok(config.map(|config| FabricCodec.join(&config)))
    }
}

/// Answers `gossip-peer channel resume`; the body is the hash of the header that the operator accepts.
pub(crate) async fn decide(
    State(operations): State<Operations>,
    Path(channel): Path<String>,
    body: String,
) -> Response {
    let decision = ChannelId::new(&channel).map_err(|error| error.to_string());
    let decision = decision.and_then(|channel| Ok((channel, hash(body.trim())?)));
    let (channel, accept) = match decision {
        Ok(decision) => decision,
        Err(reason) => return refuse(StatusCode::BAD_REQUEST, &reason),
    };
    match operations.service.resume(&channel, accept).await {
        Ok(true) => Json(json!({ "resumed": channel.as_str() })).into_response(),
        Ok(false) => refuse(
            StatusCode::CONFLICT,
            &format!(
                "channel {channel} stays stopped: its ledger holds another block than the one \
                 accepted and has to be rebuilt"
            ),
        ),
        Err(error) => refuse(StatusCode::NOT_FOUND, &error.to_string()),
    }
}

/// Reads a hash as it is shown.
pub(crate) fn hash(text: &str) -> Result<BlockHash, String> {
    let wrong = || "a hash has 64 hex digits".to_owned();
    let digits: Vec<u8> = text
        .chars()
        .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
        .collect::<Option<_>>()
        .ok_or_else(wrong)?;
    let bytes: Vec<u8> = digits
        .chunks_exact(2)
        .map(|pair| pair.iter().fold(0_u8, |byte, digit| byte.wrapping_shl(4) | digit))
        .collect();
    if digits.len() != 64 {
        return Err(wrong());
    }
    Ok(BlockHash::from_bytes(bytes.try_into().map_err(|_| wrong())?))
}

/// Name of the stored halt.
const HALTED: &str = "halted";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_hash_is_read_as_it_is_shown_and_nothing_else_is() {
        let shown = BlockHash::from_bytes([0xa5; 32]);
        assert_eq!(hash(&shown.to_string()), Ok(shown));
        for wrong in ["", "a5", &"g5".repeat(32), &"a5".repeat(33)] {
            assert!(hash(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_halt_and_its_evidence_outlive_the_process_until_the_decision() {
        let home = tempfile::tempdir().unwrap();
        let fixtures =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../peer-mcs/tests/fixtures/trade");
        let block = |path: &str| {
            FabricCodec.split(&std::fs::read(fixtures.join(path)).unwrap().into()).unwrap()
        };
        let genesis = block("genesis.block");
        let trust = peer_mcs::Channel::from_config_block(&genesis).unwrap();
        let channel = trust.id().clone();
        let channels = Arc::new(Channels::new());
        channels.join(trust).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let open = || {
            let data = DataDir::open(home.path()).unwrap();
            let store = Arc::new(data.channel(&channel, Arc::new(FabricCodec)).unwrap());
            let channels = Arc::clone(&channels);
            Conflicts { channel: channel.clone(), store, data, channels }
        };
        let first = open();
        runtime.block_on(first.store.commit(vec![genesis.clone()])).unwrap();
        let other = block("blocks/block_000001.pb");
        let proof = ConflictProof { number: SeqNum::new(1), kept: Some(other.clone()), other };
        // As in the service, from a thread that may block.
        runtime.block_on(async {
            tokio::task::spawn_blocking(move || first.keep(&proof, true)).await.unwrap().unwrap();
        });
        let second = open();
        assert_eq!(second.halted(), Ok(Some(SeqNum::new(1))));
        let dir = std::fs::read_dir(home.path().join("evidence")).unwrap().next().unwrap().unwrap();
        let read = |name: &str| {
            FabricCodec.split(&std::fs::read(dir.path().join(name)).unwrap().into()).unwrap()
        };
        assert_eq!(read("config.block").header(), genesis.header());
        assert_eq!(read("other.block").number, SeqNum::new(1));
        assert_eq!(read("kept.block").number, SeqNum::new(1));
        second.resume().unwrap();
        assert_eq!(second.halted(), Ok(None));
    }
}
