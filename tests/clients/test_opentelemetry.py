"""OpenTelemetry's own SDK for Python, over HTTP and gRPC, delta and cumulative, with a restart of the application in
between: what arrives is what was counted, measured and logged."""

import json
import subprocess
import sys
from collections import defaultdict

import pytest

from harness import HERE, Tenant, environment, until

pytest.importorskip("opentelemetry.sdk")

CASES = [(protocol, temporality) for protocol in ("http", "grpc") for temporality in ("delta", "cumulative")]
TENANTS = {case: Tenant("_".join(case)) for case in CASES}
RUNS = ("first", "second")
ROUNDS = 3


@pytest.fixture(scope="module")
def stack(starter):
    extra = '[otlp]\nhttp_listen = "127.0.0.1:0"\ngrpc_listen = "127.0.0.1:0"\n'
    return starter(TENANTS.values(), extra=extra)


def run(daemon, case, name):
    """One run of the application; what it did."""
    protocol, temporality = case
    tenant = TENANTS[case]
    # Each way of naming a tenant that an application of OpenTelemetry has.
    named = {
        ("http", "delta"): {"headers": {"x-tenant": tenant.name}},
        ("http", "cumulative"): {"headers": {"authorization": f"Bearer {tenant.token}"}},
        ("grpc", "delta"): {"headers": {"dd-api-key": tenant.token}},
        ("grpc", "cumulative"): {"attributes": {"tenant": tenant.name}},
    }[case]
    endpoint = daemon.listening("otlp" if protocol == "http" else "otlp gRPC")
    plan = {"endpoint": endpoint, "protocol": protocol, "temporality": temporality, "rounds": ROUNDS, "headers": {}}
    plan["attributes"] = {"run": name} | named.pop("attributes", {})
    done = subprocess.run(
        [sys.executable, "senders/opentelemetry_sdk.py"],
        cwd=HERE,
        env=environment(),
        input=json.dumps(plan | named),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{done.stderr}\n{daemon.warnings()}"
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def told(stack):
    """What each case's two runs did, one after the other."""
    return {case: [run(stack[1], case, name) for name in RUNS] for case in CASES}


@pytest.fixture(scope="module")
def arrived(stack, told):
    """{kind: items} of each case."""
    fakeintake, daemon = stack
    until("an empty queue", lambda: not any(daemon.metrics()["dogsled_queue_items"].values()))
    found = {case: defaultdict(list) for case in CASES}
    for case, tenant in TENANTS.items():
        for row in fakeintake.items(tenant.api_key):
            found[case][row["kind"]].append(row["item"])
    return found


def tag_of(item, name):
    (value,) = [tag.split(":", 1)[1] for tag in item["tags"] if tag.startswith(f"{name}:")]
    return value


@pytest.mark.parametrize("case", CASES)
def test_counters_add_up_over_a_restart_of_the_application(told, arrived, case):
    got = defaultdict(float)
    for item in arrived[case]["series_v2_protobuf"]:
        if item["metric"] == "app.requests":
            assert tag_of(item, "service") == "shop" and tag_of(item, "env") == "test"
            got[tag_of(item, "route")] += sum(point["value"] for point in item["points"])
    expected = defaultdict(float)
    for each in told[case]:
        for number, counts in enumerate(each["requests"]):
            for route, count in counts.items():
                # Of a cumulative metric's first points Datadog's rules take the first one only.
                if case[1] == "delta" or number > 0 or route == "a":
                    expected[route] += count
    assert got == expected


@pytest.mark.parametrize("case", CASES)
def test_up_down_counters_are_gauges_of_their_present_value(arrived, case):
    series = [item for item in arrived[case]["series_v2_protobuf"] if item["metric"] == "app.in_flight"]
    values = [point["value"] for item in series for point in item["points"]]
    # Each run counts up from 1, and says its last value once more as it ends.
    assert sorted(set(values)) == [1, 2, 3]


@pytest.mark.parametrize("case", CASES)
def test_histograms_hold_every_value_once(told, arrived, case):
    sketches = [item for item in arrived[case]["sketches"] if item["metric"] == "app.latency"]
    # A cumulative histogram's first point is remembered only.
    values = [
        value
        for each in told[case]
        for number, values in enumerate(each["latency"])
        for value in values
        if case[1] == "delta" or number > 0
    ]
    points = [point for item in sketches for point in item["dogsketches"]]
    assert sum(point["cnt"] for point in points) == len(values)
    assert sum(point["sum"] for point in points) == pytest.approx(sum(values))
    assert sum(sum(point["n"]) for point in points) == len(values)


@pytest.mark.parametrize("case", [case for case in CASES if case[1] == "delta"])
def test_exponential_histograms_are_as_exact_as_their_sketch(told, arrived, case):
    sketches = [item for item in arrived[case]["sketches"] if item["metric"] == "app.size"]
    points = [point for item in sketches for point in item["dogsketches"]]
    values = [value for each in told[case] for values in each["latency"] for value in values]
    assert sum(point["cnt"] for point in points) == len(values)
    assert (min(p["min"] for p in points), max(p["max"] for p in points)) == (min(values), max(values))


@pytest.mark.parametrize("case", CASES)
def test_logs_arrive_once_with_status_and_attributes(told, arrived, case):
    logs = arrived[case]["logs"]
    assert sorted(log["message"] for log in logs) == sorted(message for each in told[case] for message in each["logs"])
    for log in logs:
        assert (log["status"], log["service"], log["ok"], log["nested.depth"]) == ("WARN", "shop", True, 2)
        assert "tenant" not in log
        assert {"env:test", "service:shop"} <= set(log["ddtags"].split(","))
