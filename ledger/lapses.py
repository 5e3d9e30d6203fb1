"""Numbers that were deactivated: what was ``in`` for them has lapsed.

Never a word of the person's: whoever has the number next has said nothing, and whoever
had it has taken nothing back, so every ``out`` stays. The subtle part is the order in
which things become known: a lapse is recorded where something was ``in`` by then, as
far as is known now; what is imported later from before it has lapsed as well.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from ledger.command_handler import CommandHandler
from ledger.domain.consent import Subject, is_lapsing, overall
from ledger.domain.events import ConsentLapsed
from ledger.domain.ids import PhoneNumber, Version
from ledger.errors import StoreUnavailable
from ledger.store.codec import Entry, encode_open
from ledger.store.event_store import Appended, EventStore

_ROUNDS_MAX: Final = 20


class Lapsing(NamedTuple):
    """Whose consent ends."""

    number: PhoneNumber
    subject: Subject


class Lapses:
    """Finds out whose consent a deactivation ends, and records that."""

    def __init__(self, store: EventStore, handler: CommandHandler) -> None:
        self._store = store
        self._handler = handler

    async def due(
        self, numbers: Collection[PhoneNumber], at: datetime
    ) -> list[Lapsing]:
        """Those of ``numbers`` for whom something is ``in`` that was said by then.

        Raises:
            StoreUnavailable: the database cannot be read now.
        """
        subjects = await self._handler.subjects_of(numbers)
        return _due(subjects, at)

    async def record(
        self, numbers: Collection[PhoneNumber], at: datetime, *, actor: str
    ) -> int:
        """End it, and say of how many; a second time there is nothing to end.

        Raises:
            StoreUnavailable: it is not known to be done; safe to try again.
        """
        done = 0
        for _ in range(_ROUNDS_MAX):
            due = await self.due(numbers, at)
            if not due:
                return done
            entries = [_entry(one.subject, at, actor) for one in due]
            outcomes = await self._store.append(entries)
            done += sum(isinstance(outcome, Appended) for outcome in outcomes)
            numbers = [one.number for one in due]
        raise StoreUnavailable(f"{_ROUNDS_MAX} rounds of conflicts")


def _due(subjects: Mapping[PhoneNumber, Subject], at: datetime) -> list[Lapsing]:
    found: Sequence[Lapsing] = [Lapsing(n, s) for n, s in subjects.items()]
    return [one for one in found if is_lapsing(one.subject.facts, at)]


def _entry(subject: Subject, at: datetime, actor: str) -> Entry:
    fields = {
        "previous_status": overall(subject.facts),
        "source": "twilio.deactivations",
        "matched_by": "deactivated",
        "actor": actor,
    }
    version = Version(subject.version + 1)
    return encode_open(ConsentLapsed, subject.id, version, fields, occurred_at=at)
