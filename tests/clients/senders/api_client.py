"""PyPI `datadog-api-client`, the calls that wait."""

import sys

from datadog_api_client import ApiClient

from api_client_calls import configuration, sender
from report import Plan, done, failed

if __name__ == "__main__" and not sender.listed():
    plan = Plan(sys.stdin.read())
    with ApiClient(configuration(plan)) as client:
        client.default_headers.update(plan.headers)
        for name, kind, operation in sender.rounds(plan):
            try:
                call = operation(plan)
                answer = getattr(call.api(client), call.method)(**call.arguments)
                call.check(answer)
            except Exception:  # whatever the library raises is the finding
                failed(name, kind)
            else:
                done(name, kind, call.items, answer.to_dict() if hasattr(answer, "to_dict") else answer)
