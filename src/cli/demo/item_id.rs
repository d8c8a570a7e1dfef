//! How the demo follows an item: by an identifier in one of its tags.

/// The tag that holds an item's identifier. Commas end a log's tag, quotes end a tag of an array.
pub(super) const TAG: &str = "demo_id:";

/// The identifiers in the JSON text of items.
pub(super) fn ids_of(items: &str) -> impl Iterator<Item = &str> {
    items.split(TAG).skip(1).filter_map(|rest| rest.split([',', '"']).next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_found_in_tags_of_either_form() {
        for (text, expected) in [
            (r#"{"ddtags":"env:demo,demo_id:acme.logs.7"}"#, &["acme.logs.7"][..]),
            (
                r#"[{"ddtags":"demo_id:acme.logs.7,x:y"},{"ddtags":"demo_id:acme.logs.8"}]"#,
                &["acme.logs.7", "acme.logs.8"],
            ),
            (r#"{"tags":["demo_id:acme.event_v1.8","x:y"]}"#, &["acme.event_v1.8"]),
            (r#"{"tags":[]}"#, &[]),
        ] {
            assert_eq!(ids_of(text).collect::<Vec<_>>(), expected, "{text}");
        }
    }
}
