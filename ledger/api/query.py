"""What a list is asked for: a raw query string becomes one ``ListQuery``.

Reads the queries that clients of HarperDB/twilio-sms send, and refuses, with what to do
instead, those that no index serves. Never makes SQL: a ``ListQuery`` is a range over
one order key, for statements that are fixed files. Two subtle parts: a prefix becomes a
range by code point, so phone numbers must be compared with the collation "C"; and a
cursor is tied to its query by a digest, but is neither secret nor signed, as a forged
one only skips rows of the forger's own list.
"""

import base64
import hashlib
import re
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from reprlib import repr as shown  # short, and safe to print
from typing import Final, Literal, TypeAlias
from urllib.parse import unquote_plus

import orjson

from ledger import errors
from ledger.api.formats import Selection, parse_selection, parse_time
from ledger.domain.ids import Answer, Sender

OrderKey = Literal["phoneNumber", "position", "since"]
Value: TypeAlias = str | int | datetime
_Conditions: TypeAlias = dict[str, list[tuple[str, Value]]]

QUERY_CHARACTERS_MAX: Final = 4096
PARTS_MAX: Final = 20
LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 1_000
OFFSET_MAX: Final = 10_000

_STATUSES: Final[tuple[Answer, ...]] = ("in", "out", "unknown")
_ORDER_KEYS: Final[tuple[OrderKey, ...]] = ("phoneNumber", "position", "since")
_RANGE: Final = ("eq", "gt", "ge", "lt", "le")
_SERVED: Final = (*_RANGE, "ne", "sw")
_OPERATORS: Final = (*_SERVED, "ct", "ew")
_INDEXED: Final[dict[str, tuple[str, ...]]] = {  # the operators of each attribute
    "phoneNumber": _SERVED,
    "status": ("eq", "ne"),
    "sender": ("eq",),
    "since": _RANGE,
    "position": _RANGE,
    "version": (),  # can be selected
    "updatedSince": ("eq",),
}
_SYMBOLS: Final = {"=": "eq", "==": "eq", "===": "eq", "!=": "ne", "!==": "ne"} | {
    ">": "gt", ">=": "ge", "<": "lt", "<=": "le"
}  # fmt: skip
_KINDS: Final = {"position": "number", "since": "date", "updatedSince": "date"}

_ARGUMENT: Final = re.compile(r"(limit|select|sort)\((.*)\)|(limit|cursor)=(.*)")
_CONDITION: Final = re.compile(r"([^=!<>]*)(=?=\w+=|[=!]==?|=|[<>]=?)(.*)", re.DOTALL)
_TYPE: Final = re.compile("(string|number|date|boolean):")
_POSITION: Final = re.compile("-?[0-9]{1,18}")  # always within a bigint
_WINDOW: Final = re.compile("(?:([0-9]{1,9}),)?([0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class Bound:
    """One end of a range."""

    value: Value
    inclusive: bool


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page ended: its last row's group, order value (UTC) and number."""

    group: int
    value: Value
    phone_number: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """One list, in the words of the statements.

    ``statuses`` are groups, read one after the other; with none, the answer is empty.
    With a ``sender`` the order is by phone number, with ``updated_since`` by position.
    ``excluded`` holds at most ``PARTS_MAX`` numbers. With ``after``, ``offset`` is 0.
    """

    statuses: tuple[tuple[Answer, ...], ...]
    sender: Sender | None
    order_by: OrderKey
    descending: bool
    lower: Bound | None
    upper: Bound | None
    excluded: frozenset[str]
    updated_since: datetime | None
    limit: int
    offset: int
    selection: Selection
    after: Cursor | None = None

    def encode(self, cursor: Cursor) -> str:
        """The opaque text by which a client asks for what comes after ``cursor``."""
        # Limit and selection are left out of the digest: pages may differ in them.
        where = (self.statuses, self.sender, self.lower, self.upper, self.updated_since)
        rows = (*where, sorted(self.excluded), self.order_by, self.descending, cursor)
        digest = hashlib.blake2b(orjson.dumps(rows), digest_size=6).hexdigest()
        fields = (cursor.group, cursor.value, cursor.phone_number, digest)
        return base64.urlsafe_b64encode(orjson.dumps(fields)).decode().rstrip("=")


def parse_query(raw: str) -> ListQuery:
    """The list that a raw query string asks for; raises nothing but InvalidQuery."""
    conditions, arguments = _split(raw)
    senders = sorted({str(value) for _, value in conditions["sender"]})
    by_status, sort_key, descending = _sort(arguments.get("sort"))
    statuses = _groups(conditions["status"], descending=by_status)
    order_by = _order_by(conditions, sort_key)
    lower, upper = _ends(conditions[order_by])
    times = [t for _, t in conditions["updatedSince"] if isinstance(t, datetime)]
    offset, limit = _window(arguments.get("limit", str(LIMIT_DEFAULT)))
    query = ListQuery(
        statuses=statuses if len(senders) <= 1 else (),
        sender=Sender(senders[0]) if senders else None,
        order_by=order_by,
        descending=descending,
        lower=lower,
        upper=upper,
        excluded=frozenset(str(value) for _, value in conditions["excluded"]),
        updated_since=max(times, default=None),
        limit=limit,
        offset=offset,
        selection=parse_selection(arguments.get("select"), of_sender=bool(senders)),
    )
    return _continued(query, arguments["cursor"]) if "cursor" in arguments else query


def _split(raw: str) -> tuple[_Conditions, dict[str, str]]:
    """Conditions by attribute; the texts of functions and parameters by name."""
    # Browsers and HTTP libraries send < and > encoded; the peer's operators are bare.
    bare = re.sub("%3[Cc]", "<", re.sub("%3[Ee]", ">", raw))
    parts = [part for part in bare.split("&") if part]
    if len(raw) > QUERY_CHARACTERS_MAX or len(parts) > PARTS_MAX:
        raise errors.InvalidQuery(
            f"use at most {QUERY_CHARACTERS_MAX} characters and {PARTS_MAX} conditions"
        )
    conditions: _Conditions = defaultdict(list)
    arguments: dict[str, str] = {}
    attribute = ""
    for part in parts:
        if found := _ARGUMENT.fullmatch(part):
            name, text = (group for group in found.groups() if group is not None)
            if name in arguments:
                raise errors.InvalidQuery(f"{name} is given twice; give it once")
            arguments[name] = unquote_plus(text)
        else:
            attribute, operator, text = _comparison(part, attribute)
            excludes = (attribute, operator) == ("phoneNumber", "ne")
            key = "excluded" if excludes else attribute
            conditions[key].append((operator, _value(attribute, text)))
    return conditions, arguments


def _comparison(part: str, previous: str) -> tuple[str, str, str]:
    """Attribute, operator and text of a condition that an index serves."""
    found = _CONDITION.fullmatch(part)
    if not found or "|" in part or part[0] in "([":
        raise errors.InvalidQuery(
            f"{shown(part)} is no condition (status=out), limit(), select() or sort(). "
            "Alternatives (|) and groups are not supported: ask for each by itself"
        )
    name, symbol, text = unquote_plus(found[1]), found[2], unquote_plus(found[3])
    if name in _RANGE and symbol == "=":
        # The peer documents a=gt=1&lt=2 and understands a=gt=1&=lt=2; both are meant.
        name, symbol = "", f"={name}="
    attribute, operator = name or previous, _SYMBOLS.get(symbol, symbol.strip("="))
    if (
        attribute == "phoneNumber"
        and symbol in ("=", "==", "=eq=")
        and text.endswith("*")
    ):
        operator, text = "sw", text[:-1]
    _check_indexed(attribute, operator)
    return attribute, operator, text


def _check_indexed(attribute: str, operator: str) -> None:
    if attribute not in _INDEXED:
        raise errors.UnknownAttribute(f"{shown(attribute)}: use {', '.join(_INDEXED)}")
    if operator not in _OPERATORS:
        raise errors.UnknownOperator(f"{shown(operator)}: use {', '.join(_SERVED)}")
    if operator not in _INDEXED[attribute]:
        served = ", ".join(_INDEXED[attribute]) or "no operator"
        raise errors.FilterNotIndexed(
            f"{attribute} has {served}: filter the answer by {operator} yourself"
        )


def _value(attribute: str, text: str) -> Value:
    kind = _KINDS.get(attribute, "string")
    if typed := _TYPE.match(text):
        text = text[typed.end() :] if typed[1] == kind else ""
    # An empty value is a caller's unset variable, and an empty list would be read as
    # "nobody opted out". Of what is not printable, PostgreSQL refuses some.
    if not text or not text.isprintable():
        raise errors.InvalidValue(f"{attribute} needs a {kind}, or to be left out")
    match kind:
        case "number" if _POSITION.fullmatch(text):
            return int(text)
        case "date":
            return parse_time(text)
        case "string" if attribute != "status" or text in _STATUSES:
            # A plus sign that was not sent as %2B has become a space.
            return re.sub("^ (?=[0-9])", "+", text)
    wanted = (
        "in, out or unknown" if attribute == "status" else "a whole number, such as 12"
    )
    raise errors.InvalidValue(f"{attribute} is {wanted}, not {shown(text)}")


def _ends(conditions: list[tuple[str, Value]]) -> tuple[Bound | None, Bound | None]:
    """The widest range in which every condition on one attribute is true."""
    lowers = [Bound(v, op != "gt") for op, v in conditions if op not in ("lt", "le")]
    uppers = [Bound(v, op != "lt") for op, v in conditions if op in ("eq", "lt", "le")]
    # After every text with a prefix comes the prefix with its last character's
    # successor, which there is: U+10FFFF and U+D7FF are not printable.
    prefixes = [str(v) for op, v in conditions if op == "sw"]
    uppers += [Bound(p[:-1] + chr(ord(p[-1]) + 1), inclusive=False) for p in prefixes]
    lower = max(lowers, key=lambda end: (end.value, not end.inclusive), default=None)
    upper = min(uppers, key=lambda end: (end.value, end.inclusive), default=None)
    return lower, upper


def _groups(
    conditions: list[tuple[str, Value]], *, descending: bool | None
) -> tuple[tuple[Answer, ...], ...]:
    """The statuses that are asked for, apart from each other if sorted by."""
    asked = [(value, operator == "eq") for operator, value in conditions]
    statuses = [s for s in _STATUSES if all((s == v) == same for v, same in asked)]
    if descending is None:
        return (tuple(statuses),) if statuses else ()
    return tuple((status,) for status in sorted(statuses, reverse=descending))


def _sort(text: str | None) -> tuple[bool | None, OrderKey | None, bool]:
    """Whether a leading ``status`` descends; the other key, and whether it does."""
    texts = [] if text is None else text.split(",")
    keys = [(key.lstrip(" +-"), "-" in key[:2]) for key in texts]
    by_status = keys.pop(0)[1] if keys and keys[0][0] == "status" else None
    names = [name for name, _ in keys]
    order_key = next((key for key in _ORDER_KEYS if names == [key]), None)
    if keys and not order_key:
        known = set(names) <= set(_INDEXED)
        refusal = errors.SortNotIndexed if known else errors.UnknownAttribute
        raise refusal(f"sort by status or not, then by {' or '.join(_ORDER_KEYS)}")
    return by_status, order_key, bool(keys) and keys[0][1]


def _order_by(conditions: _Conditions, sort_key: OrderKey | None) -> OrderKey:
    """The one key that the range, the sort and the sender, where given, allow."""
    asked = [key for key in (*_ORDER_KEYS, "updatedSince") if conditions[key]]
    if conditions["sender"] and "phoneNumber" not in asked:
        asked.append("phoneNumber")
    if len(asked) > 1:
        raise errors.FilterNotIndexed(
            f"a list is a range over one attribute, not {' and '.join(asked)} (with a "
            "sender, phoneNumber): ask by one, and filter the answer by the other"
        )
    keys = ["position" if key == "updatedSince" else key for key in asked]
    served = next((key for key in _ORDER_KEYS if key in keys), sort_key)
    if sort_key not in (None, served):
        raise errors.SortNotIndexed(f"sort by {served}, or by status and {served}")
    return served or "phoneNumber"


def _window(text: str) -> tuple[int, int]:
    """Offset and size of ``limit(size)`` or ``limit(start,end)``."""
    found = _WINDOW.fullmatch(text)
    start, end = (int(found[1] or 0), int(found[2])) if found else (0, 0)
    if not 1 <= end - start <= LIMIT_MAX or start > OFFSET_MAX:
        raise errors.InvalidLimit(
            f"{shown(text)}: ask for 1 to {LIMIT_MAX} records from {OFFSET_MAX} or "
            "before, and go on with the cursor in the Link header"
        )
    return start, end - start


def _continued(query: ListQuery, text: str) -> ListQuery:
    """The query after a cursor, which must be what ``encode`` writes, to the letter."""
    with suppress(ValueError, TypeError, OverflowError, errors.InvalidValue):
        fields = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
        group, value, number, _ = orjson.loads(fields)
        by_number = query.order_by == "phoneNumber"
        value = str(number) if by_number else _value(query.order_by, str(value))
        cursor = Cursor(int(group), value, str(number))
        known = cursor.group in range(len(query.statuses)) and "\0" not in number
        if known and query.encode(cursor) == text:
            return replace(query, after=cursor, offset=0)
    raise errors.InvalidCursor("leave it out to begin again, with any query")
