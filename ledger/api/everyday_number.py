"""``GET /PhoneNumbers/{number}`` as it is asked every day: one whole record, as JSON.

Never says what is wrong with a question and never answers a seldom one: a sender, a
time, a column, another format, what the client has already. All that is
``phone_numbers``'s, which answers these too where they do not come alone.
"""

import asyncio
import re
from typing import Final

from aiohttp import hdrs

from ledger.api.addresses import etag_of
from ledger.api.answers import to_json
from ledger.api.formats import CSV, EVENT_STREAM, JSON, negotiate
from ledger.api.keys import READ, Keys
from ledger.api.models import PhoneNumberRecord
from ledger.api.read_model import ReadModel
from ledger.domain.ids import PhoneNumber, canonical_number
from ledger.errors import NotAcceptable, NotFound
from ledger.everyday import Answer, Plain, Reply, Route

_TARGET: Final = re.compile(r"/PhoneNumbers/(?:%2B|\+)([1-9][0-9]{6,14})", re.ASCII)


class EverydayNumber:
    """Answers about one number."""

    def __init__(self, keys: Keys, read_model: ReadModel) -> None:
        self._keys = keys
        self._read_model = read_model
        self._checks: set[asyncio.Task[None]] = set()

    def everyday(self) -> list[Route]:
        """The record."""
        return [Route("GET", "/PhoneNumbers/", "/PhoneNumbers/{number}", self.take)]

    def take(self, request: Plain, reply: Reply) -> bool:
        """Answer, if it is one of these."""
        found = _TARGET.fullmatch(request.target)
        headers = request.headers
        if found is None or "if-none-match" in headers:
            return False
        if not _is_json(headers.get("accept")):
            return False
        number = canonical_number(f"+{found[1]}")
        key = headers.get("authorization")
        if self._keys.may(key, READ):
            self._read_model.put(number, _Answering(reply))
        else:
            check = asyncio.create_task(self._check(key, number, reply))
            self._checks.add(check)
            check.add_done_callback(self._checks.discard)
        return True

    async def _check(self, key: str | None, number: PhoneNumber, reply: Reply) -> None:
        """The same with a key of which nothing is remembered."""
        try:
            await self._keys.require_header(key, READ)
            self._read_model.put(number, _Answering(reply))
        except Exception as error:  # noqa: BLE001 - as for any other route
            reply.fail(error)


class _Answering:
    """Answers with a record, once it was read."""

    __slots__ = ("_reply",)

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    def done(self) -> bool:
        """Whether nobody waits, which is not known."""
        return False

    def set_result(self, record: PhoneNumberRecord | None) -> None:
        """Show it."""
        if record is None:
            self._reply.fail(NotFound("this number was never seen"))
            return
        headers = (
            f"Content-Type: application/json\r\n{hdrs.ETAG}: {etag_of(record)}\r\n"
            "Vary: Accept\r\n"
        )
        self._reply.answer(Answer(200, headers.encode(), to_json(record)))

    def set_exception(self, error: Exception) -> None:
        """It could not be read."""
        self._reply.fail(error)


def _is_json(accept: str | None) -> bool:
    if accept is None or accept == "*/*":
        return True
    try:
        return negotiate(accept, (JSON, CSV, EVENT_STREAM)) == JSON
    except NotAcceptable:
        return False
