"""What the daemon refuses, the clients raise, with words that say what is wrong; and nothing of it is delivered."""

import pytest

from harness import UID, Tenant, http, plan, refusals

ACME = Tenant("acme")


@pytest.fixture(scope="module")
def stack(starter):
    return starter([ACME])


@pytest.fixture(scope="module")
def refused(stack):
    _, daemon = stack
    records = refusals(plan(daemon, ACME, "token", "refusals"))
    return {record["operation"]: record for record in records}


@pytest.mark.parametrize(
    ("operation", "raised", "status"),
    [
        ("new client: validate, unknown token", "ForbiddenException", 403),
        ("new client: metrics, unknown token", "ForbiddenException", 403),
        ("new client: logs, unknown token", "ForbiddenException", 403),
        ("new client: metrics, all not numbers", "ApiException", 400),
        ("new client: metrics, all without a name", "ApiException", 400),
        ("old client: metrics, unknown token", "ApiError", None),
        ("old client: metrics, not a number", "ApiError", None),
    ],
)
def test_a_client_raises_what_the_daemon_refuses(refused, operation, raised, status):
    record = refused[operation]
    assert (record["raised"], record["status"]) == (raised, status), record
    assert isinstance(record["errors"], list) and record["errors"] and all(record["errors"]), record


def test_a_refused_request_leaves_nothing_behind(stack, refused):
    fakeintake, daemon = stack
    assert len(refused) == 7
    sentinel = "uid.acme.sentinel.1"
    status, _, answer = http(
        f"{daemon.url}/api/v2/logs",
        f'[{{"message":"{sentinel}"}}]'.encode(),
        {"DD-API-KEY": ACME.token, "Content-Type": "application/json"},
    )
    assert (status, answer) == (202, b"{}")
    fakeintake.control("wait", key=ACME.api_key, kind="logs", items=1, timeout_ms=10_000)
    assert fakeintake.uids(ACME.api_key) == [sentinel]
    accepted = daemon.metrics()["dogsled_items_accepted_total"]
    assert sum(accepted.values()) == 1, accepted
    assert UID.fullmatch(sentinel)


def test_an_unknown_path_says_so(stack):
    _, daemon = stack
    status, headers, answer = http(f"{daemon.url}/api/v1/dashboard", headers={"DD-API-KEY": ACME.token})
    assert status == 404
    assert b'"errors"' in answer, answer
    assert headers["Content-Type"].startswith("application/json")
