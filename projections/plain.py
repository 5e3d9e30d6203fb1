"""Tells of streams which are *plain*, and reads those without making an event.

Somebody who said something and no more is *heard*; a text that arrived, of which
nothing more is told, is a *received* one. Under load nearly every stream is one or the
other. Each person's key is read and unwrapped once, for the number and for the texts.
Never writes, and decodes nothing: all that is not plain, or whose person's key is gone,
is left to the caller.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from ledger.domain.ids import MessageId, SubjectId
from ledger.store.codec import StoredRow
from ledger.store.keyring import Keyring
from ledger.store.received import Received, ReceivedReader
from ledger.store.said import Said, SaidReader
from ledger.store.sealing import SubjectKey
from projections.projection import Heard, ReceivedText


class Plain(NamedTuple):
    """The streams that are, in the order in which they were given."""

    heard: list[Heard]
    texts: list[ReceivedText]
    keys: dict[UUID, SubjectKey]
    """Of the people whose they are."""

    @property
    def stream_ids(self) -> set[UUID]:
        """Which streams these are."""
        ids: set[UUID] = {one.subject_id for one in self.heard}
        return ids.union([one.message_id for one in self.texts])


class PlainReader:
    """Reads streams that begin, each given as all of its rows so far."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._said = SaidReader()
        self._received = ReceivedReader()

    async def read(
        self,
        streams: Mapping[UUID, Sequence[StoredRow]],
        *,
        holds_numbers: bool = True,
        holds_texts: bool = True,
    ) -> Plain:
        """Those that are plain, of people or of texts or of both, as is asked for.

        Raises:
            SealBroken: a number or a SID was altered.
            KeyMissing, MasterKeyMissing, StoreUnavailable: as
                ``Keyring.subject_keys_of_living``.
        """
        said: dict[SubjectId, list[Said]] = {}
        received: dict[MessageId, Received] = {}
        for stream_id, rows in streams.items():
            if holds_texts and (text := self._received.read(rows[0])):
                if len(rows) == 1:
                    received[MessageId(stream_id)] = text
            elif holds_numbers and (told := self._told(rows)):
                said[SubjectId(stream_id)] = told
        people = {*said, *(text[3] for text in received.values())}
        keys = await self._keyring.subject_keys_of_living(people)
        heard = [
            Heard.opened(subject_id, told, streams[subject_id], key)
            for subject_id, told in said.items()
            if (key := keys.get(subject_id))
        ]
        texts = [
            ReceivedText(message_id, key, text, streams[message_id][0])
            for message_id, text in received.items()
            if (key := keys.get(text[3]))
        ]
        return Plain(heard, texts, keys)

    def _told(self, rows: Sequence[StoredRow]) -> list[Said] | None:
        """All that somebody said; None where there is something else."""
        told = []
        for row in rows:
            if (said := self._said.read(row)) is None:
                return None
            told.append(said)
        return told
