"""The kinds of events that this release knows, each in every version it ever had.

Classes are versioned the ``eventsourcing`` library's way: ``class_version``, and an
``upcast_vN_vN+1`` for each step, both the class's own. Never reads an event. The subtle
part is that the library trusts the chain: a gap in it is an ``AttributeError`` at the
first old event, and a step beyond its end is never called. So it is checked when a
process starts, before anything is read, and not when a STOP of years ago turns up.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from eventsourcing.utils import TopicError, get_topic

from ledger.domain.events import (
    ConsentChanged,
    ConsentChecked,
    ConsentLapsed,
    EvidenceErased,
    HoldPlaced,
    HoldReleased,
    LedgerEvent,
    MessageReceived,
    MessageRequested,
    MessageSent,
    MessageStatusChanged,
    ProjectionSwitched,
    SubjectErased,
)
from ledger.errors import ChainBroken

CLASSES: Final[tuple[type[LedgerEvent], ...]] = (
    ConsentChanged,
    SubjectErased,
    HoldPlaced,
    HoldReleased,
    EvidenceErased,
    ConsentChecked,
    ProjectionSwitched,
    ConsentLapsed,
    MessageReceived,
    MessageRequested,
    MessageSent,
    MessageStatusChanged,
)
KINDS: Final[Mapping[str, type[LedgerEvent]]] = {
    get_topic(kind): kind for kind in CLASSES
}
_COLUMNS: Final = frozenset({"originator_id", "originator_version"})
STORED_FIELDS: Final[Mapping[type[LedgerEvent], frozenset[str]]] = {
    kind: frozenset(field.name for field in dataclasses.fields(kind)) - _COLUMNS
    for kind in CLASSES
}
"""What the state of each kind holds in its current version, no more and no less."""

_STEP: Final = re.compile(r"upcast_v(\d+)_v(\d+)")


def class_version_of(kind: type[LedgerEvent]) -> int:
    """The version in which this release writes a kind."""
    version: int = getattr(kind, "class_version", 1)
    return version


def known_versions() -> list[tuple[str, int]]:
    """Every topic with every version of it that this release can read."""
    return [
        (topic, version)
        for topic, kind in KINDS.items()
        for version in range(1, class_version_of(kind) + 1)
    ]


def check_chains(kinds: Iterable[type[LedgerEvent]] = CLASSES) -> None:
    """See that every version of every kind leads to the current one, by one way.

    Whoever starts a process calls it first.

    Raises:
        ChainBroken: a step is missing, there twice, or leads elsewhere; or a kind has
            not one topic, which is its module and name.
    """
    seen: set[type[LedgerEvent]] = set()
    for kind in kinds:
        if kind in seen:
            raise ChainBroken(f"{kind.__name__} is there twice")
        seen.add(kind)
        _check_topic(kind)
        _check_chain(kind)


def _check_topic(kind: type[LedgerEvent]) -> None:
    """An auditor's application finds the class by nothing but the stored topic."""
    place = f"{kind.__module__}:{kind.__qualname__}"
    try:
        topic = get_topic(kind)
    except TopicError as error:
        raise ChainBroken(f"{kind.__name__}: {error}") from error
    if topic != place:
        raise ChainBroken(f"{kind.__name__}: its topic {topic!r} is not its {place!r}")


def _check_chain(kind: type[LedgerEvent]) -> None:
    name, current = kind.__name__, class_version_of(kind)
    if type(current) is not int or current < 1:
        raise ChainBroken(f"{name}: class_version {current!r} is not 1 or more")
    if current > 1 and "class_version" not in vars(kind):
        raise ChainBroken(f"{name}: class_version {current} is another class's")
    found: dict[tuple[int, int], str] = {}
    for owner, attribute in _upcasters(kind):
        step = _step(name, attribute)
        if owner is not kind:
            # The nearest would win, and the other be forgotten: who reads one class
            # must see the whole of its past.
            raise ChainBroken(
                f"{name}: {attribute} is {owner.__name__}'s: write its own"
            )
        if step in found:
            raise ChainBroken(f"{name}: {attribute} is there twice, as {found[step]}")
        if not isinstance(vars(kind)[attribute], staticmethod):
            raise ChainBroken(f"{name}: {attribute} is not a static method")
        found[step] = attribute
    wanted = {(version, version + 1) for version in range(1, current)}
    for start, end in sorted(wanted - found.keys()):
        raise ChainBroken(
            f"{name}: version {start} does not lead to version {current}: "
            f"upcast_v{start}_v{end} is missing"
        )
    for step in sorted(found.keys() - wanted):
        raise ChainBroken(
            f"{name}: {found[step]} is not a step on the way to version {current}"
        )


def _upcasters(kind: type[LedgerEvent]) -> Iterator[tuple[type, str]]:
    """Whatever is named like an upcaster, in the class and in those it is made of."""
    for owner in kind.__mro__:
        for attribute in vars(owner):
            if attribute.startswith("upcast"):
                yield owner, attribute


def _step(name: str, attribute: str) -> tuple[int, int]:
    matched = _STEP.fullmatch(attribute)
    if matched is None:
        raise ChainBroken(f"{name}: {attribute} is not named upcast_vN_vN+1")
    return int(matched[1]), int(matched[2])
