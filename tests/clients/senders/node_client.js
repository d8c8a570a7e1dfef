// npm `@datadog/datadog-api-client`; the protocol of the senders is described in report.py.

"use strict";

const path = require("node:path");
const zlib = require("node:zlib");

// Kept apart from the sources, so the module is looked up where the test runner says.
const modules = process.env.DOGSLED_TEST_NODE_MODULES || path.join(__dirname, "../node_modules");
const { client, v1, v2 } = require(path.join(modules, "@datadog/datadog-api-client"));

const HOST = "host-1";
const TAGS = ["env:test", "team:core"];

class Plan {
  constructor(text) {
    Object.assign(this, { headers: {}, tags: [], repeat: 1 }, JSON.parse(text));
    this.byTags = this.tags.length > 0;
    this.tags = [...this.tags, ...TAGS];
    this.count = 0;
    this.configuration = client.createConfiguration({
      baseServer: new client.BaseServerConfiguration(this.url, {}),
      authMethods: { apiKeyAuth: this.key, appKeyAuth: "not-needed" },
      zstdCompressorCallback: zlib.zstdCompressSync,
    });
    // The library's own way to headers of the caller's is a fetch of the caller's.
    if (Object.keys(this.headers).length > 0) {
      this.configuration.httpApi.fetch = (url, options) =>
        fetch(url, { ...options, headers: { ...options.headers, ...this.headers } });
    }
  }

  uid() {
    this.count += 1;
    return `uid.${this.prefix}.${this.count}`;
  }

  uids(count) {
    return Array.from({ length: count }, () => this.uid());
  }
}

function expect(truth, answer) {
  if (!truth) throw new Error(`unexpected answer: ${JSON.stringify(answer)}`);
}

const statusOk = (answer) => expect(answer.status === "ok", answer);
const noErrors = (answer) => expect(Array.isArray(answer.errors) && answer.errors.length === 0, answer);

// Each operation returns [expected items, promise of the answer, check of the answer].

function seriesV1(plan, count, contentEncoding) {
  const uids = plan.uids(count);
  const series = (tags) => (uid) => ({ metric: uid, type: "rate", interval: 10, points: [[plan.now, 1.5]], host: HOST, tags });
  const api = new v1.MetricsApi(plan.configuration);
  const body = { series: uids.map(series(plan.tags)) };
  return [uids.map(series(TAGS)), api.submitMetrics({ body, contentEncoding }), statusOk];
}

function distributions(plan, contentEncoding) {
  const uid = plan.uid();
  const series = (tags) => ({ metric: uid, points: [[plan.now, [1, 2, 3.5]]], host: HOST, tags });
  const api = new v1.MetricsApi(plan.configuration);
  const body = { series: [series(plan.tags)] };
  return [[series(TAGS)], api.submitDistributionPoints({ body, contentEncoding }), statusOk];
}

function seriesV2(plan, count, contentEncoding) {
  const uids = plan.uids(count);
  const series = (tags) => (uid) => ({
    metric: uid,
    type: 1,
    interval: 10,
    points: [{ timestamp: plan.now, value: 0.7 }],
    resources: [{ name: HOST, type: "host" }],
    tags,
  });
  const api = new v2.MetricsApi(plan.configuration);
  const body = { series: uids.map(series(plan.tags)) };
  return [uids.map(series(TAGS)), api.submitMetrics({ body, contentEncoding }), noErrors];
}

function logs(plan, apis, count, options) {
  const uids = plan.uids(count);
  const log = (tags) => (uid) => ({
    message: `${uid} "quoted", ünïcode 🛷, \\ and a\nline`,
    ddsource: "nodejs",
    ddtags: tags.join(","),
    hostname: HOST,
    service: "payment",
  });
  const level = (item) => ({ ...item, level: "warn" });
  // Attributes of one's own are apart from those of the model.
  const body = uids.map(log(plan.tags)).map((item) => ({ ...item, additionalProperties: { level: "warn" } }));
  return [uids.map(log(TAGS)).map(level), new apis.LogsApi(plan.configuration).submitLog({ body, ...options }), () => {}];
}

function eventV1(plan) {
  const uid = plan.uid();
  const item = (tags) => ({ title: uid, text: "A text of\ntwo lines.", tags, host: HOST });
  const body = { ...item(plan.tags), alertType: "success", dateHappened: plan.now };
  return [
    [{ ...item(TAGS), alert_type: "success", date_happened: plan.now }],
    new v1.EventsApi(plan.configuration).createEvent({ body }),
    (answer) => {
      statusOk(answer);
      expect(answer.event.title === uid, answer);
    },
  ];
}

function eventV2(plan) {
  const uid = plan.uid();
  const common = (tags) => ({ title: uid, message: "the disk is full", tags });
  const body = {
    data: {
      type: "event",
      attributes: {
        ...common(plan.tags),
        category: "alert",
        aggregationKey: "disk",
        attributes: { status: "error", priority: "2" },
      },
    },
  };
  const attributes = {
    ...common(TAGS),
    category: "alert",
    aggregation_key: "disk",
    attributes: { status: "error", priority: "2" },
  };
  return [
    [{ data: { type: "event", attributes } }],
    new v2.EventsApi(plan.configuration).createEvent({ body }),
    (answer) => expect(answer.data !== undefined, answer),
  ];
}

function checks(plan) {
  const uids = plan.uids(2);
  const check = (tags) => (uid) => ({ check: "app.ok", status: 2, tags, message: uid, timestamp: plan.now });
  const body = uids.map(check(plan.tags)).map((item) => ({ ...item, hostName: HOST }));
  const items = uids.map(check(TAGS)).map((item) => ({ ...item, host_name: HOST }));
  return [items, new v1.ServiceChecksApi(plan.configuration).submitServiceCheck({ body }), statusOk];
}

function validate(plan) {
  return [[], new v1.AuthenticationApi(plan.configuration).validate(), (answer) => expect(answer.valid === true, answer)];
}

const OPERATIONS = [
  ["v1 submitMetrics", "series_v1", (plan) => seriesV1(plan, 1)],
  ["v1 submitMetrics, gzip", "series_v1", (plan) => seriesV1(plan, 30, "gzip")],
  ["v1 submitMetrics, deflate", "series_v1", (plan) => seriesV1(plan, 1, "deflate")],
  ["v1 submitDistributionPoints", "distribution_points", (plan) => distributions(plan)],
  ["v1 submitDistributionPoints, deflate", "distribution_points", (plan) => distributions(plan, "deflate")],
  ["v2 submitMetrics", "series_v2", (plan) => seriesV2(plan, 1)],
  ["v2 submitMetrics, gzip", "series_v2", (plan) => seriesV2(plan, 30, "gzip")],
  ["v2 submitMetrics, deflate", "series_v2", (plan) => seriesV2(plan, 1, "deflate")],
  ["v1 submitLog", "logs", (plan) => logs(plan, v1, 1)],
  ["v1 submitLog, gzip", "logs", (plan) => logs(plan, v1, 3, { contentEncoding: "gzip" })],
  ["v2 submitLog", "logs", (plan) => logs(plan, v2, 1)],
  ["v2 submitLog, gzip", "logs", (plan) => logs(plan, v2, 30, { contentEncoding: "gzip" })],
  ["v2 submitLog, deflate", "logs", (plan) => logs(plan, v2, 3, { contentEncoding: "deflate" })],
  ["v1 createEvent", "event_v1", eventV1],
  ["v2 createEvent", "event_v2", eventV2],
  ["v1 submitServiceCheck", "check_run", checks],
  ["v1 validate", null, validate],
];

// Node compresses with zstd by itself since 22.15.
if (zlib.zstdCompressSync) OPERATIONS.push(["v2 submitMetrics, zstd1", "series_v2", (plan) => seriesV2(plan, 30, "zstd1")]);

async function carryOut(plan) {
  for (let round = 0; round < plan.repeat; round += 1) {
    for (const [operation, kind, begin] of OPERATIONS) {
      if (kind === null && plan.byTags) continue;
      const record = { operation, kind };
      try {
        const [items, promise, check] = begin(plan);
        const answer = await promise;
        check(answer);
        Object.assign(record, { items, answer });
      } catch (error) {
        record.error = `${error.stack} ${JSON.stringify(error)}`;
      }
      console.log(JSON.stringify(record));
    }
  }
}

if (process.argv[2] === "--list") {
  console.log(OPERATIONS.map(([operation]) => operation).join("\n"));
} else {
  let text = "";
  process.stdin.on("data", (part) => (text += part));
  process.stdin.on("end", () => carryOut(new Plan(text)));
}
