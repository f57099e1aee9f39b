//! See `gossip_fuzz::api::message`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gossip_fuzz::api::message(data));
