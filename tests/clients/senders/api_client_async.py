"""PyPI `datadog-api-client`, the calls that are awaited; many at once over one pool of connections."""

import asyncio
import sys

from datadog_api_client import AsyncApiClient

from api_client_calls import configuration, sender
from report import Plan, done, failed

AT_ONCE = 8


async def carry_out(client, permits, name, kind, call):
    async with permits:
        try:
            answer = await getattr(call.api(client), call.method)(**call.arguments)
            call.check(answer)
        except Exception:  # whatever the library raises is the finding
            failed(name, kind)
        else:
            done(name, kind, call.items, answer.to_dict() if hasattr(answer, "to_dict") else answer)


async def main(plan):
    permits = asyncio.Semaphore(AT_ONCE)
    async with AsyncApiClient(configuration(plan)) as client:
        client.default_headers.update(plan.headers)
        await asyncio.gather(
            *(carry_out(client, permits, name, kind, operation(plan)) for name, kind, operation in sender.rounds(plan))
        )


if __name__ == "__main__" and not sender.listed():
    asyncio.run(main(Plan(sys.stdin.read())))
