"""What is wrong between the event classes and the corpus, each with what to do."""

import dataclasses
import typing
from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal

from corpus.kept import (
    FOLDER,
    WHAT_TO_DO,
    Kept,
    digest_of,
    digests,
    kept,
    since,
    versions,
)

from ledger.domain.events import LedgerEvent
from ledger.store.kinds import class_version_of

UNKNOWN: Final = "unknown"

Kinds = Iterable[type[LedgerEvent]]


def missing_versions(kinds: Kinds) -> Iterator[str]:
    """Versions of which no stored example is kept, and examples of none."""
    known = {(k.__name__, v) for k in kinds for v in range(1, class_version_of(k) + 1)}
    for kind, version in sorted(known - versions()):
        yield f"{kind} version {version} has no stored example: {WHAT_TO_DO}"
    for kind, version in sorted(versions() - known):
        yield (
            f"{kind} version {version} was released and is not known any more: bring "
            "the class or its upcasters back, people's ledgers hold it"
        )


def changed_files() -> Iterator[str]:
    """Files that are not as they were made."""
    made, there = digests(), {path.name: path for path in FOLDER.iterdir()}
    for name in sorted(made.keys() | there.keys()):
        if name not in there:
            yield f"{name} is gone: bring it back, what it holds is in people's ledgers"
        elif name not in made:
            yield f"{name} was not made by tests/corpus/make.py: {WHAT_TO_DO}"
        elif digest_of(there[name]) != made[name]:
            yield f"{name} was changed: bring it back, and {WHAT_TO_DO}"


def changed_shapes(kinds: Kinds) -> Iterator[str]:
    """Classes whose fields are not those that their current version was stored with."""
    for kind in kinds:
        version = class_version_of(kind)
        columns = {"originator_id", "originator_version"}
        fields = {field.name for field in dataclasses.fields(kind)} - columns
        for event in _of(kind, version):
            stored = event.state.keys() - {"class_version"}
            if stored != fields:
                change = ", ".join(sorted(stored ^ fields))
                yield (
                    f"{kind.__name__} version {version} was stored with other fields "
                    f"({change}): set class_version = {version + 1}, write "
                    f"upcast_v{version}_v{version + 1}, and {WHAT_TO_DO}"
                )
                break


def missing_values(kinds: Kinds) -> Iterator[str]:
    """Values that a field may have and no stored example has."""
    for kind in kinds:
        events = list(_of(kind, class_version_of(kind)))
        for name, hint in typing.get_type_hints(kind).items():
            values = typing.get_args(hint) if _is_literal(hint) else ()
            held = [event.meant.get(name) for event in events]
            for value in values:
                if value not in held and (kind.__name__, name, value) not in NEVER:
                    example = f"{kind.__name__} with {name} {value!r}"
                    yield f"there is no example of {example}: {WHAT_TO_DO}"


NEVER: Final = {("SubjectErased", "status", "in")}
"""What no event says, though its type would allow it."""


def guesses(additions: Any = None) -> Iterator[str]:
    """Fields that an old event is taken to say, though it does not."""
    stored: dict[tuple[str, str], set[str]] = {}
    for event in kept():
        stored.setdefault((event.kind, f"v{event.class_version}"), {*event.meant})
    for kind, of_kind in (since() if additions is None else additions).items():
        for version, fields in of_kind.items():
            for name, value in fields.items():
                copied = value.get("as") if isinstance(value, dict) else None
                if value != UNKNOWN and copied not in stored[kind, version]:
                    yield (
                        f"{kind} {version} does not say {name}: it is {UNKNOWN!r}, or "
                        '{"as": <a field of that version>}, and nothing else'
                    )


def meant_now(event: Kept, name: str) -> Any:
    """What an event of the corpus says in a field of today's class."""
    if name in event.meant:
        return event.meant[name]
    try:
        value = since()[event.kind][f"v{event.class_version}"][name]
    except KeyError:
        raise AssertionError(
            f"tests/corpus/since.json does not say what {name} is in {event.kind} of "
            f"version {event.class_version}, which has no such field: {UNKNOWN!r}?"
        ) from None
    return event.meant[value["as"]] if isinstance(value, dict) else value


def _of(kind: type[LedgerEvent], version: int) -> Iterator[Kept]:
    for event in kept():
        if (event.kind, event.class_version) == (kind.__name__, version):
            yield event


def _is_literal(hint: object) -> bool:
    return typing.get_origin(hint) is Literal
