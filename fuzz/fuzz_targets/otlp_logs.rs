#![no_main]

use dogsled::wire::otlp::Signal;

libfuzzer_sys::fuzz_target!(|body: &[u8]| dogsled_fuzz::otlp(Signal::Logs, body));
