//! What the query of a request may say: the key, and attributes of logs.

use crate::wire::LogDefaults;
use std::borrow::Cow;

/// The query, decoded as far as it matters.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Query<'a> {
    /// `api_key` (dogapi-rb, Agents).
    pub api_key: Option<Cow<'a, str>>,
    /// `dd-api-key` (logs from browsers and shippers).
    pub dd_api_key: Option<Cow<'a, str>>,
    /// Attributes for logs.
    pub log_defaults: LogDefaults,
}

impl<'a> Query<'a> {
    /// Reads a query; attributes of logs only where the path takes logs. Of a repeated key the first value counts, and
    /// what is empty counts as absent.
    pub(super) fn parse(query: Option<&'a str>, logs: bool) -> Self {
        let mut parsed = Self::default();
        let Some(query) = query else { return parsed };
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            if value.is_empty() {
                continue;
            }
            let defaults = &mut parsed.log_defaults;
            let slot = match &*key {
                "api_key" => {
                    parsed.api_key.get_or_insert(value);
                    continue;
                }
                "dd-api-key" => {
                    parsed.dd_api_key.get_or_insert(value);
                    continue;
                }
                "ddsource" if logs => &mut defaults.source,
                "ddtags" if logs => &mut defaults.tags,
                "hostname" | "host" if logs => &mut defaults.hostname,
                "service" if logs => &mut defaults.service,
                _ => continue,
            };
            slot.get_or_insert_with(|| value.into_owned());
        }
        parsed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_log_attributes_are_decoded_and_the_first_of_each_counts() {
        let query = "api_key=&api_key=a%62&api_key=x&ddtags=env%3Aprod,a+b&host=h1&hostname=h2&service=&ddsource=s&z=1";
        let query = Query::parse(Some(query), true);
        assert_eq!(query.api_key.as_deref(), Some("ab"));
        assert_eq!(query.dd_api_key, None);
        let expected = LogDefaults {
            source: Some("s".into()),
            tags: Some("env:prod,a b".into()),
            hostname: Some("h1".into()),
            service: None,
        };
        assert_eq!(query.log_defaults, expected);
    }

    #[test]
    fn other_paths_have_no_log_attributes() {
        assert_eq!(Query::parse(Some("ddtags=a&host=h&dd-api-key=k"), false).log_defaults, LogDefaults::default());
    }
}
