"""Evidence of a question asked and of the answer that was given.

A receipt is an event on a stream of its own, with a digest of the request and one of
the answer. Never holds a number. The subtle part is the salt: a digest of an answer
about few numbers could be found by trying all numbers, and an event is readable without
a key. So 128 random bits stand in the answer and nowhere else: the answer's digest is
the plain SHA-256 of its bytes, which anybody who saved it can compute, and the
request's is an HMAC with the salt.
"""

import hashlib
import hmac
import re
import secrets
from datetime import datetime
from typing import Final, Literal, NamedTuple
from uuid import UUID, uuid4

from ledger.domain.events import ConsentChecked
from ledger.domain.ids import Position, Sender, SubjectId, Version
from ledger.errors import InvalidRequest, NotFound, StoreUnavailable
from ledger.store.codec import encode_open
from ledger.store.event_store import Appended, EventStore

_SALT_BYTES: Final = 16
_SALT: Final = re.compile("[0-9a-f]{32}", re.ASCII)
_FIRST: Final = Version(1)

Part = Literal["answer", "request"]


class Receipt(NamedTuple):
    """What is in the answer: by which it is found, and what keeps its digest safe."""

    id: UUID
    salt: str
    """32 hexadecimal digits."""


class Checked(NamedTuple):
    """What was asked, as far as it is no secret, and at which position."""

    sender: Sender | None
    as_of: datetime | None
    known_at: datetime | None
    region: str | None
    read_position: Position
    numbers: int
    actor: str


class Kept(NamedTuple):
    """A receipt as the ledger has it."""

    position: Position
    event: ConsentChecked


class Digest:
    """Computes one of the two digests, piece by piece."""

    def __init__(self, salt: str | None = None) -> None:
        """Of an answer; with its salt, of a request.

        Raises:
            InvalidRequest: the salt is none.
        """
        if salt is None:
            self._state: hashlib._Hash | hmac.HMAC = hashlib.sha256()
            self.of: Part = "answer"
            return
        if not _SALT.fullmatch(salt):
            raise InvalidRequest("a salt is 32 hexadecimal digits, from the answer")
        self._state = hmac.new(bytes.fromhex(salt), digestmod=hashlib.sha256)
        self.of = "request"

    def update(self, piece: bytes) -> None:
        """Some more bytes."""
        self._state.update(piece)

    def hexdigest(self) -> str:
        """The digest of all of them."""
        return self._state.hexdigest()

    def matches(self, event: ConsentChecked) -> bool:
        """Whether the bytes are those of which the event tells."""
        kept = {"answer": event.answer_digest, "request": event.request_digest}
        return hmac.compare_digest(self.hexdigest(), kept[self.of])


def new_receipt() -> Receipt:
    """One that nobody has, to be written into an answer before it is kept."""
    return Receipt(uuid4(), secrets.token_hex(_SALT_BYTES))


async def keep_receipt(
    store: EventStore,
    receipt: Receipt,
    checked: Checked,
    *,
    request: Digest,
    answer: Digest,
) -> Position:
    """Append what shows that the answer was given; durable on return.

    Only then may the answer be given. One that is not known to be durable must not be:
    at worst the ledger has a receipt of which nobody has the answer.

    Raises:
        StoreUnavailable: it is not known to be durable.
    """
    fields = checked._asdict() | {
        "request_digest": request.hexdigest(),
        "answer_digest": answer.hexdigest(),
    }
    entry = encode_open(ConsentChecked, SubjectId(receipt.id), _FIRST, fields)
    [outcome] = await store.append([entry])
    if not isinstance(outcome, Appended):
        raise StoreUnavailable("the receipt was not recorded")
    return outcome.position


async def find_receipt(store: EventStore, given: str) -> Kept:
    """The receipt of that id.

    Raises:
        NotFound: there is none.
        StoreUnavailable: the database cannot be read now.
    """
    try:
        stream_id = SubjectId(UUID(given))
    except ValueError:
        raise NotFound("there is no receipt of this id") from None
    streams = await store.read_streams({stream_id: Version(0)})
    for position, event in streams[stream_id].events:
        if isinstance(event, ConsentChecked):
            return Kept(position, event)
    raise NotFound("there is no receipt of this id")
