//! See `gossip_fuzz::mcs::msp_directory`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gossip_fuzz::mcs::msp_directory(data));
