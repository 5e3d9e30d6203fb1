"""Retention: evidence goes once it is old enough, and what was said stays.

A day's evidence is destroyed with the day's secret, of everyone at once; who is under a
legal hold keeps what opens theirs. Never touches an event. The subtle part is that no
hold slips in between: what is to be kept is made first, and under the lock that every
append takes it must still be so, or it is made again.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, NamedTuple, TypeVar
from uuid import UUID

from ledger.domain.consent import evolve, nobody
from ledger.domain.events import EvidenceErased
from ledger.domain.ids import THE_LEDGER, Position, Sealed, SubjectId, Version
from ledger.errors import InvalidRequest, StoreUnavailable
from ledger.store.codec import RecordedEvent, encode_open
from ledger.store.database import Connection, Pool, translated
from ledger.store.event_store import Appended, EventStore
from ledger.store.keyring import KeptKey, Keyring
from ledger.store.postgres import append_with
from ledger.store.sealing import day_of
from ledger.store.statements import statement

DAYS_MIN: Final = 2
"""What was accepted yesterday may be sealed with yesterday's secret today."""

DAYS_MAX: Final = 36_500

_READ_HOLDS: Final = statement("ledger", "read_holds")
_READ_DAYS: Final = statement("ledger", "read_days_before")
_READ_VERSION: Final = statement("ledger", "read_version")
_FIND_KEPT: Final = statement("ledger", "find_kept_of_others")
_KEEP: Final = statement("ledger", "keep_evidence_keys")
_DELETE_KEPT: Final = statement("ledger", "delete_kept_of_others")
_DELETE_DAYS: Final = statement("ledger", "delete_days_before")
_VACUUM: Final = statement("ledger", "vacuum_evidence_keys")
_TRIES_MAX: Final = 20
_STREAMS_MAX: Final = 100

Id = TypeVar("Id", bound=UUID)

Holds = Mapping[UUID, int]
"""Who was ever under a hold, and the position of the newest event about it."""


class Plan(NamedTuple):
    """What is to go, and what is to stay of it."""

    before: datetime
    """The start, in UTC, of the first day whose evidence stays."""
    days: list[str]
    """The days that go, in order."""
    held: list[SubjectId]
    """Who is under a hold."""
    kept: list[KeptKey]
    """What they keep of the days that go."""
    drops: bool
    """Whether somebody who is no longer under a hold has kept something."""
    holds: Holds
    """What this was made from, and must be true still."""

    @property
    def keepers(self) -> int:
        """How many subjects keep theirs."""
        return len({key.subject_id for key in self.kept})


class Retention:
    """Destroys evidence that is older than an age."""

    def __init__(self, pool: Pool, store: EventStore, keyring: Keyring) -> None:
        self._pool = pool
        self._store = store
        self._keyring = keyring

    async def plan(self, days_max: int) -> Plan:
        """What would go now; changes nothing.

        Raises:
            InvalidRequest: the age is under two days.
            MasterKeyMissing: what is to be kept cannot be unwrapped.
            StoreUnavailable: the database cannot be read now.
        """
        before = _start_of_kept(days_max)
        with translated():
            # First the holds: one that comes after this is found out under the lock.
            holds = await _holds(self._pool)
            rows = await self._pool.fetch(_READ_DAYS, _name(before))
        days = [name for (name,) in rows]
        evidence = await self._evidence_of_held(holds)
        with translated():
            drops = await self._pool.fetchval(_FIND_KEPT, list(evidence))
        wanted = {who: theirs & {*days} for who, theirs in evidence.items()}
        kept = await self._keyring.to_keep(wanted)
        return Plan(before, days, list(evidence), kept, drops, holds)

    async def run(self, days_max: int, *, actor: str) -> tuple[Plan, Position | None]:
        """Destroy it; what went, and the event that says so, if there was any.

        In one transaction with the event, so a crash leaves all of it or nothing; a
        second time does nothing.

        Raises:
            InvalidRequest, MasterKeyMissing: as ``plan``.
            StoreUnavailable: it is not known to be done; safe to try again.
        """
        for _ in range(_TRIES_MAX):
            plan = await self.plan(days_max)
            if not plan.days and not plan.drops:
                return plan, None
            with suppress(_MovedOn), translated():
                return plan, await self._destroy(plan, actor)
        raise StoreUnavailable("holds keep being placed and released")

    async def vacuum(self) -> None:
        """Have the dead rows given up now; PostgreSQL does it later in any case.

        It warns, and does nothing, where the role does not own the tables.
        """
        with suppress(StoreUnavailable), translated():
            await self._pool.execute(_VACUUM)

    async def _evidence_of_held(self, holds: Holds) -> dict[SubjectId, set[str]]:
        """The days of whose evidence there is any, of each subject under a hold."""
        found: dict[SubjectId, set[str]] = {}
        for ids in _chunks([*holds]):
            after = {SubjectId(id_): Version(0) for id_ in ids}
            for subject_id, stream in (await self._store.read_streams(after)).items():
                if _is_held(subject_id, stream.events):
                    found[subject_id] = _days(stream.events)
        for subject_id, ids in (await self._store.texts_of(found)).items():
            for some in _chunks(ids):
                texts = dict.fromkeys(some, Version(0))
                for stream in (await self._store.read_streams(texts)).values():
                    found[subject_id] |= _days(stream.events)
        return found

    async def _destroy(self, plan: Plan, actor: str) -> Position:
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="read_committed"),
        ):
            position = await _append(connection, plan, actor)
            # From here to the commit nobody appends, so what is read now stays true.
            if await _holds(connection) != plan.holds:
                raise _MovedOn
            # First who no longer may: what is kept now is of those who do.
            await connection.execute(_DELETE_KEPT, plan.held)
            await connection.execute(_KEEP, *_columns(plan.kept))
            gone = await connection.fetch(_DELETE_DAYS, _name(plan.before))
            if len(gone) != len(plan.days):
                raise _MovedOn
            return position


class _MovedOn(Exception):
    """The ledger is not any more what the plan was made from."""


async def _holds(connection: Connection | Pool) -> Holds:
    rows = await connection.fetch(_READ_HOLDS)
    return {row["originator_id"]: row["position"] for row in rows}


async def _append(connection: Connection, plan: Plan, actor: str) -> Position:
    version = await connection.fetchval(_READ_VERSION, THE_LEDGER)
    fields = {
        "before": plan.before,
        "days": len(plan.days),
        "held": plan.keepers,
        "actor": actor,
    }
    next_version = Version((version or 0) + 1)
    entry = encode_open(EvidenceErased, THE_LEDGER, next_version, fields)
    [outcome] = await append_with(connection, [entry])
    if not isinstance(outcome, Appended):  # another retention was faster
        raise _MovedOn
    return outcome.position


def _start_of_kept(days_max: int) -> datetime:
    if days_max < DAYS_MIN:
        raise InvalidRequest(f"evidence is kept for {DAYS_MIN} days at least")
    oldest = (datetime.now(UTC) - timedelta(days=days_max)).date()
    return datetime.combine(oldest, time.min, UTC)


def _name(day: datetime) -> str:
    return date.isoformat(day.date())


def _is_held(subject_id: SubjectId, events: Sequence[RecordedEvent]) -> bool:
    subject = nobody(subject_id)
    for _, event in events:
        subject = evolve(subject, event)
    until = subject.held_until
    return not subject.erased and until is not None and until > datetime.now(UTC)


def _days(events: Sequence[RecordedEvent]) -> set[str]:
    evidence = (getattr(event, "evidence", None) for _, event in events)
    return {day_of(sealed) for sealed in evidence if isinstance(sealed, Sealed)}


def _columns(kept: Sequence[KeptKey]) -> Iterator[list[object]]:
    yield [key.subject_id for key in kept]
    yield [key.name for key in kept]
    yield [key.wrapped.box for key in kept]
    yield [key.wrapped.master_key for key in kept]


def _chunks(ids: Sequence[Id]) -> Iterator[Sequence[Id]]:
    for start in range(0, len(ids), _STREAMS_MAX):
        yield ids[start : start + _STREAMS_MAX]
