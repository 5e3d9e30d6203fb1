"""Follows the ledger for what sending has left open, and sees to it.

Two things are open: a text of which nobody knows whether Twilio has it, and a scheduled
text, whose person may opt out before it is due. Neither is kept anywhere but in the
ledger: what is open is found by reading on from a checkpoint, which never passes what
is open. So a STOP, or a crash, at any moment is seen after the next start. The webhook
takes no part.
"""

import logging
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, NamedTuple
from uuid import UUID

from eventsourcing.utils import get_topic

from ledger.domain.events import (
    ConsentChanged,
    MessageRequested,
    MessageSent,
    MessageStatusChanged,
    SubjectErased,
)
from ledger.domain.ids import MessageId, Position
from ledger.domain.messages import ENDED
from ledger.errors import TwilioRefused, TwilioUnavailable
from ledger.observations import observe_sending
from ledger.sending.settling import Tools, cancel, has_opted_out, settle
from ledger.sending.texts import RequestedText, read_texts
from ledger.store.database import Pool, translated
from ledger.store.statements import statement

log = logging.getLogger(__name__)

_FIND_NEXT: Final = statement("ledger.sending", "find_next_request")
_READ_HEADS: Final = statement("ledger.sending", "read_heads_after")
_READ_CHECKPOINT: Final = statement("ledger.sending", "read_checkpoint")
_SAVE_CHECKPOINT: Final = statement("ledger.sending", "save_checkpoint")

_HEADS_MAX: Final = 5_000
_REQUESTED: Final = get_topic(MessageRequested)
_TOLD: Final = frozenset(map(get_topic, (MessageSent, MessageStatusChanged)))
_OF_PERSON: Final = frozenset(map(get_topic, (ConsentChanged, SubjectErased)))


class Open(NamedTuple):
    """How many texts are open, and why."""

    unsettled: int
    scheduled: int


class Follower:
    """What is open, as far as the ledger was read."""

    def __init__(self, pool: Pool, tools: Tools, *, settle_seconds: float) -> None:
        self._pool = pool
        self._tools = tools
        self._settle_seconds = settle_seconds
        self._position: Position | None = None
        self._now = datetime.now(UTC)
        """By the database's clock, once it was read."""
        self._texts: dict[MessageId, RequestedText] = {}
        self._unchecked: set[MessageId] = set()
        """Scheduled texts whose person may have said something since it was looked."""
        self._found: set[MessageId] = set()
        """Texts that Twilio was just found to have."""

    async def run_once(self, *, at_once: bool = False) -> Counter[str]:
        """Read on, see to what is due, and say what became of it.

        ``at_once`` does not wait until a text is old enough: only for when nobody can
        be sending.

        Raises:
            TwilioUnavailable, StoreUnavailable: later; nothing is lost.
        """
        await self._follow()
        try:
            done = await self._see_to_all(at_once=at_once)
            await self._follow()
        finally:
            observe_sending(**self.open._asdict())
        await self._save()
        return done

    @property
    def open(self) -> Open:
        """What is open now."""
        unsettled = sum(text.is_unsettled for text in self._texts.values())
        return Open(unsettled, len(self._texts) - unsettled)

    async def _see_to_all(self, *, at_once: bool) -> Counter[str]:
        """One that cannot be seen to now holds back none of those behind it.

        Unless Twilio does not answer at all, and all are left for later.
        """
        done: Counter[str] = Counter()
        failure: TwilioUnavailable | None = None
        for text in list(self._texts.values()):
            try:
                outcome = await self._see_to(text, at_once=at_once)
            except TwilioUnavailable as error:
                failure = error
                _warn(text, error)
                with suppress(TwilioRefused):
                    await self._tools.account.standing()
                continue
            if outcome:
                done[outcome] += 1
        if failure is not None and not done:
            raise failure
        return done

    async def _see_to(self, text: RequestedText, *, at_once: bool) -> str | None:
        age = (self._now - text.requested_at).total_seconds()
        try:
            if text.is_unsettled:
                if at_once or age >= self._settle_seconds:
                    return await self._settle(text)
            elif text.message.id in self._unchecked:
                outcome = None
                if await has_opted_out(self._tools, text):
                    outcome = await cancel(self._tools, text)
                self._unchecked.discard(text.message.id)
                return outcome
        except TwilioRefused as refusal:
            # Wrong credentials, say: trying again at once does not mend it.
            _warn(text, refusal)
        return None

    async def _settle(self, text: RequestedText) -> str | None:
        """One that was not found may be any of those that are just like it."""
        like_it = [
            other
            for other in self._texts.values()
            if other.is_unsettled and other.message.id not in self._found
        ]
        outcome = await settle(self._tools, text, like_it)
        if outcome == "sent":
            self._found.add(text.message.id)
        return outcome

    async def _follow(self) -> None:
        """Read on to the ledger's end."""
        with translated():
            [(saved, self._now)] = await self._pool.fetch(_READ_CHECKPOINT)
        if self._position is None:
            self._position = Position(saved)
        if not self._texts:
            # While nothing is open nothing is read: there may be thousands a second.
            with translated():
                found = await self._pool.fetchval(_FIND_NEXT, self._position)
            self._position = Position(found)
        while True:
            with translated():
                rows = await self._pool.fetch(_READ_HEADS, self._position, _HEADS_MAX)
            await self._take([(stream, topic) for _, stream, topic in rows])
            if rows:
                self._position = Position(rows[-1][0])
            if len(rows) < _HEADS_MAX:
                break
        self._texts = {i: t for i, t in self._texts.items() if self._is_open(t)}
        self._unchecked &= self._texts.keys()
        self._found.clear()

    async def _take(self, heads: list[tuple[UUID, str]]) -> None:
        """What events change of what is open."""
        changed = {MessageId(i) for i, topic in heads if topic == _REQUESTED}
        told = {MessageId(i) for i, topic in heads if topic in _TOLD}
        changed |= told & self._texts.keys()
        spoke = {i for i, topic in heads if topic in _OF_PERSON}
        theirs = {i for i, t in self._texts.items() if t.message.counterparty in spoke}
        changed |= theirs
        if not changed:
            return
        tools = self._tools
        self._texts |= await read_texts(tools.store, tools.keyring, changed)
        self._unchecked |= changed

    def _is_open(self, text: RequestedText) -> bool:
        message = text.message
        if text.phone_number is None or message.status in ENDED:
            return False  # Of who was erased there is nothing left to ask by.
        return text.is_unsettled or text.is_scheduled(self._now)

    async def _save(self) -> None:
        """Let the next start read from before the oldest that is open."""
        assert self._position is not None  # noqa: S101 - it has read
        oldest = min(
            (text.position - 1 for text in self._texts.values()),
            default=self._position,
        )
        with translated():
            await self._pool.execute(_SAVE_CHECKPOINT, oldest)


def _warn(text: RequestedText, error: TwilioRefused | TwilioUnavailable) -> None:
    fields = {"message_id": str(text.message.id), "error": str(error)}
    log.warning("settle_refused", extra=fields)
