"""Many clients for many tenants at once: every tenant's items reach its own key, each exactly once, none lost and none
astray, and the books balance at every scrape; also while Datadog refuses one tenant for a time."""

import collections
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import ROUTES, SENDERS, Tenant, imbalances, operations, plan, send, uid_of, until

REPEAT = 4
REFUSALS = 5
NAMES = ("acme", "globex", "initech", "umbrella")


class Scrapes(threading.Thread):
    """Scrapes the metrics without a pause until stopped; keeps what did not balance."""

    def __init__(self, daemon):
        super().__init__(daemon=True)
        self.wrong, self.count, self.busy = [], 0, 0
        self._watched, self._done = daemon, threading.Event()

    def run(self):
        try:
            while not self._done.wait(0.005):
                metrics = self._watched.metrics()
                self.count += 1
                self.busy += any(metrics["dogsled_queue_items"].values())
                self.wrong += imbalances(metrics)
        except Exception as failure:  # raised again where the test looks
            self.wrong.append(failure)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self.join()


def everyone_sends(daemon, tenants):
    """All senders for all tenants at once; {tenant: identifiers of what its clients got a success for}."""
    senders = [sender for sender in SENDERS if operations(sender)]
    with ThreadPoolExecutor(6) as pool:
        futures = [
            # Old clients cannot send a header; the other ways take turns.
            (tenant, pool.submit(send, sender, plan(daemon, tenant, ROUTES[(row + column) % 3], sender, REPEAT)))
            for row, tenant in enumerate(tenants)
            for column, sender in enumerate(senders)
        ]
    sent = collections.defaultdict(list)
    for tenant, future in futures:
        for record in future.result():
            assert "error" not in record, record["error"]
            sent[tenant] += map(uid_of, record["items"])
    return sent


@pytest.mark.parametrize(
    ("status", "headers"),
    [(None, {}), (429, {"X-RateLimit-Reset": "1"}), (503, {})],
    ids=["all well", "one throttled", "one refused"],
)
def test_each_tenants_items_reach_its_own_key_once(starter, status, headers):
    tenants = [Tenant(name) for name in NAMES]
    fakeintake, daemon = starter(tenants, extra='[delivery]\nretry_initial = "20ms"\nretry_max = "200ms"\n')
    fault = fakeintake.refuse(tenants[0].api_key, REFUSALS, status, headers) if status else None
    with Scrapes(daemon) as scrapes:
        sent = everyone_sends(daemon, tenants)
        for tenant in tenants:
            expected = len(sent[tenant])
            assert expected > 100
            arrived = fakeintake.wait(tenant.api_key, expected)
            assert arrived, f"not all {expected} items of {tenant.name}; {daemon.warnings()}"
    for tenant in tenants:
        assert sorted(fakeintake.uids(tenant.api_key)) == sorted(sent[tenant])
    assert scrapes.wrong == []
    assert scrapes.count > 10
    assert fault is None or fakeintake.hits(fault) == REFUSALS
    assert scrapes.busy > 0, "no scrape saw anything queued, so none showed that the books balance under way"

    metrics = until("an empty queue", lambda: empty(daemon.metrics()))
    for tenant in tenants:
        for name in ("accepted", "delivered"):
            by_kind = metrics[f"dogsled_items_{name}_total"]
            assert sum(n for (its, _), n in by_kind.items() if its == tenant.name) == len(sent[tenant]), name
    assert not [tenant.name for tenant in tenants if tenant.api_key in daemon.told() or tenant.token in daemon.told()]


def empty(metrics):
    """The metrics when nothing is queued, else none."""
    return metrics if not any(metrics["dogsled_queue_items"].values()) else None
