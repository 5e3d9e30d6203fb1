"""Whoever is told of changes: a receiver of documents, and a mail server."""

import asyncio
import base64
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from email.message import Message
from typing import Any, Final

from aiohttp import web
from aiohttp.test_utils import TestServer
from aiosmtpd.handlers import AsyncMessage
from aiosmtpd.smtp import SMTP, Envelope, Session
from standardwebhooks import Webhook

SECRET: Final = (
    "whsec_" + base64.b64encode(b"a secret of the tests, not of ours").decode()
)
OTHER_SECRET: Final = base64.b64encode(b"the secret that is to come after").decode()

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Receiver:
    """Takes what is signed, and answers in turn as it was told to; then 204."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.answers: deque[Answer] = deque()
        self.secret = SECRET
        self.url = ""

    @property
    def ids(self) -> list[str]:
        """Of what was taken, in its order."""
        return [document["id"] for document in self.taken]

    @property
    def statuses(self) -> list[str]:
        """What was told of the sender, in its order."""
        return [document["status"] for document in self.taken]

    async def take(self, request: web.Request) -> web.StreamResponse:
        """One notice."""
        headers = dict(request.headers)
        document = Webhook(self.secret).verify(await request.read(), headers)
        assert headers["webhook-id"] == document["id"]
        self.taken.append(document)
        if self.answers:
            return await self.answers.popleft()(request)
        return web.Response(status=204)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver that listens."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/consent", receiver.take)
    async with TestServer(app) as server:
        receiver.url = str(server.make_url("/consent"))
        yield receiver


def status(code: int) -> Answer:
    """An answer with nothing in it."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=code, headers={"Location": "/elsewhere"})

    return answer


async def cut(request: web.Request) -> web.StreamResponse:
    """The connection is lost before there is an answer."""
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def slow(_: web.Request) -> web.StreamResponse:
    """An answer that does not come while anybody waits."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError


class Mailbox(AsyncMessage):
    """Takes e-mails, and refuses in turn as it was told to."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[Message] = []
        self.refusals: deque[str] = deque()
        self.port = 0

    @property
    def ids(self) -> list[str]:
        """Of what was taken, in its order."""
        return [str(message["Message-ID"]) for message in self.taken]

    async def handle_DATA(  # noqa: N802 - aiosmtpd's
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """One e-mail."""
        if self.refusals:
            return self.refusals.popleft()
        return await super().handle_DATA(server, session, envelope)

    async def handle_message(self, message: Message) -> None:
        """One that is taken."""
        self.taken.append(message)


@asynccontextmanager
async def mailing() -> AsyncIterator[Mailbox]:
    """A mail server that listens, without TLS."""
    mailbox = Mailbox()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(mailbox, hostname="mail.example.org", loop=loop), "127.0.0.1", 0
    )
    async with server:
        mailbox.port = server.sockets[0].getsockname()[1]
        yield mailbox
