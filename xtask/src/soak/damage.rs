//! What disks do to files: bits that flip, writes that were torn, ends that are missing.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::dice::Dice;

/// What was done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Damage {
    /// A piece was overwritten with zeros, or the end cut off.
    Torn,
    /// Some bits were flipped.
    Flipped,
}

/// Damages the one store in a data directory.
pub(super) fn inflict(data: &Path, dice: &mut Dice) -> Result<Damage> {
    let store = fs::read_dir(data)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "redb"))
        .with_context(|| format!("no store in {}", data.display()))?;
    let file = File::options().read(true).write(true).open(&store)?;
    let length = file.metadata()?.len();
    let damage = match dice.below(4) {
        0 => {
            file.set_len(length.saturating_sub(1 + dice.below(CUT_MAX)))?;
            Damage::Torn
        }
        1 => {
            let piece = vec![0; usize::try_from(1 + dice.below(PIECE_MAX))?];
            let end = length.saturating_sub(piece.len() as u64);
            file.write_all_at(&piece, dice.below(end))?;
            Damage::Torn
        }
        _ => {
            for _ in 0..=dice.below(FLIPS_MAX) {
                flip(&file, dice.below(length), dice.below(8))?;
            }
            Damage::Flipped
        }
    };
    file.sync_all()?;
    Ok(damage)
}

fn flip(file: &File, at: u64, bit: u64) -> Result<()> {
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    let flipped = byte.map(|byte| byte ^ (1 << bit));
    Ok(file.write_all_at(&flipped, at)?)
}

/// Bytes cut off at most.
const CUT_MAX: u64 = 64 << 10;
/// Bytes overwritten at most.
const PIECE_MAX: u64 = 16 << 10;
/// Bits flipped at most.
const FLIPS_MAX: u64 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_damage_changes_the_file() {
        let data = std::env::temp_dir().join(format!("damage-{}", std::process::id()));
        fs::create_dir_all(&data).unwrap();
        let mut seen = Vec::new();
        let mut dice = Dice::new(5);
        for _ in 0..32 {
            let whole: Vec<u8> = (0..200_000_u32).map(|n| 1 + (n % 255) as u8).collect();
            fs::write(data.join("trade.redb"), &whole).unwrap();
            seen.push(inflict(&data, &mut dice).unwrap());
            assert_ne!(fs::read(data.join("trade.redb")).unwrap(), whole);
        }
        fs::remove_dir_all(&data).unwrap();
        assert!(seen.contains(&Damage::Torn) && seen.contains(&Damage::Flipped));
    }
}
