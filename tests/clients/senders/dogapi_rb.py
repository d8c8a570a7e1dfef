"""The Ruby gem `dogapi` as far as HTTP goes: its requests, sent with the standard library.

Its metrics, events and checks carry the key in the query and nowhere else (`lib/dogapi/common.rb` and
`lib/dogapi/v1` of DataDog/dogapi-rb): `POST /api/v1/series?api_key=…&application_key=…`, `Content-Type:
application/json`, `Accept-Encoding` and `User-Agent` of Ruby's Net::HTTP. The success codes are 200 to 208, and the
body is parsed as JSON.
"""

import http.client
import json
from urllib.parse import urlencode, urlsplit

from report import HOST, TAGS, Sender

sender = Sender()


def post(plan, path, body):
    base = urlsplit(plan.url)
    connection = http.client.HTTPConnection(base.hostname, base.port, timeout=15)
    query = urlencode({"api_key": plan.key, "application_key": "not-needed"})
    connection.request(
        "POST",
        f"{base.path}{path}?{query}",
        body=json.dumps(body),
        headers={
            "Content-Type": "application/json",
            "Accept-Encoding": "gzip;q=1.0,deflate;q=0.6,identity;q=0.3",
            "Accept": "*/*",
            "User-Agent": "Ruby",
            **plan.headers,
        },
    )
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    if not 200 <= answer.status <= 208:
        raise RuntimeError(f"{answer.status} {text!r}")
    return json.loads(text)


def series(metric, points, type_, tags):
    return {"metric": metric, "points": points, "type": type_, "host": HOST, "device": None, "tags": tags}


@sender.operation("emit_point", "series_v1")
def emit_point(plan):
    uid = plan.uid()
    answer = post(
        plan,
        "/api/v1/series",
        {"series": [series(uid, [[plan.now, 7.0]], "gauge", plan.tags)]},
    )
    return [{"metric": uid, "points": [[plan.now, 7.0]], "type": "gauge", "host": HOST, "tags": TAGS}], answer


@sender.operation("batch_metrics", "series_v1")
def batch_metrics(plan):
    uids = [plan.uid() for _ in range(5)]
    points = [[plan.now - 1, 1.0], [plan.now, 2.0]]
    batch = [series(uid, points, "count", plan.tags) for uid in uids]
    answer = post(plan, "/api/v1/series", {"series": batch})
    return [{"metric": uid, "points": points, "type": "count", "tags": TAGS} for uid in uids], answer


@sender.operation("emit_event", "event_v1")
def emit_event(plan):
    uid = plan.uid()
    answer = post(
        plan,
        "/api/v1/events",
        {
            "msg_text": "it happened",
            "date_happened": plan.now,
            "msg_title": uid,
            "priority": "normal",
            "parent": None,
            "tags": plan.tags,
            "aggregation_key": "",
            "alert_type": "success",
            "event_type": None,
            "source_type_name": None,
            "title": uid,
            "text": "it happened",
            "host": HOST,
            "device": None,
        },
    )
    item = {"title": uid, "text": "it happened", "date_happened": plan.now, "alert_type": "success", "tags": TAGS}
    return [item], answer


@sender.operation("service_check", "check_run")
def service_check(plan):
    uid = plan.uid()
    body = {"check": uid, "host_name": HOST, "status": 3}
    # The options are the caller's, and may be none at all.
    answer = post(plan, "/api/v1/check_run", body | ({"tags": plan.route_tags} if plan.route_tags else {}))
    return [{"check": uid, "host_name": HOST, "status": 3}], answer


@sender.operation("service_check, all options", "check_run")
def service_check_options(plan):
    uid = plan.uid()
    answer = post(
        plan,
        "/api/v1/check_run",
        {"check": "app.up", "host_name": HOST, "status": 0, "timestamp": plan.now, "message": uid, "tags": plan.tags},
    )
    return [{"check": "app.up", "host_name": HOST, "status": 0, "message": uid, "tags": TAGS}], answer


if __name__ == "__main__":
    sender.main()
