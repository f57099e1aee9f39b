//! Doors through which bytes come in, one function each: what a fuzz target calls, and what a test
//! replays the corpora with.
//!
//! A door panics where an invariant is broken, and returns whatever else happens. `api`, `coded`, `comm` and `mcs`
//! name nothing of this crate, so that tests of the crates they judge can include them.

pub mod api;
pub mod coded;
pub mod comm;
pub mod mcs;
