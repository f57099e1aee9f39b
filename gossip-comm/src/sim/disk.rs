//! What a peer keeps on its disk, and what a crash leaves of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use rand_core::Rng;

/// A peer's disk: files by name, written at once, safe once synced.
///
/// A host keeps one for each of its peers, and a test does to it what happens to the peer:
/// [`crash`](Self::crash) for a process that is killed, [`power_cut`](Self::power_cut) for a machine that
/// goes down, a new disk for one that is lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    synced: BTreeMap<String, Bytes>,
    /// Written since the last sync; nothing for a file that was removed.
    written: BTreeMap<String, Option<Bytes>>,
}

impl Disk {
    /// Writes a whole file.
    pub fn write(&mut self, name: &str, content: impl Into<Bytes>) {
        self.written.insert(name.to_owned(), Some(content.into()));
    }

    /// Removes a file.
    pub fn remove(&mut self, name: &str) {
        self.written.insert(name.to_owned(), None);
    }

    /// Makes everything written so far safe.
    pub fn sync(&mut self) {
        for (name, content) in std::mem::take(&mut self.written) {
            self.settle(name, content);
        }
    }

    /// A file as the running process sees it.
    pub fn read(&self, name: &str) -> Option<Bytes> {
        match self.written.get(name) {
            Some(content) => content.clone(),
            None => self.synced.get(name).cloned(),
        }
    }

    /// The process is gone, the machine is not: the kernel keeps what was written.
    pub fn crash(&mut self) {
        self.sync();
    }

    /// The machine is gone too: of each file that was not synced, `rng` draws whether the new content is
    /// there, or the old one, or the beginning of the new one.
    pub fn power_cut(&mut self, rng: &mut impl Rng) {
        for (name, content) in std::mem::take(&mut self.written) {
            match (rng.next_u32() % 3, content) {
                (0, _) => {}
                (1, Some(content)) if !content.is_empty() => {
                    let torn = rng.next_u32() as usize % content.len();
                    self.settle(name, Some(content.slice(..torn)));
                }
                (_, content) => self.settle(name, content),
            }
        }
    }

    fn settle(&mut self, name: String, content: Option<Bytes>) {
        match content {
            Some(content) => drop(self.synced.insert(name, content)),
            None => drop(self.synced.remove(&name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::seeded;

    #[test]
    fn what_is_synced_survives_everything_and_the_rest_survives_a_crash_of_the_process_alone() {
        let mut disk = Disk::default();
        disk.write("a", "old");
        disk.sync();
        disk.write("a", "new");
        disk.write("b", "fresh");
        disk.remove("c");
        assert_eq!(disk.read("a").as_deref(), Some(&b"new"[..]));
        let mut crashed = disk.clone();
        crashed.crash();
        assert_eq!(crashed.read("b").as_deref(), Some(&b"fresh"[..]));
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..2000 {
            let mut cut = disk.clone();
            cut.power_cut(&mut seeded(seed, 0));
            seen.insert((cut.read("a"), cut.read("b")));
        }
        // The old, the new, and each torn one: 2 + 3 for a, 2 + 5 for b.
        assert_eq!(seen.len(), 5 * 7, "{seen:?}");
        assert!(seen.iter().all(|(a, _)| a.is_some()));
    }
}
