"""Requests that must be refused: what the Python clients make of the refusal.

Not one of the senders: it prints {"operation", "raised", "status", "errors"} for each."""

import json
import sys

from datadog import api, initialize
from datadog_api_client import ApiClient, Configuration
from datadog_api_client.exceptions import ApiException
from datadog_api_client.v1.api.authentication_api import AuthenticationApi
from datadog_api_client.v2.api.logs_api import LogsApi
from datadog_api_client.v2.api.metrics_api import MetricsApi
from datadog_api_client.v2.model.http_log import HTTPLog
from datadog_api_client.v2.model.http_log_item import HTTPLogItem
from datadog_api_client.v2.model.metric_payload import MetricPayload
from datadog_api_client.v2.model.metric_point import MetricPoint
from datadog_api_client.v2.model.metric_series import MetricSeries

from report import Plan


def series(metric, value, plan):
    return MetricSeries(metric=metric, points=[MetricPoint(timestamp=plan.now, value=value)], type=3)


def attempts(plan):
    """(name, key, call) of each; calls of the new client take it as their argument."""
    good = series(plan.uid(), 1.0, plan)
    nan = series(plan.uid(), float("nan"), plan)
    nameless = series("", 1.0, plan)
    unknown = "f" * 32
    yield "validate, unknown token", unknown, lambda client: AuthenticationApi(client).validate()
    yield "metrics, unknown token", unknown, lambda client: submit(client, [good])
    yield (
        "logs, unknown token",
        unknown,
        lambda client: LogsApi(client).submit_log(body=HTTPLog([HTTPLogItem(message=plan.uid())])),
    )
    yield "metrics, all not numbers", plan.key, lambda client: submit(client, [nan, nan])
    yield "metrics, all without a name", plan.key, lambda client: submit(client, [nameless])


def submit(client, all_series):
    return MetricsApi(client).submit_metrics(body=MetricPayload(series=all_series))


def new_client(plan):
    for name, key, call in attempts(plan):
        configuration = Configuration(host=plan.url, api_key={"apiKeyAuth": key})
        with ApiClient(configuration) as client:
            try:
                answer = call(client)
            except ApiException as refused:
                body = refused.body if isinstance(refused.body, dict) else {"body": str(refused.body)}
                report(f"new client: {name}", type(refused).__name__, refused.status, body.get("errors", body))
            else:
                report(f"new client: {name}", None, None, str(answer))


def old_client(plan):
    for name, key, value in (("unknown token", "f" * 32, 1.0), ("not a number", plan.key, float("inf"))):
        # `initialize` keeps an earlier key unless it is given another.
        initialize(api_key=key, api_host=plan.url, host_name="h", mute=False)
        try:
            answer = api.Metric.send(metric=plan.uid(), points=(plan.now, value))
        except Exception as refused:  # whatever the library raises is the finding
            report(f"old client: metrics, {name}", type(refused).__name__, None, refused.args[0].get("errors"))
        else:
            report(f"old client: metrics, {name}", None, None, answer)


def report(operation, raised, status, errors):
    print(json.dumps({"operation": operation, "raised": raised, "status": status, "errors": errors}, default=str))


if __name__ == "__main__":
    the_plan = Plan(sys.stdin.read())
    new_client(the_plan)
    old_client(the_plan)
