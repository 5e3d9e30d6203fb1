"""Whom numbers stand for, as far as their streams were read, and their keys.

Remembers who was seen lately, so that only what came since is read. Never appends. The
subtle part is generations: after an erasure the same number is another subject, who
begins where the one before ended: out, maybe.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from ledger.domain.consent import Subject, evolve, nobody
from ledger.domain.ids import PhoneNumber, SubjectId
from ledger.store.event_store import EventStore, Stream
from ledger.store.identity import Identity
from ledger.store.keyring import Keyring
from ledger.store.sealing import SubjectKey

_SUBJECTS_KEPT_MAX: Final = 10_000


class Person(NamedTuple):
    """Whom a number stands for now, as far as the stream was read."""

    subject: Subject
    origin: SubjectId
    """The id of the number's first subject, by which it is remembered."""
    generation: int = 0
    key: SubjectKey | None = None
    """None where nothing is stored of the subject."""


People = dict[PhoneNumber, Person]


class Known:
    """The people that this process has seen."""

    def __init__(self, store: EventStore, keyring: Keyring) -> None:
        self._store = store
        self._keyring = keyring
        self._remembered: OrderedDict[SubjectId, Person] = OrderedDict()
        self._reads_bring_nothing = False

    async def load(
        self, identity: Identity, numbers: Iterable[PhoneNumber], *, may_guess: bool
    ) -> People:
        """Whom numbers stand for: what is remembered, and what came since.

        Where the last reading brought nothing and ``may_guess``, what is remembered is
        taken for all there is, and a number that is not for a new one: the append finds
        out, and the next round reads. That saves a round trip where most are new.

        Raises:
            UnknownEvent, EventBroken, StoreUnavailable: as ``EventStore.read_streams``.
        """
        people = {number: self._recall(identity, number) for number in numbers}
        if self._reads_bring_nothing and may_guess:
            return people
        self._reads_bring_nothing = True
        return await self._read(identity, people)

    async def read(
        self, identity: Identity, numbers: Iterable[PhoneNumber]
    ) -> Mapping[PhoneNumber, Person]:
        """Whom numbers stand for, with whatever has come by now.

        Raises:
            UnknownEvent, EventBroken, StoreUnavailable: as ``load``.
        """
        people = {number: self._recall(identity, number) for number in numbers}
        return await self._read(identity, people)

    def forget(self, person: Person) -> None:
        """Its stream grew, or a failover has set it back: read it again."""
        self._reads_bring_nothing = False
        self._remembered.pop(person.origin, None)

    async def _read(self, identity: Identity, people: People) -> People:
        unread = people
        while unread:
            streams = await self._store.read_streams(
                {
                    person.subject.id: person.subject.version
                    for person in unread.values()
                }
            )
            read = {
                number: self._caught_up(person, streams[person.subject.id])
                for number, person in unread.items()
            }
            people = people | read
            unread = {
                number: _successor(identity, number, person)
                for number, person in read.items()
                if person.subject.erased
            }
        return people

    def _recall(self, identity: Identity, number: PhoneNumber) -> Person:
        subject_id = identity.subject_id(number)
        known = self._remembered.get(subject_id)
        return known or Person(nobody(subject_id), subject_id)

    def _caught_up(self, person: Person, stream: Stream) -> Person:
        """The person after what was read, remembered if there is anything."""
        is_key_new = person.key is None and stream.key is not None
        if not stream.events and not is_key_new:
            return person
        self._reads_bring_nothing = False
        subject, key = person.subject, person.key
        for _, event in stream.events:
            subject = evolve(subject, event)
        if key is None and stream.key is not None:
            key = self._keyring.subject_key(subject.id, stream.key)
        caught_up = person._replace(subject=subject, key=key)
        if not subject.erased:
            self._remember(caught_up)
        return caught_up

    def _remember(self, person: Person) -> None:
        self._remembered[person.origin] = person
        self._remembered.move_to_end(person.origin)
        if len(self._remembered) > _SUBJECTS_KEPT_MAX:
            self._remembered.popitem(last=False)


def _successor(identity: Identity, number: PhoneNumber, erased: Person) -> Person:
    """Who the person is since the subject was erased: somebody new."""
    generation = erased.generation + 1
    subject_id = identity.subject_id(number, generation)
    subject = nobody(
        subject_id,
        suppressed=erased.subject.suppressed,
        suppressed_since=erased.subject.suppressed_since,
    )
    return Person(subject, erased.origin, generation)
