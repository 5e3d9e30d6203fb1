"""Reads lists: a ``ListQuery`` becomes the arguments of one fixed statement.

Never makes SQL, and never reads more than a page and one record. Two subtle parts.
Every range is half-open, from its first value to the first one behind it: each kind of
value has a next one, so that no statement needs variants for bounds that are inclusive,
exclusive or open, and a cursor is one more bound. And pages are grouped: a page that
many ask for at the same moment is read and written once, after the last of them came.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from types import TracebackType
from typing import Final, Self, TypeAlias

import asyncpg
import orjson
from aiohttp import hdrs

from ledger.api.formats import (
    COLUMNS,
    CSV,
    JSON,
    SENDER_COLUMNS,
    Selection,
    csv_rows,
    next_page,
)
from ledger.api.query import Bound, Cursor, ListQuery, OrderKey, Value, parse_query
from ledger.api.serving import Serving
from ledger.settings import Settings
from ledger.store.batcher import Batcher
from ledger.store.database import translated
from ledger.store.statements import statement

Row: TypeAlias = asyncpg.Record
_Point: TypeAlias = tuple[Value, ...]  # a value, or a time and a number

CSV_HEADERS: Final[Mapping[str, str]] = {
    hdrs.CONTENT_TYPE: f"{CSV}; charset=utf-8",
    hdrs.CONTENT_DISPOSITION: 'attachment; filename="data.csv"',
}
JSON_HEADERS: Final[Mapping[str, str]] = {hdrs.CONTENT_TYPE: JSON}

_STATEMENTS: Final = {
    (name, word == "descending"): statement("ledger.api", f"list_by_{name}_{word}")
    for name in ("number", "position", "since", "sender")
    for word in ("ascending", "descending")
}
_FIND_FIRST_UPDATE: Final = statement("ledger.api", "find_first_update")
_NAMES: Final[dict[OrderKey, str]] = {
    "phoneNumber": "number",
    "position": "position",
    "since": "since",
}
_FIRST: Final[dict[OrderKey, _Point]] = {
    "phoneNumber": ("",),
    "position": (-(2**63),),
    "since": (datetime.min.replace(tzinfo=UTC), ""),
}
_BEHIND: Final[dict[OrderKey, _Point]] = {
    "phoneNumber": ("\U0010ffff" * 32,),
    "position": (2**63 - 1,),
    "since": (datetime.max.replace(tzinfo=UTC), ""),
}
_EVERYTHING: Final = (Selection(COLUMNS), Selection(SENDER_COLUMNS))
_PARTS: Final = 3  # of every statement: there are three statuses

_QUERIES_KEPT: Final = 512
_READS_AT_ONCE: Final = 2
# Different lists of one batch are read one after the other.
_BATCH_MAX: Final = 16
_WAITING_MAX: Final = 1_000

known_query = lru_cache(_QUERIES_KEPT)(parse_query)
"""``parse_query``, which is pure; dashboards ask the same again and again."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One page of a list, as a request names it."""

    path: str
    raw_query: str
    content_type: str


@dataclass(frozen=True, slots=True)
class Page:
    """A page as it is answered."""

    body: bytes
    headers: dict[str, str]
    etag: str


class Lists:
    """Answers pages. Use as ``async with``."""

    def __init__(self, serving: Serving, settings: Settings) -> None:
        self._serving = serving
        # A list that takes long must not take the connections that appends need.
        self._pages: Batcher[Asked, Page] = Batcher(
            self._answer,
            batch_max=_BATCH_MAX,
            queue_max=_WAITING_MAX,
            timeout_seconds=settings.statement_timeout_seconds,
            at_once=_READS_AT_ONCE,
        )

    async def __aenter__(self) -> Self:
        """Start answering."""
        await self._pages.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Answer what was asked, then stop."""
        await self._pages.__aexit__(kind, error, trace)

    async def page(self, asked: Asked) -> Page:
        """The page, as of a moment after the call.

        Raises:
            InvalidQuery: the list cannot be filtered, sorted or cut in this way.
        """
        known_query(asked.raw_query)
        return await self._pages.submit(asked)

    async def _answer(self, batch: Sequence[Asked]) -> list[Page]:
        pages = {asked: await self._read(asked) for asked in dict.fromkeys(batch)}
        return [pages[asked] for asked in batch]

    async def _read(self, asked: Asked) -> Page:
        query = known_query(asked.raw_query)
        return make_page(asked, query, await read_list(self._serving, query))


async def read_list(serving: Serving, query: ListQuery) -> list[Row]:
    """The records of a page and, where there are more, the first of the next."""
    if not query.statuses:
        return []
    with translated():
        if query.updated_since:
            since = query.updated_since
            position = await serving.fetchval(_FIND_FIRST_UPDATE, since)
            query = replace(query, lower=Bound(position, inclusive=True))
        text, arguments = list_call(query)
        rows: list[Row] = await serving.fetch(text, *arguments)
    return rows


def list_call(query: ListQuery) -> tuple[str, list[object]]:
    """The statement that serves a list, and its arguments.

    ``updated_since`` must have become the position that it means.
    """
    name = "sender" if query.sender else _NAMES[query.order_by]
    return _STATEMENTS[name, query.descending], _arguments(query)


def make_page(asked: Asked, query: ListQuery, rows: Sequence[Row]) -> Page:
    """A page as it is answered; ``rows`` may begin the next one."""
    page = rows[: query.limit]
    records = [dict(row) for row in page]
    if asked.content_type == CSV:
        body = b"".join(csv_rows(query.selection.columns, records))
    else:
        body = _json(query, records)
    if len(rows) <= query.limit:
        return written(asked, body)
    return written(asked, body, query.encode(_end(query, page[-1])))


def written(asked: Asked, body: bytes, cursor: str | None = None) -> Page:
    """A page of that body; with a cursor, it says where to go on."""
    own = CSV_HEADERS if asked.content_type == CSV else JSON_HEADERS
    headers = {hdrs.VARY: hdrs.ACCEPT, **own}
    digest = hashlib.blake2b(body, digest_size=12)
    if cursor is not None:
        following = next_page(asked.raw_query, cursor)
        headers[hdrs.LINK] = link = f'<{asked.path}?{following}>; rel="next"'
        # What a 304 stands for has the same link, too.
        digest.update(link.encode())
    headers[hdrs.ETAG] = etag = f'"{digest.hexdigest()}"'
    return Page(body, headers, etag)


def _json(query: ListQuery, records: Sequence[dict[str, object]]) -> bytes:
    selected: Sequence[object] = records
    if query.selection not in _EVERYTHING:
        selected = [query.selection.of(record) for record in records]
    return orjson.dumps(selected, option=orjson.OPT_UTC_Z)


def _end(query: ListQuery, row: Row) -> Cursor:
    status, value = row["status"], row[query.order_by]
    [group] = [i for i, statuses in enumerate(query.statuses) if status in statuses]
    return Cursor(group, value, row["phoneNumber"])


def _arguments(query: ListQuery) -> list[object]:
    """What the statements take: see any of their files."""
    begun = query.after.group if query.after else 0
    parts: list[tuple[object, ...]] = [
        (status, *start, *stop)
        for group, statuses in enumerate(query.statuses)
        if group >= begun
        for start, stop in [_range(query, group)]
        for status in statuses
    ]
    nothing = (None,) * (1 + 2 * len(_FIRST[query.order_by]))
    parts += [nothing] * (_PARTS - len(parts))
    is_apart = len(query.statuses) > 1
    rows_max = query.offset + query.limit + 1
    arguments = [argument for part in parts for argument in part]
    arguments += [is_apart, list(query.excluded), rows_max, query.offset]
    return [*arguments, query.sender] if query.sender else arguments


def _range(query: ListQuery, group: int) -> tuple[_Point, _Point]:
    """The half-open range of one group; empty where its ends have crossed."""
    start, stop = _FIRST[query.order_by], _BEHIND[query.order_by]
    if query.lower:
        start = _edge(query.lower, is_behind=not query.lower.inclusive)
    if query.upper:
        stop = _edge(query.upper, is_behind=query.upper.inclusive)
    if query.after and query.after.group == group:
        value, number = query.after.value, query.after.phone_number
        end: _Point = (value, number) if query.order_by == "since" else (value,)
        if query.descending:
            return start, min(stop, end)
        return max(start, (*end[:-1], _next(end[-1]))), stop
    return start, stop


def _edge(bound: Bound, *, is_behind: bool) -> _Point:
    value = _next(bound.value) if is_behind else bound.value
    return (value, "") if isinstance(value, datetime) else (value,)


def _next(value: Value) -> Value:
    """The least value that is greater, of those that PostgreSQL can hold."""
    if isinstance(value, str):
        return f"{value}\x01"  # its text has no U+0000
    if isinstance(value, int):
        return value + 1
    last = datetime.max.replace(tzinfo=UTC)
    return value if value == last else value + timedelta(microseconds=1)
