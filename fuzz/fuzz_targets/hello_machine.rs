//! See `gossip_fuzz::comm::hello_machine`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gossip_fuzz::comm::hello_machine(data));
