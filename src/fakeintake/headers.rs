//! Access to request headers.

use hyper::header::HeaderMap;

/// The value of a header, if it is text.
pub(super) fn header(headers: &HeaderMap, name: impl hyper::header::AsHeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
