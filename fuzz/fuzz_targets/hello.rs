//! See `gossip_fuzz::api::hello`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gossip_fuzz::api::hello(data));
