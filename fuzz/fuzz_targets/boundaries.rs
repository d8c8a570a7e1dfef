#![no_main]

libfuzzer_sys::fuzz_target!(|run: &[u8]| dogsled_fuzz::boundaries(run));
