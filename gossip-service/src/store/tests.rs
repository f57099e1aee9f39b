//! Blocks come back as they were committed, or not at all.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use gossip_api::{
    Block, BlockCodec, BlockError, ChannelId, Epoch, Height, Ledger, LedgerError, SeqNum,
};
use tempfile::TempDir;

use super::{BlockStore, DataDir, StoreError};

/// Fields one after another, each behind its length.
struct PlainCodec;

impl BlockCodec for PlainCodec {
    fn split(&self, bytes: &Bytes) -> Result<Block, BlockError> {
        let error = || BlockError::Decode("too short".into());
        let number = bytes.get(..8).and_then(|b| b.try_into().ok()).ok_or_else(error)?;
        let mut rest = bytes.slice(8..);
        let mut fields = Vec::new();
        for _ in 0..4 {
            let length = rest.get(..4).and_then(|b| b.try_into().ok()).ok_or_else(error)?;
            let end = 4 + u32::from_le_bytes(length) as usize;
            if rest.len() < end {
                return Err(error());
            }
            fields.push(rest.slice(4..end));
            rest = rest.slice(end..);
        }
        let [previous_hash, data_hash, data, metadata] = fields.try_into().unwrap();
        let number = SeqNum::new(u64::from_le_bytes(number));
        Ok(Block { number, previous_hash, data_hash, data, metadata })
    }

    fn join(&self, block: &Block) -> Bytes {
        let mut bytes = block.number.get().to_le_bytes().to_vec();
        for field in [&block.previous_hash, &block.data_hash, &block.data, &block.metadata] {
            bytes.extend((field.len() as u32).to_le_bytes());
            bytes.extend(field);
        }
        bytes.into()
    }

    fn is_config(&self, _: &Block) -> bool {
        false
    }
}

fn chain(len: u64, payload: usize) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for number in 0..len {
        let previous = blocks.last().map(|block| block.header().hash().as_bytes().to_vec());
        blocks.push(Block {
            number: SeqNum::new(number),
            previous_hash: previous.unwrap_or_default().into(),
            data_hash: vec![number as u8; 32].into(),
            data: (0..payload).map(|at| (at as u64 ^ number) as u8).collect(),
            metadata: Bytes::from_static(b"signatures"),
        });
    }
    blocks
}

fn trade() -> ChannelId {
    ChannelId::new("trade").unwrap()
}

fn open(path: &Path) -> BlockStore {
    DataDir::open(path).unwrap().channel(&trade(), Arc::new(PlainCodec)).unwrap()
}

fn n(number: u64) -> SeqNum {
    SeqNum::new(number)
}

/// Asserts that the store holds `blocks` up to its height, and nothing else; returns the height.
async fn holds_prefix(store: &BlockStore, blocks: &[Block]) -> u64 {
    let height = store.height().await.unwrap().get();
    for number in 0..height {
        let block = store.block(n(number)).await.unwrap().unwrap();
        assert_eq!(block, blocks[number as usize]);
    }
    assert_eq!(store.block(n(height)).await.unwrap(), None);
    height
}

#[tokio::test]
async fn blocks_come_back_as_they_were_committed_also_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let blocks = chain(20, 5_000);
    let store = open(dir.path());
    assert_eq!(store.height().await.unwrap(), Height::new(0));
    assert_eq!(store.commit(blocks[..1].to_vec()).await.unwrap(), Height::new(1));
    assert_eq!(store.commit(blocks[1..20].to_vec()).await.unwrap(), Height::new(20));
    assert_eq!(holds_prefix(&store, &blocks).await, 20);
    drop(store);
    let store = open(dir.path());
    assert_eq!(holds_prefix(&store, &blocks).await, 20);
    assert_eq!(store.last_hash(), Some(blocks[19].header().hash()));
}

#[tokio::test]
async fn what_is_out_of_order_or_does_not_link_is_refused_and_nothing_of_it_kept() {
    let dir = TempDir::new().unwrap();
    let blocks = chain(10, 10);
    let store = open(dir.path());
    store.commit(blocks[..2].to_vec()).await.unwrap();
    let gap = vec![blocks[2].clone(), blocks[4].clone()];
    let error = store.commit(gap).await.unwrap_err();
    let expected = LedgerError::OutOfOrder { channel: trade(), expected: n(3), found: n(4) };
    assert_eq!(error, expected);
    assert!(store.commit(blocks[1..3].to_vec()).await.is_err());
    let mut forged = blocks[2].clone();
    forged.previous_hash = Bytes::from_static(&[7; 32]);
    let error = store.commit(vec![forged]).await.unwrap_err();
    assert!(error.to_string().contains("does not continue the chain"));
    assert_eq!(holds_prefix(&store, &blocks).await, 2);
    store.commit(blocks[2..].to_vec()).await.unwrap();
    assert_eq!(holds_prefix(&store, &blocks).await, 10);
}

#[tokio::test]
async fn a_second_holder_of_the_directory_is_told_so() {
    let dir = TempDir::new().unwrap();
    let held = DataDir::open(dir.path()).unwrap();
    let error = DataDir::open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::InUse(_)), "{error}");
    drop(held);
    DataDir::open(dir.path()).unwrap();
}

#[tokio::test]
async fn a_store_keeps_its_directory_and_a_closed_one_says_so() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    assert!(matches!(DataDir::open(dir.path()), Err(StoreError::InUse(_))));
    store.close();
    let closed = LedgerError::Closed(trade());
    assert_eq!(store.commit(chain(1, 1)).await, Err(closed.clone()));
    assert_eq!(store.value("halted"), Err(closed));
}

#[tokio::test]
async fn channels_have_files_of_their_own_that_only_the_owner_may_read() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("data");
    let data = DataDir::open(&path).unwrap();
    let codec: Arc<dyn BlockCodec> = Arc::new(PlainCodec);
    let odd = ChannelId::new("../../etc/Passwd").unwrap();
    let first = data.channel(&trade(), Arc::clone(&codec)).unwrap();
    let second = data.channel(&odd, Arc::clone(&codec)).unwrap();
    first.commit(chain(3, 10)).await.unwrap();
    assert_eq!(second.height().await.unwrap(), Height::new(0));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    let mut files = 0;
    for entry in fs::read_dir(&path).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        files += 1;
    }
    assert_eq!(files, 5, "the lock, two databases and two keys");
}

#[test]
fn a_file_of_another_channel_is_refused() {
    let dir = TempDir::new().unwrap();
    drop(open(dir.path()));
    fs::rename(dir.path().join("trade.redb"), dir.path().join("other.redb")).unwrap();
    let data = DataDir::open(dir.path()).unwrap();
    let other = ChannelId::new("other").unwrap();
    let error = data.channel(&other, Arc::new(PlainCodec)).unwrap_err();
    assert!(matches!(error, StoreError::WrongChannel { .. }), "{error}");
}

#[test]
fn small_values_survive_a_restart() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    store.set_value("halted", Some(b"7")).unwrap();
    store.set_value("term", Some(b"3")).unwrap();
    store.set_value("halted", None).unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.value("halted").unwrap(), None);
    assert_eq!(store.value("term").unwrap(), Some(Bytes::from_static(b"3")));
}

#[test]
fn each_life_has_a_greater_epoch_than_any_seen() {
    let dir = TempDir::new().unwrap();
    let epoch = DataDir::open(dir.path()).unwrap().epoch();
    assert_eq!(epoch.stored().unwrap(), None);
    assert_eq!(epoch.advance(None).unwrap(), Epoch::new(1));
    assert_eq!(epoch.advance(None).unwrap(), Epoch::new(2));
    assert_eq!(epoch.advance(Some(Epoch::new(40))).unwrap(), Epoch::new(41));
    assert_eq!(epoch.stored().unwrap(), Some(Epoch::new(41)));
    fs::write(dir.path().join("epoch"), "garbage").unwrap();
    assert_eq!(epoch.stored().unwrap(), None);
    assert_eq!(epoch.advance(Some(Epoch::new(41))).unwrap(), Epoch::new(42));
}

/// A store of `blocks`, copied as a process that dies would leave it: never closed.
async fn killed_store(blocks: &[Block]) -> TempDir {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    for batch in blocks.chunks(5) {
        store.commit(batch.to_vec()).await.unwrap();
    }
    let copy = TempDir::new().unwrap();
    for name in ["trade.redb", "trade.key"] {
        fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
    }
    copy
}

fn copy_of(image: &TempDir) -> TempDir {
    let copy = TempDir::new().unwrap();
    for name in ["trade.redb", "trade.key"] {
        fs::copy(image.path().join(name), copy.path().join(name)).unwrap();
    }
    copy
}

#[tokio::test]
async fn a_killed_process_loses_nothing_that_was_acknowledged() {
    let blocks = chain(30, 3_000);
    let image = killed_store(&blocks).await;
    let store = open(image.path());
    assert_eq!(holds_prefix(&store, &blocks).await, 30);
}

#[tokio::test]
async fn a_file_cut_off_anywhere_gives_a_whole_prefix_and_takes_the_rest_again() {
    let blocks = chain(30, 3_000);
    let image = killed_store(&blocks).await;
    let length = fs::metadata(image.path().join("trade.redb")).unwrap().len();
    let mut best = 0;
    for step in 0..24 {
        let copy = copy_of(&image);
        let cut = length * step / 24 + step * 37;
        let file = OpenOptions::new().write(true).open(copy.path().join("trade.redb")).unwrap();
        file.set_len(cut).unwrap();
        let store = open(copy.path());
        let height = holds_prefix(&store, &blocks).await;
        best = best.max(height);
        store.commit(blocks[height as usize..].to_vec()).await.unwrap();
        assert_eq!(holds_prefix(&store, &blocks).await, 30);
    }
    assert!(best > 0, "nothing was ever saved");
}

#[tokio::test]
async fn a_flipped_bit_anywhere_never_gives_a_wrong_block() {
    let blocks = chain(30, 3_000);
    let image = killed_store(&blocks).await;
    let length = fs::metadata(image.path().join("trade.redb")).unwrap().len();
    for step in 0..60 {
        let copy = copy_of(&image);
        let path = copy.path().join("trade.redb");
        // The first pages hold the database's own structure: look there more closely.
        let at = if step < 20 { step * 17 } else { length * (step - 20) / 40 };
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ (1 << (step % 8))], at).unwrap();
        let store = open(copy.path());
        let height = holds_prefix(&store, &blocks).await;
        store.commit(blocks[height as usize..].to_vec()).await.unwrap();
        assert_eq!(holds_prefix(&store, &blocks).await, 30);
    }
}

#[tokio::test]
async fn a_lost_key_is_found_in_the_store() {
    let blocks = chain(10, 100);
    let image = killed_store(&blocks).await;
    fs::remove_file(image.path().join("trade.key")).unwrap();
    let store = open(image.path());
    assert_eq!(holds_prefix(&store, &blocks).await, 10);
}

/// Spoils every copy of a block's record in the file.
fn spoil(dir: &TempDir, block: &Block) {
    let path = dir.path().join("trade.redb");
    let contents = fs::read(&path).unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    let windows = contents.windows(32).enumerate();
    for (at, _) in windows.filter(|(_, window)| *window == &block.data_hash[..]) {
        file.write_all_at(&[0xff], at as u64).unwrap();
    }
}

/// Larger than the database's cache, so that blocks are read from the file.
async fn large_store(dir: &TempDir, blocks: &[Block]) -> BlockStore {
    let store = open(dir.path());
    for batch in blocks.chunks(10) {
        store.commit(batch.to_vec()).await.unwrap();
    }
    store
}

#[tokio::test]
async fn a_record_damaged_under_a_running_process_is_an_error_not_a_block() {
    let dir = TempDir::new().unwrap();
    let blocks = chain(40, 1 << 20);
    let store = large_store(&dir, &blocks).await;
    spoil(&dir, &blocks[3]);
    let error = store.block(n(3)).await.unwrap_err();
    assert!(error.to_string().contains("block 3 is damaged"), "{error}");
    assert!(store.block(n(4)).await.is_ok());
}

#[tokio::test]
async fn a_damaged_record_is_mended_under_a_running_process_by_the_block_that_was_there_alone() {
    let dir = TempDir::new().unwrap();
    let blocks = chain(40, 1 << 20);
    let store = large_store(&dir, &blocks).await;
    spoil(&dir, &blocks[3]);
    spoil(&dir, &blocks[12]);
    for wrong in [
        Block { data_hash: vec![9; 32].into(), ..blocks[3].clone() },
        Block { previous_hash: vec![9; 32].into(), ..blocks[3].clone() },
        Block { data_hash: vec![9; 32].into(), ..blocks[12].clone() },
        Block { number: n(40), ..blocks[3].clone() },
    ] {
        store.mend(wrong.clone()).await.unwrap_err();
        assert!(store.block(wrong.number).await.map_or(true, |block| block.is_none()));
    }
    for number in [3, 12, 5] {
        store.mend(blocks[number].clone()).await.unwrap();
    }
    // What can be read is left as it is.
    store.mend(Block { metadata: Bytes::new(), ..blocks[5].clone() }).await.unwrap();
    assert_eq!(holds_prefix(&store, &blocks).await, 40);
    drop(store);
    assert_eq!(holds_prefix(&open(dir.path()), &blocks).await, 40);
}
