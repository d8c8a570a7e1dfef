mod decode;

use super::*;
use crate::types::{Kind, TenantId};
use crate::wire::dogstatsd::Reason;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

const VECTORS: &str = include_str!("../../../tests/vectors/dogstatsd.jsonl");

/// What one item says, as the vectors write it.
type Items = Vec<Json>;

fn source() -> Source {
    Source { tenant: TenantId::new("acme").ok(), tag: Some("tenant".into()), ..Source::default() }
}

fn everyone(_: &str) -> bool {
    true
}

/// Everything that is to be sent, decoded: series, sketches, and the rest as JSON.
fn sent(aggregator: &mut Aggregator) -> BTreeMap<String, (Items, Items, Items)> {
    let mut all = BTreeMap::<_, (Items, Items, Items)>::new();
    for part in aggregator.take_parts() {
        let (series, sketches, others) = all.entry(part.tenant.unwrap()).or_default();
        let items: Items = match part.kind {
            Kind::SeriesV2Proto => decode::fields(&part.bytes).map(|(_, item)| decode::series(item.bytes())).collect(),
            Kind::Sketches => decode::fields(&part.bytes).map(|(_, item)| decode::sketch(item.bytes())).collect(),
            Kind::CheckRun => {
                serde_json::from_str(&format!("[{}]", std::str::from_utf8(&part.bytes).unwrap())).unwrap()
            }
            _ => vec![serde_json::from_slice(&part.bytes).unwrap()],
        };
        assert_eq!(items.len(), part.items as usize);
        match part.kind {
            Kind::SeriesV2Proto => series.extend(items),
            Kind::Sketches => sketches.extend(items),
            _ => others.extend(items),
        }
    }
    all
}

fn of_acme(aggregator: &mut Aggregator) -> (Items, Items, Items) {
    sent(aggregator).remove("acme").unwrap_or_default()
}

fn flush(aggregator: &mut Aggregator, now: i64) {
    aggregator.roll(now);
    while !aggregator.advance(1) {}
}

/// A series with one point, as the most that a test needs.
fn point(items: &Items, metric: &str) -> Option<(i64, f64)> {
    let item = items.iter().find(|item| item["metric"] == metric)?;
    Some((item["points"][0][0].as_i64()?, item["points"][0][1].as_f64()?))
}

fn options_of(config: &Json) -> Options {
    let texts = |key: &str| -> Option<Vec<String>> {
        let texts = config.get(key)?.as_array()?;
        Some(texts.iter().map(|text| text.as_str().unwrap().to_owned()).collect())
    };
    let mut options =
        Options { host: config["default_host"].as_str().unwrap_or_default().into(), ..Options::default() };
    if let Some(names) = texts("histogram_aggregates") {
        options.aggregates = names.iter().filter_map(|name| Aggregate::from_name(name)).collect();
    }
    if let Some(fractions) = texts("histogram_percentiles") {
        let fractions = fractions.iter().filter_map(|text| text.parse().ok());
        options.percentiles = fractions.filter_map(Percentile::from_fraction).collect();
        options.percentiles.sort();
    }
    options.tags = texts("tags").unwrap_or_default();
    options.namespace = config["namespace"].as_str().unwrap_or_default().into();
    if config["histogram_copy_to_distribution"] == true {
        options.copy_to_distribution = config["histogram_copy_to_distribution_prefix"].as_str().map(str::to_owned);
    }
    options
}

/// Compares numbers as what they are, and the rest exactly.
fn assert_alike(got: &Json, expected: &Json, what: &str) {
    match (got, expected) {
        (Json::Object(one), Json::Object(other)) => {
            assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>(), "{what}: {got} {expected}");
            one.iter().for_each(|(key, value)| assert_alike(value, &other[key], &format!("{what}.{key}")));
        }
        (Json::Array(one), Json::Array(other)) => {
            assert_eq!(one.len(), other.len(), "{what}: {got} {expected}");
            one.iter().zip(other).for_each(|(one, other)| assert_alike(one, other, what));
        }
        (Json::Number(one), Json::Number(other)) => {
            let (one, other) = (one.as_f64().unwrap(), other.as_f64().unwrap());
            assert!((one - other).abs() <= other.abs() * 1e-12, "{what}: {one} {other}");
        }
        _ => assert_eq!(got, expected, "{what}"),
    }
}

#[test]
fn buckets_are_those_of_the_agent() {
    let mut seen = 0;
    for line in VECTORS.lines() {
        let mut vector: Json = serde_json::from_str(line).unwrap();
        let id = vector["id"].as_str().unwrap().to_owned();
        if vector["group"] != "aggregate" || !vector["config"]["mapper_profiles"].is_null() {
            continue;
        }
        if id == "A24" {
            // Suggested instead: types are kept apart.
            vector["series"] = json!([
                { "metric": "x", "type": "rate", "points": [[1000, 0.1]], "tags": [], "host": "box1", "interval": 10 },
                { "metric": "x", "type": "gauge", "points": [[1000, 5.0]], "tags": [], "host": "box1", "interval": 10 },
            ]);
        }
        let lines: Vec<(f64, String)> = serde_json::from_value(vector["in"].clone()).unwrap();
        // As if it had run before: the first bucket has nothing to do with the start.
        let mut aggregator = Aggregator::new(options_of(&vector["config"]), lines[0].0 as i64 - 100);
        let mut items = (Items::new(), Items::new());
        let mut flushes: Vec<i64> = match &vector["flush"] {
            Json::Number(number) => vec![number.as_i64().unwrap()],
            Json::Array(times) => times.iter().map(|time| time.as_i64().unwrap()).collect(),
            Json::String(text) if text.starts_with("every") => (1010..=1330).step_by(10).collect(),
            _ => Vec::new(),
        };
        let mut gather = |aggregator: &mut Aggregator| {
            let (series, sketches, _) = of_acme(aggregator);
            items.0.extend(series);
            items.1.extend(sketches);
        };
        for (time, line) in &lines {
            while flushes.first().is_some_and(|flush| (*flush as f64) <= *time) {
                flush(&mut aggregator, flushes.remove(0));
                gather(&mut aggregator);
            }
            aggregator.take(line.as_bytes(), &source(), *time as i64, &everyone);
        }
        for time in flushes {
            flush(&mut aggregator, time);
            gather(&mut aggregator);
        }
        if vector["flush"].is_string() && id != "A17" {
            aggregator.finish(lines[0].0 as i64 + 3);
            gather(&mut aggregator);
        }
        let mut joined = Items::new();
        for mut item in items.0 {
            // Points of one series in successive buckets, as the vectors write them.
            let same = |other: &&mut Json| ["metric", "type", "tags", "host"].iter().all(|key| other[key] == item[key]);
            match joined.iter_mut().find(same) {
                Some(other) => {
                    let points = item["points"].as_array_mut().unwrap().drain(..);
                    other["points"].as_array_mut().unwrap().extend(points);
                }
                None => joined.push(item),
            }
        }
        if vector["series"][0]["resources"].is_null() {
            joined.iter_mut().for_each(|item| drop(item.as_object_mut().unwrap().remove("resources")));
        }
        assert_alike(&json!(joined), &vector["series"], &id);
        assert_alike(&json!(items.1), &vector["sketches"], &id);
        seen += 1;
    }
    assert_eq!(seen, 29);
}

#[test]
fn tenants_are_kept_apart_and_counters_add_up() {
    let mut aggregator = Aggregator::new(Options::default(), 990);
    for round in 0..100 {
        for tenant in 0..10 {
            let line = format!("hits:{tenant}|c|#b,tenant:t{tenant},a\nhits:1|c|@0.5|#a,b,tenant:t{tenant}");
            aggregator.take(line.as_bytes(), &source(), 1000 + round / 10, &everyone);
        }
    }
    assert_eq!(aggregator.contexts(), 10);
    flush(&mut aggregator, 1010);
    let sent = sent(&mut aggregator);
    assert_eq!(sent.len(), 10);
    for (tenant, (series, ..)) in sent {
        let sum = 100.0 * (tenant[1..].parse::<f64>().unwrap() + 2.0);
        assert_eq!(point(&series, "hits"), Some((1000, sum / 10.0)));
        assert_eq!(series[0]["tags"], json!(["a", "b"]));
    }
}

#[test]
fn lines_without_a_known_tenant_are_counted_by_reason() {
    let mut aggregator = Aggregator::new(Options::default(), 1000);
    let knows = |tenant: &str| tenant == "acme";
    let nobody = Source { tenant: None, ..source() };
    let bound = Source { bound: true, id: 1, ..source() };
    for (source, tags, reason) in [
        (&nobody, "a", Reason::NoTenant),
        (&nobody, "tenant:globex", Reason::UnknownTenant),
        (&nobody, "tenant:acme,tenant:globex", Reason::TenantConflict),
        (&bound, "tenant:globex", Reason::ForeignTenant),
    ] {
        aggregator.take(format!("hits:1|c|#{tags}").as_bytes(), source, 1001, &knows);
        let counts = aggregator.take_counts();
        assert_eq!((counts.lines, counts.errors[reason as usize]), (1, 1), "{tags}");
        assert!(aggregator.example(reason).unwrap().contains(tags));
    }
    aggregator.take(b"hits:1|c|#tenant:acme", &bound, 1001, &knows);
    assert_eq!(aggregator.contexts(), 1);
}

#[test]
fn points_of_two_runs_never_overwrite_each_other() {
    let mut stamps = Vec::new();
    // Started, ended, started again in one bucket, then a whole bucket.
    for (start, end) in [(1000, 1003), (1004, 1006), (1007, 1021)] {
        let mut aggregator = Aggregator::new(Options::default(), start);
        for second in start..end {
            aggregator.take(b"hits:1|c", &source(), second, &everyone);
        }
        aggregator.finish(end);
        aggregator.take(b"hits:1|c", &source(), end, &everyone);
        aggregator.finish(end);
        for series in of_acme(&mut aggregator).0 {
            stamps.push(series["points"][0][0].as_i64().unwrap());
        }
    }
    let distinct: std::collections::BTreeSet<_> = stamps.iter().collect();
    assert_eq!(distinct.len(), stamps.len(), "{stamps:?}");
}

#[test]
fn a_clock_that_is_set_back_repeats_no_timestamp() {
    let mut aggregator = Aggregator::new(Options { context_expiry: 0, ..Options::default() }, 995);
    let mut stamps = Vec::new();
    for second in (1000..1050).chain(1010..1060) {
        aggregator.take(b"hits:1|c", &source(), second, &everyone);
        aggregator.advance(u32::MAX);
        for series in of_acme(&mut aggregator).0 {
            stamps.push(series["points"][0][0].as_i64().unwrap());
        }
    }
    let distinct: std::collections::BTreeSet<_> = stamps.iter().collect();
    assert_eq!((distinct.len(), stamps.len()), (9, 9), "{stamps:?}");
}

#[test]
fn a_runaway_tag_costs_its_tenant_new_contexts_only() {
    let limits = Limits { contexts_per_tenant: 100, contexts: 1_000, ..Limits::default() };
    let mut aggregator = Aggregator::new(Options { limits, ..Options::default() }, 990);
    for request in 0..10_000 {
        aggregator.take(b"good:1|c|#tenant:globex\nold:1|c|#tenant:acme", &source(), 1000, &everyone);
        let runaway = format!("requests:1|c|#tenant:acme,id:{request}");
        aggregator.take(runaway.as_bytes(), &source(), 1000, &everyone);
    }
    let counts = aggregator.take_counts();
    assert_eq!((counts.lines, counts.errors[Reason::ContextLimit as usize]), (30_000, 10_000 - 99));
    let figures = aggregator.figures(1);
    let acme = figures.iter().find(|figures| figures.tenant.as_str() == "acme").unwrap();
    assert_eq!((acme.contexts, acme.refused), (100, 10_000 - 99));
    assert_eq!(acme.names, [NameFigures { name: "requests".into(), contexts: 99 }]);
    flush(&mut aggregator, 1010);
    let mut sent = sent(&mut aggregator);
    assert_eq!(point(&sent.remove("globex").unwrap().0, "good"), Some((1000, 1_000.0)));
    assert_eq!(point(&sent.remove("acme").unwrap().0, "old"), Some((1000, 1_000.0)));
}

#[test]
fn greedy_tenants_leave_room_for_others() {
    let limits = Limits { contexts_per_tenant: 1_000, contexts: 1_000, ..Limits::default() };
    let mut aggregator = Aggregator::new(Options { limits, ..Options::default() }, 990);
    for tenant in 0..5 {
        for id in 0..1_000 {
            let line = format!("runaway:1|g|#tenant:t{tenant},id:{id}");
            aggregator.take(line.as_bytes(), &source(), 1000, &everyone);
        }
    }
    assert!(aggregator.contexts() < 1_000);
    let before = aggregator.take_counts();
    assert!(before.errors[Reason::ContextLimit as usize] > 0);
    aggregator.take(b"modest:1|g|#tenant:late", &source(), 1000, &everyone);
    assert_eq!(aggregator.take_counts().errors, [0; Reason::ALL.len()]);
}

#[test]
fn idle_contexts_are_forgotten_with_all_that_they_took() {
    let mut aggregator = Aggregator::new(Options::default(), 990);
    for id in 0..500 {
        let line =
            format!("a:1|c|#id:{id}\nb:1|g|#id:{id}\nc:1|h|#id:{id},x\nc:1|h|#x,id:{id}\nd:1|d|#{id}\ne:m|s|#{id}");
        aggregator.take(line.as_bytes(), &source(), 1000, &everyone);
    }
    assert_eq!(aggregator.contexts(), 2_500);
    for now in (1010..=1060).step_by(10) {
        flush(&mut aggregator, now);
    }
    assert_eq!(aggregator.contexts(), 500, "counters report zeros");
    flush(&mut aggregator, 1400);
    flush(&mut aggregator, 1410);
    assert_eq!((aggregator.contexts(), aggregator.figures(9)), (0, Vec::new()));
    // Their room is used again.
    aggregator.take(b"a:1|c", &source(), 1410, &everyone);
    assert_eq!(aggregator.contexts(), 1);
}

#[test]
fn lines_are_taken_while_a_bucket_is_written() {
    let mut aggregator = Aggregator::new(Options::default(), 990);
    let lines: Vec<_> = (0..100).map(|id| format!("hits:1|c|#id:{id}\nlat:{id}|d|#id:{id}")).collect();
    let take = |aggregator: &mut Aggregator, now| {
        lines.iter().for_each(|line| aggregator.take(line.as_bytes(), &source(), now, &everyone));
    };
    take(&mut aggregator, 1000);
    take(&mut aggregator, 1010);
    let mut steps = 0;
    while !aggregator.advance(7) {
        take(&mut aggregator, 1012);
        steps += 1;
    }
    let (series, sketches, _) = of_acme(&mut aggregator);
    assert_eq!((series.len(), sketches.len()), (100, 100));
    assert!(series.iter().all(|series| series["points"] == json!([[1000, 0.1]])));
    flush(&mut aggregator, 1020);
    let (series, sketches, _) = of_acme(&mut aggregator);
    let all = 1 + steps;
    assert!(series.iter().all(|series| series["points"] == json!([[1010, f64::from(all) / 10.0]])), "{series:?}");
    assert!(sketches.iter().all(|sketch| sketch["cnt"] == all));
}

#[test]
fn very_many_samples_are_kept_as_a_sketch() {
    let options = Options { percentiles: Percentile::from_fraction(0.95).into_iter().collect(), ..Options::default() };
    let mut aggregator = Aggregator::new(options, 990);
    for value in 0..100_000 {
        aggregator.take(format!("lat:{value}|h|@0.5").as_bytes(), &source(), 1000, &everyone);
    }
    flush(&mut aggregator, 1010);
    let (series, ..) = of_acme(&mut aggregator);
    let value = |name| point(&series, name).unwrap().1;
    assert_eq!((value("lat.max"), value("lat.avg"), value("lat.count")), (99_999.0, 49_999.5, 20_000.0));
    assert!((value("lat.median") / 50_000.0 - 1.0).abs() < 1.0 / 64.0);
    assert!((value("lat.95percentile") / 95_000.0 - 1.0).abs() < 1.0 / 64.0);
}

#[test]
fn a_tenant_without_room_for_samples_loses_only_those() {
    let limits = Limits { samples_per_tenant: 1_000, ..Limits::default() };
    let mut aggregator = Aggregator::new(Options { limits, ..Options::default() }, 990);
    for id in 0..5_000 {
        let lines = format!("users:{id}|s\nlat:{id}|h\nhits:1|c\nsize:{id}|d\nusers:{id}|s|#tenant:globex");
        aggregator.take(lines.as_bytes(), &source(), 1000, &everyone);
    }
    let refused = aggregator.take_counts().errors[Reason::SampleLimit as usize];
    flush(&mut aggregator, 1010);
    let mut sent = sent(&mut aggregator);
    let (series, ..) = sent.remove("acme").unwrap();
    assert_eq!(point(&series, "hits"), Some((1000, 500.0)));
    assert!(point(&series, "users").unwrap().1 < 1_000.0);
    assert_eq!(point(&sent.remove("globex").unwrap().0, "users").unwrap().1, 1_000.0);
    assert!(refused > 4_000);
}

#[test]
fn points_of_one_timestamp_become_one() {
    let mut aggregator = Aggregator::new(Options::default(), 990);
    aggregator.take(
        b"jobs:1:2|c|T500\njobs:4|c|T500|@0.5\ntemp:1:2|g|T500\ntemp:3|g|T400\nrt:5|d|T500",
        &source(),
        1000,
        &everyone,
    );
    // The same second as the bucket's.
    aggregator.take(b"jobs:10|c\njobs:20|c|T1000\ntemp:7|g\ntemp:8|g|T1000", &source(), 1001, &everyone);
    flush(&mut aggregator, 1010);
    let (series, sketches, _) = of_acme(&mut aggregator);
    let points = |name| series.iter().find(|series| series["metric"] == name).unwrap()["points"].clone();
    assert_eq!(points("jobs"), json!([[1000, 3.0], [500, 0.7]]));
    assert_eq!(points("temp"), json!([[1000, 8.0], [400, 3.0], [500, 2.0]]));
    assert_eq!((&sketches[0]["ts"], &sketches[0]["cnt"]), (&json!(500), &json!(1)));
}

#[test]
fn events_and_checks_go_out_as_datadog_takes_them() {
    let options = Options { tags: vec!["dc:eu".into()], ..Options::default() };
    let mut aggregator = Aggregator::new(options, 990);
    let packet = b"_e{2,6}:up|a\\n\"b\"|#z,tenant:globex,a|h:web|t:error|k:x\n_sc|db|1|m:it's|#host:h1,tenant:globex\n_sc|db|0|d:900";
    aggregator.take(packet, &source(), 1000, &everyone);
    let mut sent = sent(&mut aggregator);
    assert_eq!(
        sent.remove("globex").unwrap().2,
        [
            json!({"title": "up", "text": "a\n\"b\"", "date_happened": 1000, "host": "web", "aggregation_key": "x",
            "priority": "normal", "alert_type": "error", "tags": ["a", "dc:eu", "z"]}),
            json!({"check": "db", "host_name": "h1", "status": 1, "timestamp": 1000, "message": "it's", "tags": ["dc:eu"]}),
        ]
    );
    let expected = json!({"check": "db", "host_name": "", "status": 0, "timestamp": 900, "tags": ["dc:eu"]});
    assert_eq!(sent.remove("acme").unwrap().2, [expected]);
}

#[test]
fn a_flood_of_events_is_bounded() {
    let mut aggregator = Aggregator::new(Options::default(), 990);
    let event = format!("_e{{1,4000}}:t|{}", "x".repeat(4_000));
    for _ in 0..2_000 {
        aggregator.take(event.as_bytes(), &source(), 1000, &everyone);
    }
    let taken = aggregator.take_parts().len() as u64;
    let refused = aggregator.take_counts().errors[Reason::EventLimit as usize];
    assert_eq!(taken + refused, 2_000);
    assert!((900..1_100).contains(&taken), "{taken}");
    aggregator.take(event.as_bytes(), &source(), 1000, &everyone);
    assert_eq!(aggregator.take_parts().len(), 1);
}

#[test]
fn another_configuration_costs_nothing_that_was_gathered() {
    let mut aggregator = Aggregator::new(Options::default(), 990);
    aggregator.take(b"hits:1|c", &source(), 1000, &everyone);
    aggregator.configure(Options { tags: vec!["new:tag".into()], ..Options::default() });
    aggregator.take(b"hits:2|c", &source(), 1001, &everyone);
    flush(&mut aggregator, 1010);
    flush(&mut aggregator, 1020);
    let (series, ..) = of_acme(&mut aggregator);
    let got: Vec<_> = series.iter().map(|series| (series["tags"].clone(), series["points"].clone())).collect();
    let expected = [
        (json!([]), json!([[1000, 0.1]])),
        (json!(["new:tag"]), json!([[1000, 0.2]])),
        (json!(["new:tag"]), json!([[1010, 0.0]])),
    ];
    assert_eq!(got, expected);
}

#[test]
fn another_configuration_of_the_same_meaning_makes_no_second_point() {
    let mut aggregator = Aggregator::new(Options::default(), 990);
    aggregator.take(b"hits:1|c|#dc:eu", &source(), 1000, &everyone);
    aggregator.configure(Options { tags: vec!["dc:eu".into()], ..Options::default() });
    aggregator.take(b"hits:2|c", &source(), 1001, &everyone);
    flush(&mut aggregator, 1010);
    let (series, ..) = of_acme(&mut aggregator);
    assert_eq!((series.len(), &series[0]["points"]), (1, &json!([[1000, 0.3]])));
}

proptest! {
    /// Any lines, at any times, of any tenants: what was counted of each comes out, in buckets that never repeat.
    #[test]
    fn counters_are_conserved(
        samples in prop::collection::vec((0_u8..4, 0_u8..5, -50_i32..50, 0_i64..25, any::<bool>()), 1..200),
        step in 1_u32..9,
    ) {
        let mut aggregator = Aggregator::new(Options::default(), 1000);
        let (mut now, mut expected) = (1000, BTreeMap::<(String, String), f64>::new());
        let (mut got, mut stamps) = (BTreeMap::<(String, String), f64>::new(), Vec::new());
        let mut gather = |aggregator: &mut Aggregator| {
            for (tenant, (series, ..)) in sent(aggregator) {
                for series in series {
                    let name = series["metric"].as_str().unwrap().to_owned();
                    for point in series["points"].as_array().unwrap() {
                        *got.entry((tenant.clone(), name.clone())).or_default() += 10.0 * point[1].as_f64().unwrap();
                        stamps.push((tenant.clone(), name.clone(), point[0].as_i64().unwrap()));
                    }
                }
            }
        };
        for (tenant, name, value, wait, swap) in samples {
            now += wait;
            let tags = if swap { format!("x,tenant:t{tenant}") } else { format!("tenant:t{tenant},x,x") };
            aggregator.take(format!("n{name}:{value}|c|#{tags}").as_bytes(), &source(), now, &everyone);
            *expected.entry((format!("t{tenant}"), format!("n{name}"))).or_default() += f64::from(value);
            aggregator.advance(step);
            gather(&mut aggregator);
        }
        aggregator.finish(now);
        gather(&mut aggregator);
        for (key, sum) in expected {
            prop_assert!((got[&key] - sum).abs() < 1e-6, "{:?}", key);
        }
        let all = stamps.len();
        stamps.sort();
        stamps.dedup();
        prop_assert_eq!(stamps.len(), all);
    }

    #[test]
    fn anything_is_survived(packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..20)) {
        let mut aggregator = Aggregator::new(Options::default(), 1000);
        for packet in packets {
            aggregator.take(&packet, &source(), 1001, &everyone);
        }
        aggregator.finish(1002);
        sent(&mut aggregator);
    }
}
