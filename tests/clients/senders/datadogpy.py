"""PyPI `datadog`: the old client, of which many applications are made."""

from datadog import api, initialize

from report import HOST, TAGS, Sender

sender = Sender()


def ready(plan):
    initialize(api_key=plan.key, app_key="not-needed", api_host=plan.url, host_name=HOST, mute=False)


def metric_send(plan, **changes):
    ready(plan)
    uid = plan.uid()
    fields = {"metric": uid, "points": 12.5, "tags": plan.tags, "type": "gauge"} | changes
    answer = api.Metric.send(**fields)
    return [{"metric": uid, "host": HOST, "tags": TAGS, "type": fields["type"]}], answer


@sender.operation("Metric.send, a value", "series_v1")
def metric_value(plan):
    return metric_send(plan)


@sender.operation("Metric.send, a point", "series_v1")
def metric_point(plan):
    items, answer = metric_send(plan, points=(plan.now, 3))
    return [items[0] | {"points": [[plan.now, 3]]}], answer


@sender.operation("Metric.send, points, count", "series_v1")
def metric_points(plan):
    items, answer = metric_send(plan, points=[(plan.now - 10, 1), (plan.now, 2.5)], type="count", interval=10)
    return [items[0] | {"points": [[plan.now - 10, 1], [plan.now, 2.5]], "interval": 10}], answer


@sender.operation("Metric.send, rate", "series_v1")
def metric_rate(plan):
    return metric_send(plan, type="rate", interval=10)


@sender.operation("Metric.send, compressed", "series_v1")
def metric_compressed(plan):
    return metric_send(plan, compress_payload=True)


@sender.operation("Metric.send, a list", "series_v1")
def metric_list(plan):
    ready(plan)
    uids = [plan.uid() for _ in range(20)]
    answer = api.Metric.send(
        metrics=[{"metric": uid, "points": [(plan.now, n)], "tags": plan.tags} for n, uid in enumerate(uids)]
    )
    return [{"metric": uid, "points": [[plan.now, n]], "tags": TAGS} for n, uid in enumerate(uids)], answer


@sender.operation("Metric.send, other host, not ASCII", "series_v1")
def metric_unicode(plan):
    ready(plan)
    uid = plan.uid()
    answer = api.Metric.send(metric=uid, points=1, host="hôte", tags=[*plan.tags, 'città:è "bella"'])
    return [{"metric": uid, "host": "hôte", "tags": [*TAGS, 'città:è "bella"']}], answer


def distribution_send(plan, **options):
    ready(plan)
    uid = plan.uid()
    answer = api.Distribution.send(
        distributions=[{"metric": uid, "points": [(plan.now, [1.0, 2.0, 3.5])], "tags": plan.tags}], **options
    )
    return [{"metric": uid, "points": [[plan.now, [1.0, 2.0, 3.5]]], "host": HOST, "tags": TAGS}], answer


@sender.operation("Distribution.send", "distribution_points")
def distribution(plan):
    return distribution_send(plan)


@sender.operation("Distribution.send, compressed", "distribution_points")
def distribution_compressed(plan):
    return distribution_send(plan, compress_payload=True)


@sender.operation("Event.create", "event_v1")
def event(plan):
    ready(plan)
    uid = plan.uid()
    answer = api.Event.create(
        title=uid,
        text="%%% \n**bold**\n %%%",
        tags=plan.tags,
        alert_type="warning",
        aggregation_key="k",
        priority="low",
    )
    assert answer["event"]["id_str"] or answer["event"]["id"]
    return [{"title": uid, "tags": TAGS, "host": HOST, "alert_type": "warning", "aggregation_key": "k"}], answer


@sender.operation("ServiceCheck.check", "check_run")
def check(plan):
    ready(plan)
    uid = plan.uid()
    answer = api.ServiceCheck.check(
        check="app.up", host_name=HOST, status=1, timestamp=plan.now, message=uid, tags=plan.tags
    )
    return [{"check": "app.up", "host_name": HOST, "status": 1, "message": uid, "tags": TAGS}], answer


if __name__ == "__main__":
    sender.main()
