//! What stands before and beside the services: proxies that log in JSON, containers, long stack traces, texts of users
//! in several scripts. Shorter and much longer logs than those of the standard corpus, and more escapes.

use super::Timestamps;
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Map, Value, json};

/// Writes the logs of one tenant.
pub(super) struct Writer {
    random: StdRng,
    tenant: usize,
    timestamps: Timestamps,
    /// Unix time in milliseconds.
    now: u64,
}

const TEXTS: [&str; 8] = [
    "注文の処理に失敗しました。もう一度お試しください",
    "Die Größe der Anfrage überschreitet das zulässige Maß für »Uploads«",
    "не удалось подключиться к базе данных, повтор через несколько секунд",
    "Le paiement a été refusé par la banque émettrice — à vérifier",
    "결제 승인이 완료되었습니다",
    "user said \"it works on my machine\" \u{1f605}\u{1f44d}",
    "تم تسجيل الدخول بنجاح",
    "C:\\ProgramData\\Agent\\logs\\agent.log\trotated\r\n",
];
const FRAMES: [&str; 8] = [
    "org.springframework.web.servlet.DispatcherServlet.doDispatch(DispatcherServlet.java:{})",
    "java.base/java.util.concurrent.ThreadPoolExecutor.runWorker(ThreadPoolExecutor.java:{})",
    "com.zaxxer.hikari.pool.HikariPool.getConnection(HikariPool.java:{})",
    "io.netty.channel.AbstractChannelHandlerContext.invokeChannelRead(AbstractChannelHandlerContext.java:{})",
    "com.example.ledger.PostingService.lambda$post$3(PostingService.java:{})",
    "jdk.internal.reflect.GeneratedMethodAccessor{}.invoke(Unknown Source)",
    "org.hibernate.engine.jdbc.internal.ResultSetReturnImpl.extract(ResultSetReturnImpl.java:{})",
    "com.example.ledger.api.PostingController$$SpringCGLIB$$0.create(<generated>:{})",
];
const COUNTRIES: [&str; 8] = ["DE", "US", "JP", "BR", "IN", "FR", "GB", "KR"];
const HOSTS: [&str; 4] = ["shop.example.com", "api.example.com", "static.example.net", "auth.example.org"];

impl Writer {
    pub(super) fn new(seed: u64, tenant: usize, timestamps: Timestamps) -> Self {
        Self { random: super::random(!seed, tenant), tenant, timestamps, now: super::an_hour_ago() }
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.random.random_range(0..from.len())]
    }

    fn hex(&mut self, digits: usize) -> String {
        (0..digits).map(|_| char::from(b"0123456789abcdef"[self.random.random_range(0..16usize)])).collect()
    }

    fn uuid(&mut self) -> String {
        [8, 4, 4, 4, 12].map(|digits| self.hex(digits)).join("-")
    }

    fn number(&mut self, most: u32) -> u32 {
        self.random.random_range(0..most)
    }

    /// One log as a JSON object.
    pub(super) fn log(&mut self, body: usize, log: usize) -> String {
        self.now += u64::from(self.number(30));
        let mut object = match self.number(100) {
            0..45 => self.proxy(),
            45..70 => self.container(),
            70..82 => self.trace(),
            82..94 => self.text(),
            _ => self.brief(),
        };
        if self.timestamps.draw(&mut self.random) {
            // As a text, which is the commoner form of these sources.
            let seconds = self.now / 1000;
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            let date = jiff::Timestamp::try_from(time).map(|time| time.to_string()).unwrap_or_default();
            let date = date.trim_end_matches('Z').to_owned();
            object.insert("@timestamp".into(), format!("{date}.{:03}Z", self.now % 1000).into());
        }
        let text = Value::Object(object).to_string();
        let digits = self.hex(16);
        format!("{{\"event_id\":\"{:03}-{body:04}-{log:04}-{digits}\",{}", self.tenant, &text[1..])
    }

    fn proxy(&mut self) -> Map<String, Value> {
        let (status, bytes) = (self.pick(&[200, 200, 206, 301, 400, 404, 499, 502]), self.number(900_000));
        let address = [(); 4].map(|()| self.number(255).to_string()).join(".");
        let uri = format!("/v{}/{}/{}?cursor={}&limit=50", self.number(4), self.hex(6), self.uuid(), self.hex(24));
        map(json!({
            "remote_addr": address, "request_method": self.pick(&["GET", "GET", "POST", "HEAD"]), "uri": uri,
            "status": status, "body_bytes_sent": bytes, "request_time": f64::from(self.number(9000)) / 1000.0,
            "upstream_response_time": format!("0.{:03}", self.number(1000)), "host": self.pick(&HOSTS),
            "upstream_addr": format!("10.42.{}.{}:8080", self.number(8), self.number(255)),
            "request_id": self.hex(32), "geo": { "country": self.pick(&COUNTRIES), "asn": self.number(60_000) },
            "tls": { "version": "TLSv1.3", "cipher": "TLS_AES_128_GCM_SHA256", "ja3": self.hex(32) },
            "ddsource": "nginx", "service": "edge-proxy"
        }))
    }

    fn container(&mut self) -> Map<String, Value> {
        let pod = format!("ledger-{}-{}", self.hex(9), self.hex(5));
        let inner = json!({
            "level": self.pick(&["info", "warn", "error"]), "msg": self.pick(&TEXTS), "caller": "posting/worker.go:217",
            "took": f64::from(self.number(2_000_000)) / 1e6, "account": self.uuid()
        });
        map(json!({
            "message": inner.to_string(), "status": "info", "ddsource": "go",
            "ddtags": format!("kube_namespace:ledger,pod_name:{pod},image_tag:1.{}.{}", self.number(3), self.number(9)),
            "kubernetes": {
                "pod_name": pod, "namespace": "ledger", "container_id": self.hex(64),
                "labels": { "app": "ledger", "pod-template-hash": self.hex(10) }
            }
        }))
    }

    fn trace(&mut self) -> Map<String, Value> {
        let mut stack = format!("java.lang.IllegalStateException: posting {} was settled before\n", self.uuid());
        for _ in 0..self.random.random_range(10..60) {
            let (frame, line) = (self.pick(&FRAMES), self.number(2000));
            stack += &format!("\tat {}\n", frame.replace("{}", &line.to_string()));
        }
        map(json!({
            "message": stack, "status": "error", "service": "ledger", "hostname": "ledger-db-2",
            "ddsource": "java", "trace_id": self.hex(32)
        }))
    }

    fn text(&mut self) -> Map<String, Value> {
        let text = (0..self.random.random_range(1..6)).map(|_| self.pick(&TEXTS)).collect::<Vec<_>>().join(" ");
        map(json!({ "message": text, "service": "support-chat", "usr": { "id": self.uuid(), "plan": "größer" } }))
    }

    fn brief(&mut self) -> Map<String, Value> {
        map(json!({ "message": format!("GC pause {} us", self.number(90_000)), "service": "ledger", "ok": true }))
    }
}

fn map(value: Value) -> Map<String, Value> {
    if let Value::Object(map) = value { map } else { Map::new() }
}
