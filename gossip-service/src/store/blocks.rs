//! One channel's blocks, behind [`Ledger`].

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use async_trait::async_trait;
use bytes::Bytes;
use gossip_api::{Block, BlockCodec, BlockHash, ChannelId, Height, Ledger, LedgerError, SeqNum};
use redb::{AccessGuard, Database, ReadableDatabase};
use tracing::warn;

use super::open::{self, BLOCKS, Opened, VALUES};
use super::record::{self, SealKey};

/// The blocks of one channel in one file. Cheap to clone; all clones are one store.
#[derive(Clone, Debug)]
pub struct BlockStore {
    inner: Arc<Inner>,
}

struct Inner {
    channel: ChannelId,
    path: PathBuf,
    key: SealKey,
    codec: Arc<dyn BlockCodec>,
    /// Nothing after [`BlockStore::close`], and while it is being opened again.
    database: RwLock<Option<Database>>,
    tip: Mutex<Tip>,
    /// Keeps other processes out of the directory.
    _lock: Arc<File>,
}

/// The end of the chain, and whether the store takes more.
#[derive(Clone, Copy, Debug)]
struct Tip {
    height: Height,
    last_hash: Option<BlockHash>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// A write failed: the file is opened again before the next one.
    Broken,
    Closed,
}

impl BlockStore {
    pub(super) fn new(
        channel: ChannelId,
        path: PathBuf,
        codec: Arc<dyn BlockCodec>,
        opened: Opened,
        lock: Arc<File>,
    ) -> Self {
        let tip = Tip { height: opened.height, last_hash: opened.last_hash, state: State::Open };
        let inner = Inner {
            channel,
            path,
            key: opened.key,
            codec,
            database: RwLock::new(Some(opened.database)),
            tip: Mutex::new(tip),
            _lock: lock,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Number of blocks held.
    pub fn current_height(&self) -> Height {
        self.inner.tip().height
    }

    /// Header hash of the last block; nothing in an empty ledger.
    pub fn last_hash(&self) -> Option<BlockHash> {
        self.inner.tip().last_hash
    }

    /// A small value kept beside the blocks. Blocks the thread.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn value(&self, name: &str) -> Result<Option<Bytes>, LedgerError> {
        self.inner.guarded(|database| {
            let transaction = database.begin_read().map_err(text)?;
            let values = transaction.open_table(VALUES).map_err(text)?;
            let value = values.get(name).map_err(text)?;
            Ok(value.map(|value| Bytes::copy_from_slice(value.value())))
        })
    }

    /// Keeps a small value beside the blocks, durably, or removes it. Blocks the thread.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn set_value(&self, name: &str, value: Option<&[u8]>) -> Result<(), LedgerError> {
        self.inner.guarded(|database| {
            let transaction = open::begin_write_quick(database).map_err(text)?;
            {
                let mut values = transaction.open_table(VALUES).map_err(text)?;
                match value {
                    Some(value) => values.insert(name, value).map_err(text)?,
                    None => values.remove(name).map_err(text)?,
                };
            }
            transaction.commit().map_err(text)
        })
    }

    /// Closes the file once the calls under way are done. Blocks the thread. Idempotent.
    pub fn close(&self) {
        self.inner.tip().state = State::Closed;
        let mut database = self.inner.database.write().unwrap_or_else(PoisonError::into_inner);
        drop(database.take());
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let inner = Arc::clone(&self.inner);
        let channel = inner.channel.clone();
        tokio::task::spawn_blocking(move || work(&inner))
            .await
            .unwrap_or_else(|_| Err(LedgerError::Closed(channel)))
    }
}

impl Inner {
    fn tip(&self) -> MutexGuard<'_, Tip> {
        self.tip.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn storage(&self, reason: impl std::fmt::Display) -> LedgerError {
        let reason = format!("{}: {reason}", self.path.display());
        LedgerError::Storage { channel: self.channel.clone(), reason }
    }

    /// Works on the open database. It asserts what it believes of its file; on a damaged one an
    /// assertion is an error.
    fn guarded<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, String>,
    ) -> Result<T, LedgerError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = database.as_ref() else {
            return Err(LedgerError::Closed(self.channel.clone()));
        };
        catch_unwind(AssertUnwindSafe(|| work(database)))
            .unwrap_or_else(|_| Err("the database gave up on the file".to_owned()))
            .map_err(|reason| self.storage(reason))
    }

    /// The tip's lock orders commits; reads go on beside them.
    fn commit(&self, blocks: &[Block]) -> Result<Height, LedgerError> {
        let mut tip = self.tip();
        match tip.state {
            State::Closed => return Err(LedgerError::Closed(self.channel.clone())),
            State::Broken => self.reopen(&mut tip)?,
            State::Open => {}
        }
        let (height, last_hash) = self.check(&tip, blocks)?;
        if let Err(error) = self.guarded(|database| self.write(database, blocks)) {
            tip.state = State::Broken;
            return Err(error);
        }
        *tip = Tip { height, last_hash, state: State::Open };
        Ok(height)
    }

    /// Whether the blocks continue the chain; what its end will be with them.
    fn check(
        &self,
        tip: &Tip,
        blocks: &[Block],
    ) -> Result<(Height, Option<BlockHash>), LedgerError> {
        let (mut height, mut last_hash) = (tip.height, tip.last_hash);
        for block in blocks {
            let expected = height.next_block();
            if block.number != expected {
                let channel = self.channel.clone();
                return Err(LedgerError::OutOfOrder { channel, expected, found: block.number });
            }
            if last_hash.is_some_and(|hash| block.previous_hash.as_ref() != hash.as_bytes()) {
                return Err(self.storage(format!("block {expected} does not continue the chain")));
            }
            height = block.number.height();
            last_hash = Some(self.codec.header_hash(block));
        }
        Ok((height, last_hash))
    }

    fn write(&self, database: &Database, blocks: &[Block]) -> Result<(), String> {
        let transaction = open::begin_write_quick(database).map_err(text)?;
        {
            let mut table = transaction.open_table(BLOCKS).map_err(text)?;
            for block in blocks {
                open::append(&mut table, &self.key, block.number, &self.codec.join(block))?;
            }
        }
        transaction.commit().map_err(text)
    }

    /// Opens the file again after a failed write. What was acknowledged must still be there.
    fn reopen(&self, tip: &mut Tip) -> Result<(), LedgerError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        drop(database.take());
        let opened = open::open(&self.path, &self.channel, &self.key, self.codec.as_ref())
            .map_err(|error| self.storage(error))?;
        if opened.height < tip.height {
            warn!(channel = %self.channel, height = %opened.height, was = %tip.height, "blocks were lost");
        }
        *tip = Tip { height: opened.height, last_hash: opened.last_hash, state: State::Open };
        *database = Some(opened.database);
        Ok(())
    }

    fn read(&self, number: SeqNum) -> Result<Option<Block>, LedgerError> {
        if number >= self.tip().height.next_block() {
            return Ok(None);
        }
        self.read_record(number).map(Some)
    }

    /// Writes the record of a block that is held and cannot be read, if it fits between its neighbours.
    fn mend(&self, block: &Block) -> Result<(), LedgerError> {
        let mut tip = self.tip();
        match tip.state {
            State::Closed => return Err(LedgerError::Closed(self.channel.clone())),
            State::Broken => self.reopen(&mut tip)?,
            State::Open => {}
        }
        let number = block.number;
        if number >= tip.height.next_block() {
            return Err(self.storage(format!("block {number} is not held")));
        }
        if self.read_record(number).is_ok() {
            return Ok(());
        }
        if !self.fits(&tip, block) {
            return Err(self.storage(format!("this is not block {number} of the chain")));
        }
        warn!(channel = %self.channel, %number, "a damaged block is written again");
        if let Err(error) =
            self.guarded(|database| self.write(database, std::slice::from_ref(block)))
        {
            tip.state = State::Broken;
            return Err(error);
        }
        self.read_record(number).map(drop)
    }

    /// Whether the block continues the one below and is continued by the one above, as far as they can be read.
    fn fits(&self, tip: &Tip, block: &Block) -> bool {
        let names =
            |above: &Block, hash: BlockHash| above.previous_hash.as_ref() == hash.as_bytes();
        let below = block.number.get().checked_sub(1).map(SeqNum::new);
        let below = below.and_then(|number| self.read_record(number).ok());
        let continues = below.is_none_or(|below| names(block, self.codec.header_hash(&below)));
        let hash = self.codec.header_hash(block);
        if block.number.height() == tip.height {
            return continues && tip.last_hash.is_none_or(|last| last == hash);
        }
        continues && self.read_record(block.number.next()).is_ok_and(|above| names(&above, hash))
    }

    fn read_record(&self, number: SeqNum) -> Result<Block, LedgerError> {
        let record = self.guarded(|database| {
            let transaction = database.begin_read().map_err(text)?;
            let blocks = transaction.open_table(BLOCKS).map_err(text)?;
            let record = blocks.get(number.get()).map_err(text)?;
            let record = record.ok_or_else(|| format!("block {number} is missing"))?;
            Ok(Bytes::from_owner(Record(record)))
        })?;
        let bytes = record::open(&self.key, number, &record)
            .ok_or_else(|| self.storage(format!("block {number} is damaged")))?;
        let block = self.codec.split(&bytes).map_err(|error| self.storage(error))?;
        if block.number != number {
            return Err(self.storage(format!("block {number} is another one")));
        }
        Ok(block)
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("channel", &self.channel).field("path", &self.path).finish()
    }
}

#[async_trait]
impl Ledger for BlockStore {
    async fn height(&self) -> Result<Height, LedgerError> {
        Ok(self.current_height())
    }

    async fn commit(&self, blocks: Vec<Block>) -> Result<Height, LedgerError> {
        self.blocking(move |inner| inner.commit(&blocks)).await
    }

    async fn block(&self, number: SeqNum) -> Result<Option<Block>, LedgerError> {
        self.blocking(move |inner| inner.read(number)).await
    }

    async fn mend(&self, block: Block) -> Result<(), LedgerError> {
        self.blocking(move |inner| inner.mend(&block)).await
    }
}

/// A page of the database's, shared instead of copied.
struct Record(AccessGuard<'static, &'static [u8]>);

impl AsRef<[u8]> for Record {
    fn as_ref(&self) -> &[u8] {
        self.0.value()
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
