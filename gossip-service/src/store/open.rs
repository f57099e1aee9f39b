//! Opening a channel's file in whatever state it is.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use gossip_api::{BlockCodec, BlockHash, ChannelId, Height, SeqNum};
use redb::{Builder, Database, ReadableDatabase, ReadableTable, TableDefinition};
use tracing::{info, warn};

use super::dir::{private_file, temporary_path};
use super::error::StoreError;
use super::record::{self, SealKey};
use super::salvage::Salvage;

pub(super) const BLOCKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("blocks");
pub(super) const VALUES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("values");

/// A database and what it holds.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) height: Height,
    /// Header hash of the last block.
    pub(super) last_hash: Option<BlockHash>,
    /// What its records are sealed with.
    pub(super) key: SealKey,
}

/// What is wrong with a database.
enum Trouble {
    /// It can be told, and nothing is to be done by us.
    Fatal(StoreError),
    /// Its contents are damaged.
    Damaged(String),
}

type Attempt<T> = Result<T, Trouble>;

/// Opens the file, or makes it, or saves what can be saved of it.
pub(super) fn open(
    path: &Path,
    channel: &ChannelId,
    key: &SealKey,
    codec: &dyn BlockCodec,
) -> Result<Opened, StoreError> {
    match attempt(path, channel, key, codec) {
        Ok(opened) => Ok(opened),
        Err(Trouble::Fatal(error)) => Err(error),
        Err(Trouble::Damaged(reason)) => {
            warn!(%channel, path = %path.display(), reason, "store is damaged, saving its blocks");
            rebuild(path, channel, key, codec)
        }
    }
}

/// The database asserts what it believes of its file; on a damaged file an assertion is a finding.
fn attempt(
    path: &Path,
    channel: &ChannelId,
    key: &SealKey,
    codec: &dyn BlockCodec,
) -> Attempt<Opened> {
    catch_unwind(AssertUnwindSafe(|| try_open(path, channel, key, codec)))
        .unwrap_or_else(|_| Err(Trouble::Damaged("the database gave up on the file".to_owned())))
}

fn try_open(
    path: &Path,
    channel: &ChannelId,
    key: &SealKey,
    codec: &dyn BlockCodec,
) -> Attempt<Opened> {
    let database = open_database(path)?;
    let key = prepare(&database, path, channel, key)?;
    let end = first_gap(&database)?;
    let first = SeqNum::new(end.get().saturating_sub(TAIL_BLOCKS));
    let checked = check_tail(&database, &key, codec, first, end)?;
    if checked.height.get() == first.get() && end > first && first > SeqNum::default() {
        return Err(Trouble::Damaged(format!("none of blocks {first} and above is whole")));
    }
    let stated = count(&database)?;
    if stated != checked.height.get() {
        warn!(%channel, height = %checked.height, found = stated, "store cut back to its last whole block");
        cut_back(&database, checked.height)?;
    }
    Ok(Opened { database, height: checked.height, last_hash: checked.last_hash, key })
}

fn open_database(path: &Path) -> Attempt<Database> {
    let file = private_file(path).map_err(Trouble::Fatal)?;
    let length = file.metadata().map(|metadata| metadata.len()).unwrap_or(u64::MAX);
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder.set_check_integrity_on_open(length <= CHECKED_WHOLE);
    let backend = redb::backends::FileBackend::new(file);
    let database = backend.and_then(|backend| builder.create_with_backend(backend));
    database.map_err(|error| judge(path, error))
}

/// Whether an error says that the file is damaged, or something that opening it again would not mend.
fn judge(path: &Path, error: redb::DatabaseError) -> Trouble {
    use std::io::ErrorKind::{InvalidData, UnexpectedEof};
    if matches!(error, redb::DatabaseError::DatabaseAlreadyOpen) {
        return Trouble::Fatal(StoreError::InUse(path.to_owned()));
    }
    if let redb::DatabaseError::Storage(redb::StorageError::Io(source)) = error {
        let is_cut_off = matches!(source.kind(), UnexpectedEof | InvalidData);
        return if is_cut_off {
            damaged(source)
        } else {
            Trouble::Fatal(StoreError::io(path)(source))
        };
    }
    Trouble::Damaged(error.to_string())
}

/// Makes the tables of a new file, or checks that an old one is the right one. Answers with what its
/// records are sealed with: the key beside the file may have been lost.
fn prepare(
    database: &Database,
    path: &Path,
    channel: &ChannelId,
    key: &SealKey,
) -> Attempt<SealKey> {
    let transaction = begin_write(database)?;
    {
        transaction.open_table(BLOCKS).map_err(damaged)?;
        let mut values = transaction.open_table(VALUES).map_err(damaged)?;
        let stored = |name: &str| -> Attempt<Option<Vec<u8>>> {
            Ok(values.get(name).map_err(damaged)?.map(|value| value.value().to_vec()))
        };
        match (stored("format")?, stored("channel")?, stored("seal")?) {
            (None, None, None) => {
                for (name, value) in [
                    ("format", FORMAT.to_le_bytes().as_slice()),
                    ("channel", channel.as_str().as_bytes()),
                    ("seal", key.as_bytes()),
                ] {
                    values.insert(name, value).map_err(damaged)?;
                }
            }
            (Some(format), Some(found), Some(seal)) => {
                check_format(path, &format)?;
                check_channel(path, channel, &found)?;
                let seal = seal.as_slice().try_into();
                let seal =
                    seal.map_err(|_| Trouble::Damaged("its key is unreadable".to_owned()))?;
                return Ok(SealKey::from_bytes(seal));
            }
            _ => return Err(Trouble::Damaged("it does not say what it is".to_owned())),
        }
    }
    transaction.commit().map_err(damaged)?;
    Ok(key.clone())
}

fn check_format(path: &Path, format: &[u8]) -> Attempt<()> {
    let found = <[u8; 8]>::try_from(format).map(u64::from_le_bytes);
    match found {
        Ok(FORMAT) => Ok(()),
        Ok(found) => {
            Err(Trouble::Fatal(StoreError::Format { path: path.to_owned(), found, known: FORMAT }))
        }
        Err(_) => Err(Trouble::Damaged("its format number is unreadable".to_owned())),
    }
}

fn check_channel(path: &Path, channel: &ChannelId, found: &[u8]) -> Attempt<()> {
    if found == channel.as_str().as_bytes() {
        return Ok(());
    }
    Err(Trouble::Fatal(StoreError::WrongChannel {
        path: path.to_owned(),
        expected: channel.clone(),
        found: String::from_utf8_lossy(found).into_owned(),
    }))
}

/// One past the highest number, if no number below it is missing; else the first one missing, which a
/// search by halves finds: numbers are only ever appended.
fn first_gap(database: &Database) -> Attempt<SeqNum> {
    let transaction = database.begin_read().map_err(damaged)?;
    let blocks = transaction.open_table(BLOCKS).map_err(damaged)?;
    let last = blocks.last().map_err(damaged)?.map(|(number, _)| number.value());
    let Some(last) = last else { return Ok(SeqNum::default()) };
    let (mut present, mut missing) = (0, last.saturating_add(1));
    if redb::ReadableTableMetadata::len(&blocks).map_err(damaged)? == missing {
        return Ok(SeqNum::new(missing));
    }
    while present < missing {
        let middle = present + (missing - present) / 2;
        if blocks.get(middle).map_err(damaged)?.is_some() {
            present = middle + 1;
        } else {
            missing = middle;
        }
    }
    Ok(SeqNum::new(missing))
}

fn count(database: &Database) -> Attempt<u64> {
    let transaction = database.begin_read().map_err(damaged)?;
    let blocks = transaction.open_table(BLOCKS).map_err(damaged)?;
    let last = blocks.last().map_err(damaged)?.map(|(number, _)| number.value());
    Ok(last.map_or(0, |last| last.saturating_add(1)))
}

struct Tail {
    height: Height,
    last_hash: Option<BlockHash>,
}

/// The longest run of whole, linked blocks in `first..end`.
fn check_tail(
    database: &Database,
    key: &SealKey,
    codec: &dyn BlockCodec,
    first: SeqNum,
    end: SeqNum,
) -> Attempt<Tail> {
    let transaction = database.begin_read().map_err(damaged)?;
    let blocks = transaction.open_table(BLOCKS).map_err(damaged)?;
    let mut tail = Tail { height: Height::new(first.get()), last_hash: None };
    for number in first.get()..end.get() {
        let Some(record) = blocks.get(number).map_err(damaged)? else { break };
        let record = Bytes::copy_from_slice(record.value());
        let block = record::open(key, SeqNum::new(number), &record)
            .and_then(|bytes| codec.split(&bytes).ok());
        let Some(block) = block.filter(|block| block.number.get() == number) else { break };
        let links = |hash: BlockHash| block.previous_hash.as_ref() == hash.as_bytes();
        if !tail.last_hash.is_none_or(links) {
            break;
        }
        tail = Tail { height: block.number.height(), last_hash: Some(codec.header_hash(&block)) };
    }
    Ok(tail)
}

fn cut_back(database: &Database, height: Height) -> Attempt<()> {
    let transaction = begin_write(database)?;
    {
        let mut blocks = transaction.open_table(BLOCKS).map_err(damaged)?;
        blocks.retain_in(height.get().., |_, _| false).map_err(damaged)?;
    }
    transaction.commit().map_err(damaged)
}

/// Makes a new file of what is whole in the old one. The old one is kept under another name.
fn rebuild(
    path: &Path,
    channel: &ChannelId,
    key: &SealKey,
    codec: &dyn BlockCodec,
) -> Result<Opened, StoreError> {
    let fresh = temporary_path(path);
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(StoreError::io(&fresh)(error));
        }
        Ok(()) | Err(_) => {}
    }
    let salvage = Salvage::scan(path, key)?;
    let copied = copy_chain(salvage, &fresh, channel, key, codec);
    let height = copied.map_err(|trouble| trouble.into_error(&fresh))?;
    info!(%channel, %height, "blocks saved from the damaged store");
    let damaged = damaged_path(path);
    fs::rename(path, &damaged).map_err(StoreError::io(path))?;
    fs::rename(&fresh, path).map_err(StoreError::io(&fresh))?;
    if let Some(dir) = path.parent() {
        super::dir::sync_dir(dir)?;
    }
    attempt(path, channel, key, codec).map_err(|trouble| trouble.into_error(path))
}

fn copy_chain(
    salvage: Salvage,
    fresh: &Path,
    channel: &ChannelId,
    key: &SealKey,
    codec: &dyn BlockCodec,
) -> Attempt<u64> {
    let database = open_database(fresh)?;
    prepare(&database, fresh, channel, key)?;
    let mut chain = salvage.chain(codec).peekable();
    let mut copied = 0_u64;
    while chain.peek().is_some() {
        let transaction = begin_write(&database)?;
        {
            let mut blocks = transaction.open_table(BLOCKS).map_err(damaged)?;
            for (number, bytes) in chain.by_ref().take(COPY_BLOCKS) {
                append(&mut blocks, key, number, &bytes).map_err(Trouble::Damaged)?;
                copied = copied.saturating_add(1);
            }
        }
        transaction.commit().map_err(damaged)?;
    }
    Ok(copied)
}

/// Writes one record.
pub(super) fn append(
    blocks: &mut redb::Table<'_, u64, &'static [u8]>,
    key: &SealKey,
    number: SeqNum,
    bytes: &[u8],
) -> Result<(), String> {
    let header = record::header(key, number, bytes)
        .ok_or_else(|| format!("block {number} of {} bytes is too large", bytes.len()))?;
    let length = header.len().saturating_add(bytes.len());
    let mut place =
        blocks.insert_reserve(number.get(), length).map_err(|error| error.to_string())?;
    let (in_header, in_block) = place.as_mut().split_at_mut(header.len());
    in_header.copy_from_slice(&header);
    in_block.copy_from_slice(bytes);
    Ok(())
}

/// A transaction after which a crash costs no walk through the whole file.
pub(super) fn begin_write_quick(
    database: &Database,
) -> Result<redb::WriteTransaction, redb::TransactionError> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    Ok(transaction)
}

fn begin_write(database: &Database) -> Attempt<redb::WriteTransaction> {
    begin_write_quick(database).map_err(damaged)
}

fn damaged_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".damaged");
    name.into()
}

fn damaged(error: impl std::fmt::Display) -> Trouble {
    Trouble::Damaged(error.to_string())
}

impl Trouble {
    fn into_error(self, path: &Path) -> StoreError {
        match self {
            Self::Fatal(error) => error,
            Self::Damaged(reason) => StoreError::Database { path: path.to_owned(), reason },
        }
    }
}

/// The newest format of the file.
const FORMAT: u64 = 1;

/// Pages that the database keeps in memory, per channel. Blocks are read once or twice; only the inner
/// pages of the tree are worth keeping.
const CACHE_BYTES: usize = 8 << 20;

/// Files up to this size are checked page by page at each start (a second); larger ones at their tail.
const CHECKED_WHOLE: u64 = 256 << 20;

/// Blocks whose records and links are checked at each start.
const TAIL_BLOCKS: u64 = 256;

/// Blocks in one transaction while a damaged file is copied.
const COPY_BLOCKS: usize = 64;
