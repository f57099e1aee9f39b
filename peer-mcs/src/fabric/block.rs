//! The messages on a block's way: slices of the bytes received, with Go's verdict on what decodes.

use super::wire::{Field, Fields, Malformed, Value, push_len, push_uint, text, varint_len};

/// `common.Block`; a message field that occurs several times is merged, so its parts are listed.
#[derive(Debug, Default)]
pub(crate) struct Block<'a> {
    pub(crate) header: Option<BlockHeader<'a>>,
    pub(crate) data: Vec<&'a [u8]>,
    pub(crate) metadata: Vec<&'a [u8]>,
}

impl<'a> Block<'a> {
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut block = Self::default();
        for field in Fields::new(bytes) {
            match field? {
                Field { number: 1, value: Value::Len(part), .. } => {
                    block.header.get_or_insert_default().merge(part)?;
                }
                Field { number: 2, value: Value::Len(part), .. } => {
                    check_entries(part)?;
                    block.data.push(part);
                }
                Field { number: 3, value: Value::Len(part), .. } => {
                    check_entries(part)?;
                    block.metadata.push(part);
                }
                _ => {}
            }
        }
        Ok(block)
    }
}

/// `common.BlockHeader`.
#[derive(Debug, Default)]
pub(crate) struct BlockHeader<'a> {
    pub(crate) number: u64,
    pub(crate) previous_hash: &'a [u8],
    pub(crate) data_hash: &'a [u8],
}

impl<'a> BlockHeader<'a> {
    fn merge(&mut self, bytes: &'a [u8]) -> Result<(), Malformed> {
        for field in Fields::new(bytes) {
            match field? {
                Field { number: 1, value: Value::Varint(number), .. } => self.number = number,
                Field { number: 2, value: Value::Len(hash), .. } => self.previous_hash = hash,
                Field { number: 3, value: Value::Len(hash), .. } => self.data_hash = hash,
                _ => {}
            }
        }
        Ok(())
    }
}

/// The canonical `common.Block` around data and metadata as received; empty ones are left out.
pub(crate) fn encode_block(header: &BlockHeader<'_>, data: &[u8], metadata: &[u8]) -> Vec<u8> {
    let mut encoded_header = Vec::new();
    push_uint(&mut encoded_header, 1, header.number);
    push_some(&mut encoded_header, 2, header.previous_hash);
    push_some(&mut encoded_header, 3, header.data_hash);
    let mut block = Vec::with_capacity(encoded_header.len() + data.len() + metadata.len() + 24);
    push_len(&mut block, 1, &encoded_header);
    push_some(&mut block, 2, data);
    push_some(&mut block, 3, metadata);
    block
}

fn push_some(out: &mut Vec<u8>, number: u64, value: &[u8]) {
    if !value.is_empty() {
        push_len(out, number, value);
    }
}

/// The byte strings of `common.BlockData` or `common.BlockMetadata`: both have field 1 alone.
pub(crate) fn entries(bytes: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    Fields::new(bytes).filter_map(|field| match field {
        Ok(Field { number: 1, value: Value::Len(entry), .. }) => Some(entry),
        _ => None,
    })
}

/// Whether `bytes` decode as `common.BlockData` or `common.BlockMetadata`.
pub(crate) fn check_entries(bytes: &[u8]) -> Result<(), Malformed> {
    Fields::new(bytes).try_for_each(|field| field.map(drop))
}

/// `common.Envelope`: a transaction as it was submitted.
#[derive(Debug, Default)]
pub(crate) struct Envelope<'a> {
    pub(crate) payload: &'a [u8],
    pub(crate) signature: &'a [u8],
    /// Whether encoding the message again, as Go does, gives the bytes it was decoded from.
    ///
    /// Go keeps unknown fields and writes them behind the known ones, with minimal tags and values as
    /// they were. An empty known field is never written.
    // fabric: protoutil/blockutils.go VerifyTransactionsAreWellFormed
    pub(crate) canonical: bool,
}

impl<'a> Envelope<'a> {
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut envelope = Self { canonical: true, ..Self::default() };
        let mut known_last = 0;
        for field in Fields::new(bytes) {
            let field = field?;
            envelope.canonical &= field.minimal_tag;
            let (Field { number: number @ (1 | 2), .. }, Value::Len(value)) = (field, field.value)
            else {
                known_last = u64::MAX;
                continue;
            };
            envelope.canonical &= number > known_last && field.size == minimal_size(value);
            known_last = number;
            if number == 1 {
                envelope.payload = value;
            } else {
                envelope.signature = value;
            }
        }
        Ok(envelope)
    }
}

/// Bytes of the shortest encoding of a known field of an envelope; an empty one is not encoded.
fn minimal_size(value: &[u8]) -> usize {
    if value.is_empty() { 0 } else { 1 + varint_len(value.len() as u64) + value.len() }
}

/// `common.Payload` down to the channel header's bytes.
#[derive(Debug, Default)]
pub(crate) struct Payload<'a> {
    /// `common.Header.channel_header`, if there is a header.
    pub(crate) channel_header: Option<&'a [u8]>,
    pub(crate) data: &'a [u8],
}

impl<'a> Payload<'a> {
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut payload = Self::default();
        for field in Fields::new(bytes) {
            match field? {
                Field { number: 1, value: Value::Len(header), .. } => {
                    let channel_header = payload.channel_header.get_or_insert_default();
                    for field in Fields::new(header) {
                        if let Field { number: 1, value: Value::Len(bytes), .. } = field? {
                            *channel_header = bytes;
                        }
                    }
                }
                Field { number: 2, value: Value::Len(data), .. } => payload.data = data,
                _ => {}
            }
        }
        Ok(payload)
    }
}

/// `common.ChannelHeader`.
#[derive(Debug, Default)]
pub(crate) struct ChannelHeader<'a> {
    pub(crate) kind: i32,
    pub(crate) channel_id: &'a str,
}

impl<'a> ChannelHeader<'a> {
    /// `common.HeaderType.CONFIG`.
    pub(crate) const CONFIG: i32 = 1;

    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut header = Self::default();
        for field in Fields::new(bytes) {
            match field? {
                // An int32 is the low half of what stands on the wire.
                Field { number: 1, value: Value::Varint(kind), .. } => header.kind = kind as i32,
                Field { number: 3, value: Value::Len(timestamp), .. } => check_entries(timestamp)?,
                Field { number: 4, value: Value::Len(id), .. } => header.channel_id = text(id)?,
                Field { number: 5, value: Value::Len(tx_id), .. } => {
                    text(tx_id)?;
                }
                _ => {}
            }
        }
        Ok(header)
    }
}

/// `common.Metadata`: what the orderers signed, and their signatures.
#[derive(Debug, Default)]
pub(crate) struct Metadata<'a> {
    pub(crate) value: &'a [u8],
    pub(crate) signatures: Vec<MetadataSignature<'a>>,
}

impl<'a> Metadata<'a> {
    /// Decodes, holding at most `max` signatures.
    pub(crate) fn decode(bytes: &'a [u8], max: usize) -> Result<Self, Malformed> {
        let mut metadata = Self::default();
        for field in Fields::new(bytes) {
            match field? {
                Field { number: 1, value: Value::Len(value), .. } => metadata.value = value,
                Field { number: 2, value: Value::Len(bytes), .. } => {
                    if metadata.signatures.len() == max {
                        return Err(Malformed("more signatures than any ordering service gives"));
                    }
                    metadata.signatures.push(MetadataSignature::decode(bytes)?);
                }
                _ => {}
            }
        }
        Ok(metadata)
    }
}

/// `common.MetadataSignature`.
#[derive(Debug, Default)]
pub(crate) struct MetadataSignature<'a> {
    pub(crate) signature_header: &'a [u8],
    pub(crate) signature: &'a [u8],
    pub(crate) identifier_header: &'a [u8],
}

impl<'a> MetadataSignature<'a> {
    fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut signature = Self::default();
        for field in Fields::new(bytes) {
            match field? {
                Field { number: 1, value: Value::Len(v), .. } => signature.signature_header = v,
                Field { number: 2, value: Value::Len(v), .. } => signature.signature = v,
                Field { number: 3, value: Value::Len(v), .. } => signature.identifier_header = v,
                _ => {}
            }
        }
        Ok(signature)
    }
}

/// The creator in a `common.SignatureHeader`.
pub(crate) fn signature_header_creator(bytes: &[u8]) -> Result<&[u8], Malformed> {
    let mut creator: &[u8] = &[];
    for field in Fields::new(bytes) {
        if let Field { number: 1, value: Value::Len(value), .. } = field? {
            creator = value;
        }
    }
    Ok(creator)
}

/// The identifier in a `common.IdentifierHeader`.
pub(crate) fn identifier_header_id(bytes: &[u8]) -> Result<u32, Malformed> {
    let mut identifier = 0;
    for field in Fields::new(bytes) {
        if let Field { number: 1, value: Value::Varint(value), .. } = field? {
            // A uint32 is the low half of what stands on the wire.
            identifier = value as u32;
        }
    }
    Ok(identifier)
}

/// Number of the last config block in a serialized `common.OrdererBlockMetadata`.
pub(crate) fn last_config_index(bytes: &[u8]) -> Result<Option<u64>, Malformed> {
    let mut index = None;
    for field in Fields::new(bytes) {
        if let Field { number: 1, value: Value::Len(last_config), .. } = field? {
            let index = index.get_or_insert_default();
            for field in Fields::new(last_config) {
                if let Field { number: 1, value: Value::Varint(value), .. } = field? {
                    *index = value;
                }
            }
        }
    }
    Ok(index)
}

/// `msp.SerializedIdentity`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SerializedIdentity<'a> {
    pub(crate) mspid: &'a str,
    pub(crate) id_bytes: &'a [u8],
}

impl<'a> SerializedIdentity<'a> {
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut identity = Self::default();
        for field in Fields::new(bytes) {
            match field? {
                Field { number: 1, value: Value::Len(mspid), .. } => identity.mspid = text(mspid)?,
                Field { number: 2, value: Value::Len(bytes), .. } => identity.id_bytes = bytes,
                _ => {}
            }
        }
        Ok(identity)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.mspid.len() + self.id_bytes.len() + 8);
        push_some(&mut out, 1, self.mspid.as_bytes());
        push_some(&mut out, 2, self.id_bytes);
        out
    }
}
