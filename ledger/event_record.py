"""An event as people and programs outside are shown it: an export, a replay.

Names are camelCase, position comes first, and what is personal is open. Never guesses:
what was destroyed is null, and named.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from types import NoneType
from typing import Any, Final, get_args, get_type_hints

import orjson

from ledger.domain.events import ConsentChanged, MessageEvent
from ledger.domain.ids import Position
from ledger.store.codec import RecordedEvent
from ledger.store.keyring import Keyring, Opened
from ledger.store.kinds import CLASSES

EventRecord = dict[str, Any]
_SHOWN_OTHERWISE: Final = (
    "originator_id",
    "originator_version",
    "timestamp",
    "occurred_at",
    "counterparty",
)


async def event_records(
    keyring: Keyring, recorded: Sequence[RecordedEvent]
) -> list[EventRecord]:
    """The events in their order, with what is personal of them.

    Raises:
        SealBroken: some was altered.
        KeyMissing, MasterKeyMissing, StoreUnavailable: as ``Keyring.opened``.
    """
    personal = await _personal(keyring, recorded)
    return [_record(one, personal.get(one.position)) for one in recorded]


def to_lines(records: Iterable[EventRecord]) -> bytes:
    """The records as NDJSON: the same bytes for the same events, wherever they go."""
    options = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE
    return b"".join(orjson.dumps(record, option=options) for record in records)


PERSONAL: Final = ("phoneNumber", "sid", "evidence", "destroyed")
"""What an event is shown without, where nothing is opened."""


def records_without_personal(recorded: Sequence[RecordedEvent]) -> list[EventRecord]:
    """The events in their order, without what is personal: nothing is opened."""
    return [
        {name: v for name, v in _record(one, None).items() if name not in PERSONAL}
        for one in recorded
    ]


def record_types() -> dict[str, type]:
    """Every name that an event of any kind is shown with, and whether it is a time.

    ``str`` stands for text and for whatever JSON has: evidence, lists.
    """
    types: dict[str, type] = {
        "position": int,
        "kind": str,
        "subjectId": str,
        "messageId": str,
        "version": int,
        "occurredAt": datetime,
        "recordedAt": datetime,
    }
    for kind in CLASSES:
        hints = get_type_hints(kind)
        for field in fields(kind):
            if field.name not in _SHOWN_OTHERWISE:
                types.setdefault(_camel(field.name), _shown_as(hints[field.name]))
    return types | {"destroyed": str}


def _shown_as(hint: Any) -> type:  # noqa: ANN401 - what a field may be
    """A whole number or a time, though it may be missing or have a name of its own."""
    [kind, *_] = [k for k in get_args(hint) or (hint,) if k is not NoneType]
    kind = getattr(kind, "__supertype__", kind)
    return kind if kind in (int, datetime) else str


async def _personal(
    keyring: Keyring, recorded: Sequence[RecordedEvent]
) -> Mapping[Position, Opened]:
    sealed = [
        (position, event)
        for position, event in recorded
        if isinstance(event, ConsentChanged | MessageEvent)
    ]
    opened = await keyring.opened([event for _, event in sealed])
    return {position: one for (position, _), one in zip(sealed, opened, strict=True)}


def _record(recorded: RecordedEvent, personal: Opened | None) -> EventRecord:
    position, event = recorded
    shown: dict[str, object] = {
        "position": position,
        "kind": type(event).__name__,
        "subjectId": str(event.subject_id),
        "version": event.version,
        "occurredAt": event.occurred_at,
        "recordedAt": event.recorded_at,
    }
    own = {n: value for n, value in vars(event).items() if n not in _SHOWN_OTHERWISE}
    if isinstance(event, MessageEvent):
        shown["messageId"] = str(event.message_id)
    if personal is not None:
        opened = personal._asdict()
        held = [name for name in event.personal if own[name] is not None]
        own |= {name: opened[name] for name in held}
        own["destroyed"] = [_camel(name) for name in held if opened[name] is None]
    return shown | {_camel(name): value for name, value in own.items()}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
