"""What both faces of PyPI `datadog-api-client` are asked to do: each operation is a call, made or awaited."""

from typing import Any, NamedTuple

from datadog_api_client import Configuration
from datadog_api_client.v1.api.authentication_api import AuthenticationApi
from datadog_api_client.v1.api.events_api import EventsApi as EventsV1
from datadog_api_client.v1.api.logs_api import LogsApi as LogsV1
from datadog_api_client.v1.api.metrics_api import MetricsApi as MetricsV1
from datadog_api_client.v1.api.service_checks_api import ServiceChecksApi
from datadog_api_client.v1.model.content_encoding import ContentEncoding as LogEncodingV1
from datadog_api_client.v1.model.distribution_point import DistributionPoint
from datadog_api_client.v1.model.distribution_points_content_encoding import DistributionPointsContentEncoding
from datadog_api_client.v1.model.distribution_points_payload import DistributionPointsPayload
from datadog_api_client.v1.model.distribution_points_series import DistributionPointsSeries
from datadog_api_client.v1.model.event_alert_type import EventAlertType
from datadog_api_client.v1.model.event_create_request import EventCreateRequest
from datadog_api_client.v1.model.http_log import HTTPLog as HTTPLogV1
from datadog_api_client.v1.model.http_log_item import HTTPLogItem as HTTPLogItemV1
from datadog_api_client.v1.model.metric_content_encoding import MetricContentEncoding as SeriesEncodingV1
from datadog_api_client.v1.model.metrics_payload import MetricsPayload
from datadog_api_client.v1.model.point import Point
from datadog_api_client.v1.model.series import Series
from datadog_api_client.v1.model.service_check import ServiceCheck
from datadog_api_client.v1.model.service_check_status import ServiceCheckStatus
from datadog_api_client.v1.model.service_checks import ServiceChecks
from datadog_api_client.v2.api.events_api import EventsApi as EventsV2
from datadog_api_client.v2.api.logs_api import LogsApi as LogsV2
from datadog_api_client.v2.api.metrics_api import MetricsApi as MetricsV2
from datadog_api_client.v2.model.change_event_custom_attributes import ChangeEventCustomAttributes
from datadog_api_client.v2.model.change_event_custom_attributes_changed_resource import (
    ChangeEventCustomAttributesChangedResource,
)
from datadog_api_client.v2.model.change_event_custom_attributes_changed_resource_type import (
    ChangeEventCustomAttributesChangedResourceType,
)
from datadog_api_client.v2.model.content_encoding import ContentEncoding as LogEncodingV2
from datadog_api_client.v2.model.event_category import EventCategory
from datadog_api_client.v2.model.event_create_request import EventCreateRequest as EventCreateRequestV2
from datadog_api_client.v2.model.event_create_request_payload import EventCreateRequestPayload
from datadog_api_client.v2.model.event_create_request_type import EventCreateRequestType
from datadog_api_client.v2.model.event_payload import EventPayload
from datadog_api_client.v2.model.http_log import HTTPLog
from datadog_api_client.v2.model.http_log_item import HTTPLogItem
from datadog_api_client.v2.model.metric_content_encoding import MetricContentEncoding
from datadog_api_client.v2.model.metric_intake_type import MetricIntakeType
from datadog_api_client.v2.model.metric_metadata import MetricMetadata
from datadog_api_client.v2.model.metric_origin import MetricOrigin
from datadog_api_client.v2.model.metric_payload import MetricPayload
from datadog_api_client.v2.model.metric_point import MetricPoint
from datadog_api_client.v2.model.metric_resource import MetricResource
from datadog_api_client.v2.model.metric_series import MetricSeries

from report import HOST, TAGS, Sender

sender = Sender()


class Call(NamedTuple):
    """One method of one API, and what shall come of it."""

    api: type
    method: str
    arguments: dict
    items: list
    check: Any = lambda answer: None


def configuration(plan):
    made = Configuration(host=plan.url, api_key={"apiKeyAuth": plan.key, "appKeyAuth": "not-needed"})
    made.request_timeout = 15
    return made


def no_errors(answer):
    assert answer.errors == [], answer


def status_ok(answer):
    assert answer.status == "ok", answer


def series_v1(plan, count=1, **options):
    uids = [plan.uid() for _ in range(count)]
    body = MetricsPayload(
        series=[
            Series(
                metric=uid,
                type="count",
                interval=10,
                points=[Point([float(plan.now), 1.5])],
                host=HOST,
                tags=plan.tags,
            )
            for uid in uids
        ]
    )
    items = [
        {"metric": uid, "type": "count", "interval": 10, "points": [[plan.now, 1.5]], "host": HOST, "tags": TAGS}
        for uid in uids
    ]
    return Call(MetricsV1, "submit_metrics", {"body": body, **options}, items, status_ok)


@sender.operation("v1 submit_metrics", "series_v1")
def series_v1_plain(plan):
    return series_v1(plan)


@sender.operation("v1 submit_metrics, gzip", "series_v1")
def series_v1_gzip(plan):
    return series_v1(plan, 30, content_encoding=SeriesEncodingV1.GZIP)


@sender.operation("v1 submit_metrics, deflate", "series_v1")
def series_v1_deflate(plan):
    return series_v1(plan, content_encoding=SeriesEncodingV1.DEFLATE)


def distributions(plan, **options):
    uid = plan.uid()
    body = DistributionPointsPayload(
        series=[
            DistributionPointsSeries(
                metric=uid, host=HOST, tags=plan.tags, points=[DistributionPoint([float(plan.now), [1.0, 2.0, 3.5]])]
            )
        ]
    )
    items = [{"metric": uid, "host": HOST, "tags": TAGS, "points": [[plan.now, [1.0, 2.0, 3.5]]]}]
    return Call(MetricsV1, "submit_distribution_points", {"body": body, **options}, items, status_ok)


@sender.operation("v1 submit_distribution_points", "distribution_points")
def distributions_plain(plan):
    return distributions(plan)


@sender.operation("v1 submit_distribution_points, deflate", "distribution_points")
def distributions_deflate(plan):
    return distributions(plan, content_encoding=DistributionPointsContentEncoding.DEFLATE)


def series_v2(plan, count=1, **options):
    uids = [plan.uid() for _ in range(count)]
    body = MetricPayload(
        series=[
            MetricSeries(
                metric=uid,
                type=MetricIntakeType.GAUGE,
                points=[MetricPoint(timestamp=plan.now, value=0.7)],
                resources=[MetricResource(name=HOST, type="host")],
                tags=plan.tags,
                unit="second",
                metadata=MetricMetadata(origin=MetricOrigin(metric_type=1, product=1, service=1)),
            )
            for uid in uids
        ]
    )
    items = [
        {
            "metric": uid,
            "type": 3,
            "points": [{"timestamp": plan.now, "value": 0.7}],
            "resources": [{"type": "host", "name": HOST}],
            "tags": TAGS,
            "unit": "second",
            "metadata": {"origin": {"metric_type": 1, "product": 1, "service": 1}},
        }
        for uid in uids
    ]
    return Call(MetricsV2, "submit_metrics", {"body": body, **options}, items, no_errors)


@sender.operation("v2 submit_metrics", "series_v2")
def series_v2_plain(plan):
    return series_v2(plan)


@sender.operation("v2 submit_metrics, gzip", "series_v2")
def series_v2_gzip(plan):
    return series_v2(plan, 30, content_encoding=MetricContentEncoding.GZIP)


@sender.operation("v2 submit_metrics, deflate", "series_v2")
def series_v2_deflate(plan):
    return series_v2(plan, content_encoding=MetricContentEncoding.DEFLATE)


@sender.operation("v2 submit_metrics, zstd1", "series_v2")
def series_v2_zstd(plan):
    return series_v2(plan, 30, content_encoding=MetricContentEncoding.ZSTD1)


def log_item(model, uid, plan):
    return model(
        message=f'{uid} "quoted", ünïcode, \\ and a\nline',
        ddsource="nginx",
        ddtags=",".join(plan.tags),
        hostname=HOST,
        service="payment",
        level="warn",
    )


def logs(plan, api, log, item, count, options):
    uids = [plan.uid() for _ in range(count)]
    body = log([log_item(item, uid, plan) for uid in uids])
    items = [
        {
            "message": f'{uid} "quoted", ünïcode, \\ and a\nline',
            "ddsource": "nginx",
            "ddtags": ",".join(TAGS),
            "hostname": HOST,
            "service": "payment",
            "level": "warn",
        }
        for uid in uids
    ]
    return Call(api, "submit_log", {"body": body, **options}, items)


@sender.operation("v1 submit_log", "logs")
def logs_v1(plan):
    return logs(plan, LogsV1, HTTPLogV1, HTTPLogItemV1, 1, {})


@sender.operation("v1 submit_log, gzip", "logs")
def logs_v1_gzip(plan):
    return logs(plan, LogsV1, HTTPLogV1, HTTPLogItemV1, 3, {"content_encoding": LogEncodingV1.GZIP})


@sender.operation("v1 submit_log, deflate", "logs")
def logs_v1_deflate(plan):
    return logs(plan, LogsV1, HTTPLogV1, HTTPLogItemV1, 3, {"content_encoding": LogEncodingV1.DEFLATE})


@sender.operation("v2 submit_log", "logs")
def logs_v2(plan):
    return logs(plan, LogsV2, HTTPLog, HTTPLogItem, 1, {})


@sender.operation("v2 submit_log, identity", "logs")
def logs_v2_identity(plan):
    return logs(plan, LogsV2, HTTPLog, HTTPLogItem, 2, {"content_encoding": LogEncodingV2.IDENTITY})


@sender.operation("v2 submit_log, gzip", "logs")
def logs_v2_gzip(plan):
    return logs(plan, LogsV2, HTTPLog, HTTPLogItem, 30, {"content_encoding": LogEncodingV2.GZIP})


@sender.operation("v2 submit_log, deflate", "logs")
def logs_v2_deflate(plan):
    return logs(plan, LogsV2, HTTPLog, HTTPLogItem, 3, {"content_encoding": LogEncodingV2.DEFLATE})


@sender.operation("v2 submit_log, tags in the query", "logs")
def logs_v2_query(plan):
    call = logs(plan, LogsV2, HTTPLog, HTTPLogItem, 2, {"ddtags": "zone:eu,az:1"})
    return call._replace(items=[item | {"ddtags": ",".join([*TAGS, "zone:eu", "az:1"])} for item in call.items])


@sender.operation("v1 create_event", "event_v1")
def event_v1(plan):
    uid = plan.uid()
    body = EventCreateRequest(
        title=uid,
        text="A text of\ntwo lines.",
        tags=plan.tags,
        host=HOST,
        alert_type=EventAlertType.ERROR,
        date_happened=plan.now,
        source_type_name="my_apps",
    )
    items = [
        {
            "title": uid,
            "text": "A text of\ntwo lines.",
            "tags": TAGS,
            "host": HOST,
            "alert_type": "error",
            "date_happened": plan.now,
            "source_type_name": "my_apps",
        }
    ]

    def check(answer):
        status_ok(answer)
        assert answer.event.title == uid, answer

    return Call(EventsV1, "create_event", {"body": body}, items, check)


@sender.operation("v2 create_event", "event_v2")
def event_v2(plan):
    uid = plan.uid()
    body = EventCreateRequestPayload(
        data=event_v2_data(uid, plan),
    )
    items = [
        {
            "data": {
                "type": "event",
                "attributes": {
                    "title": uid,
                    "category": "change",
                    "message": "switched",
                    "tags": TAGS,
                    "aggregation_key": "flags",
                    "attributes": {"changed_resource": {"name": "fallback", "type": "feature_flag"}},
                },
            }
        }
    ]

    def check(answer):
        assert answer.data is not None, answer

    return Call(EventsV2, "create_event", {"body": body}, items, check)


def event_v2_data(uid, plan):
    return EventCreateRequestV2(
        type=EventCreateRequestType.EVENT,
        attributes=EventPayload(
            title=uid,
            category=EventCategory.CHANGE,
            message="switched",
            tags=plan.tags,
            aggregation_key="flags",
            attributes=ChangeEventCustomAttributes(
                changed_resource=ChangeEventCustomAttributesChangedResource(
                    name="fallback", type=ChangeEventCustomAttributesChangedResourceType.FEATURE_FLAG
                )
            ),
        ),
    )


@sender.operation("v1 submit_service_check", "check_run")
def service_check(plan):
    uids = [plan.uid() for _ in range(2)]
    body = ServiceChecks(
        [
            ServiceCheck(
                check="app.ok",
                host_name=HOST,
                status=ServiceCheckStatus.CRITICAL,
                tags=plan.tags,
                message=uid,
                timestamp=plan.now,
            )
            for uid in uids
        ]
    )
    items = [
        {"check": "app.ok", "host_name": HOST, "status": 2, "tags": TAGS, "message": uid, "timestamp": plan.now}
        for uid in uids
    ]
    return Call(ServiceChecksApi, "submit_service_check", {"body": body}, items, status_ok)


@sender.operation("v1 validate", None)
def validate(plan):
    def check(answer):
        assert answer.valid is True, answer

    return Call(AuthenticationApi, "validate", {}, [], check)
