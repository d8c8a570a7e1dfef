//! What the README shows is what there is.

use dogsled::admin::install_recorder;
use dogsled::daemon::Daemon;
use dogsled::settings::Settings;
use std::collections::BTreeSet;
use std::path::Path;

const README: &str = include_str!("../README.md");

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
    let first_steps = README.split("<<'END'\n").nth(1).and_then(|rest| rest.split("END\n").next()).unwrap();
    let settings = Settings::from_toml(&first_steps.replace("acme.key", key.to_str().unwrap()));
    assert!(settings.is_ok_and(|settings| settings.tenants.len() == 1), "{first_steps}");
}

#[test]
fn the_keys_it_names_are_in_the_annotated_configuration() {
    let annotated = include_str!("../config/dogsled.toml");
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
async fn its_list_of_metrics_is_that_of_a_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let settings = format!(
        "[state]\ndir = {:?}\n[ingest]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[tenants.acme]\n",
        dir.path()
    );
    let daemon = Daemon::start(&Settings::from_toml(&settings).unwrap(), install_recorder().unwrap()).await.unwrap();
    let url = format!("http://{}/metrics", daemon.admin_address().unwrap());
    tokio::spawn(daemon.run(std::future::pending(), std::future::pending()));
    let text = reqwest::Client::new().get(url).send().await.unwrap().text().await.unwrap();
    let table = README.split("## Metrics").nth(1).unwrap().split("\n## ").next().unwrap();
    let listed: BTreeSet<String> =
        table.split('`').filter(|word| word.starts_with("dogsled_")).map(str::to_owned).collect();
    let served: BTreeSet<String> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).map(str::to_owned).collect();
    let missing: Vec<_> = served.difference(&listed).collect();
    assert!(missing.is_empty(), "the README does not list {missing:?}");
    // Of these there is nothing before the first request.
    let later = [
        "dogsled_journal_fsync_seconds",
        "dogsled_delivery_requests_total",
        "dogsled_delivery_seconds",
        "dogsled_payload_bytes",
    ];
    let stale: Vec<_> = listed.difference(&served).filter(|name| !later.contains(&name.as_str())).collect();
    assert!(stale.is_empty(), "the README lists {stale:?}, which are not there");
}
