//! What an operator may choose.

use gossip_api::{Checked, ConfigError};

/// Who leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ElectionConfig {
    /// How leaders are found.
    pub mode: Mode,
}

/// How leaders are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// Each peer is told.
    ///
    /// Fabric: `peer.gossip.orgLeader`. True on one peer of each organisation names the leader, true on
    /// all of them makes every peer pull for itself, false on all of them leaves it to the neighbours.
    Static {
        /// Whether this peer leads.
        leads: bool,
    },
    /// Nobody leads.
    #[default]
    Nobody,
}

impl ElectionConfig {
    /// Every peer named leads: Fabric's `orgLeader: true`.
    pub const fn fixed(leads: bool) -> Self {
        Self { mode: Mode::Static { leads } }
    }

    /// Rules out contradictions.
    ///
    /// # Errors
    /// Names the values that do not go together.
    pub const fn checked(self) -> Result<Checked<Self>, ConfigError> {
        Ok(Checked::assume(self))
    }
}
