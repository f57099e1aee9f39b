//! The daemon that operators run.
fn main() {}
