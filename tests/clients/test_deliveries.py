"""Every operation of every official client, by every way of naming a tenant: the client gets the answer that it
understands, and what arrives at Datadog is what it sent, under the tenant's own key."""

import functools
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import ROUTES, SENDERS, UID, Tenant, contains, operations, plan, send, until

CASES = [(sender, operation) for sender in SENDERS for operation in operations(sender)]
HEADERLESS = {"datadogpy"}  # the library sends no headers of the caller's

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
            for sender in dict(CASES)
            for route in ROUTES
            if not (route == "header" and sender in HEADERLESS)
        }
    return {run: {record["operation"]: record for record in future.result()} for run, future in runs.items()}


@pytest.fixture(scope="module")
def arrived(stack, records):
    """{uid: (kind, item)} of one route's tenant, once all that its senders got a success for is there."""
    intake, daemon = stack

    @functools.cache
    def of(route):
        expected = {
            uid
            for (_, its_route), done in records.items()
            if its_route == route
            for record in done.values()
            for item in record.get("items", [])
            for uid in UID.findall(json.dumps(item))
        }
        seen = set()

        def all_there():
            seen.update(intake.uids(TENANTS[route].api_key))
            return expected <= seen

        until(lambda: f"arrival of {sorted(expected - seen)[:10]}; the daemon says\n{daemon.told()[-3000:]}", all_there)
        return {
            uid: (item["kind"], item["item"])
            for item in intake.items(TENANTS[route].api_key)
            for uid in UID.findall(json.dumps(item["item"]))
        }

    return of


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(("sender", "operation"), CASES)
def test_a_client_is_answered_and_its_items_arrive(records, arrived, sender, operation, route):
    if route == "header" and sender in HEADERLESS:
        pytest.skip(f"{sender} sends no header of its caller's")
    record = records[sender, route][operation]
    assert "error" not in record, record["error"]
    for item in record["items"]:
        (uid,) = UID.findall(json.dumps(item))
        kind, got = arrived(route)[uid]
        assert kind == record["kind"]
        assert contains(got, item), f"sent {item}\ngot {got}"


@pytest.mark.parametrize("sender", SENDERS)
def test_every_client_library_is_there(sender):
    if not operations(sender):
        pytest.skip(f"{sender}: its library is not installed")
