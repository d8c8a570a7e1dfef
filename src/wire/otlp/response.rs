//! Answers of OTLP, in the encoding of the request (opentelemetry-proto, `docs/specification.md`).

use super::options::Signal;
use super::reason::Rejections;
use super::value::write_string;
use crate::wire::encode;

/// How a request is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `application/x-protobuf`
    Protobuf,
    /// `application/json`
    Json,
}

/// The body of success: an `Export…ServiceResponse`, with `partial_success` where something was refused.
pub fn success(signal: Signal, encoding: Encoding, rejections: &Rejections) -> Vec<u8> {
    let items = rejections.items();
    let mut out = Vec::new();
    match encoding {
        Encoding::Protobuf if items == 0 => {}
        Encoding::Protobuf => encode::packed(1, &mut out, |out| {
            encode::uint64(1, items, out);
            encode::text(2, &rejections.to_string(), out);
        }),
        Encoding::Json if items == 0 => out.extend_from_slice(b"{}"),
        Encoding::Json => {
            let name = match signal {
                Signal::Metrics => "rejectedDataPoints",
                Signal::Logs => "rejectedLogRecords",
            };
            let message = json_text(&rejections.to_string());
            out = format!("{{\"partialSuccess\":{{\"{name}\":\"{items}\",\"errorMessage\":{message}}}}}").into_bytes();
        }
    }
    out
}

/// The body of a refusal: a `google.rpc.Status`.
pub fn status(code: u32, message: &str, encoding: Encoding) -> Vec<u8> {
    let mut out = Vec::new();
    match encoding {
        Encoding::Protobuf => {
            encode::uint64(1, u64::from(code), &mut out);
            encode::text(2, message, &mut out);
        }
        Encoding::Json => out = format!("{{\"code\":{code},\"message\":{}}}", json_text(message)).into_bytes(),
    }
    out
}

/// A `google.rpc.Status` with a `RetryInfo`, which is what `grpc-status-details-bin` holds.
pub fn retry_details(code: u32, message: &str, seconds: u64) -> Vec<u8> {
    let mut out = status(code, message, Encoding::Protobuf);
    encode::packed(3, &mut out, |out| {
        encode::text(1, "type.googleapis.com/google.rpc.RetryInfo", out);
        encode::packed(2, out, |out| encode::packed(1, out, |out| encode::uint64(1, seconds, out)));
    });
    out
}

/// A text as a JSON string.
fn json_text(text: &str) -> String {
    let mut out = Vec::new();
    write_string(text.as_bytes(), &mut out);
    String::from_utf8_lossy(&out).into_owned()
}
