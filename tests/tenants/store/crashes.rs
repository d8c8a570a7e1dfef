//! `kill -9` at any moment: what was acknowledged is there, and every step is there whole or not at all.

use super::harness::{Place, add, id, key_source, tokens};
use dogsled::settings::StoreUrl;
use dogsled::store::{Change, Guard, NewKey, Origin, Replaces, Store};
use dogsled::types::Secret;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Tells the test binary to be the process that is killed: the state directory and the address of the store.
const HELPER: &str = "DOGSLED_TEST_STORE_HELPER";

/// The n-th step: name, key and tokens say the same number.
fn step(n: u64) -> [Change; 3] {
    let key = NewKey { key: Secret::new(format!("key-{n}")), datadog_id: None, origin: Origin::OAuth };
    let pair = tokens(&format!("access-{n}"), &format!("refresh-{n}"), Replaces::Any);
    [Change::Tokens(Some(pair)), Change::DisplayName(n.to_string()), Change::Key(Some(key))]
}

/// Not a test by itself: writes steps until it is killed, and says each number once it was acknowledged. Every few steps
/// it changes the master key.
#[tokio::test]
async fn helper() {
    let Some(arguments) = std::env::var(HELPER).ok() else { return };
    let (dir, url) = arguments.split_once('|').unwrap();
    let url = StoreUrl::parse(url).unwrap();
    let store = Store::open(&url, dir.as_ref(), key_source(dir.as_ref())).await.unwrap();
    let acme = id("acme");
    let mut n: u64 = store.tenant(&acme).await.unwrap().unwrap().display_name.parse().unwrap();
    loop {
        n += 1;
        store.apply(&acme, Guard::default(), &step(n)).await.unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nacknowledged {n}").unwrap();
        out.flush().unwrap();
        drop(out);
        if n.is_multiple_of(5) {
            store.rekey(None).await.unwrap();
        }
    }
}

async fn survives(place: Place, address: &str) {
    let store = place.open().await;
    let acme = add(&store, "acme").await;
    store.apply(&acme, Guard::default(), &step(0)).await.unwrap();
    drop(store);
    let mut steps = 0;
    for round in 0..12_u64 {
        let mut helper = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::crashes::helper", "--nocapture"])
            .env(HELPER, format!("{}|{address}", place.dir.path().display()))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Killed while it works: some acknowledgements in, and a different moment each time.
        let mut lines = BufReader::new(helper.stdout.take().unwrap()).lines().map_while(Result::ok);
        let number = |line: String| line.strip_prefix("acknowledged ").and_then(|n| n.parse::<u64>().ok());
        let mut last = lines.by_ref().filter_map(number).nth(round as usize).expect("the helper works");
        tokio::time::sleep(Duration::from_micros(round * 700)).await;
        helper.kill().unwrap();
        helper.wait().unwrap();
        last = lines.filter_map(number).last().unwrap_or(last);

        let store = place.open().await;
        let found = store.tenant(&acme).await.unwrap().unwrap();
        let n: u64 = found.display_name.parse().unwrap();
        assert!(n == last || n == last + 1, "{last} was acknowledged, {n} is there");
        assert_eq!(store.api_key(&acme).await.unwrap().unwrap().key.expose(), format!("key-{n}"));
        let kept = store.tokens(&acme).await.unwrap().unwrap();
        assert_eq!((kept.access.expose(), kept.refresh.expose()), (&*format!("access-{n}"), &*format!("refresh-{n}")));
        steps = n;
    }
    assert!(steps >= 12, "{steps}");
}

#[tokio::test]
async fn a_killed_process_loses_nothing_acknowledged_on_sqlite() {
    let place = Place::sqlite();
    survives(place, "").await;
}

#[tokio::test]
async fn a_killed_process_loses_nothing_acknowledged_on_postgres() {
    let Some(place) = Place::postgres().await else { return };
    let address = crate::postgres::shared().unwrap().url(place.database.as_deref().unwrap());
    survives(place, &address).await;
}
