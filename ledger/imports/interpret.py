"""What a row says: a signal, nothing, or why it cannot be recorded.

Pure but for the clock that is handed in. Never guesses: a number that is not E.164, a
status that could mean either, an opt-in of which nobody knows when it was, are refused
and said. The subtle part is the row's key, which names the row for ever: unless the
file has one, it is a digest of all that the row says, so that the same row counts once
and a row that has changed is another one.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Literal, NamedTuple

import orjson

from ledger.domain.classify import IN_WORDS, OUT_WORDS
from ledger.domain.evidence import checked_evidence
from ledger.domain.ids import (
    EVERY_SENDER,
    PhoneNumber,
    Sender,
    Status,
    canonical_number,
    is_e164,
    typed_number,
)
from ledger.domain.signals import Evidence, Signal
from ledger.errors import InvalidConsent, UnusableFile
from ledger.imports.columns import FIELDS, Columns, Field, resolve
from ledger.imports.refusals import RowRefused
from ledger.imports.rows import Fields, Row
from ledger.imports.times import parse_time

ADDRESS_CHARACTERS_MAX: Final = 256
KEY_CHARACTERS_MAX: Final = 255
_COLUMNS_KEPT_MAX: Final = 1_000

_OUT: Final = frozenset(
    (
        *(word.replace(" ", "").replace("-", "") for word in OUT_WORDS),
        *"out optedout unsubscribed stopped revoked donotcontact dnc".split(),
    )
)
_IN: Final = frozenset((*IN_WORDS, *"in optin optedin subscribed subscribe".split()))
_TRUE: Final = frozenset("true yes y t 1".split())
"""Before the words above: of a column nobody knows what it says yes to."""
_FALSE: Final = frozenset("false no n f 0".split())

Why = Literal["otherEvent", "destroyed", "otherDirection", "saysNothing", "bodyGone"]


class Skipped(NamedTuple):
    """A row that is well, and has nothing to be recorded."""

    why: Why


Interpreted = Signal | Skipped


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How the rows of a file are to be read."""

    source: str
    """Where the rows are from, for ever: the same rows of another source are others."""
    file: str
    """The file's name, for the evidence."""
    actor: str
    status: Status | None = None
    """Of every row, where the file is a list of those that are out, or in."""
    sender: Sender = EVERY_SENDER
    """Of rows that name none."""
    occurred_at: str | None = None
    """Of rows that name no time."""
    columns: Mapping[Field, str] = field(default_factory=dict)
    without: frozenset[str] = frozenset()
    """Columns that are not wanted as evidence."""
    true_means: Status | None = None
    false_means: Status | None = None
    now: Callable[[], datetime] = _now


class Interpreter:
    """Reads rows of one file by ``rules``."""

    def __init__(self, rules: Rules, names: tuple[str, ...] | None) -> None:
        """Look at the header, where there is one.

        Raises:
            UnusableFile: it does not have the columns that are needed.
        """
        self._rules = rules
        self._is_csv = names is not None
        self._known: dict[tuple[str, ...], Columns] = {}
        self._status_of = lru_cache(maxsize=1_000)(self._meaning)
        if names is not None:
            _check(self._columns(names), rules, names)

    def interpret(self, row: Row) -> Interpreted:
        """What ``row`` says.

        Raises:
            RowRefused: it cannot be recorded.
        """
        fields = row.fields
        try:
            columns = self._columns(tuple(fields))
        except UnusableFile as why:
            raise RowRefused("ambiguous_columns", str(why)) from None
        if columns.is_own_export:
            if fields["kind"] != "ConsentChanged":
                return Skipped("otherEvent")
            if _is_number_destroyed(fields, columns):
                return Skipped("destroyed")
        number = _number(fields, columns)
        status = self._status(fields, columns)
        sender = self._sender(fields, columns, number)
        key = _key(fields, columns, status, sender)
        return Signal(
            key=f"import:{self._rules.source}:{key}",
            phone_number=number,
            sender=sender,
            status=status,
            occurred_at=self._occurred_at(fields, columns, status),
            source="import",
            matched_by="explicit",
            actor=self._rules.actor,
            evidence=self._evidence(row, columns),
        )

    def _columns(self, names: tuple[str, ...]) -> Columns:
        known = self._known.get(names)
        if known is None:
            wanted = [f for f in FIELDS if f != "status" or not self._rules.status]
            known = resolve(names, self._rules.columns, wanted, self._rules.without)
            if len(self._known) < _COLUMNS_KEPT_MAX:
                self._known[names] = known
        return known

    def _status(self, fields: Fields, columns: Columns) -> Status:
        if self._rules.status:
            return self._rules.status
        given = _text(fields, columns, "status")
        if not given:
            raise RowRefused("missing_status", "the row has no status")
        status = self._status_of(given)
        if status is None:
            raise RowRefused(
                "unknown_status",
                "the status is not one of in and out, or a word that says which; "
                "for yes and no give --true and --false",
            )
        return status

    def _meaning(self, given: str) -> Status | None:
        word = given.casefold()
        if word in _TRUE:
            return self._rules.true_means
        if word in _FALSE:
            return self._rules.false_means
        plain = "".join(character for character in word if character.isalnum())
        if plain in _OUT:
            return "out"
        return "in" if plain in _IN else None

    def _sender(self, fields: Fields, columns: Columns, number: PhoneNumber) -> Sender:
        given = _text(fields, columns, "sender")
        if not given:
            return self._rules.sender
        if len(given) > ADDRESS_CHARACTERS_MAX or "\0" in given:
            raise RowRefused(
                "invalid_sender",
                f"a sender has at most {ADDRESS_CHARACTERS_MAX} characters, and no NUL",
            )
        if canonical_number(given) == number:
            # It would stay in clear, for ever.
            raise RowRefused("invalid_sender", "the sender is the number itself")
        return Sender(given)

    def _occurred_at(
        self, fields: Fields, columns: Columns, status: Status
    ) -> datetime | None:
        given = _text(fields, columns, "occurredAt") or self._rules.occurred_at
        if given:
            return parse_time(given, status, self._rules.now())
        if status == "out":
            return None
        raise RowRefused(
            "missing_time",
            "an opt-in needs its time, or it would undo every STOP before today; "
            "--occurred-at gives one to all rows without",
        )

    def _evidence(self, row: Row, columns: Columns) -> Evidence:
        """What came with the row, and where the row came from, under ``import``."""
        fields = row.fields
        rest: dict[str, object] = {
            name: value
            for name in columns.rest
            if (value := fields[name]) != "" and value is not None
        }
        origin: dict[str, object] = {
            "source": self._rules.source,
            "file": self._rules.file,
            "line": row.line,
        }
        if "evidence" in columns.fields:
            origin["row"] = rest
            rest = _given_evidence(fields[columns.fields["evidence"]])
        if "import" in rest:
            origin["before"] = rest["import"]
        rest["import"] = origin
        if self._is_csv and "evidence" not in columns.fields:
            return rest  # Text under the header's names, which were looked at.
        try:
            return checked_evidence(rest)
        except InvalidConsent as error:
            raise RowRefused("invalid_evidence", str(error)) from None


def _check(columns: Columns, rules: Rules, names: tuple[str, ...]) -> None:
    """Refuse at once what would refuse each row."""
    lost = [name for name in rules.columns.values() if name not in names]
    if lost:
        raise UnusableFile(f"there is no column {lost[0]!r}")
    if "phoneNumber" not in columns.fields:
        raise UnusableFile(
            "no column is the phone number: say which with --column phoneNumber=…"
        )
    if "status" not in columns.fields and rules.status is None:
        raise UnusableFile(
            "no column is the status: say which with --column status=…, or give "
            "--status for all rows"
        )
    hidden = [name for name in columns.rest if name.startswith("_")]
    if hidden:
        raise UnusableFile(
            f"column {hidden[0]!r} cannot be kept as evidence, since its name starts "
            f"with _: rename it, or give --without {hidden[0]}"
        )


def _text(fields: Fields, columns: Columns, wanted: Field) -> str:
    """The field as text; empty where the row does not have it."""
    name = columns.fields.get(wanted)
    return "" if name is None else given_text(fields, name)


def given_text(fields: Fields, name: str, default: str = "") -> str:
    """A value as text, whatever JSON it is; ``default`` where there is none."""
    value = fields.get(name)
    if value is None:
        return default
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value).strip()


def _is_number_destroyed(fields: Fields, columns: Columns) -> bool:
    """Whether the other ledger says so: an export may just leave numbers out."""
    if _text(fields, columns, "phoneNumber"):
        return False
    destroyed = fields.get("destroyed")
    if isinstance(destroyed, str):  # a cell of CSV
        try:
            destroyed = orjson.loads(destroyed)
        except orjson.JSONDecodeError:
            return False
    return isinstance(destroyed, list) and "phoneNumber" in destroyed


def _number(fields: Fields, columns: Columns) -> PhoneNumber:
    given = _text(fields, columns, "phoneNumber")
    if not given:
        raise RowRefused("missing_phone_number", "the row has no phone number")
    if is_e164(given):
        return canonical_number(given)
    number = canonical_number(given) if columns.is_own_export else typed_number(given)
    # A ledger may have what is not E.164 too: a text's sender is kept as it came.
    is_kept = columns.is_own_export and len(number) <= ADDRESS_CHARACTERS_MAX
    if not is_e164(number) and not (is_kept and "\0" not in number):
        raise RowRefused(
            "invalid_phone_number",
            "a phone number is E.164: a plus sign, the country's code and the number",
        )
    return number


def _key(fields: Fields, columns: Columns, status: Status, sender: Sender) -> str:
    given = _text(fields, columns, "key")
    if not given:
        # With what the command line adds: for another sender it is another row.
        said = orjson.dumps([status, sender, fields], option=orjson.OPT_SORT_KEYS)
        return hashlib.blake2b(said, digest_size=16).hexdigest()
    if len(given) > KEY_CHARACTERS_MAX or not given.isprintable():
        raise RowRefused(
            "invalid_key",
            f"a row's key has at most {KEY_CHARACTERS_MAX} printable characters",
        )
    return given


def _given_evidence(given: object) -> dict[str, object]:
    if isinstance(given, str) and given:
        try:
            given = orjson.loads(given)
        except orjson.JSONDecodeError:
            raise RowRefused("invalid_evidence", "evidence is not JSON") from None
    if given in ("", None):
        return {}
    if not isinstance(given, dict):
        raise RowRefused("invalid_evidence", "evidence is not a JSON object")
    return dict(given)
