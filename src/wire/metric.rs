//! Datadog's rules for metric names, in every format.

/// The longest name, in bytes: the documented figure (docs.datadoghq.com/metrics/custom_metrics).
const MAX_NAME: usize = 200;

/// Why Datadog would refuse a name. It replaces illegal characters by `_`, so they pass.
pub(super) fn name_fault(name: &[u8]) -> Option<&'static str> {
    if name.is_empty() {
        Some("the metric's name is empty")
    } else if name.len() > MAX_NAME {
        Some("the metric's name is longer than 200 bytes")
    } else if !name.iter().any(u8::is_ascii_alphabetic) {
        Some("the metric's name contains no letter of A-Z a-z")
    } else {
        None
    }
}
