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
