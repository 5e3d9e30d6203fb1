"""A way to the server on which what is sent can be lost."""

import asyncio
from typing import Literal
from urllib.parse import parse_qs, quote, unquote, urlsplit

from ledger.store.codec import STATE_HEAD

Moment = Literal["request", "answer"]


class Wire:
    """A way to the server on which what is sent can be lost, either way."""

    def __init__(self, dsn: str) -> None:
        self._parts = urlsplit(dsn)
        self._server: asyncio.Server | None = None
        self._moment: Moment | None = None
        self._times = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._unanswered: set[asyncio.StreamWriter] = set()
        self.is_down = False
        self.port = 0

    @property
    def dsn(self) -> str:
        """The same database, by this way."""
        user = quote(unquote(self._parts.username or "postgres"))
        password = f":{self._parts.password}" if self._parts.password else ""
        where = f"127.0.0.1:{self.port}{self._parts.path}"
        return f"postgresql://{user}{password}@{where}?sslmode=disable"

    async def open(self) -> None:
        """Begin to relay."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Let go of everything."""
        if self._server is not None:
            self._server.close()
        self.cut()

    def lose(self, moment: Moment, times: int) -> None:
        """Lose the next appends before the server has them, or its answers to them."""
        self._moment, self._times = moment, times

    def cut(self) -> None:
        """Drop every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if self.is_down:
            writer.transport.abort()
            return
        query = parse_qs(self._parts.query)
        if folder := query.get("host", [""])[0]:
            path = f"{folder}/.s.PGSQL.{query.get('port', ['5432'])[0]}"
            server_reader, server_writer = await asyncio.open_unix_connection(path)
        else:
            host, port = self._parts.hostname, self._parts.port or 5432
            server_reader, server_writer = await asyncio.open_connection(host, port)
        both = {writer, server_writer}
        self._writers |= both
        ways = [
            asyncio.create_task(self._ask(reader, server_writer)),
            asyncio.create_task(self._answer(server_reader, writer, server_writer)),
        ]
        # When one way ends, the other one does.
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for each in both:
            each.transport.abort()
        await asyncio.gather(*ways, return_exceptions=True)
        self._writers -= both

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(65_536):
            if STATE_HEAD in data and self._times > 0:
                self._times -= 1
                if self._moment == "request":
                    break
                self._unanswered.add(writer)
            writer.write(data)

    async def _answer(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        asking: asyncio.StreamWriter,
    ) -> None:
        while data := await reader.read(65_536):
            if asking in self._unanswered:
                break
            writer.write(data)
