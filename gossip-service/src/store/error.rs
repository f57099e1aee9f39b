//! Why a store cannot be opened or written.

use std::path::PathBuf;

use gossip_api::ChannelId;

/// Why the store did not do what it was asked. The texts say what to change where something can be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has the data directory open.
    #[error("data directory {0} is in use by another process: stop it or choose another directory")]
    InUse(PathBuf),
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// What it was about.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// The file belongs to another channel.
    #[error("{path} holds channel {found:?}, not {expected}")]
    WrongChannel {
        /// The file.
        path: PathBuf,
        /// The channel asked for.
        expected: ChannelId,
        /// The channel in it.
        found: String,
    },
    /// The file was written by a later version.
    #[error(
        "{path} has format {found}, this version reads up to {known}: use the version that wrote it"
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest format known here.
        known: u64,
    },
    /// The database failed, and so did the attempt to save its blocks.
    #[error("{path}: {reason}")]
    Database {
        /// The file.
        path: PathBuf,
        /// The database's words.
        reason: String,
    },
}

impl StoreError {
    pub(super) fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}
