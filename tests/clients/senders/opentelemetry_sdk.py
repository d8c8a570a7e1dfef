"""PyPI `opentelemetry-sdk` with its OTLP exporters, as one run of an application: counts, measures and logs in rounds, and
reports what it did.

Standard input: {"endpoint", "protocol": "http" or "grpc", "headers", "temporality": "delta" or "cumulative", "rounds",
"attributes"}.
"""

import json
import logging
import sys
import time

from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.sdk import metrics as sdk
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry._logs import SeverityNumber

plan = json.load(sys.stdin)
IS_GRPC = plan["protocol"] == "grpc"
IS_DELTA = plan["temporality"] == "delta"


def endpoint(path):
    """gRPC names no paths."""
    return plan["endpoint"] if IS_GRPC else plan["endpoint"] + path


def options(path):
    return {"endpoint": endpoint(path), "headers": plan["headers"]} | ({"insecure": True} if IS_GRPC else {})


temporality = AggregationTemporality.DELTA if IS_DELTA else AggregationTemporality.CUMULATIVE
kinds = (sdk.Counter, sdk.Histogram, sdk.ObservableCounter)
exporter = (GrpcMetrics if IS_GRPC else HttpMetrics)(
    preferred_temporality={kind: temporality for kind in kinds}, **options("/v1/metrics")
)
reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
resource = Resource.create({"service.name": "shop", "deployment.environment.name": "test"} | plan["attributes"])
# Datadog takes no cumulative exponential histograms.
views = [View(instrument_name="app.size", aggregation=ExponentialBucketHistogramAggregation())] if IS_DELTA else []
meters = MeterProvider(metric_readers=[reader], resource=resource, views=views)
meter = meters.get_meter("app")
requests = meter.create_counter("app.requests")
in_flight = meter.create_up_down_counter("app.in_flight")
latency = meter.create_histogram("app.latency", explicit_bucket_boundaries_advisory=[1, 5, 10, 50])
size = meter.create_histogram("app.size") if IS_DELTA else None
loggers = LoggerProvider(resource=resource)
loggers.add_log_record_processor(SimpleLogRecordProcessor((GrpcLogs if IS_GRPC else HttpLogs)(**options("/v1/logs"))))
logger = loggers.get_logger("app")

told = {"requests": [], "latency": [], "logs": []}
for number in range(plan["rounds"]):
    counts = {"a": number + 1, "b": 10 * (number + 1)}
    for route, count in counts.items():
        requests.add(count, {"route": route})
    in_flight.add(1)
    values = [0.5, 3, 3, 7, 20, 100][: number + 3]
    for value in values:
        latency.record(value)
        if size:
            size.record(value)
    message = f"round {number} of {plan['attributes']['run']}"
    logger.emit(
        timestamp=time.time_ns(),
        severity_number=SeverityNumber.WARN,
        severity_text="WARN",
        body=message,
        attributes={"number": number, "ok": True, "nested": {"depth": 2}},
    )
    assert meters.force_flush(), "the exporter failed"
    told["requests"].append(counts)
    told["latency"].append(values)
    told["logs"].append(message)
# Nothing is counted in the shutdown's own export, which repeats the last values.
logging.disable(logging.CRITICAL)
meters.shutdown()
loggers.shutdown()
print(json.dumps(told))
