//! Blocks from a directory: `block_NNNNNN.pb`, serialized as an orderer's Deliver gives them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use gossip_api::{Block, BlockCodec, BlockSource, BlockStream, ChannelId, SeqNum, SourceError};

/// Waits at the tip for the next file to appear.
pub(crate) struct FileSource {
    dir: PathBuf,
    codec: Arc<dyn BlockCodec>,
}

impl FileSource {
    pub(crate) fn new(dir: PathBuf, codec: Arc<dyn BlockCodec>) -> Self {
        Self { dir, codec }
    }
}

#[async_trait]
impl BlockSource for FileSource {
    fn name(&self) -> String {
        self.dir.display().to_string()
    }

    async fn blocks(&self, _channel: &ChannelId, from: SeqNum) -> Result<BlockStream, SourceError> {
        if !self.dir.is_dir() {
            return Err(SourceError::Unavailable {
                name: self.name(),
                reason: "not a directory".into(),
                retry_after: None,
            });
        }
        let state = (self.dir.clone(), Arc::clone(&self.codec), from);
        Ok(Box::pin(stream::unfold(state, |(dir, codec, number)| async move {
            let block = next(&dir, &*codec, number).await;
            Some((block, (dir, codec, number.next())))
        })))
    }

    async fn newest(&self, _channel: &ChannelId) -> Result<Block, SourceError> {
        let (dir, codec) = (self.dir.clone(), Arc::clone(&self.codec));
        let name = self.name();
        let read = tokio::task::spawn_blocking(move || newest(&dir, &*codec)).await;
        read.map_err(|error| SourceError::Unavailable {
            name,
            reason: error.to_string(),
            retry_after: None,
        })?
    }
}

/// The block with the highest number that a file of the directory carries in its name.
fn newest(dir: &std::path::Path, codec: &dyn BlockCodec) -> Result<Block, SourceError> {
    let entries = std::fs::read_dir(dir).map_err(|error| unavailable(dir, &error))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let Some(number) = names.filter_map(|name| file_number(&name)).max() else {
        return Err(unavailable(dir, &"no block is there"));
    };
    let file = dir.join(file_name(number));
    let bytes = std::fs::read(&file).map_err(|error| unavailable(&file, &error))?;
    let name = file.display().to_string();
    codec.split(&Bytes::from(bytes)).map_err(|error| SourceError::BadBlock { name, error })
}

/// The number in a block's file name; nothing for other files.
fn file_number(name: &str) -> Option<SeqNum> {
    let number = name.strip_prefix("block_")?.strip_suffix(".pb")?.parse().ok()?;
    (file_name(SeqNum::new(number)) == name).then_some(SeqNum::new(number))
}

/// The block's file name.
pub(crate) fn file_name(number: SeqNum) -> String {
    format!("block_{:06}.pb", number.get())
}

async fn next(
    dir: &std::path::Path,
    codec: &dyn BlockCodec,
    number: SeqNum,
) -> Result<Block, SourceError> {
    let file = dir.join(file_name(number));
    loop {
        match tokio::task::spawn_blocking({
            let file = file.clone();
            move || std::fs::read(file)
        })
        .await
        {
            Ok(Ok(bytes)) => {
                let name = file.display().to_string();
                return codec
                    .split(&Bytes::from(bytes))
                    .map_err(|error| SourceError::BadBlock { name, error });
            }
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
                tokio::time::sleep(POLL_EVERY).await;
            }
            Ok(Err(error)) => return Err(unavailable(&file, &error)),
            Err(error) => return Err(unavailable(&file, &error)),
        }
    }
}

fn unavailable(file: &std::path::Path, error: &dyn std::fmt::Display) -> SourceError {
    SourceError::Unavailable {
        name: file.display().to_string(),
        reason: error.to_string(),
        retry_after: None,
    }
}

/// How often the directory is looked at.
const POLL_EVERY: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn only_the_names_that_blocks_are_given_count() {
        let numbers = ["block_000007.pb", "block_1234567.pb", "block_7.pb", "block_.pb", "x.pb"];
        let numbers: Vec<_> = numbers.iter().map(|name| file_number(name)).collect();
        let expect = [Some(7), Some(1_234_567), None, None, None];
        assert_eq!(numbers, expect.map(|number: Option<u64>| number.map(SeqNum::new)));
    }
}
