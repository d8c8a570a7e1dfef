#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dogsled_fuzz::recover(bytes));
