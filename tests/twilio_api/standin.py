"""A stand-in for Twilio's REST API, for the tests and for trying things by hand.

It speaks the documented contract of what we use: paths, Basic authentication, form
fields, JSON, paging, error documents. All hosts of Twilio's are one here, and are told
apart by their paths. To add a resource, write a module with a ``routes`` function, as
``receivers.py`` is one, and name it in ``RESOURCES``: authentication, faults and the
record of requests are done here, accounts, paging and errors in ``documents.py``.
"""

import base64
import binascii
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Self

from aiohttp import web
from builders import ACCOUNT_SID, AUTH_TOKEN, PUBLIC_URL
from twilio_api import consents, deactivations, messages, receivers
from twilio_api.deactivations import ACCOUNTS, FILES
from twilio_api.documents import ACCOUNT, FIELDS, Account, account_of, error
from twilio_api.faults import Fault

from ledger.settings import Settings

RESOURCES: Final[Sequence[Callable[[], Iterable[web.RouteDef]]]] = (
    receivers.routes,
    messages.routes,
    deactivations.routes,
    consents.routes,
)
"""What the stand-in has, besides accounts."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Received(NamedTuple):
    """A request as it arrived."""

    method: str
    path: str
    form: Mapping[str, Sequence[str]]
    token: str


class StandIn:
    """The stand-in; runs while its block does, and ``url`` says where."""

    def __init__(self, *accounts: Account, port: int = 0) -> None:
        self.accounts = {account.sid: account for account in accounts}
        self.received: list[Received] = []
        """Every request that was authenticated or not, in their order."""
        self._faults: deque[tuple[Fault, bool]] = deque()
        self._port = port
        app = web.Application(middlewares=[self._answer])
        app[ACCOUNTS] = self.accounts
        app.router.add_get("/2010-04-01/Accounts/{account}.json", self._account)
        for routes in RESOURCES:
            app.router.add_routes(routes())
        # 0 would be for ever.
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.01, handler_cancellation=True
        )

    @property
    def url(self) -> str:
        """What LEDGER_TWILIO_API_URL is to be."""
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        """Listen."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop, and answer nothing that is still open."""
        await self._runner.cleanup()

    def fail(self, fault: Fault, *, times: int = 1, done: bool = False) -> None:
        """Let the next requests be answered by ``fault``; after they are done, too."""
        self._faults.extend([(fault, done)] * times)

    def mend(self) -> None:
        """Answer as Twilio does from now on."""
        self._faults.clear()

    @web.middleware
    async def _answer(
        self, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        sid, token = _credentials(request.headers.get("Authorization", ""))
        form = await request.post()
        fields = {name: [str(v) for v in form.getall(name)] for name in form}
        self.received.append(Received(request.method, request.path_qs, fields, token))
        request[FIELDS] = {name: values[0] for name, values in fields.items()}
        account = self.accounts.get(sid)
        is_known = account is not None and token in account.tokens
        if account is not None and is_known:
            request[ACCOUNT] = account
        if self._faults:
            fault, done = self._faults.popleft()
            if done:
                await handler(request)
            return await fault(request)
        if not is_known and not request.path.startswith(FILES):
            return error(401, 20003, "Authenticate")
        try:
            return await handler(request)
        except web.HTTPNotFound as missing:
            if missing.content_type == "application/json":
                raise
            return error(404, 20404)

    async def _account(self, request: web.Request) -> web.Response:
        account = account_of(request)
        return web.json_response(
            {"sid": account.sid, "status": account.status, "type": "Full"}
        )


def _credentials(header: str) -> tuple[str, str]:
    try:
        given = base64.b64decode(header.removeprefix("Basic "), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    sid, _, token = given.partition(":")
    return sid, token


def settings_at(standin: StandIn, **more: str) -> Settings:
    """Settings that name the stand-in; there is no database behind them."""
    return Settings.from_mapping(
        {
            "DATABASE_URL": "postgresql://127.0.0.1:1/nowhere",
            "PUBLIC_URL": PUBLIC_URL,
            "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
            "TWILIO_AUTH_TOKEN": AUTH_TOKEN,
            "LEDGER_TWILIO_API_URL": standin.url,
            **more,
        }
    )
