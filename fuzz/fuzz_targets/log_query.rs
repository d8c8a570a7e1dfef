#![no_main]

use dogsled::wire::{Form, LogDefaults};

/// Source, tags, host and service; whether the body is text; and the body.
type Input = ([Option<String>; 4], bool, Vec<u8>);

libfuzzer_sys::fuzz_target!(|input: Input| {
    let ([source, tags, hostname, service], is_text, body) = input;
    let form = if is_text { Form::LogsText } else { Form::LogsJson };
    dogsled_fuzz::split_with(form, &body, &LogDefaults { source, tags, hostname, service });
});
