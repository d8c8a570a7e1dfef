//! Datadog's rules for metric names, in every format.

/// The longest name that Datadog's intake takes, in bytes (DataDog/saluki, `test/antithesis/intake`). The documentation says 200
/// (docs.datadoghq.com/metrics/custom_metrics), but Agents send longer ones, and in doubt Datadog decides.
const MAX_NAME: usize = 350;

/// Why Datadog would refuse a name. It replaces illegal characters by `_`, so they pass.
pub(super) fn name_fault(name: &[u8]) -> Option<&'static str> {
    if name.is_empty() {
        Some("the metric's name is empty")
    } else if name.len() > MAX_NAME {
        Some("the metric's name is longer than 350 bytes")
    } else if !name.iter().any(u8::is_ascii_alphabetic) {
        Some("the metric's name contains no letter of A-Z a-z")
    } else {
        None
    }
}
