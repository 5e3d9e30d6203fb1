"""Twilio's lists of deactivated numbers: a link that leads elsewhere, for two minutes.

The file is not Twilio's own host's, and is refused to whoever sends credentials along,
as the real store refuses two kinds of them at once.
"""

import itertools
from collections.abc import Iterable
from datetime import date
from typing import Final

from aiohttp import web
from twilio_api.documents import Account, account_of, error

FILES: Final = "/files/"
"""Where requests need no credentials, and may have none."""
ACCOUNTS: Final = web.AppKey("accounts", dict[str, Account])
_links = itertools.count(1)


def deactivate(account: Account, day: date, *numbers: str) -> None:
    """Put numbers on a day's list."""
    lines = "".join(f"{number}\n" for number in numbers)
    account.list_of("deactivations")[str(day)] = {"lines": lines}


def expire(account: Account) -> None:
    """Let every link that was given become too old."""
    account.list_of("links").clear()


def routes() -> Iterable[web.RouteDef]:
    """The list, and the file that it leads to."""
    return [
        web.get("/v1/Deactivations", _deactivations),
        web.get(f"{FILES}{{account}}/{{link}}", _file),
    ]


async def _deactivations(request: web.Request) -> web.Response:
    account = account_of(request)
    found = account.list_of("deactivations").get(request.query["Date"])
    if found is None:
        return error(404, 20404)
    link = f"link-{next(_links)}"
    account.list_of("links")[link] = found
    url = f"http://{request.host}{FILES}{account.sid}/{link}"
    return web.json_response(
        {"redirect_to": url}, status=307, headers={"Location": url}
    )


async def _file(request: web.Request) -> web.Response:
    accounts = request.app[ACCOUNTS]
    links = accounts[request.match_info["account"]].list_of("links")
    found = links.get(request.match_info["link"])
    if "Authorization" in request.headers or found is None:
        return web.Response(status=403, text="<Error>AccessDenied</Error>")
    return web.Response(text=found["lines"], content_type="text/plain")
