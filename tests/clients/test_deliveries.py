"""Every operation of every official client, by every way of naming a tenant: the client gets the answer that it
understands, and what arrives at Datadog is what it sent, under the tenant's own key."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import ROUTES, SENDERS, Tenant, contains, operations, plan, possible, send, uid_of, until

CASES = [
    (sender, operation, route)
    for sender in SENDERS
    for operation in operations(sender)
    for route in ROUTES
    if possible(sender, operation, route)
]
TENANTS = {route: Tenant(f"by_{route}") for route in ROUTES}


@pytest.fixture(scope="module")
def stack(starter):
    return starter(TENANTS.values())


@pytest.fixture(scope="module")
def records(stack):
    """What the senders report, {operation: record} for each sender and route; all are begun at once."""
    _, daemon = stack
    with ThreadPoolExecutor(4) as pool:
        runs = {
            (sender, route): pool.submit(send, sender, plan(daemon, TENANTS[route], route, sender))
            for sender, route in {(sender, route) for sender, _, route in CASES}
        }
    return {run: {record["operation"]: record for record in future.result()} for run, future in runs.items()}


@pytest.fixture(scope="module")
def arrived(stack, records):
    """{uid: (kind, item)} of each route's tenant, when nothing is under way any more."""
    fakeintake, daemon = stack
    until("an empty queue", lambda: not any(daemon.metrics()["dogsled_queue_items"].values()))
    return {
        route: {uid_of(row["item"]): (row["kind"], row["item"]) for row in fakeintake.items(tenant.api_key)}
        for route, tenant in TENANTS.items()
    }


@pytest.mark.parametrize(("sender", "operation", "route"), CASES)
def test_a_client_is_answered_and_its_items_arrive(stack, records, arrived, sender, operation, route):
    record = records[sender, route][operation]
    assert "error" not in record, record["error"]
    for item in record["items"]:
        assert uid_of(item) in arrived[route], f"did not arrive: {item}\n{stack[1].warnings()}"
        kind, got = arrived[route][uid_of(item)]
        assert kind == record["kind"]
        assert contains(got, item), f"sent {item}\ngot {got}"


@pytest.mark.parametrize("sender", SENDERS)
def test_every_client_library_is_there(sender):
    if not operations(sender):
        pytest.skip(f"{sender}: its library is not installed")
