#![no_main]

use dogsled::wire::Form;

libfuzzer_sys::fuzz_target!(|body: &[u8]| dogsled_fuzz::split(Form::SeriesV2Proto, body));
