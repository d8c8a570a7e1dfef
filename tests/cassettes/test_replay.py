"""What Datadog's clients and others sent to Datadog, and what Datadog answered, replayed against the daemon and the stand-in.

Each line of a `*.jsonl` is a recorded request with its answer (of `peers.jsonl`, without one). Every submission goes to the
daemon by each way of naming a tenant; the answers must be Datadog's, and the items must arrive as they were sent. The same
requests go to the stand-in directly, so that what the daemon is tested with answers as Datadog does, too.
"""

import base64
import json
import time
import zlib
from pathlib import Path

import pytest

from harness import Daemon, FakeIntake, Tenant, http

HERE = Path(__file__).parent
NOW = int(time.time())
WAYS = ("path", "header", "token", "tag")

# Recorded requests that the daemon or the stand-in answers otherwise, and why.
KNOWN = {
    "series_v1.jsonl:50": "its only point is malformed: Datadog takes and forgets it, here the sender is told",
}

# A header that the recorder wrote, or that belongs to its connection.
IGNORED = {"accept-encoding", "connection", "content-length", "user-agent", "accept", "host"}


def recorded():
    """Every recorded submission, the validations apart."""
    for file in sorted(HERE.glob("*.jsonl")):
        if file.name != "validate.jsonl":
            for number, line in enumerate(file.read_text().splitlines(), 1):
                yield f"{file.name}:{number}", json.loads(line)


def decoded(part):
    return part["text"].encode() if "text" in part else base64.b64decode(part["base64"])


def kind_of(path):
    """The kind that the stand-in counts a path as, and the member of the body that holds its items."""
    if path.startswith("/v1/input") or path == "/api/v2/logs":
        return "logs", None
    return {
        "/api/v1/series": ("series_v1", "series"),
        "/api/v2/series": ("series_v2", "series"),
        "/api/v1/distribution_points": ("distribution_points", "series"),
        "/api/v1/check_run": ("check_run", None),
        "/api/v1/events": ("event_v1", None),
        "/api/v2/events": ("event_v2", None),
    }[path]


class Submission:
    """A recorded request, as it is sent today."""

    def __init__(self, name, exchange):
        self.name, self.exchange = name, exchange
        self.path = exchange["path"]
        self.kind, self.member = kind_of(self.path)
        headers = {key: value for key, value in exchange["headers"].items() if key not in IGNORED}
        body = decoded(exchange["body"])
        self.encoding = headers.pop("content-encoding", None)
        if self.encoding == "deflate":
            body = zlib.decompress(body)
        headers.setdefault("content-type", "application/json")
        # A check of connectivity may have no body.
        self.headers, self.json = headers, json.loads(body) if body else None
        if self.json and exchange["status"] in (202, None):
            self.json = self.today(self.json)

    def today(self, body):
        """What was accepted then was fresh then: an event of that day would be refused now."""
        if self.kind == "event_v1" and isinstance(body.get("date_happened"), (int, float)):
            fraction = body["date_happened"] % 1
            body["date_happened"] = NOW - 60 + fraction if fraction else NOW - 60
        return body

    def items(self, body=None):
        body = self.json if body is None else body
        # Without anything in it, it only asks whether somebody is there.
        if not body:
            return []
        items = body.get(self.member, []) if self.member else body
        return items if isinstance(items, list) else [items]

    def tagged(self, tenant):
        """The body with the tenant's tag in each item."""
        body = json.loads(json.dumps(self.json))
        for item in self.items(body):
            if self.kind == "logs":
                tags = item.get("ddtags")
                item["ddtags"] = f"{tags},tenant:{tenant}" if tags else f"tenant:{tenant}"
            elif self.kind == "event_v2":
                attributes = item["data"]["attributes"]
                attributes["tags"] = [*(attributes.get("tags") or []), f"tenant:{tenant}"]
            else:
                item["tags"] = [*(item.get("tags") or []), f"tenant:{tenant}"]
        return body

    def send(self, url, way, tenant):
        """(status, media type, body, items set aside) of the answer; `way` is none for the stand-in itself."""
        headers, path, body = dict(self.headers), self.path, self.json
        key = tenant.token if way == "token" else tenant.api_key
        if path.startswith("/v1/input/0"):
            path = f"/v1/input/{key}"
        elif way in ("token", None):
            headers["DD-API-KEY"] = key
        else:
            headers["DD-API-KEY"] = "0" * 32
        if way == "path":
            path = f"/tenants/{tenant.name}{path}"
        elif way == "header":
            headers["X-Tenant"] = tenant.name
        elif way == "tag":
            body = self.tagged(tenant.name)
        data = b"" if body is None else json.dumps(body).encode()
        if self.encoding == "deflate":
            data, headers["content-encoding"] = zlib.compress(data), "deflate"
        query = f"?{self.exchange['query']}" if self.exchange["query"] else ""
        status, answered, text = http(f"{url}{path}{query}", data, headers)
        return status, answered["content-type"], text, answered["Dogsled-Refused"]


def parsed(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


def form(value):
    """What programs decode of a refusal; its words are for people."""
    if isinstance(value, dict):
        return {key: form(its) for key, its in value.items()}
    return [form(its) for its in value[:1]] if isinstance(value, list) else type(value).__name__


def wrong_body(kind, want, have):
    """How a body differs from Datadog's, apart from what differs each time: ids, addresses and the date of acceptance."""
    if "errors" in want and want["errors"]:
        return None if form(have) == form(want) else f"{have} instead of {want}"
    if kind == "event_v1" and "event" in want:
        want, have = want["event"], have.get("event", {})
        kinds = {"id": int, "id_str": str, "url": str, "date_happened": (int, float)}
        for name, value in want.items():
            if name in kinds and not isinstance(have.get(name), kinds[name]):
                return f"`{name}` is {have.get(name)!r}, not like {value!r}"
            # The answers of 2013 did not repeat the text.
            if name not in kinds and value is not None and have.get(name) != value:
                return f"`{name}` is {have.get(name)!r} instead of {value!r}"
        return None
    if kind == "event_v2" and "data" in want:
        return None if have.keys() == want.keys() else f"{have} instead of {want}"
    return None if have == want else f"{have} instead of {want}"


def media_type(text):
    return (text or "").split(";")[0].strip()


def differences(submission, answer, with_media_type=False):
    """How an answer differs from Datadog's."""
    exchange, (status, content_type, text, _) = submission.exchange, answer
    if submission.name in KNOWN:
        return []
    if exchange["status"] is None:
        return [] if status < 300 else [f"{status} {text[:200]}"]
    found = []
    if status != exchange["status"]:
        found.append(f"status {status} instead of {exchange['status']}: {text[:200]}")
    elif wrong := wrong_body(submission.kind, parsed(decoded(exchange["answer"])), parsed(text)):
        found.append(f"body: {wrong}")
    if with_media_type and status == exchange["status"] and media_type(content_type) not in MEDIA_TYPES[submission.path, status]:
        found.append(f"content type {content_type} instead of {MEDIA_TYPES[submission.path, status]}")
    return found


def media_types():
    """The types that Datadog's answers had, by path and status: those of v1 events have changed over the years."""
    types = {}
    for _, exchange in recorded():
        recorded_type = media_type(exchange["answer_headers"].get("content-type")) if exchange["status"] else ""
        types.setdefault((exchange["path"], exchange["status"]), set()).add(recorded_type)
    return types


MEDIA_TYPES = media_types()
SUBMISSIONS = [Submission(name, exchange) for name, exchange in recorded()]


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """The stand-in, the daemon, and a tenant for each way of naming one."""
    directory = tmp_path_factory.mktemp("cassettes")
    running = []
    try:
        fakeintake = FakeIntake(directory)
        running.append(fakeintake)
        tenants = {way: Tenant(f"by_{way}") for way in WAYS}
        daemon = Daemon(directory, fakeintake, tenants.values())
        running.append(daemon)
        yield fakeintake, daemon, tenants
    finally:
        codes = {process.name: process.stop() for process in reversed(running)}
        assert set(codes.values()) <= {0}, codes


def normalised(kind, item):
    """An item as it must arrive: without what the daemon adds or may write otherwise."""
    item = json.loads(json.dumps(item))
    if kind == "logs":
        item.pop("timestamp", None)
        item.pop("ddtags", None)
    elif kind == "event_v2":
        item["data"]["attributes"].pop("tags", None)
    else:
        item.pop("tags", None)
    if kind == "event_v1" and not isinstance(item.get("date_happened"), (int, float)):
        item.pop("date_happened", None)
    return json.dumps(item, sort_keys=True)


def tags_of(kind, item):
    tags = item.get("ddtags") if kind == "logs" else item.get("tags")
    if kind == "event_v2":
        tags = item["data"]["attributes"].get("tags")
    tags = tags.split(",") if isinstance(tags, str) else tags or []
    return sorted(tag for tag in tags if tag)


@pytest.mark.parametrize("way", WAYS)
def test_every_submission_is_answered_and_arrives(stack, way):
    fakeintake, daemon, tenants = stack
    tenant = tenants[way]
    wrong, expected = [], {}
    for submission in SUBMISSIONS:
        answer = submission.send(daemon.url, way, tenant)
        found = differences(submission, answer)
        wrong += [f"{submission.name} {submission.path}: {its}" for its in found]
        # Items that Datadog would refuse are set aside; of a recorded request that is all or none.
        if answer[0] < 300 and not int(answer[3] or 0):
            expected.setdefault(submission.kind, []).extend(submission.items())
    assert not wrong, "\n".join(wrong)
    count = sum(map(len, expected.values()))
    arrived = len(fakeintake.items(tenant.api_key)) if not fakeintake.wait(tenant.api_key, count) else count
    assert arrived == count, f"{arrived} of {count} arrived; {daemon.warnings()}"
    for kind, items in expected.items():
        arrived = [row["item"] for row in fakeintake.items(tenant.api_key, kind)]
        want = sorted((normalised(kind, item), tags_of(kind, item)) for item in items)
        have = sorted((normalised(kind, item), tags_of(kind, item)) for item in arrived)
        assert have == want, kind


def test_the_stand_in_answers_as_datadog_did(stack):
    fakeintake, _, _ = stack
    tenant = Tenant("direct")
    wrong = []
    for submission in SUBMISSIONS:
        found = differences(submission, submission.send(fakeintake.url, None, tenant), True)
        wrong += [f"{submission.name} {submission.path}: {its}" for its in found]
    assert not wrong, "\n".join(wrong)


def test_validation_answers_as_datadog_did(stack):
    fakeintake, daemon, tenants = stack
    for line in (HERE / "validate.jsonl").read_text().splitlines():
        exchange = json.loads(line)
        want = json.loads(exchange["answer"]["text"])
        key = {200: tenants["token"], 403: None}[exchange["status"]]
        for url, valid in ((daemon.url, key and key.token), (fakeintake.url, key and key.api_key)):
            wrong_key = "Forbidden" in want.get("errors", ())
            headers = {"DD-API-KEY": valid or "f" * 31} if valid or wrong_key else {}
            status, _, text = http(f"{url}{exchange['path']}", None, headers)
            assert status == exchange["status"], (url, text)
            if status == 200:
                assert json.loads(text) == want
