//! 32 bytes for serde, as four words: in the wire's fixed-width little-endian integers these are the same bytes
//! as 32 single ones, for an eighth of the work. Frames of beats and digests consist of little else.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) fn serialize<S: Serializer>(bytes: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
    let (words, _) = bytes.as_chunks::<8>();
    let mut numbers = [0_u64; 4];
    numbers.iter_mut().zip(words).for_each(|(number, word)| *number = u64::from_le_bytes(*word));
    numbers.serialize(to)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
    let numbers = <[u64; 4]>::deserialize(from)?;
    let mut bytes = [0; 32];
    let (words, _) = bytes.as_chunks_mut::<8>();
    words.iter_mut().zip(numbers).for_each(|(word, number)| *word = number.to_le_bytes());
    Ok(bytes)
}
