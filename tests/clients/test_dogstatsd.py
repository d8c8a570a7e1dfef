"""DogStatsD clients of others, over UDP and Unix sockets: what they count arrives, once, under the tenant's own key."""

import asyncio
from collections import defaultdict

import aiodogstatsd
import pytest
from datadog.dogstatsd import DogStatsd

from harness import Tenant, http, until

TENANTS = [Tenant("acme"), Tenant("globex")]
ROUNDS = 200


@pytest.fixture(scope="module")
def stack(starter):
    return starter(TENANTS, extra='[tenancy]\ndefault = "globex"\n')


def sums(fakeintake, tenant):
    """{metric: sum of its points} of what a tenant got; buckets are a second, so that a rate is a count."""
    found = defaultdict(float)
    for row in fakeintake.items(tenant.api_key, "series_v2_protobuf"):
        found[row["item"]["metric"]] += sum(point["value"] for point in row["item"]["points"])
    return found


def sketches(fakeintake, tenant, metric):
    """How many samples of a distribution a tenant got."""
    rows = [row["item"] for row in fakeintake.items(tenant.api_key, "sketches") if row["item"]["metric"] == metric]
    return sum(sketch["cnt"] for row in rows for sketch in row["dogsketches"])


def client(daemon, transport, **options):
    """A client of datadogpy, as its users make one."""
    host, _, port = daemon.dogstatsd.rpartition(":")
    if transport == "udp":
        return DogStatsd(host=host, port=int(port), **options)
    # It may wait for the daemon: else it drops what does not fit into a queue of ten datagrams (net.unix.max_dgram_qlen).
    return DogStatsd(socket_path=f"unix://{daemon.dogstatsd_socket}", socket_timeout=10, **options)


@pytest.mark.parametrize("transport", ["udp", "uds"])
@pytest.mark.parametrize("way", ["unbuffered", "buffered", "aggregating"])
def test_what_datadogpy_counts_arrives_once(stack, transport, way):
    fakeintake, daemon = stack
    options = {
        "unbuffered": {"disable_buffering": True},
        "buffered": {"disable_buffering": False},
        "aggregating": {"disable_buffering": False, "disable_aggregation": False, "flush_interval": 0.1},
    }[way]
    prefix = f"py.{transport}.{way}"
    statsd = client(daemon, transport, constant_tags=["tenant:acme", "env:test"], **options)
    for value in range(ROUNDS):
        statsd.increment(f"{prefix}.hits", 2, tags=[f"shard:{value % 3}"])
        statsd.distribution(f"{prefix}.latency", value)
    statsd.gauge(f"{prefix}.size", 42)
    statsd.event(f"{prefix} event", "text", alert_type="warning")
    statsd.service_check(f"{prefix}.check", 1, message="fine")
    statsd.flush()
    statsd.stop()
    acme = TENANTS[0]
    until(lambda: dict(sums(fakeintake, acme)), lambda: sums(fakeintake, acme)[f"{prefix}.hits"] >= 2 * ROUNDS)
    until("all samples", lambda: sketches(fakeintake, acme, f"{prefix}.latency") >= ROUNDS)
    assert sums(fakeintake, acme)[f"{prefix}.hits"] == 2 * ROUNDS
    assert sketches(fakeintake, acme, f"{prefix}.latency") == ROUNDS
    assert sums(fakeintake, acme)[f"{prefix}.size"] == 42
    titles = [row["item"].get("title") for row in fakeintake.items(acme.api_key, "event_v1")]
    assert titles.count(f"{prefix} event") == 1
    checks = [row["item"] for row in fakeintake.items(acme.api_key, "check_run")]
    assert [check["message"] for check in checks if check["check"] == f"{prefix}.check"] == ["fine"]
    for row in fakeintake.items(acme.api_key, "series_v2_protobuf"):
        assert not any(tag.startswith("tenant:") for tag in row["item"]["tags"])


def test_the_telemetry_of_a_client_goes_to_the_default_tenant(stack):
    fakeintake, daemon = stack
    statsd = client(daemon, "udp", telemetry_min_flush_interval=0, disable_buffering=True)
    for _ in range(10):
        statsd.increment("py.telemetry.hits")
    statsd.stop()
    globex = TENANTS[1]
    until("the client's own counters", lambda: sums(fakeintake, globex)["datadog.dogstatsd.client.metrics"] >= 10)
    assert not any(name.startswith("datadog.") for name in sums(fakeintake, TENANTS[0]))


def test_what_aiodogstatsd_counts_arrives_once(stack):
    fakeintake, daemon = stack
    host, _, port = daemon.dogstatsd.rpartition(":")

    async def send():
        async with aiodogstatsd.Client(host=host, port=int(port), constant_tags={"tenant": "acme"}) as statsd:
            for value in range(ROUNDS):
                statsd.increment("aio.hits", value=3)
                statsd.timing("aio.took", value=value)
                await asyncio.sleep(0)

    asyncio.run(send())
    acme = TENANTS[0]
    until(lambda: dict(sums(fakeintake, acme)), lambda: sums(fakeintake, acme)["aio.hits"] >= 3 * ROUNDS)
    assert sums(fakeintake, acme)["aio.hits"] == 3 * ROUNDS
    assert sums(fakeintake, acme)["aio.took.count"] == ROUNDS


def test_no_line_is_refused(stack):
    status, _, text = http(f"{stack[1].admin}/metrics")
    assert status == 200
    wrong = [
        line
        for line in text.decode().splitlines()
        if line.startswith("dogsled_dogstatsd_errors_total{") and not line.endswith(" 0")
    ]
    assert not wrong, wrong
