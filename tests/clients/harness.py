"""The processes under test: the stand-in for Datadog, the daemon, and the senders, each started as a user would."""

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
BINARY = Path(os.environ.get("DOGSLED_BIN", ROOT / "target/debug/dogsled"))
NODE_MODULES = Path(os.environ.get("DOGSLED_TEST_NODE_MODULES", ROOT / "tests/.cache/node/node_modules"))
DEADLINE = 30.0
UID = re.compile(r"uid\.[a-z_]+\.[a-z_]+\.[0-9]+")

SENDERS = {
    "datadogpy": [sys.executable, "senders/datadogpy.py"],
    "api_client": [sys.executable, "-W", "ignore::DeprecationWarning", "senders/api_client.py"],
    "api_client_async": [sys.executable, "-W", "ignore::DeprecationWarning", "senders/api_client_async.py"],
    "dogapi_rb": [sys.executable, "senders/dogapi_rb.py"],
    "node_client": ["node", "senders/node_client.js"],
}

# Loopback is reached without proxies (of the environment either), whatever the machine is set up for.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def environment():
    """The environment of every process: nothing that points a client, or the daemon, elsewhere."""
    foreign = re.compile(r"(DD_|DATADOG_|DOGSLED_(?!TEST_)|(HTTPS?|ALL|NO)_PROXY$)", re.IGNORECASE)
    return {name: value for name, value in os.environ.items() if not foreign.match(name)}


def http(url, body=None, headers=None, method=None, timeout=DEADLINE):
    """(status, headers, body) of a request, whatever the status."""
    request = urllib.request.Request(url, data=body, headers=headers or {}, method=method)
    try:
        with _DIRECT.open(request, timeout=timeout) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.headers, answer.read()


def until(what, probe, deadline=DEADLINE):
    """The first true value of `probe`; fails after the deadline with what was awaited and seen last."""
    end = time.monotonic() + deadline
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline} s: {what() if callable(what) else what}")
        time.sleep(0.02)


def uid_of(item):
    """The identifier in an item; it may be there more than once, but is the item's only one."""
    (uid,) = set(UID.findall(json.dumps(item))) or {None}
    return uid


class Process:
    """A child with its output in files, ended when its test ends."""

    def __init__(self, directory, name, *arguments):
        self.name = name
        self.stdout = directory / f"{name}.stdout"
        self.stderr = directory / f"{name}.stderr"
        with open(self.stdout, "wb") as out, open(self.stderr, "wb") as err:
            self.child = subprocess.Popen(
                [BINARY, *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment()
            )

    def lines(self, path):
        """The whole lines written so far."""
        return path.read_text(errors="replace").split("\n")[:-1]

    def awaited(self, path, pick):
        """The first true value of `pick` over the lines of a file of output."""

        def probe():
            for line in self.lines(path):
                value = pick(line)
                if value:
                    return value
            if self.child.poll() is not None:
                raise AssertionError(f"{self.name} ended with {self.child.returncode}:\n{self.told()}")
            return None

        return until(lambda: f"{self.name} says what it should:\n{self.told()}", probe)

    def told(self):
        """What it printed, for a failure."""
        return self.stdout.read_text(errors="replace") + self.stderr.read_text(errors="replace")

    def stop(self):
        """Asks it to end; its exit code."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        try:
            return self.child.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            raise AssertionError(f"{self.name} does not end on SIGTERM:\n{self.told()}") from None


class FakeIntake(Process):
    """`dogsled fakeintake`, and its control API."""

    def __init__(self, directory):
        super().__init__(directory, "fakeintake", "fakeintake", "--listen", "127.0.0.1:0")
        self.url = self.awaited(self.stdout, lambda line: line.removeprefix("listening on ") if "://" in line else None)

    def control(self, path, body=None, **query):
        """One call of the control API."""
        url = f"{self.url}/_fakeintake/{path}?{urllib.parse.urlencode(query)}"
        data = None if body is None else json.dumps(body).encode()
        status, _, answer = http(url, data, {"Content-Type": "application/json"})
        assert status < 300, (path, status, answer)
        return json.loads(answer) if answer else None

    def items(self, key, kind=None):
        """The items that arrived with an API key."""
        query = {"key": key, "items": "true"} | ({"kind": kind} if kind else {})
        return self.control("received", **query)["items"]

    def uids(self, key):
        """The identifiers of all that arrived with an API key, as often as they did."""
        return [uid_of(row["item"]) for row in self.items(key)]

    def wait(self, key, items):
        """Waits until that many items arrived with an API key; false when they did not in time."""
        query = urllib.parse.urlencode({"key": key, "items": items, "timeout_ms": int(DEADLINE * 1000)})
        status, _, answer = http(f"{self.url}/_fakeintake/wait?{query}", timeout=DEADLINE * 2)
        assert status in (200, 408), (status, answer)
        return json.loads(answer)["reached"]

    def refuse(self, key, times, status, headers):
        """Answers so many of the next requests with an API key by a status; the id of the fault."""
        effect = {"status": {"code": status, "headers": headers}}
        return self.control("faults", {"key": key, "times": times, "effect": effect})["id"]

    def hits(self, fault):
        """How many requests a fault met."""
        return next(its["hits"] for its in self.control("faults") if its["id"] == fault)


class Tenant:
    """A tenant of the configuration."""

    def __init__(self, name):
        self.name = name
        self.api_key = secrets.token_hex(16)
        self.token = secrets.token_hex(16)


class Daemon(Process):
    """`dogsled run` with static tenants, in front of a stand-in."""

    def __init__(self, directory, fakeintake, tenants, extra=""):
        tenancy = "" if "[tenancy]" in extra else "[tenancy]\nfrom_tags = true\n"
        config = directory / "dogsled.toml"
        tables = "".join(
            f'[tenants.{tenant.name}]\nsite = "datadoghq.com"\napi_key = "{tenant.api_key}"\n'
            f'ingest_tokens = ["{tenant.token}"]\n'
            for tenant in tenants
        )
        roles = "".join(f'{role} = "{fakeintake.url}"\n' for role in ("api", "logs", "events", "app"))
        config.write_text(
            f'[state]\ndir = "{directory / "state"}"\n'
            '[ingest]\nlisten = "127.0.0.1:0"\n'
            '[admin]\nlisten = "127.0.0.1:0"\n'
            f'[dogstatsd]\nlisten = "127.0.0.1:0"\nsocket = "{directory / "dogstatsd.sock"}"\n'
            'interval = "1s"\ncontext_expiry = "0s"\n'
            '[batch]\nmax_age = "50ms"\n'
            f"{tenancy}"
            '[log]\nformat = "json"\n'
            f"{extra}{tables}"
            f'[datadog.sites."datadoghq.com"]\n{roles}'
        )
        config.chmod(0o600)
        super().__init__(directory, "daemon", "run", "--config", config)
        self.url = self.listening("ingest")
        self.admin = self.listening("admin")
        self.dogstatsd = self.listening("dogstatsd").removeprefix("http://")
        self.dogstatsd_socket = directory / "dogstatsd.sock"

    def listening(self, listener):
        """The address of a listener."""

        def pick(line):
            try:
                record = json.loads(line)
            except ValueError:
                return None
            fields = record | record.get("fields", {})
            if fields.get("message") == "listening" and fields.get("listener") == listener:
                return f"http://{fields['address']}"
            return None

        return self.awaited(self.stderr, pick)

    def warnings(self):
        """The last that it complained of."""
        lines = [line for line in self.lines(self.stderr) if '"level":"INFO"' not in line]
        return "the daemon says:\n" + "\n".join(lines[-10:])

    def metrics(self):
        """{name: {(tenant, kind): sum over the other labels}} of one scrape."""
        status, _, text = http(f"{self.admin}/metrics")
        assert status == 200, text
        found = defaultdict(lambda: defaultdict(float))
        for line in text.decode().splitlines():
            match = re.fullmatch(r"(dogsled_[a-z_]+)\{(.*)\} (\S+)", line)
            if match:
                labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2]))
                if "tenant" in labels and "kind" in labels:
                    found[match[1]][labels["tenant"], labels["kind"]] += float(match[3])
        return found


OUTCOMES = ("items_delivered_total", "queue_items", "items_dead_lettered_total", "items_dropped_total")


def imbalances(metrics):
    """Where accepted = delivered + queued + dead-lettered + dropped does not hold."""
    wrong = []
    for lane, accepted in metrics["dogsled_items_accepted_total"].items():
        outcomes = {name: metrics[f"dogsled_{name}"][lane] for name in OUTCOMES}
        if accepted != sum(outcomes.values()):
            wrong.append((lane, accepted, outcomes))
    return wrong


ROUTES = ("token", "tag", "path", "header")


def possible(sender, operation, route):
    """Whether that client can name its tenant in that way: one sends no headers of its caller's, and what carries no
    items carries no tags."""
    return not (sender == "datadogpy" and route == "header") and not (operation == "v1 validate" and route == "tag")


def plan(daemon, tenant, route, sender, repeat=1):
    """What a sender is told: the ways of naming a tenant differ, the items do not."""
    routes = {
        "token": {"key": tenant.token},
        "tag": {"tags": [f"tenant:{tenant.name}"]},
        "path": {"url": f"{daemon.url}/tenants/{tenant.name}"},
        "header": {"headers": {"X-Tenant": tenant.name}},
    }
    return {
        "url": daemon.url,
        "key": "none",
        "prefix": f"{tenant.name}.{sender}",
        "now": int(time.time()),
        "repeat": repeat,
    } | routes[route]


def operations(sender):
    """The names of a sender's operations; none when its client library is not installed."""
    if sender == "node_client" and not NODE_MODULES.is_dir():
        return []
    return _run(sender, ["--list"], "").splitlines()


def send(sender, a_plan):
    """Runs a sender; its records."""
    return [json.loads(line) for line in _run(sender, [], json.dumps(a_plan)).splitlines()]


def refusals(a_plan):
    """Runs the program whose requests are refused; its records."""
    return [json.loads(line) for line in _run("refusals", [], json.dumps(a_plan)).splitlines()]


def _run(sender, arguments, text):
    command = SENDERS.get(sender, [sys.executable, f"senders/{sender}.py"])
    done = subprocess.run(
        [*command, *arguments],
        cwd=HERE,
        env=environment() | {"DOGSLED_TEST_NODE_MODULES": str(NODE_MODULES)},
        input=text,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{sender} ended with {done.returncode}:\n{done.stderr}"
    return done.stdout


def contains(got, expected):
    """Whether all of `expected` is in `got`: objects may have more members, everything else is equal."""
    if isinstance(expected, dict):
        return isinstance(got, dict) and all(
            name in got and contains(got[name], value) for name, value in expected.items()
        )
    if isinstance(expected, list):
        return isinstance(got, list) and len(got) == len(expected) and all(map(contains, got, expected))
    return got == expected
