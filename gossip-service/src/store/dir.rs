//! The data directory: one process at a time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gossip_api::{BlockCodec, ChannelId, SeqNum};
use sha2::{Digest, Sha256};

use super::blocks::BlockStore;
use super::epoch::EpochFile;
use super::error::StoreError;
use super::open;
use super::record::{KEY_LEN, SealKey};

/// A peer's data directory, held by this process for as long as the value or a store of it lives.
#[derive(Clone, Debug)]
pub struct DataDir {
    path: Arc<Path>,
    lock: Arc<File>,
}

impl DataDir {
    /// Takes the directory, and makes it if there is none. Nobody else may read it.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another process has it, [`StoreError::Io`] if it cannot be made.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(StoreError::io(path))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
            .map_err(StoreError::io(path))?;
        let lock_path = path.join("LOCK");
        let lock = private_file(&lock_path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(StoreError::io(&lock_path)(error)),
        }
        Ok(Self { path: path.into(), lock: Arc::new(lock) })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The part of a channel's file names that tells it from others.
    pub fn stem(channel: &ChannelId) -> String {
        file_stem(channel)
    }

    /// Whether there is a store of the channel, in whatever state.
    pub fn holds(&self, channel: &ChannelId) -> bool {
        self.path.join(format!("{}.redb", file_stem(channel))).exists()
    }

    /// Opens one channel's store. Reads and writes files: seconds for a large or damaged store.
    ///
    /// # Errors
    /// If the file is another channel's or of a later format, or the file system refuses.
    pub fn channel(
        &self,
        channel: &ChannelId,
        codec: Arc<dyn BlockCodec>,
    ) -> Result<BlockStore, StoreError> {
        let stem = file_stem(channel);
        let key_path = self.path.join(format!("{stem}.key"));
        let key = seal_key(&key_path)?;
        let path = self.path.join(format!("{stem}.redb"));
        let opened = open::open(&path, channel, &key, codec.as_ref())?;
        if opened.key != key {
            write_atomically(&key_path, opened.key.as_bytes())?;
        }
        sync_dir(&self.path)?;
        Ok(BlockStore::new(channel.clone(), path, codec, opened, Arc::clone(&self.lock)))
    }

    /// 32 random bytes that stay the same for as long as the directory does: what a transport derives its
    /// reset tokens and connection ids from.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn transport_secret(&self) -> Result<[u8; 32], StoreError> {
        kept_random(&self.path.join("transport.secret"))
    }

    /// Keeps what proves a conflict about block `number` of a channel, durably and for nobody else to read,
    /// in a directory of its own; answers with that directory. `mark` tells conflicts of one number apart.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn keep_evidence(
        &self,
        channel: &ChannelId,
        number: SeqNum,
        mark: &str,
        files: &[(&str, &[u8])],
    ) -> Result<PathBuf, StoreError> {
        let all = self.path.join("evidence");
        let dir = all.join(format!("{}-{number}-{mark}", file_stem(channel)));
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(StoreError::io(&dir))?;
        for (name, contents) in files {
            write_atomically(&dir.join(name), contents)?;
        }
        sync_dir(&all)?;
        sync_dir(&self.path)?;
        Ok(dir)
    }

    /// The file in which the peer counts its lives.
    pub fn epoch(&self) -> EpochFile {
        EpochFile::new(self.path.join("epoch"))
    }
}

/// The channel's name where it can be one of a file, else its hash.
fn file_stem(channel: &ChannelId) -> String {
    let name = channel.as_str();
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    let fits = !name.is_empty() && name.len() <= NAME_MAX && !name.starts_with('.');
    if fits && name.chars().all(is_plain) {
        return name.to_owned();
    }
    let digest = Sha256::digest(name.as_bytes());
    digest.iter().fold(String::from("channel@"), |hex, byte| format!("{hex}{byte:02x}"))
}

/// The key kept beside a store; a new one if there is none.
fn seal_key(path: &Path) -> Result<SealKey, StoreError> {
    kept_random(path).map(SealKey::from_bytes)
}

/// The random bytes kept in a file; new ones if there are none.
fn kept_random(path: &Path) -> Result<[u8; KEY_LEN], StoreError> {
    let mut file = private_file(path)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(StoreError::io(path))?;
    if let Ok(kept) = bytes.as_slice().try_into() {
        return Ok(kept);
    }
    let mut fresh = [0; KEY_LEN];
    let random = Path::new("/dev/urandom");
    File::open(random)
        .and_then(|mut source| source.read_exact(&mut fresh))
        .map_err(StoreError::io(random))?;
    write_atomically(path, &fresh)?;
    Ok(fresh)
}

/// Opens a file that only its owner may read, and makes it if there is none.
pub(super) fn private_file(path: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(path).map_err(StoreError::io(path))?;
    file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(StoreError::io(path))?;
    Ok(file)
}

/// Replaces a file's contents so that a crash leaves the old ones or the new ones.
pub(super) fn write_atomically(path: &Path, contents: &[u8]) -> Result<(), StoreError> {
    let temporary = temporary_path(path);
    let mut file = private_file(&temporary)?;
    file.set_len(0)
        .and_then(|()| file.write_all(contents))
        .and_then(|()| file.sync_all())
        .map_err(StoreError::io(&temporary))?;
    fs::rename(&temporary, path).map_err(StoreError::io(path))?;
    path.parent().map_or(Ok(()), sync_dir)
}

pub(super) fn temporary_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// Makes renames and creations in a directory survive a loss of power.
pub(super) fn sync_dir(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(StoreError::io(path))
}

/// File systems allow 255 bytes; ours end in `.redb` and `.new`.
const NAME_MAX: usize = 200;
