//! Classes of frames.

/// Classes of frames: each has a cap, and the transport treats each its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Small messages that must never wait behind data.
    Control,
    /// Membership pages.
    Membership,
    /// One block; a stream of its own.
    Block,
}

impl Class {
    /// Greatest frame in bytes, the length field not counted.
    pub const fn frame_max(self) -> usize {
        match self {
            Self::Control => 64 << 10,
            Self::Membership => 256 << 10,
            // Fabric's own limit for a message is 100 MiB; 64 KiB more for what we put in front.
            Self::Block => (100 << 20) + (64 << 10),
        }
    }

    pub(crate) const fn to_byte(self) -> u8 {
        match self {
            Self::Control => 1,
            Self::Membership => 2,
            Self::Block => 3,
        }
    }

    pub(crate) const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Control),
            2 => Some(Self::Membership),
            3 => Some(Self::Block),
            _ => None,
        }
    }
}
