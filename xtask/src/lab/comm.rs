//! `cargo xtask bench comm`: what the transport adds to bare QUIC, and what it costs to be sure.
//!
//! Rows `quinn` and `comm` run in alternating batches of one process and give medians of all rounds:
//! the same TLS, streams, batching and bodies, so that the difference is what ours adds. `comm_signed`
//! checks P-256 signatures on arrival, in turns with the same checks without a transport. `ack` is a
//! question with an acknowledgement for an answer, eight under way at once. Latencies are of single
//! messages on a quiet connection.

/// How long to measure.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Rounds per row; each is a batch of ours and a batch beside it.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// One JSON object on the last line.
    #[arg(long)]
    pub(crate) json: bool,
    /// Count allocations and nothing else; needs the feature `lab-counting`.
    #[arg(long, hide = true)]
    pub(crate) count_allocations: bool,
}

#[cfg(feature = "lab")]
mod bare;
#[cfg(feature = "lab")]
mod ours;
#[cfg(feature = "lab")]
mod payload;
#[cfg(feature = "lab")]
pub(super) mod peers;
#[cfg(feature = "lab")]
mod rows;
#[cfg(feature = "lab")]
mod signed;

#[cfg(feature = "lab")]
pub(crate) use rows::run;
