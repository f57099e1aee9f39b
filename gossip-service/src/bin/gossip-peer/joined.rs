//! Channels joined and left while the peer runs, so that the next start does the same.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use gossip_api::ChannelId;
use gossip_service::store::DataDir;

/// The directory `channels` below the data directory.
#[derive(Clone, Debug)]
pub(crate) struct Joined {
    dir: PathBuf,
}

impl Joined {
    /// Makes the directory if there is none.
    pub(crate) fn open(data: &DataDir) -> std::io::Result<Self> {
        let dir = data.path().join("channels");
        std::fs::create_dir_all(&dir)?;
        Ok(Self { dir })
    }

    /// Genesis blocks of the channels joined at run time.
    pub(crate) fn blocks(&self) -> std::io::Result<Vec<PathBuf>> {
        let entries: Vec<PathBuf> = std::fs::read_dir(&self.dir)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<std::io::Result<_>>()?;
        let is_block = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "block");
        let mut blocks: Vec<PathBuf> = entries.into_iter().filter(is_block).collect();
        blocks.sort();
        Ok(blocks)
    }

    /// Whether the channel was left at run time, although the configuration names it.
    pub(crate) fn is_left(&self, channel: &ChannelId) -> bool {
        self.file(channel, "left").exists()
    }

    /// Keeps a channel's genesis block; returns where. From now on the next start joins it.
    pub(crate) fn add(&self, channel: &ChannelId, genesis: &[u8]) -> std::io::Result<PathBuf> {
        let file = self.file(channel, "block");
        self.write(&file, genesis)?;
        Ok(file)
    }

    /// The channel is joined: that it was left once counts no longer.
    pub(crate) fn settle(&self, channel: &ChannelId) -> std::io::Result<()> {
        remove(&self.file(channel, "left"))
    }

    /// Forgets a channel that could not be joined after all.
    pub(crate) fn forget(&self, channel: &ChannelId) -> std::io::Result<()> {
        remove(&self.file(channel, "block"))
    }

    /// The channel is left, and stays left at the next start.
    pub(crate) fn leave(&self, channel: &ChannelId) -> std::io::Result<()> {
        self.write(&self.file(channel, "left"), b"")?;
        self.forget(channel)
    }

    fn file(&self, channel: &ChannelId, ending: &str) -> PathBuf {
        self.dir.join(format!("{}.{ending}", DataDir::stem(channel)))
    }

    /// After a crash the file is there whole, or not at all.
    fn write(&self, file: &Path, contents: &[u8]) -> std::io::Result<()> {
        let coming = file.with_extension("new");
        let mut new = std::fs::File::create(&coming)?;
        new.write_all(contents)?;
        new.sync_all()?;
        std::fs::rename(&coming, file)?;
        std::fs::File::open(&self.dir)?.sync_all()
    }
}

fn remove(file: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_joined_and_left_is_remembered() {
        let root = tempfile::tempdir().unwrap();
        let data = DataDir::open(root.path()).unwrap();
        let joined = Joined::open(&data).unwrap();
        let (trade, odd) = (ChannelId::new("trade").unwrap(), ChannelId::new("A/../b").unwrap());
        joined.add(&trade, b"one").unwrap();
        joined.add(&odd, b"two").unwrap();
        let again = Joined::open(&data).unwrap();
        assert_eq!(again.blocks().unwrap().len(), 2);
        again.leave(&trade).unwrap();
        assert!(again.is_left(&trade));
        assert_eq!(again.blocks().unwrap().len(), 1);
        again.add(&trade, b"one").unwrap();
        again.forget(&trade).unwrap();
        assert!(again.is_left(&trade), "a join that failed changes nothing");
        again.add(&trade, b"one").unwrap();
        again.settle(&trade).unwrap();
        assert!(!again.is_left(&trade));
        again.leave(&trade).unwrap();
        again.leave(&trade).unwrap();
    }
}
