//! The annotated configuration file.

use super::datadog::ABOUT_SITES;
use super::key::{Description, Table, describe, one_line};
use super::print::toml_value;
use super::problems::join;
use super::section::SECTIONS;
use super::{OwnLimits, OwnQuota, Settings, SiteHosts, StaticTenant};

/// How wide a comment of the annotated file may be, in characters.
const WIDTH: usize = 118;

const HEADER: &str = "\
# Dogsled's configuration: /etc/dogsled/dogsled.toml
#
# Every key is here with its default, commented out as `#key = value`: remove the # to change it.
# Each key can also be set by an environment variable, which wins: DOGSLED_INGEST__MAX_BODY=32MiB.
# Durations: 200ms, 10s, 5m, 1h30m. Sizes: 16KiB, 64MiB, 5MB, or plain bytes.
# `dogsled check` validates this file and prints the effective configuration. `systemctl reload dogsled`, or SIGHUP, has
# a running daemon read it again; keys marked (restart) wait for a restart, and the log says which have changed.
# `dogsled schema` prints a JSON Schema of this file, for editors.
";

impl Settings {
    /// The configuration file with every key, its default and its help: `config/dogsled.toml`.
    pub fn annotated() -> String {
        let mut text = HEADER.to_owned();
        for section in SECTIONS {
            text.push('\n');
            comment(&mut text, "# ", &section.about());
            text += &format!("[{}]\n", section.name());
            for Description { name, help, restart, file, default, .. } in section.keys() {
                comment(&mut text, "# ", &if restart { help + " (restart)" } else { help });
                if !default.is_null() {
                    text += &format!("#{name} = {}\n", toml_value(&default));
                }
                if let Some(file) = file {
                    text += &format!("#{file} = \"\"\n");
                }
            }
            match section.name() {
                "tenancy" => annotate_tenants(&mut text),
                "datadog" => annotate_sites(&mut text),
                _ => {}
            }
        }
        text
    }
}

/// A tenant as an example, with an example of each key.
fn annotate_tenants(text: &mut String) {
    text.push('\n');
    comment(text, "# ", &one_line(StaticTenant::ABOUT));
    *text += "#\n# [tenants.acme]\n";
    let keys = describe::<StaticTenant>().into_iter().chain(describe::<OwnLimits>()).chain(describe::<OwnQuota>());
    for Description { name, help, file, schema, .. } in keys {
        comment(text, "# # ", &help);
        *text += &match file {
            Some(file) => format!("# {file} = \"\"\n"),
            None => format!("# {name} = {}\n", toml_value(&schema["examples"][0])),
        };
    }
}

fn annotate_sites(text: &mut String) {
    text.push('\n');
    comment(text, "# ", ABOUT_SITES);
    *text += &format!("#\n# [{}]\n", join("datadog.sites", "datadoghq.com"));
    for (key, host) in SiteHosts::standard("datadoghq.com", "app.datadoghq.com").by_name() {
        *text += &format!("# {key} = {host:?}\n");
    }
}

/// Writes a comment, broken into lines between words.
fn comment(text: &mut String, prefix: &str, comment: &str) {
    let mut line = String::new();
    for word in comment.split(' ') {
        if !line.is_empty() && prefix.len() + line.chars().count() + 1 + word.chars().count() > WIDTH {
            *text += &format!("{prefix}{line}\n");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    *text += &format!("{prefix}{line}\n");
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The annotated configuration as it is in the repository.
    pub(in crate::settings) const ANNOTATED: &str = include_str!("../../config/dogsled.toml");

    /// The annotated configuration with its commented keys put into effect.
    pub(in crate::settings) fn with_all_keys() -> String {
        let key =
            |line: &str| line.strip_prefix('#').filter(|rest| rest.starts_with(char::is_alphabetic)).map(str::to_owned);
        ANNOTATED.lines().map(|line| key(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
    }

    /// The tables that are examples in the annotated configuration.
    pub(in crate::settings) fn examples() -> String {
        let mut within = false;
        let is_example = |line: &&str| {
            within = line.starts_with("# [") || within && line.starts_with("# ");
            within
        };
        ANNOTATED.lines().filter(is_example).map(|line| format!("{}\n", &line[2..])).collect()
    }

    /// With UPDATE=1 in the environment, writes the file anew.
    #[test]
    fn the_annotated_configuration_is_generated() {
        let annotated = Settings::annotated();
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/config/dogsled.toml"), &annotated).unwrap();
        } else {
            assert!(annotated == ANNOTATED, "config/dogsled.toml is not current: run UPDATE=1 cargo test annotated");
        }
    }

    #[test]
    fn the_annotated_configuration_shows_defaults() {
        for text in [ANNOTATED, &with_all_keys()] {
            let loaded = Settings::from_toml(text).unwrap();
            assert_eq!(loaded.to_toml(), Settings::default().to_toml());
        }
        let shown: toml::Table = toml::from_str(&with_all_keys()).unwrap();
        for (section, keys) in toml::from_str::<toml::Table>(&Settings::default().to_toml()).unwrap() {
            for (key, value) in keys.as_table().unwrap() {
                assert_eq!(shown[&section].get(key), Some(value), "{section}.{key}");
            }
        }
    }

    #[test]
    fn the_annotated_examples_are_good() {
        let settings = Settings::from_toml(&examples()).unwrap();
        let acme = &settings.tenants["acme"];
        assert_eq!((acme.site.as_str(), acme.own.journal.max_bytes), ("datadoghq.eu", Some(1 << 30)));
        assert!(settings.datadog.sites.changed().next().is_none() && examples().contains("[datadog.sites"));
    }
}
