//! See `gossip_fuzz::mcs::channel_config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gossip_fuzz::mcs::channel_config(data));
