"""``GET /PhoneNumbers/{number}`` as it is asked every day: one whole record, as JSON.

Of now, or of a time. Never says what is wrong with a question and never answers a
seldom one: a sender, a zone, a column, another format, what the client has already. All
that is ``phone_numbers``'s, which answers these too where they do not come alone.
"""

import asyncio
import re
from collections.abc import Callable, Coroutine
from typing import Final

from aiohttp import hdrs

from ledger.api.addresses import etag_of
from ledger.api.answers import to_json
from ledger.api.formats import CSV, EVENT_STREAM, JSON, negotiate
from ledger.api.keys import READ, Keys
from ledger.api.models import PhoneNumberRecord
from ledger.api.past import PastReader, Question, Told, is_early
from ledger.api.point_in_time import as_json, validator_of
from ledger.api.read_model import ReadModel
from ledger.domain.ids import PhoneNumber, canonical_number
from ledger.errors import InvalidMoment, NotAcceptable, NotFound
from ledger.everyday import Answer, Plain, Reply, Route
from ledger.moments import parse_moment

_TARGET: Final = re.compile(
    r"/PhoneNumbers/(?:%2B|\+)([1-9][0-9]{6,14})"
    r"(?:\?asOf=([0-9TZ:.-]+)(?:&knownAt=([0-9TZ:.-]+))?)?",
    re.ASCII,
)


class EverydayNumber:
    """Answers about one number."""

    def __init__(self, keys: Keys, read_model: ReadModel, past: PastReader) -> None:
        self._keys = keys
        self._read_model = read_model
        self._past = past
        self._tasks: set[asyncio.Task[None]] = set()

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
        asked = _asked(canonical_number(f"+{found[1]}"), found[2], found[3])
        if asked is None:
            return False
        key = headers.get("authorization")
        if self._keys.may(key, READ):
            self._put(asked, reply)
        else:
            self._begin(self._check(key, asked, reply))
        return True

    def _put(self, asked: PhoneNumber | Question, reply: Reply) -> None:
        if isinstance(asked, Question):
            self._past.put(asked, _Telling(asked, reply, self._ask_later))
        else:
            self._read_model.put(asked, _Answering(reply))

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _check(
        self, key: str | None, asked: PhoneNumber | Question, reply: Reply
    ) -> None:
        """The same with a key of which nothing is remembered."""
        try:
            await self._keys.require_header(key, READ)
            self._put(asked, reply)
        except Exception as error:  # noqa: BLE001 - as for any other route
            reply.fail(error)

    def _ask_later(self, question: Question, reply: Reply) -> None:
        self._begin(self._wait(question, reply))

    async def _wait(self, question: Question, reply: Reply) -> None:
        """The same where the history has not come far enough."""
        try:
            told = await self._past.ask(question)
            reply.answer(_past_answer(question, told))
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


class _Telling:
    """Answers with what held at a time, once it was read."""

    __slots__ = ("_later", "_question", "_reply")

    def __init__(
        self,
        question: Question,
        reply: Reply,
        later: Callable[[Question, Reply], None],
    ) -> None:
        self._question = question
        self._reply = reply
        self._later = later

    def done(self) -> bool:
        """Whether nobody waits, which is not known."""
        return False

    def set_result(self, told: Told) -> None:
        """Show it, unless the history has to be waited for."""
        if is_early(self._question, told):
            self._later(self._question, self._reply)
        else:
            self._reply.answer(_past_answer(self._question, told))

    def set_exception(self, error: Exception) -> None:
        """It could not be read."""
        self._reply.fail(error)


def _past_answer(question: Question, told: Told) -> Answer:
    body = as_json(question, told)
    headers = (
        f"Content-Type: application/json\r\n{hdrs.ETAG}: {validator_of(body)}\r\n"
        "Vary: Accept\r\n"
    )
    return Answer(200, headers.encode(), body)


def _asked(
    number: PhoneNumber, as_of: str | None, known_at: str | None
) -> PhoneNumber | Question | None:
    """The number, or what is asked about its past; None where that is no time."""
    if as_of is None:
        return number
    try:
        known = None if known_at is None else parse_moment(known_at)
        return Question(number, parse_moment(as_of), known)
    except InvalidMoment:
        return None


def _is_json(accept: str | None) -> bool:
    if accept is None or accept == "*/*":
        return True
    try:
        return negotiate(accept, (JSON, CSV, EVENT_STREAM)) == JSON
    except NotAcceptable:
        return False
