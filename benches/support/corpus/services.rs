//! What the services of a web shop write: access logs, sentences of applications, queries, consumers, errors with their
//! stacks. The standard corpus.

use super::Timestamps;
use rand::RngExt;
use rand::rngs::StdRng;
use std::fmt::Write;

/// Writes the logs of one tenant.
pub(super) struct Writer {
    random: StdRng,
    tenant: usize,
    timestamps: Timestamps,
    /// Unix time in milliseconds.
    now: u64,
}

const SERVICES: [&str; 8] =
    ["checkout", "catalog-api", "user-profile", "billing-worker", "search", "notifications", "gateway", "inventory"];
const HOSTS: [&str; 6] =
    ["ip-10-3-17-22", "ip-10-3-18-140", "ip-10-4-2-9", "worker-a-7f9c4d", "worker-b-55d8bc", "edge-1"];
const PATHS: [&str; 10] = [
    "/api/v1/orders",
    "/api/v1/orders/{}/items",
    "/api/v2/users/{}",
    "/search",
    "/cart/{}/checkout",
    "/healthz",
    "/static/js/main.{}.js",
    "/login",
    "/api/v1/products/{}/reviews",
    "/webhooks/payments",
];
const AGENTS: [&str; 5] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    "okhttp/4.12.0",
    "curl/8.5.0",
    "python-requests/2.32.3",
];
const TABLES: [&str; 6] = ["orders", "line_items", "users", "sessions", "shipments", "audit_events"];
const FAULTS: [(&str, &str); 5] = [
    ("java.net.SocketTimeoutException", "Read timed out"),
    ("ConnectionResetError", "[Errno 104] Connection reset by peer"),
    ("TypeError", "Cannot read properties of undefined (reading 'id')"),
    ("redis.exceptions.BusyLoadingError", "Redis is loading the dataset in memory"),
    ("ActiveRecord::Deadlocked", "Deadlock found when trying to get lock; try restarting transaction"),
];
const WORDS: [&str; 40] = [
    "accepted",
    "after",
    "attempt",
    "batch",
    "because",
    "cache",
    "cancelled",
    "client",
    "completed",
    "connection",
    "consumer",
    "customer",
    "deadline",
    "delivered",
    "e-mail",
    "exceeded",
    "expired",
    "fallback",
    "for",
    "group",
    "in",
    "invoice",
    "item",
    "job",
    "lag",
    "message",
    "of",
    "order",
    "partition",
    "payment",
    "queue",
    "rebalanced",
    "refreshed",
    "request",
    "retrying",
    "scheduled",
    "shipment",
    "the",
    "token",
    "was",
];

impl Writer {
    pub(super) fn new(seed: u64, tenant: usize, timestamps: Timestamps) -> Self {
        Self { random: super::random(seed, tenant), tenant, timestamps, now: super::an_hour_ago() }
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.random.random_range(0..from.len())]
    }

    fn hex(&mut self, digits: usize) -> String {
        (0..digits).map(|_| char::from(b"0123456789abcdef"[self.random.random_range(0..16usize)])).collect()
    }

    /// Skewed towards the small, as durations and sizes are.
    fn figure(&mut self, most: u32) -> u32 {
        let chance: f64 = self.random.random();
        (f64::from(most) * chance.powi(4)) as u32
    }

    fn path(&mut self) -> String {
        let path = self.pick(&PATHS);
        let number = self.random.random_range(10_000..9_999_999u32);
        path.replace("{}", &number.to_string())
    }

    fn sentence(&mut self) -> String {
        let length = self.random.random_range(4..14);
        let words: Vec<&str> = (0..length).map(|_| self.pick(&WORDS)).collect();
        words.join(" ")
    }

    /// One log as a JSON object.
    pub(super) fn log(&mut self, body: usize, log: usize) -> String {
        self.now += u64::from(self.figure(40));
        let kind = self.random.random_range(0..100);
        let (status, source, message, attributes) = match kind {
            0..35 => self.access(),
            35..60 => self.application(),
            60..75 => self.query(),
            75..90 => self.consumer(),
            _ => self.fault(),
        };
        let mut text = String::with_capacity(600);
        text.push('{');
        let with_time = self.timestamps.draw(&mut self.random);
        // Writing to a String cannot fail.
        if with_time {
            let _ = write!(text, "\"timestamp\":{},", self.now);
        }
        let message = serde_json::Value::String(message);
        let digits = self.hex(16);
        let (service, host, version) = (self.pick(&SERVICES), self.pick(&HOSTS), self.random.random_range(0..4));
        let _ = write!(
            text,
            "\"message\":{message},\"status\":\"{status}\",\"ddsource\":\"{source}\",\"service\":\"{service}\",\
             \"hostname\":\"{host}\",\"ddtags\":\"env:prod,version:2.14.{version},region:eu-west-1\",{attributes}\
             \"event_id\":\"{:03}-{body:04}-{log:04}-{}\"}}",
            self.tenant, digits
        );
        text
    }

    fn access(&mut self) -> (&'static str, &'static str, String, String) {
        let (method, path) = (self.pick(&["GET", "GET", "GET", "POST", "PUT", "DELETE"]), self.path());
        let code = self.pick(&[200, 200, 200, 200, 201, 204, 302, 304, 404, 429, 500]);
        let (bytes, agent) = (self.figure(250_000), self.pick(&AGENTS));
        let client = format!("{}.{}.{}.{}", self.figure(223), self.figure(255), self.figure(255), self.figure(255));
        let micros = self.figure(4_000_000);
        let message = format!("{client} - - \"{method} {path} HTTP/1.1\" {code} {bytes} \"-\" \"{agent}\"");
        let attributes = format!(
            "\"http\":{{\"method\":\"{method}\",\"url\":\"{path}\",\"status_code\":{code}}},\"duration\":{micros},"
        );
        (if code >= 500 { "error" } else { "info" }, "nginx", message, attributes)
    }

    fn application(&mut self) -> (&'static str, &'static str, String, String) {
        let sentence = self.sentence();
        let (order, user, amount) =
            (self.random.random_range(1_000_000..99_999_999u32), self.hex(8), self.figure(90_000));
        let message = format!("{sentence} order={order} amount={}.{:02} EUR", amount / 100, amount % 100);
        let attributes = format!(
            "\"logger\":{{\"name\":\"com.example.shop.OrderService\",\"thread_name\":\"http-nio-8080-exec-{}\"}},\
             \"usr\":{{\"id\":\"u-{user}\"}},\"dd\":{{\"trace_id\":\"{}\",\"span_id\":\"{}\"}},",
            self.figure(40),
            self.random.random::<u64>(),
            self.random.random::<u64>()
        );
        (self.pick(&["info", "info", "info", "debug", "warn"]), "java", message, attributes)
    }

    fn query(&mut self) -> (&'static str, &'static str, String, String) {
        let (table, id, micros) =
            (self.pick(&TABLES), self.random.random_range(1..50_000_000u32), self.figure(900_000));
        let rows = self.figure(500);
        let message = format!(
            "duration: {}.{:03} ms  execute <unnamed>: SELECT id, created_at, state, payload FROM {table} WHERE id = {id} \
             AND deleted_at IS NULL ORDER BY created_at DESC LIMIT 50",
            micros / 1000,
            micros % 1000
        );
        let attributes = format!(
            "\"db\":{{\"instance\":\"shop\",\"rows\":{rows}}},\"process\":{},",
            self.random.random_range(900..40_000)
        );
        ("info", "postgresql", message, attributes)
    }

    fn consumer(&mut self) -> (&'static str, &'static str, String, String) {
        let (partition, offset) =
            (self.random.random_range(0..24), self.random.random_range(100_000_000..900_000_000u32));
        let sentence = self.sentence();
        let message =
            format!("[consumer-{}] {sentence}: topic=events.v3 partition={partition} offset={offset}", self.figure(9));
        let attributes = format!(
            "\"kafka\":{{\"lag\":{},\"group\":\"shop-projections\"}},\"task_id\":\"{}-{}\",",
            self.figure(30_000),
            self.hex(8),
            self.hex(4)
        );
        (self.pick(&["info", "debug", "warn"]), "python", message, attributes)
    }

    fn fault(&mut self) -> (&'static str, &'static str, String, String) {
        let (kind, words) = self.pick(&FAULTS);
        let sentence = self.sentence();
        let mut stack = format!("{kind}: {words}");
        for _ in 0..self.random.random_range(2..9) {
            let (line, function) = (self.random.random_range(10..900), self.pick(&WORDS));
            let _ = write!(stack, "\n\tat com.example.shop.{}.{function}(Handler.java:{line})", self.pick(&TABLES));
        }
        let stack = serde_json::Value::String(stack);
        let attributes = format!("\"error\":{{\"kind\":\"{kind}\",\"message\":\"{words}\",\"stack\":{stack}}},");
        ("error", "java", format!("{sentence}: {words}"), attributes)
    }
}
