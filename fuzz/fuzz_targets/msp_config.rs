//! See `gossip_fuzz::mcs::msp_config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gossip_fuzz::mcs::msp_config(data));
