"""Erasing a person, and holding off from it.

An erasure destroys the subject's key and rows, those of its texts too, and leaves two
things: the events, of which nobody can tell whose they are, and whether the person may
be texted. Never edits an event. The subtle part is time: what was decided on a stream
that has grown meanwhile is decided again, so that no STOP, no hold and no scheduled
text slips in between.
"""

import unicodedata
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Final, NamedTuple

from ledger.domain.consent import Subject, evolve, nobody, overall_deciding
from ledger.domain.events import HoldPlaced, HoldReleased, LedgerEvent, SubjectErased
from ledger.domain.ids import Answer, PhoneNumber, Position, SubjectId, Version
from ledger.errors import InvalidReason, NotFound, OnHold, StoreUnavailable
from ledger.store.codec import STATE_HEAD, STATE_MIDDLE, encode_open
from ledger.store.database import Pool, translated
from ledger.store.event_store import Appended, EventStore
from ledger.store.keyring import Keyring
from ledger.store.statements import statement

_ERASE: Final = statement("ledger", "erase_subject")
_TRIES_MAX: Final = 20
_REASON_CHARACTERS_MAX: Final = 500
_TELLING_DIGITS: Final = 7

Unschedule = Callable[[SubjectId], Awaitable[None]]
"""Sees that no text that is scheduled to a subject is sent."""


async def nothing_scheduled(_: SubjectId) -> None:
    """For where no texts are sent."""


class Erased(NamedTuple):
    """What stays of a number: whether it is out for any sender; where that stands."""

    status: Answer
    position: Position


class _Newest(NamedTuple):
    """Whom a number stands for now, and who was before."""

    subject: Subject
    before: Erased | None
    has_key: bool
    """Who has said nothing has a key where there are texts."""

    @property
    def is_new(self) -> bool:
        """Whether nothing is recorded of the subject."""
        return self.subject.version == 0 and not self.has_key


class Erasures:
    """Erases, holds and releases."""

    def __init__(
        self,
        pool: Pool,
        store: EventStore,
        keyring: Keyring,
        unschedule: Unschedule = nothing_scheduled,
    ) -> None:
        self._pool = pool
        self._store = store
        self._keyring = keyring
        self._unschedule = unschedule

    async def erase(self, number: PhoneNumber, *, reason: str, actor: str) -> Erased:
        """Destroy what is personal of ``number``; a second time changes nothing.

        Raises:
            InvalidReason: the reason is too long, or tells the number.
            NotFound: the number was never seen.
            OnHold: it is under a legal hold.
            TryAgain, TwilioRefused, TwilioUnavailable: a text that is scheduled to it
                is not known to be canceled. Nothing is erased.
            StoreUnavailable: it is not known to be done; safe to try again.
        """
        _check_reason(reason, number)
        async for newest in self._newest(number):
            subject, before, _ = newest
            if before is not None and newest.is_new:
                return before
            _refuse_held(subject)
            known_to = await self._store.last_position()
            await self._unschedule(subject.id)
            position = await self._erase(subject, known_to, reason, actor)
            if position is not None:
                return Erased(_answer(subject), position)
        raise StoreUnavailable("the subject keeps changing")

    async def hold(
        self, number: PhoneNumber, *, until: datetime, reason: str, actor: str
    ) -> Position:
        """Refuse erasure of ``number`` until then, or until it is released.

        Raises:
            InvalidReason: the reason is too long, or tells the number; or ``until`` has
                passed.
            NotFound: the number was never seen, or is erased.
            StoreUnavailable: it is not known to be done; safe to try again.
        """
        if until <= datetime.now(UTC):
            raise InvalidReason("the hold would end in the past")
        fields = {"until": until, "reason": reason, "actor": actor}
        return await self._append(number, HoldPlaced, fields)

    async def release(
        self, number: PhoneNumber, *, reason: str, actor: str
    ) -> Position:
        """End the hold on ``number``.

        Raises:
            InvalidReason: the reason is too long, or tells the number.
            NotFound: the number was never seen, is erased, or is not under a hold.
            StoreUnavailable: it is not known to be done; safe to try again.
        """
        fields: dict[str, object] = {"reason": reason, "actor": actor}
        return await self._append(number, HoldReleased, fields)

    async def _append(
        self, number: PhoneNumber, kind: type[LedgerEvent], fields: dict[str, object]
    ) -> Position:
        _check_reason(str(fields["reason"]), number)
        async for newest in self._newest(number):
            subject = newest.subject
            if newest.is_new:
                raise NotFound("this number was erased, and not seen since")
            if kind is HoldReleased and subject.held_until is None:
                raise NotFound("this number is not under a hold")
            next_version = Version(subject.version + 1)
            entry = encode_open(kind, subject.id, next_version, fields)
            [outcome] = await self._store.append([entry])
            if isinstance(outcome, Appended):
                return outcome.position
        raise StoreUnavailable("the subject keeps changing")

    async def _newest(self, number: PhoneNumber) -> AsyncIterator[_Newest]:
        """Whom ``number`` stands for now, read anew each time.

        Raises:
            NotFound: the number was never seen.
        """
        identity = await self._keyring.identity()
        generation = tries = 0
        before: Erased | None = None
        while tries < _TRIES_MAX:
            subject_id = identity.subject_id(number, generation)
            streams = await self._store.read_streams({subject_id: Version(0)})
            was_out = before is not None and before.status == "out"
            subject = nobody(subject_id, suppressed=was_out)
            for position, event in streams[subject_id].events:
                subject = evolve(subject, event)
                if isinstance(event, SubjectErased):
                    before = Erased(_answer(subject), position)
            if subject.erased:
                generation += 1
                continue
            has_key = streams[subject_id].key is not None
            newest = _Newest(subject, before, has_key)
            if newest.is_new and before is None:
                raise NotFound("this number was never seen")
            tries += 1
            yield newest

    async def _erase(
        self, subject: Subject, known_to: Position, reason: str, actor: str
    ) -> Position | None:
        """One try; None where the stream has grown meanwhile.

        Also where a text was asked for after ``known_to``: it may be scheduled.
        """
        keys = await self._keyring.subject_keys_of_living([subject.id])
        key = keys.get(subject.id)
        if key is None:
            return None
        status, since = _remaining(subject)
        fields = {"status": status, "key_id": key.id, "reason": reason, "actor": actor}
        next_version = Version(subject.version + 1)
        entry = encode_open(SubjectErased, subject.id, next_version, fields)
        [event] = entry.events
        with translated():
            position: Position | None = await self._pool.fetchval(
                _ERASE,
                subject.id,
                subject.version,
                known_to,
                status,
                since,
                event.topic,
                event.tail,
                STATE_HEAD,
                STATE_MIDDLE,
            )
        return position


def _remaining(subject: Subject) -> tuple[Answer, datetime | None]:
    """What is to be known of the subject still, and since when it is so."""
    fact = overall_deciding(subject.facts)
    if fact is not None and fact.status == "out":
        return "out", fact.occurred_at
    return "unknown", None


def _answer(subject: Subject) -> Answer:
    """What the number says without its subject: what those before it left counts."""
    return "out" if subject.suppressed else _remaining(subject)[0]


def _refuse_held(subject: Subject) -> None:
    until = subject.held_until
    if until is not None and until > datetime.now(UTC):
        raise OnHold(
            f"it is under a legal hold until {until.isoformat()}; "
            "`consent-ledger release` ends it"
        )


def _check_reason(reason: str, number: PhoneNumber) -> None:
    """It stays in the ledger for ever, in clear."""
    given = len(reason.strip())
    if not 0 < given <= _REASON_CHARACTERS_MAX or not reason.isprintable():
        raise InvalidReason(
            f"a reason is 1 to {_REASON_CHARACTERS_MAX} printable characters"
        )
    telling = _digits(number)[-_TELLING_DIGITS:]
    tells = len(telling) == _TELLING_DIGITS and telling in _digits(reason)
    if tells or (number and number in reason):
        raise InvalidReason("the reason tells the number, and stays: leave it out")


def _digits(text: str) -> str:
    """The digits in a text, of whatever script or size, as 0 to 9."""
    return "".join(str(unicodedata.digit(c)) for c in text if c.isdigit())
