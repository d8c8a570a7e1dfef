//! Reading of headers.

use hyper::header::HeaderMap;

/// A header's value, if it has one that is text.
pub(super) fn header(headers: &HeaderMap, name: impl hyper::header::AsHeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
