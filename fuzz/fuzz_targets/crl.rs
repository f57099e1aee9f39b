//! See `gossip_fuzz::mcs::crl`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gossip_fuzz::mcs::crl(data));
