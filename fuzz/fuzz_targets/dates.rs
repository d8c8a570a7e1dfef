#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| dogsled_fuzz::date(text));
