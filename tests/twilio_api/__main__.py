"""The stand-in by hand: ``cd tests && ../.venv/bin/python -m twilio_api``.

It has one account with a number, a short code, and a Messaging Service with a
toll-free number in it, and prints the settings that let the service, and
``consent-ledger twilio``, use it. Ctrl-C ends it.
"""

import asyncio
import sys

from builders import ACCOUNT_SID, AUTH_TOKEN
from twilio_api.documents import Account
from twilio_api.receivers import add_number, add_service, add_short_code
from twilio_api.standin import StandIn


async def run(port: int) -> None:
    """Serve until the process is ended."""
    account = Account(ACCOUNT_SID, [AUTH_TOKEN])
    number = add_number(account, "+14155550199")
    pooled = add_number(account, "+18005550199")
    service = add_service(account, pooled)
    add_short_code(account, "71234")
    async with StandIn(account, port=port) as standin:
        lines = (
            f"export LEDGER_TWILIO_API_URL={standin.url}",
            f"export TWILIO_ACCOUNT_SID={ACCOUNT_SID}",
            f"export TWILIO_AUTH_TOKEN={AUTH_TOKEN}",
            f"# consent-ledger twilio connect --number {number} --dry-run",
            f"# consent-ledger twilio connect --service {service} --dry-run",
        )
        print(*lines, sep="\n", flush=True)  # noqa: T201 - it is what it is for
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(run(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
