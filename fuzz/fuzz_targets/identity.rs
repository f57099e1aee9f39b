//! See `gossip_fuzz::mcs::identity`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gossip_fuzz::mcs::identity(data));
