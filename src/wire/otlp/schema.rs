//! The messages of OTLP requests, as much of them as is read: the JSON name, number and type of each field.
//!
//! Source: open-telemetry/opentelemetry-proto, `opentelemetry/proto/{collector/*,common,resource,metrics,logs}/v1`.

/// A message.
#[derive(Debug)]
pub(super) struct Schema {
    pub fields: &'static [Field],
}

/// A field of a message.
#[derive(Debug)]
pub(super) struct Field {
    /// In JSON; there is no other name for it, not even the one of the `.proto` file.
    pub name: &'static str,
    pub number: u32,
    pub shape: Shape,
    pub repeated: bool,
}

/// The type of a field.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    Message(&'static Schema),
    Text,
    /// Bytes that JSON writes in base64.
    Base64,
    /// Ids of traces and spans, which JSON writes in hexadecimal.
    Hex,
    Bool,
    /// `int32`, `int64` and enumerations, for which JSON must give the number.
    Int,
    /// `uint32` and `uint64`.
    Uint,
    /// `sint32`
    Sint,
    /// `fixed64`
    Fixed64,
    /// `sfixed64`
    Sfixed64,
    Double,
}

const fn one(name: &'static str, number: u32, shape: Shape) -> Field {
    Field { name, number, shape, repeated: false }
}

const fn many(name: &'static str, number: u32, shape: Shape) -> Field {
    Field { name, number, shape, repeated: true }
}

use Shape::{Base64, Bool, Double, Fixed64, Hex, Int, Message, Sfixed64, Sint, Text, Uint};

/// `ExportMetricsServiceRequest`
pub(super) static METRICS_REQUEST: Schema =
    Schema { fields: &[many("resourceMetrics", 1, Message(&RESOURCE_METRICS))] };

/// `ExportLogsServiceRequest`
pub(super) static LOGS_REQUEST: Schema = Schema { fields: &[many("resourceLogs", 1, Message(&RESOURCE_LOGS))] };

static RESOURCE_METRICS: Schema =
    Schema { fields: &[one("resource", 1, Message(&RESOURCE)), many("scopeMetrics", 2, Message(&SCOPE_METRICS))] };

static RESOURCE_LOGS: Schema =
    Schema { fields: &[one("resource", 1, Message(&RESOURCE)), many("scopeLogs", 2, Message(&SCOPE_LOGS))] };

static RESOURCE: Schema = Schema { fields: &[many("attributes", 1, Message(&KEY_VALUE))] };

static SCOPE: Schema =
    Schema { fields: &[one("name", 1, Text), one("version", 2, Text), many("attributes", 3, Message(&KEY_VALUE))] };

static SCOPE_METRICS: Schema =
    Schema { fields: &[one("scope", 1, Message(&SCOPE)), many("metrics", 2, Message(&METRIC))] };

static SCOPE_LOGS: Schema =
    Schema { fields: &[one("scope", 1, Message(&SCOPE)), many("logRecords", 2, Message(&LOG_RECORD))] };

static KEY_VALUE: Schema = Schema { fields: &[one("key", 1, Text), one("value", 2, Message(&ANY_VALUE))] };

static ANY_VALUE: Schema = Schema {
    fields: &[
        one("stringValue", 1, Text),
        one("boolValue", 2, Bool),
        one("intValue", 3, Int),
        one("doubleValue", 4, Double),
        one("arrayValue", 5, Message(&ARRAY_VALUE)),
        one("kvlistValue", 6, Message(&KEY_VALUE_LIST)),
        one("bytesValue", 7, Base64),
    ],
};

static ARRAY_VALUE: Schema = Schema { fields: &[many("values", 1, Message(&ANY_VALUE))] };

static KEY_VALUE_LIST: Schema = Schema { fields: &[many("values", 1, Message(&KEY_VALUE))] };

static METRIC: Schema = Schema {
    fields: &[
        one("name", 1, Text),
        one("gauge", 5, Message(&GAUGE)),
        one("sum", 7, Message(&SUM)),
        one("histogram", 9, Message(&HISTOGRAM)),
        one("exponentialHistogram", 10, Message(&EXPONENTIAL_HISTOGRAM)),
        one("summary", 11, Message(&SUMMARY)),
    ],
};

static GAUGE: Schema = Schema { fields: &[many("dataPoints", 1, Message(&NUMBER_POINT))] };

static SUM: Schema = Schema {
    fields: &[
        many("dataPoints", 1, Message(&NUMBER_POINT)),
        one("aggregationTemporality", 2, Int),
        one("isMonotonic", 3, Bool),
    ],
};

static HISTOGRAM: Schema =
    Schema { fields: &[many("dataPoints", 1, Message(&HISTOGRAM_POINT)), one("aggregationTemporality", 2, Int)] };

static EXPONENTIAL_HISTOGRAM: Schema =
    Schema { fields: &[many("dataPoints", 1, Message(&EXPONENTIAL_POINT)), one("aggregationTemporality", 2, Int)] };

static SUMMARY: Schema = Schema { fields: &[many("dataPoints", 1, Message(&SUMMARY_POINT))] };

static NUMBER_POINT: Schema = Schema {
    fields: &[
        many("attributes", 7, Message(&KEY_VALUE)),
        one("startTimeUnixNano", 2, Fixed64),
        one("timeUnixNano", 3, Fixed64),
        one("asDouble", 4, Double),
        one("asInt", 6, Sfixed64),
        one("flags", 8, Uint),
    ],
};

static HISTOGRAM_POINT: Schema = Schema {
    fields: &[
        many("attributes", 9, Message(&KEY_VALUE)),
        one("startTimeUnixNano", 2, Fixed64),
        one("timeUnixNano", 3, Fixed64),
        one("count", 4, Fixed64),
        one("sum", 5, Double),
        many("bucketCounts", 6, Fixed64),
        many("explicitBounds", 7, Double),
        one("flags", 10, Uint),
        one("min", 11, Double),
        one("max", 12, Double),
    ],
};

static EXPONENTIAL_POINT: Schema = Schema {
    fields: &[
        many("attributes", 1, Message(&KEY_VALUE)),
        one("startTimeUnixNano", 2, Fixed64),
        one("timeUnixNano", 3, Fixed64),
        one("count", 4, Fixed64),
        one("sum", 5, Double),
        one("scale", 6, Sint),
        one("zeroCount", 7, Fixed64),
        one("positive", 8, Message(&BUCKETS)),
        one("negative", 9, Message(&BUCKETS)),
        one("flags", 10, Uint),
        one("min", 12, Double),
        one("max", 13, Double),
    ],
};

static BUCKETS: Schema = Schema { fields: &[one("offset", 1, Sint), many("bucketCounts", 2, Uint)] };

static SUMMARY_POINT: Schema = Schema {
    fields: &[
        many("attributes", 7, Message(&KEY_VALUE)),
        one("startTimeUnixNano", 2, Fixed64),
        one("timeUnixNano", 3, Fixed64),
        one("count", 4, Fixed64),
        one("sum", 5, Double),
        many("quantileValues", 6, Message(&QUANTILE)),
        one("flags", 8, Uint),
    ],
};

static QUANTILE: Schema = Schema { fields: &[one("quantile", 1, Double), one("value", 2, Double)] };

static LOG_RECORD: Schema = Schema {
    fields: &[
        one("timeUnixNano", 1, Fixed64),
        one("observedTimeUnixNano", 11, Fixed64),
        one("severityNumber", 2, Int),
        one("severityText", 3, Text),
        one("body", 5, Message(&ANY_VALUE)),
        many("attributes", 6, Message(&KEY_VALUE)),
        one("traceId", 9, Hex),
        one("spanId", 10, Hex),
        one("eventName", 12, Text),
    ],
};
