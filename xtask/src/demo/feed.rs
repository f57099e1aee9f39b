//! The recorded blocks, handed to the source directory one at a time.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// Copies block after block, in the order of their numbers, at a steady pace.
pub(crate) struct Feed {
    blocks: Vec<PathBuf>,
    fed: usize,
    target: PathBuf,
    every: Duration,
    started: Option<Instant>,
}

impl Feed {
    /// The blocks of `recorded` but the genesis block, to be copied to `target`.
    pub(crate) fn new(recorded: &Path, target: &Path, every: Duration) -> Result<Self> {
        let entries = fs::read_dir(recorded);
        let entries = entries.with_context(|| format!("cannot list {}", recorded.display()))?;
        let mut blocks: Vec<PathBuf> = entries.map(|e| Ok(e?.path())).collect::<Result<_>>()?;
        blocks.retain(|path| path.file_name().is_some_and(|name| name != GENESIS));
        blocks.sort();
        ensure!(!blocks.is_empty(), "{} holds no blocks", recorded.display());
        Ok(Self { blocks, fed: 0, target: target.to_path_buf(), every, started: None })
    }

    /// Blocks in all, without the genesis block.
    pub(crate) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Blocks handed out so far.
    pub(crate) fn fed(&self) -> usize {
        self.fed
    }

    /// How long the whole of it takes.
    pub(crate) fn takes(&self) -> Duration {
        self.every.saturating_mul(u32::try_from(self.blocks.len()).unwrap_or(u32::MAX))
    }

    /// Hands out what is due at `now`; the first call starts the clock.
    pub(crate) fn advance(&mut self, now: Instant) -> Result<()> {
        let started = *self.started.get_or_insert(now);
        while let Some(block) = self.blocks.get(self.fed) {
            let due =
                started + self.every.saturating_mul(u32::try_from(self.fed).unwrap_or(u32::MAX));
            if now < due {
                break;
            }
            hand_out(block, &self.target)?;
            self.fed += 1;
        }
        Ok(())
    }
}

/// Copies under another name first, so that no reader sees half a block.
fn hand_out(block: &Path, target: &Path) -> Result<()> {
    let name = block.file_name().context("a block without a name")?;
    let unfinished = target.join(".unfinished");
    fs::copy(block, &unfinished)
        .and_then(|_| fs::rename(&unfinished, target.join(name)))
        .with_context(|| format!("cannot copy {} to {}", block.display(), target.display()))
}

const GENESIS: &str = "block_000000.pb";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_in_order_at_their_time() {
        let root = std::env::temp_dir().join(format!("feed-{}", std::process::id()));
        let (from, to) = (root.join("from"), root.join("to"));
        fs::create_dir_all(&from).unwrap();
        fs::create_dir_all(&to).unwrap();
        for number in 0..4 {
            fs::write(from.join(format!("block_{number:06}.pb")), [number]).unwrap();
        }
        let mut feed = Feed::new(&from, &to, Duration::from_secs(2)).unwrap();
        let start = Instant::now();
        let mut fed_after = |seconds| {
            feed.advance(start + Duration::from_secs(seconds)).unwrap();
            feed.fed()
        };
        assert_eq!([fed_after(0), fed_after(1), fed_after(2), fed_after(9)], [1, 1, 2, 3]);
        let mut names: Vec<_> =
            fs::read_dir(&to).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(names, ["block_000001.pb", "block_000002.pb", "block_000003.pb"]);
    }
}
