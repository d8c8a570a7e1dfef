#![no_main]

libfuzzer_sys::fuzz_target!(|packet: &[u8]| dogsled_fuzz::dogstatsd(packet));
