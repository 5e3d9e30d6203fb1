"""Reads the table of texts: one by its SID, or lists of the newest first.

The subtle part is ``to`` and ``from``: for one direction a person's number, for the
other our address. So a list is a range of an index for each direction, and the two are
merged. A text keeps the position of its first event, whatever becomes of it, so a page
goes on where the one before ended, and what is new comes before the first.
"""

from collections.abc import AsyncIterator, Collection, Iterator
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from ledger.api.message_models import MessageRecord
from ledger.api.serving import Serving
from ledger.domain.ids import MessageId, PhoneNumber, SubjectId, canonical_number
from ledger.domain.messages import Direction
from ledger.message_log import MessageLog
from ledger.store.database import translated
from ledger.store.statements import statement

_FIND: Final = statement("ledger.api", "find_message")
_LIST: Final = statement("ledger.api", "list_messages")
_LIST_OF_NUMBER: Final = statement("ledger.api", "list_messages_of_number")
_LIST_AT_ADDRESS: Final = statement("ledger.api", "list_messages_at_address")
_LIST_OPEN: Final = statement("ledger.api", "list_messages_open")

DIRECTIONS: Final[tuple[Direction, ...]] = ("incoming", "outgoing")
END: Final = 2**63 - 1
"""Before this position is everything."""


OPEN: Final = ("requested", "unknown", "scheduled")
"""The states in which few texts are, and which somebody may have to see to."""


class Asked(NamedTuple):
    """Which texts; what is None was not asked for."""

    directions: Collection[Direction] = DIRECTIONS
    to: str | None = None
    from_: str | None = None
    counterparty: PhoneNumber | None = None
    status: str | None = None
    """One of ``OPEN``, of outgoing texts, whoever they are to."""
    before: int = END
    limit: int = 100


class Found(NamedTuple):
    """A text, and whose it is."""

    message_id: MessageId
    subject_id: SubjectId
    record: MessageRecord


class _Part(NamedTuple):
    """The texts of one direction, by the person and by our address."""

    direction: Direction
    number: str | None
    address: str | None


class MessageReader:
    """Answers from the version of the table that serves."""

    def __init__(
        self, serving: Serving, messages: MessageLog, accounts: Collection[str]
    ) -> None:
        self._serving = serving
        self._messages = messages
        self._accounts = accounts

    async def find(self, named: str) -> Found | None:
        """A text by Twilio's SID, or by its id here.

        Raises:
            NotServed, StoreUnavailable: it cannot be read now.
        """
        for message_id in [i async for i in self._named(named)]:
            with translated():
                rows = await self._serving.fetch(_FIND, message_id)
            if rows:
                return _found(rows[0])
        return None

    async def _named(self, named: str) -> AsyncIterator[UUID]:
        try:
            yield UUID(named)
        except ValueError:
            for account in self._accounts:
                if found := await self._messages.find(account, named):
                    yield found

    async def page(self, asked: Asked) -> list[MessageRecord]:
        """At most so many, the newest first.

        Raises:
            NotServed, StoreUnavailable: it cannot be read now.
        """
        rows: list[asyncpg.Record] = []
        with translated():
            if asked.status is not None:
                which = (asked.before, asked.limit, asked.status)
                rows = await self._serving.fetch(_LIST_OPEN, *which)
                return [_found(row).record for row in rows]
            for part in _parts(asked):
                rows += await self._fetch(part, asked)
        records = [_found(row).record for row in rows]
        records.sort(key=lambda record: record.position, reverse=True)
        return records[: asked.limit]

    async def _fetch(self, part: _Part, asked: Asked) -> list[asyncpg.Record]:
        span = (part.direction, asked.before, asked.limit)
        if part.number is not None:
            place = (part.number, part.address)
            return await self._serving.fetch(_LIST_OF_NUMBER, *span, *place)
        if part.address is not None:
            return await self._serving.fetch(_LIST_AT_ADDRESS, *span, part.address)
        return await self._serving.fetch(_LIST, *span)


def _parts(asked: Asked) -> Iterator[_Part]:
    for direction in asked.directions:
        number, address = asked.to, asked.from_
        if direction == "incoming":
            number, address = address, number
        # A person is the same on every channel; an address of ours is as it came.
        number = canonical_number(number) if number else None
        whose = asked.counterparty
        if whose is None or number is None or number == whose:
            yield _Part(direction, whose or number, address)


def _found(row: asyncpg.Record) -> Found:
    number, address = row["phone_number"], row["address"]
    is_incoming = row["direction"] == "incoming"
    record = MessageRecord(
        id=str(row["message_id"]),
        sid=row["sid"],
        direction=row["direction"],
        to=address if is_incoming else number,
        from_=number if is_incoming else address,
        counterparty=number,
        sender=row["sender"],
        status=row["status"],
        error_code=row["error_code"],
        send_at=row["send_at"],
        occurred_at=row["occurred_at"],
        updated_at=row["updated_at"],
        position=row["position"],
        version=row["version"],
    )
    return Found(MessageId(row["message_id"]), SubjectId(row["subject_id"]), record)
