//! Which life of the peer this is, on disk.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use gossip_api::Epoch;
use tracing::warn;

use super::dir::write_atomically;
use super::error::StoreError;

/// The epoch counter of protocol.md 1: one more at every start, and on disk before it is used.
#[derive(Clone, Debug)]
pub struct EpochFile {
    path: PathBuf,
}

impl EpochFile {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The epoch of the last life; nothing if there was none, or if its file is damaged.
    ///
    /// # Errors
    /// If the file is there and cannot be read.
    pub fn stored(&self) -> Result<Option<Epoch>, StoreError> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io(&self.path)(error)),
        };
        let stored = std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok());
        if stored.is_none() {
            warn!(path = %self.path.display(), "epoch file is damaged, other peers will tell the epoch");
        }
        Ok(stored.map(Epoch::new))
    }

    /// Begins a life: one more than the last one and than `seen`, the newest that others have seen of us.
    ///
    /// Durable when it returns.
    ///
    /// # Errors
    /// If the file cannot be read or written; the epoch must not be used then.
    pub fn advance(&self, seen: Option<Epoch>) -> Result<Epoch, StoreError> {
        let last = self.stored()?.max(seen).map_or(0, Epoch::get);
        let epoch = Epoch::new(last.saturating_add(1));
        write_atomically(&self.path, format!("{epoch}\n").as_bytes())?;
        Ok(epoch)
    }
}
