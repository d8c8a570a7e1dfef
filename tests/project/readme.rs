//! What the README shows is what there is.

use crate::support::{FakeIntake, Setup, client};
use dogsled::settings::Settings;
use serde_json::json;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const README: &str = include_str!("../../README.md");

/// The blocks of code of that language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    README.split(fence.as_str()).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

#[test]
fn its_configurations_are_taken() {
    let blocks = blocks("toml");
    assert!(!blocks.is_empty());
    for block in blocks {
        assert!(Settings::from_toml(block).is_ok(), "{block}");
    }
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("acme.key");
    std::fs::write(&key, "0123456789abcdef0123456789abcdef\n").unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let first_steps = README.split("<<'END'\n").nth(1).and_then(|rest| rest.split("END\n").next()).unwrap();
    let settings = Settings::from_toml(&first_steps.replace("acme.key", key.to_str().unwrap()));
    assert!(settings.is_ok_and(|settings| settings.tenants.len() == 1), "{first_steps}");
}

#[test]
fn the_keys_it_names_are_in_the_annotated_configuration() {
    let annotated = include_str!("../../config/dogsled.toml");
    let sections = ["ingest", "tenancy", "batch", "delivery", "memory", "admin", "log", "shutdown", "datadog", "state"];
    // Code is every second piece between fences, and then between backticks.
    let spans = README.split("```").step_by(2).flat_map(|text| text.split('`').skip(1).step_by(2));
    let named: BTreeSet<_> = spans
        .filter_map(|span| span.split(' ').next()?.split_once('.'))
        .filter(|(section, key)| sections.contains(section) && *key != "yaml")
        .collect();
    assert!(named.len() > 10, "{named:?}");
    for (section, key) in named {
        let (_, rest) = annotated.split_once(&format!("\n[{section}]\n")).unwrap_or_else(|| panic!("{section}"));
        let keys = rest.split("\n[").next().unwrap();
        assert!(keys.contains(&format!("#{key} = ")), "{section}.{key}");
    }
}

#[test]
fn its_links_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for page in ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/dependencies.md", "docs/decisions/README.md"] {
        let text = std::fs::read_to_string(root.join(page)).unwrap();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.starts_with("http")) {
            let file = link.split_once('#').map_or(link, |(file, _)| file);
            assert!(root.join(page).parent().unwrap().join(file).exists(), "{page}: {link}");
        }
    }
}

#[tokio::test]
async fn its_table_of_metrics_is_what_a_daemon_exposes() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["acme"]).set("batch.max_age", "50ms").start().await;
    let quota = json!({ "quota": { "limit": 50, "period_s": 3600 } });
    fakeintake.fault("acme", json!({ "path": "/api/v2/logs", "effect": quota })).await;
    let refusal = json!({ "status": { "code": 400 } });
    fakeintake.fault("acme", json!({ "path": "/api/v2/series", "effect": refusal })).await;
    daemon.logs("acme", [1]).await;
    daemon.series("acme", ["refused".to_owned()]).await;
    daemon.wait_empty("acme").await;
    let text = client().get(format!("{}/metrics", daemon.url("admin"))).send().await.unwrap().text().await.unwrap();

    let mut expected: BTreeSet<String> = BTreeSet::new();
    for declaration in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, form) = declaration.split_once(' ').unwrap();
        let help = text.lines().find_map(|line| line.strip_prefix(&format!("# HELP {name} ")));
        let help = help.unwrap_or_else(|| panic!("{name} has no HELP"));
        let series = text.lines().find(|line| {
            let rest = line.strip_prefix(name).map(|rest| rest.strip_prefix("_bucket").unwrap_or(rest));
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
        });
        let series = series.unwrap_or_else(|| panic!("{name} has no series: have the daemon above do what it counts"));
        let labels = series.split_once('{').map_or("", |(_, rest)| rest.rsplit_once('}').unwrap().0);
        let labels =
            labels.split(',').filter_map(|label| Some(label.split_once('=')?.0)).filter(|label| *label != "le");
        let labels = labels.collect::<Vec<_>>().join(", ");
        let histogram = if form == "histogram" { " (histogram)" } else { "" };
        expected.insert(format!("| `{name}` | {labels} | {help}{histogram} |").replace("|  |", "| |"));
    }
    let table = README.split("## Metrics").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: BTreeSet<String> = table.lines().filter(|line| line.starts_with("| `")).map(str::to_owned).collect();
    let (missing, stale): (Vec<_>, Vec<_>) =
        (expected.difference(&rows).collect(), rows.difference(&expected).collect());
    assert!(missing.is_empty() && stale.is_empty(), "missing in the README: {missing:#?}, to be removed: {stale:#?}");
}
