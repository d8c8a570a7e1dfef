"""What the senders share: the plan they are given, and the report they print.

A sender is a program around one client library. `sender --list` prints the names of its operations, one a line.
Without arguments it reads a plan from stdin, does every operation as often as the plan says, and prints one JSON
object a line for each:

    {"operation": "v2 series, gzip", "kind": "series_v2", "items": [...], "answer": ...}    or "error" for the last two

`items` are what must arrive at Datadog: each expected item is contained in the one that arrives. Every item has an
identifier of its own (`uid.…`) somewhere in its text, so that items are counted by a set.
"""

import json
import sys
import traceback

HOST = "host-1"
TAGS = ["env:test", "team:core"]


class Plan:
    """Where to send, as whom, and how often."""

    def __init__(self, text):
        fields = json.loads(text)
        self.url = fields["url"]
        self.key = fields["key"]
        self.headers = fields.get("headers", {})
        self.now = fields["now"]
        self.repeat = fields.get("repeat", 1)
        self.route_tags = fields.get("tags", [])
        self._prefix = fields["prefix"]
        self._count = 0

    def uid(self):
        """The next identifier: also a valid metric name."""
        self._count += 1
        return f"uid.{self._prefix}.{self._count}"

    @property
    def tags(self):
        """The tags of an item as sent: in front the one that names the tenant, when tags decide."""
        return [*self.route_tags, *TAGS]


class Sender:
    """The operations of one client library."""

    def __init__(self):
        self._operations = {}

    def operation(self, name, kind):
        """Registers a function that takes the plan and returns (items, answer); `kind` is None when nothing arrives."""

        def register(function):
            self._operations[name] = (kind, function)
            return function

        return register

    def listed(self):
        """Answers `--list`; false when a plan is to be carried out."""
        if sys.argv[1:] != ["--list"]:
            return False
        print("\n".join(self._operations))
        return True

    def rounds(self, plan):
        """Every operation, as often as the plan says; but what sends no items cannot name its tenant by their tags."""
        for _ in range(plan.repeat):
            for name, (kind, function) in self._operations.items():
                if kind or not plan.route_tags:
                    yield name, kind, function

    def main(self):
        """The program."""
        if self.listed():
            return
        plan = Plan(sys.stdin.read())
        for name, kind, function in self.rounds(plan):
            try:
                items, answer = function(plan)
            except Exception:  # whatever the library raises is the finding
                failed(name, kind)
            else:
                done(name, kind, items, answer)


def done(name, kind, items, answer):
    """Reports an operation that the client holds for a success."""
    _print({"operation": name, "kind": kind, "items": items, "answer": answer})


def failed(name, kind):
    """Reports the exception being handled."""
    _print({"operation": name, "kind": kind, "error": traceback.format_exc()})


def _print(record):
    print(json.dumps(record, default=str), flush=True)
