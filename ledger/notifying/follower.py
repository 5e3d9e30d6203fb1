"""Follows the ledger, and tells a channel of each change of consent, in its order.

A channel has a checkpoint of its own. It is moved past a change only once the other
side has it, and only from where it was read; so a change is told at least once, never
skipped, and a second process that believes to lead repeats one at most. A kill between
the telling and the move repeats that one, with the same id.
"""

from collections.abc import Sequence
from typing import Final

from ledger.domain.events import ConsentChanged
from ledger.domain.ids import PhoneNumber, Position, SubjectId, Version
from ledger.errors import Fault, NoticeUndelivered, UnknownEvent
from ledger.notifying.changes import OfConsent, change_by
from ledger.notifying.channel import Channel
from ledger.notifying.notice import Notice
from ledger.observations import count_notice
from ledger.store.codec import RecordedEvent
from ledger.store.database import Pool, translated
from ledger.store.event_store import EventStore, Stream
from ledger.store.keyring import Keyring
from ledger.store.statements import statement

_START: Final = statement("ledger.notifying", "start_channel")
_READ: Final = statement("ledger.notifying", "read_channel")
_MOVE: Final = statement("ledger.notifying", "move_channel")
_NOTE_FAILURE: Final = statement("ledger.notifying", "note_failure")

_EVENTS_MAX: Final = 500


class Follower:
    """Tells one channel what the ledger has after its checkpoint."""

    def __init__(
        self, pool: Pool, store: EventStore, keyring: Keyring, channel: Channel
    ) -> None:
        self._pool = pool
        self._store = store
        self._keyring = keyring
        self._channel = channel

    async def run_once(self) -> int:
        """Tell all that there is, and say how many changes that was.

        Raises:
            NoticeUndelivered: the first could not be told. Where others could before
                it, nothing is raised: it is tried again as soon as anything.
            StoreUnavailable: later; nothing is lost.
            Fault: an event cannot be read, so nothing after it is told.
        """
        told = 0
        try:
            reached = await self._checkpoint()
            while events := await self._read_after(reached):
                for notice in await self._notices(events):
                    await self._deliver(notice)
                    told += 1
                    if not await self._move(reached, notice.position):
                        return told
                    reached = notice.position
                last = events[-1].position
                if reached < last and not await self._move(reached, last):
                    return told
                reached = last
        except (NoticeUndelivered, Fault) as error:
            with translated():
                name = self._channel.name
                await self._pool.execute(_NOTE_FAILURE, name, str(error))
            if isinstance(error, Fault) or not told:
                raise
        return told

    async def _checkpoint(self) -> Position:
        name = self._channel.name
        with translated():
            await self._pool.execute(_START, name)
            return Position(await self._pool.fetchval(_READ, name))

    async def _read_after(self, reached: Position) -> list[RecordedEvent]:
        """The next events; those before one of another release, where there is one."""
        try:
            return await self._store.read_after(reached, _EVENTS_MAX)
        except UnknownEvent as unknown:
            before = unknown.position - 1 - reached
            if before < 1:
                raise
            return await self._store.read_after(reached, before)

    async def _move(self, reached: Position, position: Position) -> bool:
        """Whether it could be moved: not where another process has moved it."""
        with translated():
            moved = await self._pool.fetchval(
                _MOVE, self._channel.name, reached, position
            )
        return moved is not None

    async def _deliver(self, notice: Notice) -> None:
        try:
            await self._channel.deliver(notice)
        except NoticeUndelivered:
            count_notice(self._channel.name, "failed")
            raise
        count_notice(self._channel.name, "delivered")

    async def _notices(self, events: Sequence[RecordedEvent]) -> list[Notice]:
        found = [(at, event) for at, event in events if isinstance(event, OfConsent)]
        ids = {event.subject_id: Version(0) for _, event in found}
        streams = await self._store.read_streams(ids)
        numbers = await self._numbers(streams)
        notices = []
        for position, event in found:
            before = streams[event.subject_id].up_to(Position(position - 1))
            change = change_by([earlier for _, earlier in before], event)
            if change is not None:
                is_erasure = change.kind == "subject.erased"
                number = None if is_erasure else numbers.get(event.subject_id)
                notices.append(Notice(position, change, number))
        return notices

    async def _numbers(
        self, streams: dict[SubjectId, Stream]
    ) -> dict[SubjectId, PhoneNumber]:
        """Whose these streams are; who is missing has been erased."""
        said = (
            event
            for stream in streams.values()
            for _, event in stream.known
            if isinstance(event, ConsentChanged)
        )
        return await self._keyring.phone_numbers(said)
