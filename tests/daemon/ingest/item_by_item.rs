//! One item must not cost its neighbours, nor one tenant another.

use super::port::{LOG, Port, post, post_json};
use dogsled::settings::OwnLimits;
use serde_json::{Value, json};

const JSON: &str = "Content-Type: application/json\r\nX-Tenant: acme\r\n";
const PROTOBUF: &str = "Content-Type: application/x-protobuf\r\nX-Tenant: acme\r\n";

async fn tagged_port() -> Port {
    Port::open(|settings| settings.tenancy.from_tags = true).await
}

/// A protobuf field with a length.
fn field(number: u8, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    let mut length = content.len();
    let mut bytes = vec![number << 3 | 2];
    while length >= 0x80 {
        bytes.push(length as u8 & 0x7f | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    [bytes, content.to_vec()].concat()
}

/// A series of a protobuf payload, with these tags and one point of that value.
fn series(name: &str, tags: &[&[u8]], value: f64) -> Vec<u8> {
    let point = [&[9][..], &value.to_le_bytes(), &[16, 1]].concat();
    let tags = tags.iter().flat_map(|tag| field(3, tag)).collect::<Vec<_>>();
    field(1, [field(2, name), tags, field(4, point)].concat())
}

#[tokio::test]
async fn a_bad_item_is_set_aside_and_its_neighbours_are_taken() {
    let good = [
        ("/api/v2/series", r#"{"series":["#, r#"{"metric":"a","points":[{"timestamp":1,"value":1}]}"#, "]}"),
        ("/api/v1/series", r#"{"series":["#, r#"{"metric":"a","points":[[1,1]]}"#, "]}"),
        ("/api/v1/distribution_points", r#"{"series":["#, r#"{"metric":"a","points":[[1,[1]]]}"#, "]}"),
        ("/api/v2/logs", "[", LOG, "]"),
        ("/v1/input", "[", LOG, "]"),
        ("/api/v1/check_run", "[", r#"{"check":"a","host_name":"h","status":0}"#, "]"),
        ("/intake/", r#"{"events":{"api":["#, r#"{"msg_title":"a","msg_text":"b"}"#, "]}}"),
    ];
    let null = ["null", "7", r#""text""#, "[]", r#"{"a":NaN}"#, r#"{"a":tru}"#, "{\"a\":\"\t\"}"];
    let long = format!(r#"{{"metric":"{}","points":[[1,1]]}}"#, "m".repeat(351));
    let bad_series = [
        r#"{"points":[[1,1]]}"#,
        r#"{"metric":"","points":[[1,1]]}"#,
        r#"{"metric":"m"}"#,
        r#"{"metric":"m","points":[]}"#,
        r#"{"metric":"m","points":null}"#,
        r#"{"metric":"m","points":[[1,null]]}"#,
        r#"{"metric":"m","points":[[1,NaN]]}"#,
        r#"{"metric":"m","points":[[1,-Infinity]]}"#,
        r#"{"metric":"m","points":[[1,1e999]]}"#,
        &long,
    ];
    for (path, before, item, after) in good {
        let specific: &[&str] = match path {
            "/api/v1/series" => &bad_series,
            "/api/v1/check_run" => {
                &[r#"{"check":"a","host_name":"h","status":7}"#, r#"{"check":"a","status":0}"#, r#"{"status":0}"#]
            }
            "/intake/" => &[r#"{"msg_text":"no title"}"#],
            _ => &[],
        };
        for bad in null.iter().chain(specific) {
            let port = Port::open(|_| {}).await;
            let reply = port.send(post_json(path, format!("{before}{item},{bad},{item}{after}"))).await;
            assert!(reply.status < 300, "{path} {bad} {reply:?}");
            assert_eq!(reply.header("dogsled-refused"), Some("1"), "{path} {bad}");
            let items: u32 = port.counts().iter().map(|c| c.rsplit(' ').next().unwrap().parse::<u32>().unwrap()).sum();
            assert_eq!(items, 2, "{path} {bad}");
            let letters = port.letters("acme");
            assert_eq!(letters.len(), 1, "{path} {bad}");
            let reason = letters[0]["reason"].as_str().unwrap();
            assert!(reason.starts_with("invalid: item 1: "), "{path} {bad}: {reason}");
            let kind = letters[0]["kind"].as_str().unwrap();
            assert_eq!(port.not_taken(), [format!("acme {kind} 0 1")], "{path} {bad}");
        }
    }
}

#[tokio::test]
async fn the_answer_names_what_was_set_aside() {
    let port = Port::open(|_| {}).await;
    let body = r#"{"series":[{"metric":"a","points":[{"timestamp":1,"value":1}]},{"metric":"b","points":[]}]}"#;
    let reply = port.send(post_json("/api/v2/series", body)).await;
    assert_eq!(reply.status, 202);
    let errors: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(errors, json!({"errors": ["item 1: the series has no points"]}));
    assert_eq!(reply.header("dogsled-refused"), Some("1"));
    let reply = port.send(post_json("/api/v2/logs", LOG)).await;
    assert_eq!((reply.header("dogsled-refused"), &*reply.body), (None, "{}"));
}

#[tokio::test]
async fn nothing_is_set_aside_when_nothing_is_taken() {
    let port = Port::open(|_| {}).await;
    let body = r#"{"series":[{"metric":"a"},{"points":[]}]}"#;
    port.send(post_json("/api/v2/series", body)).await.refused(400, &["item 0", "no points"]);
    let large = format!(r#"[{{"message":"{}"}}]"#, "m".repeat(5_100_000));
    port.send(post_json("/api/v2/logs", large)).await.refused(413, &["item 0", "5000000"]);
    assert_eq!((port.counts(), port.not_taken(), port.letters("acme")), (vec![], vec![], vec![]));
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_refused_whole() {
    let port = Port::open(|_| {}).await;
    for body in
        ["[{\"message\":\"m\"},{\"mess", "[{\"message\":\"m\"}", "{\"message\":\"m\"}}", "[{\"message\":\"m},{}]"]
    {
        port.send(post_json("/api/v2/logs", body)).await.refused(400, &["malformed body"]);
    }
    assert_eq!(port.counts(), [""; 0]);
}

#[tokio::test]
async fn one_large_log_does_not_cost_the_small_ones() {
    let port = Port::open(|_| {}).await;
    let large = format!(r#"{{"message":"{}"}}"#, "m".repeat(5_100_000));
    let reply = port.send(post_json("/api/v2/logs", format!("[{LOG},{large},{LOG}]"))).await;
    assert_eq!((reply.status, reply.header("dogsled-refused")), (202, Some("1")), "{reply:?}");
    let line = "m".repeat(5_100_000);
    let headers = "Content-Type: text/plain\r\nX-Tenant: acme\r\n";
    let reply = port.send(post("/v1/input", headers, format!("one\n{line}\ntwo"))).await;
    assert_eq!((reply.status, reply.header("dogsled-refused")), (200, Some("1")), "{reply:?}");
    let items: u32 = port.counts().iter().map(|c| c["acme logs ".len()..].parse::<u32>().unwrap()).sum();
    assert_eq!(items, 4);
    assert_eq!(port.letters("acme").len(), 2);
    assert!(port.letters("acme")[0]["body"][0]["message"].as_str().unwrap().len() == 5_100_000);
}

#[tokio::test]
async fn text_that_is_not_utf8_is_mended() {
    let port = Port::open(|_| {}).await;
    let latin = b"{\"message\":\"caf\xe9\",\"timestamp\":1}";
    let plain = "Content-Type: text/plain; charset=iso-8859-1\r\nX-Tenant: acme\r\n";
    assert_eq!(port.send(post("/api/v2/logs", JSON, latin)).await.status, 202);
    assert_eq!(port.send(post("/api/v2/logs", plain, b"caf\xe9")).await.status, 202);
    let series = b"{\"series\":[{\"metric\":\"a\",\"points\":[[1,1]],\"tags\":[\"x:\xff\"]}]}";
    assert_eq!(port.send(post("/api/v1/series", JSON, series)).await.status, 202);
    let items = port.items();
    assert!(items[0].contains("\"caf\u{fffd}\"") && items[1].contains("\"caf\u{fffd}\""), "{items:?}");
    assert!(items[2].contains("\"x:\u{fffd}\""), "{items:?}");
    assert_eq!(port.not_taken(), [""; 0]);
}

#[tokio::test]
async fn bad_bytes_in_protobuf_are_mended_and_bad_series_set_aside() {
    let port = Port::open(|_| {}).await;
    let body = [
        series("good", &[b"a:b"], 1.0),
        series("bad.tag", &[b"x:\xff", b"a:b"], 1.0),
        series(&"n".repeat(349), &[], 1.0),
        series("nan", &[], f64::NAN),
        field(1, field(2, "no.points")),
    ];
    let reply = port.send(post("/api/v2/series", PROTOBUF, body.concat())).await;
    assert_eq!((reply.status, reply.header("dogsled-refused")), (202, Some("2")), "{reply:?}");
    assert_eq!(port.counts(), ["acme series_v2_protobuf 3"]);
    assert!(port.items()[0].contains("x:\u{fffd}"), "{:?}", port.items());
    // What was taken is protobuf.
    let taken = port.bytes();
    assert_eq!(port.send(post("/api/v2/series", PROTOBUF, taken)).await.status, 202);
    assert_eq!(port.counts()[1], "acme series_v2_protobuf 3");
}

#[tokio::test]
async fn a_byte_order_mark_does_not_matter() {
    let port = Port::open(|_| {}).await;
    for (path, body) in [
        ("/api/v2/logs", LOG.to_owned()),
        ("/api/v1/series", r#"{"series":[{"metric":"a","points":[[1,1]]}]}"#.to_owned()),
        ("/api/v2/series", "{}".to_owned()),
    ] {
        let reply = port.send(post(path, JSON, format!("\u{feff}{body}"))).await;
        assert_eq!(reply.status, 202, "{path} {reply:?}");
    }
}

/// A log of each of these tenants.
fn logs_of(tenants: &[&str]) -> String {
    let logs: Vec<_> = tenants.iter().map(|t| format!(r#"{{"message":"m","ddtags":"tenant:{t}"}}"#)).collect();
    format!("[{}]", logs.join(","))
}

#[tokio::test]
async fn a_tenant_without_room_costs_no_other() {
    let port = tagged_port().await;
    port.fill("acme");
    let both = logs_of(&["acme", "globex", "acme"]);
    let reply = port.send(post("/api/v2/logs", "", &both)).await;
    assert_eq!((reply.status, reply.header("dogsled-refused")), (202, Some("2")), "{reply:?}");
    assert_eq!(port.counts(), ["globex logs 1"]);
    assert_eq!(port.not_taken(), ["acme logs 2 0"]);
    // Alone it is told, and keeps what it has.
    let alone = port.send(post("/api/v2/logs", "", logs_of(&["acme", "acme"]))).await;
    alone.refused(429, &["queue of tenant acme is full"]);
    assert_eq!(port.not_taken(), ["acme logs 2 0"]);
    port.fill("globex");
    port.send(post("/api/v2/logs", "", &both)).await.refused(429, &["queue of tenant acme"]);
    assert_eq!(port.not_taken(), ["acme logs 2 0"]);
}

#[tokio::test]
async fn a_tenant_over_its_rate_costs_no_other() {
    let port = tagged_port().await;
    port.limit("acme", OwnLimits { items_per_second: Some(1), ..OwnLimits::default() });
    assert_eq!(port.send(post("/api/v2/logs", "", logs_of(&["acme"; 100]))).await.status, 202);
    for _ in 0..3 {
        let reply = port.send(post("/api/v2/logs", "", logs_of(&["globex", "acme"]))).await;
        assert_eq!((reply.status, reply.header("dogsled-refused")), (202, Some("1")), "{reply:?}");
    }
    port.send(post("/api/v2/logs", "", logs_of(&["acme"]))).await.refused(429, &["acme"]);
    assert_eq!(port.not_taken(), ["acme logs 3 0"]);
}

#[tokio::test]
async fn unknown_tenants_cost_no_other() {
    let port = tagged_port().await;
    let untagged = r#"{"message":"m"}"#;
    let two = r#"{"message":"m","ddtags":"tenant:acme,tenant:globex"}"#;
    let logs = [&logs_of(&["nobody", "globex", "no body"])[1..], ",", untagged, ",", two].concat().replace(']', "");
    let reply = port.send(post("/api/v2/logs", "", format!("[{logs}]"))).await;
    assert_eq!((reply.status, reply.header("dogsled-refused")), (202, Some("4")), "{reply:?}");
    assert_eq!(port.counts(), ["globex logs 1"]);
    assert_eq!(port.not_taken(), ["unknown logs 4 0"]);
    port.send(post("/api/v2/logs", "", logs_of(&["nobody"]))).await.refused(403, &["nobody"]);
    port.send(post("/api/v2/logs", "", format!("[{two}]"))).await.refused(400, &["two different tags"]);
    assert_eq!(port.not_taken(), ["unknown logs 4 0"]);
}

#[tokio::test]
async fn a_bad_item_is_set_aside_for_the_tenant_that_its_tag_names() {
    let port = tagged_port().await;
    let series =
        |tenant: &str, points: &str| format!(r#"{{"metric":"m","points":{points},"tags":["x:y","tenant:{tenant}"]}}"#);
    let all = [series("globex", "[[1,1]]"), series("acme", "[]"), series("acme", "[[1,NaN]]")].join(",");
    let reply = port.send(post("/api/v1/series", "", format!(r#"{{"series":[{all}]}}"#))).await;
    assert_eq!((reply.status, reply.header("dogsled-refused")), (202, Some("2")), "{reply:?}");
    assert_eq!(port.not_taken(), ["acme series_v1 0 2"]);
    let bad = [self::series("good", &[b"tenant:globex"], 1.0), self::series("bad", &[b"tenant:acme"], f64::NAN)];
    let reply = port.send(post("/api/v2/series", "Content-Type: application/x-protobuf\r\n", bad.concat())).await;
    assert_eq!((reply.status, reply.header("dogsled-refused")), (202, Some("1")), "{reply:?}");
    assert_eq!(port.letters("acme").len(), 3);
    assert!(port.letters("globex").is_empty());
}

#[tokio::test]
async fn a_token_takes_its_own_items_only() {
    let port = Port::open(|settings| {
        settings.tenancy.from_tags = true;
        settings.ingest.require_token = true;
    });
    let port = port.await;
    let headers = format!("DD-API-KEY: {}\r\n", super::port::ACME_TOKEN);
    let reply = port.send(post("/api/v2/logs", &headers, logs_of(&["acme", "globex"]))).await;
    assert_eq!((reply.status, reply.header("dogsled-refused")), (202, Some("1")), "{reply:?}");
    assert_eq!(port.counts(), ["acme logs 1"]);
}

#[tokio::test]
async fn many_bad_items_make_one_letter() {
    let port = Port::open(|_| {}).await;
    let body = format!("[{LOG}{}]", ",null".repeat(100_000));
    let reply = port.send(post_json("/api/v2/logs", body)).await;
    assert_eq!((reply.status, reply.header("dogsled-refused")), (202, Some("100000")), "{reply:?}");
    let letters = port.letters("acme");
    assert_eq!((letters.len(), &letters[0]["items"]), (1, &json!(100_000)));
    assert!(letters[0]["reason"].as_str().unwrap().contains("99992 more items"), "{}", letters[0]["reason"]);
    assert_eq!(letters[0]["body"].as_array().unwrap().len(), 100_000);
}
