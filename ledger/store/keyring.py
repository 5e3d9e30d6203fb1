"""The keys in the database: the ledger's identity, its days, its subjects.

Only wrapped keys are stored, and what is unwrapped here stays in memory. A key that is
gone is no fault: it was destroyed, and whatever it sealed is erased. Never makes an
identity where there are events already: the same number would be somebody else.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from ledger.domain.events import ConsentChanged, MessageEvent
from ledger.domain.ids import PhoneNumber, Sealed, SubjectId
from ledger.domain.signals import Evidence
from ledger.errors import KeyMissing
from ledger.store.database import Connection, Pool, translated
from ledger.store.identity import Identity
from ledger.store.master import KEY_BYTES, MasterKeys, WrappedKey
from ledger.store.sealing import Day, SubjectKey, day_of, open_evidence
from ledger.store.statements import statement

_INSERT_IDENTITY = statement("ledger.store", "insert_identity_key")
_READ_IDENTITY = statement("ledger.store", "read_identity_key")
_INSERT_DAY = statement("ledger.store", "insert_evidence_key")
_READ_DAYS = statement("ledger.store", "read_evidence_keys")
_READ_SUBJECTS = statement("ledger.store", "read_subject_keys")
_FIND_LOST = statement("ledger.store", "find_lost_subject")
_READ_KEPT = statement("ledger.store", "read_kept_evidence_keys")
_HAS_EVENTS = statement("ledger.store", "has_events")

IDENTITY_PURPOSE = b"identity"
_IDENTITY_IS_LOST = (
    "there are events and no identity_key: restore that table; without it no number "
    "leads to its history"
)


class Opened(NamedTuple):
    """An event's personal data.

    None where the key that sealed it was destroyed, or where the event has none.
    """

    phone_number: PhoneNumber | None
    evidence: Evidence | None
    sid: str | None = None
    """Twilio's name for a text."""


PersonalEvent = ConsentChanged | MessageEvent
"""The kinds that may hold something personal."""


class KeptKey(NamedTuple):
    """What opens a held subject's evidence of a day whose secret goes."""

    subject_id: SubjectId
    name: str
    wrapped: WrappedKey


class Keyring:
    """Makes, reads and unwraps keys.

    Nothing is read before it is needed, so a service can start while its database is
    down, and answers as soon as it is up.
    """

    def __init__(self, pool: Pool | Connection, masters: MasterKeys) -> None:
        self._pool = pool
        self._masters = masters
        self._identity: Identity | None = None
        self._today: Day | None = None

    async def identity(self) -> Identity:
        """The identity of this ledger, made with the first who asks.

        Raises:
            MasterKeyMissing: it cannot be unwrapped.
            KeyMissing: there is none, though there are events.
            StoreUnavailable: the database cannot be used now.
        """
        if self._identity is None:
            made = self._masters.wrap(os.urandom(KEY_BYTES), IDENTITY_PURPOSE)
            with translated():
                await self._pool.execute(_INSERT_IDENTITY, *made)
            secret = await self._identity_secret()
            if secret is None:
                raise KeyMissing(_IDENTITY_IS_LOST)
            self._identity = Identity(secret)
        return self._identity

    async def check(self) -> None:
        """Refuse master keys that are not this ledger's; makes nothing.

        Raises:
            MasterKeyMissing: the identity cannot be unwrapped.
            KeyMissing: there is none, though there are events.
            StoreUnavailable: the database cannot be read now.
        """
        if await self._identity_secret() is None:
            with translated():
                if await self._pool.fetchval(_HAS_EVENTS):
                    raise KeyMissing(_IDENTITY_IS_LOST)

    async def _identity_secret(self) -> bytes | None:
        with translated():
            row = await self._pool.fetchrow(_READ_IDENTITY)
        if row is None:
            return None
        return self._masters.unwrap(WrappedKey(*row), IDENTITY_PURPOSE)

    async def today(self) -> Day:
        """The day that seals evidence now, made with the first who asks.

        Raises:
            StoreUnavailable: the database cannot be used now.
        """
        name = datetime.now(UTC).date().isoformat()
        if self._today is None or self._today.name != name:
            made = self._masters.wrap(os.urandom(KEY_BYTES), day_purpose(name))
            with translated():
                await self._pool.execute(_INSERT_DAY, name, *made)
            self._today = (await self.days([name]))[name]
        return self._today

    def forget_today(self) -> None:
        """Read it again: a failover may have lost it."""
        self._today = None

    def new_subject_key(self, subject_id: SubjectId) -> SubjectKey:
        """A key for a subject without one; stored with what is first sealed with it."""
        secret = os.urandom(KEY_BYTES)
        return SubjectKey(
            secret, self._masters.wrap(secret, subject_purpose(subject_id))
        )

    def subject_key(self, subject_id: SubjectId, wrapped: WrappedKey) -> SubjectKey:
        """The key of a subject, as it was read.

        Raises:
            MasterKeyMissing: it cannot be unwrapped.
        """
        secret = self._masters.unwrap(wrapped, subject_purpose(subject_id))
        return SubjectKey(secret, wrapped)

    async def subject_keys(self, ids: Iterable[SubjectId]) -> dict[UUID, SubjectKey]:
        """The keys of those subjects that have one still.

        Raises:
            MasterKeyMissing: one cannot be unwrapped.
            StoreUnavailable: the database cannot be read now.
        """
        with translated():
            wanted = f"{{{','.join(map(str, set(ids)))}}}"
            rows = await self._pool.fetch(_READ_SUBJECTS, wanted)
        return {
            subject_id: self.subject_key(subject_id, WrappedKey(box, master_key))
            for subject_id, box, master_key in rows
        }

    async def subject_keys_of_living(
        self, ids: Iterable[SubjectId]
    ) -> dict[UUID, SubjectKey]:
        """The keys of those subjects; who is missing has been erased, and not lost.

        Raises:
            KeyMissing: a key is gone that nobody has erased.
            MasterKeyMissing, StoreUnavailable: as ``subject_keys``.
        """
        wanted = set(ids)
        keys = await self.subject_keys(wanted) if wanted else {}
        if gone := [subject_id for subject_id in wanted if subject_id not in keys]:
            with translated():
                lost = await self._pool.fetchval(_FIND_LOST, gone)
            if lost is not None:
                raise KeyMissing(f"of subject {lost}, which was not erased")
        return keys

    async def days(self, names: Iterable[str]) -> dict[str, Day]:
        """Those days whose secret has not been destroyed.

        Raises:
            MasterKeyMissing: one cannot be unwrapped.
            StoreUnavailable: the database cannot be read now.
        """
        with translated():
            rows = await self._pool.fetch(_READ_DAYS, list(set(names)))
        return {
            name: Day(
                name,
                self._masters.unwrap(WrappedKey(*wrapped), day_purpose(name)),
                wrapped[0],
            )
            for name, *wrapped in rows
        }

    async def phone_numbers(
        self, events: Iterable[ConsentChanged]
    ) -> dict[SubjectId, PhoneNumber]:
        """Whose events these are; who is missing has been erased.

        Raises:
            SealBroken: a number was altered.
            KeyMissing, MasterKeyMissing, StoreUnavailable: as
                ``subject_keys_of_living``.
        """
        one_each = {event.subject_id: event for event in events}
        keys = await self.subject_keys_of_living(one_each)
        return {
            subject_id: number
            for subject_id, event in one_each.items()
            if subject_id in keys and (number := _number(event, keys[subject_id]))
        }

    async def opened(self, events: Sequence[PersonalEvent]) -> list[Opened]:
        """The personal data of ``events``, in their order.

        Raises:
            SealBroken: some was altered.
            KeyMissing, MasterKeyMissing, StoreUnavailable: as
                ``subject_keys_of_living``.
        """
        names = [day_of(box) for event in events if (box := _box(event, "evidence"))]
        keys = await self.subject_keys_of_living(e.subject_id for e in events)
        days = await self.days(names)
        kept = await self._kept_evidence_secrets(keys)
        return [
            _opened(event, key, days, kept)
            if (key := keys.get(event.subject_id))
            else Opened(None, None)
            for event in events
        ]

    async def to_keep(self, wanted: Mapping[SubjectId, Iterable[str]]) -> list[KeptKey]:
        """What opens the evidence of those subjects and days, wrapped to be stored.

        Left out is whatever cannot be opened now: a subject or a day that is gone.

        Raises:
            MasterKeyMissing, StoreUnavailable: as ``subject_keys``.
        """
        keys = await self.subject_keys(wanted)
        days = await self.days(name for names in wanted.values() for name in names)
        return [
            self._kept(subject_id, key, days[name])
            for subject_id, names in wanted.items()
            if (key := keys.get(subject_id))
            for name in names
            if name in days
        ]

    def _kept(self, subject_id: SubjectId, key: SubjectKey, day: Day) -> KeptKey:
        secret = key.evidence_secret(day)
        wrapped = self._masters.wrap(secret, kept_purpose(subject_id, day.name))
        return KeptKey(subject_id, day.name, wrapped)

    async def _kept_evidence_secrets(
        self, ids: Iterable[UUID]
    ) -> dict[tuple[UUID, str], bytes]:
        with translated():
            rows = await self._pool.fetch(_READ_KEPT, list(ids))
        return {
            (subject_id, name): self._masters.unwrap(
                WrappedKey(*wrapped), kept_purpose(subject_id, name)
            )
            for subject_id, name, *wrapped in rows
        }


def subject_purpose(subject_id: UUID) -> bytes:
    """What a subject's key is wrapped for."""
    return b"subject" + subject_id.bytes


def kept_purpose(subject_id: UUID, name: str) -> bytes:
    """What a held subject's evidence key of a day is wrapped for."""
    return b"kept" + subject_id.bytes + name.encode()


def day_purpose(name: str) -> bytes:
    """What a day's secret is wrapped for."""
    return b"evidence" + name.encode()


def _opened(
    event: PersonalEvent,
    key: SubjectKey,
    days: Mapping[str, Day],
    kept: Mapping[tuple[UUID, str], bytes],
) -> Opened:
    sid = _box(event, "sid")
    place = (event.stream_id, event.version)
    return Opened(
        _number(event, key),
        _evidence(event, key, days, kept),
        key.open_text("sid", sid, *place) if sid else None,
    )


def _evidence(
    event: PersonalEvent,
    key: SubjectKey,
    days: Mapping[str, Day],
    kept: Mapping[tuple[UUID, str], bytes],
) -> Evidence | None:
    sealed = _box(event, "evidence")
    if sealed is None:
        return None
    name = day_of(sealed)
    secret = kept.get((event.subject_id, name))
    if name in days:
        secret = key.evidence_secret(days[name])
    if secret is None:
        return None
    return open_evidence(sealed, secret, event.stream_id, event.version)


def _number(event: PersonalEvent, key: SubjectKey) -> PhoneNumber | None:
    sealed = _box(event, "phone_number")
    return key.open_number(sealed, event.stream_id, event.version) if sealed else None


def _box(event: PersonalEvent, name: str) -> Sealed | None:
    value = getattr(event, name, None)
    if value is not None and not isinstance(value, Sealed):
        raise TypeError("the event is open already")
    return value
