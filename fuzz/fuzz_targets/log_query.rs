#![no_main]

use dogsled::wire::{Form, LogDefaults};

libfuzzer_sys::fuzz_target!(|input: (
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    bool,
    Vec<u8>
)| {
    let (source, tags, hostname, service, is_text, body) = input;
    let form = if is_text { Form::LogsText } else { Form::LogsJson };
    dogsled_fuzz::split_with(form, &body, &LogDefaults { source, tags, hostname, service });
});
