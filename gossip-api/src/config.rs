//! Configuration that has been looked at.

use std::ops::Deref;

/// A configuration whose contradictions were ruled out; made by each configuration's `checked`.
///
/// Machines take `Checked<C>`, so a machine with nonsense timings cannot be built.
#[derive(Clone, Debug)]
pub struct Checked<C>(C);

impl<C> Checked<C> {
    /// Marks `config` as looked at. Called by the `checked` function of the configuration's own crate.
    pub const fn assume(config: C) -> Self {
        Self(config)
    }

    /// The configuration itself.
    pub fn into_inner(self) -> C {
        self.0
    }
}

impl<C> Deref for Checked<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.0
    }
}

/// A contradiction in a configuration: one sentence naming both values and what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);
