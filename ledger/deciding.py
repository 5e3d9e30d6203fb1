"""What arrivals add to the ledger, decided on what was loaded for a batch of them.

The rules are the domain's; here they are given what they decide on, and what they
propose becomes an entry, sealed. Never reads after it was loaded and never appends. The
subtle part is that one batch may bring several things of one person or text: each is
decided as if those before it were recorded. Whether it does is known before, since to
assume that for nothing costs a tenth of a text's work.
"""

from collections.abc import Collection, Sequence
from typing import assert_never
from uuid import UUID

from ledger.domain import messages
from ledger.domain.consent import Proposal, Subject, assume, decide
from ledger.domain.ids import MessageId, Version
from ledger.domain.messages import (
    Arrival,
    Message,
    MessageProposal,
    SendRequest,
    SentReport,
    StatusReport,
    Text,
    decide_outgoing,
    decide_request,
    decide_text,
    unwritten,
)
from ledger.domain.signals import Signal
from ledger.errors import KeyMissing
from ledger.people import People, Person
from ledger.store.codec import Entry, Sealing, encode, encode_unsealed
from ledger.store.event_store import EventStore
from ledger.store.identity import Identity
from ledger.store.keyring import Keyring
from ledger.store.sealing import Day


def message_id_of(
    identity: Identity, arrival: Text | SendRequest | SentReport | StatusReport
) -> MessageId:
    """The stream of a text that has arrived, or of which something has."""
    if isinstance(arrival, StatusReport):
        return arrival.message_id
    return identity.message_id(arrival.name)


async def read_messages(
    store: EventStore, ids: Collection[MessageId]
) -> dict[MessageId, Message]:
    """The texts as they are recorded; of one that is not, one that is unwritten.

    Raises:
        UnknownEvent, EventBroken, StoreUnavailable: as ``EventStore.read_streams``.
    """
    streams = await store.read_streams(dict.fromkeys(ids, Version(0)))
    found: dict[MessageId, Message] = {}
    for message_id, stream in streams.items():
        message = unwritten(message_id)
        for _, event in stream.events:
            message = messages.fold(message, event)
        found[message_id] = message
    return found


class Deciding:
    """Decides one batch; what it was given changes with what is decided."""

    def __init__(  # noqa: PLR0913 - what is decided on
        self,
        keyring: Keyring,
        identity: Identity,
        day: Day,
        people: People,
        texts: dict[MessageId, Message],
        *,
        has_repeats: bool,
    ) -> None:
        self.identity = identity
        self.people = people
        self._keyring = keyring
        self._day = day
        self._texts = texts
        self._has_repeats = has_repeats

    def entry(self, key: UUID, arrival: Arrival) -> Entry | None:
        """What ``arrival`` adds; None where nothing is to be done.

        Raises:
            RequestRefused: it is not to be done.
        """
        person = self.people[arrival.phone_number]
        if isinstance(arrival, Signal):
            consents, text = decide(person.subject, arrival), None
        else:
            message = self._message(arrival)
            consents = _consents(person.subject, message, arrival)
            text = self._text(person.subject, message, arrival, consents)
        # What was said of consent first: it is the cause, and holds the evidence.
        proposals: list[Proposal | MessageProposal] = [*consents]
        if text:
            proposals.append(text)
        if not proposals:
            return None
        if text and not consents and text.counterparty != person.subject.id:
            return encode_unsealed(key, text)
        is_wish = isinstance(arrival, SendRequest)
        version = person.subject.version if is_wish else None
        sealing = self._sealing(person)
        if self._has_repeats:
            self._assume(arrival, person._replace(key=sealing.key), consents)
        return encode(key, proposals, sealing, subject_version=version)

    def _message(
        self, arrival: Text | SendRequest | SentReport | StatusReport
    ) -> Message:
        message_id = message_id_of(self.identity, arrival)
        return self._texts.get(message_id) or unwritten(message_id)

    def _text(
        self,
        subject: Subject,
        message: Message,
        arrival: Text | SendRequest | SentReport | StatusReport,
        consents: Sequence[Proposal],
    ) -> MessageProposal:
        match arrival:
            case Text():
                proposal = decide_text(message, subject, arrival, consents)
            case SendRequest():
                proposal = decide_request(message, subject, arrival)
            case SentReport() | StatusReport():
                proposal = decide_outgoing(message, subject, arrival, consents)
            case _:
                assert_never(arrival)
        if self._has_repeats:
            self._texts[message.id] = messages.assume(message, proposal)
        return proposal

    def _assume(
        self, arrival: Arrival, person: Person, consents: Sequence[Proposal]
    ) -> None:
        subject = person.subject
        for consent in consents:
            subject = assume(subject, consent)
        self.people[arrival.phone_number] = person._replace(subject=subject)

    def _sealing(self, person: Person) -> Sealing:
        subject = person.subject
        if person.key is not None:
            return Sealing(subject.id, person.key, is_new_key=False, day=self._day)
        if subject.version > 0:
            raise KeyMissing(f"of subject {subject.id}, which was not erased")
        made = self._keyring.new_subject_key(subject.id)
        return Sealing(subject.id, made, is_new_key=True, day=self._day)


def _consents(
    subject: Subject,
    message: Message,
    arrival: Text | SendRequest | SentReport | StatusReport,
) -> list[Proposal]:
    match arrival:
        case SendRequest() | Text(signal=None):
            return []
        case Text(signal=signal):
            return decide(subject, signal) if signal else []
        case SentReport(signal=signal) | StatusReport(signal=signal):
            # Told of one text by its answer, and by callbacks of several states, it is
            # one block; the person may have said START since the first.
            return decide(subject, signal) if signal and not message.is_blocked else []
        case _:
            assert_never(arrival)
