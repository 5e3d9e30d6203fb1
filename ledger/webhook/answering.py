"""Answering a text, in the answer to Twilio's request: TwiML with one message, or none.

Comes after what the text says is durable, and never stands in its way: whatever fails
or takes too long here costs the reply and nothing else. Never replies where Twilio
does so itself, and never to whoever is out, but for the one confirmation. The subtle
part is a text that Twilio sends again, its first answer being lost: it is judged by
what held before the event that it caused, so that it is answered as it was.
"""

import asyncio
import logging
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from twilio.twiml.messaging_response import MessagingResponse

from ledger.command_handler import NOTHING_TO_DO, Receipt
from ledger.domain.classify import Classification, Vocabulary, classify
from ledger.domain.consent import status_for
from ledger.domain.events import ConsentChanged
from ledger.domain.ids import Answer, Position, Sender, canonical_number, channel_of
from ledger.domain.replies import (
    ReplyKind,
    configured_reply,
    is_wanted,
    kind_of,
    twilio_answers,
)
from ledger.generations import person_now
from ledger.observations import count_answer
from ledger.sending.sender import status_callback
from ledger.settings import Settings
from ledger.store.event_store import EventStore
from ledger.store.keyring import Keyring
from ledger.webhook.on_message import (
    Handler,
    HandlerBusy,
    HandlerCalls,
    InboundMessage,
    load_handlers,
)
from ledger.webhook.signature import Parameters

log = logging.getLogger(__name__)

REPLY_CHARACTERS_MAX: Final = 1_600
"""The longest message that Twilio sends."""

# Whatever XML 1.0 has no way to write.
_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class _Text(NamedTuple):
    """A text, as far as its answer depends on it."""

    fields: Mapping[str, str]
    meaning: Classification
    receipt: Receipt

    def field(self, name: str) -> str:
        return self.fields.get(name, "").strip()

    @property
    def twilio_answers(self) -> bool:
        return twilio_answers(
            self.meaning,
            to=self.field("To"),
            service_sid=self.field("MessagingServiceSid"),
            opt_out_type=self.field("OptOutType"),
        )


class Answering:
    """Finds the reply to a text that is durable."""

    def __init__(
        self,
        settings: Settings,
        vocabulary: Vocabulary,
        store: EventStore,
        keyring: Keyring,
    ) -> None:
        self._texts = settings.reply_texts()
        self._seconds_max = settings.answer_seconds_max
        self._callback = status_callback(settings)
        self._vocabulary = vocabulary
        self._store = store
        self._keyring = keyring
        self._calls = HandlerCalls(
            load_handlers(settings.on_message), calls_max=settings.on_message_calls_max
        )

    async def reply(self, parameters: Parameters, receipt: Receipt) -> bytes | None:
        """TwiML that replies to a text; None where nothing is to be said."""
        fields = dict(reversed(parameters))
        meaning = classify(
            fields.get("Body", ""), fields.get("OptOutType"), self._vocabulary
        )
        text = _Text(fields, meaning, receipt)
        found: str | None = None
        try:
            async with asyncio.timeout(self._seconds_max):
                found = await self._reply(text)
        except TimeoutError:
            log.warning("answer_late", extra={"seconds": self._seconds_max})
            count_answer(self._at_fault(text), "late")
        except Exception:
            # The text is durable: whatever is wrong with its answer, it has one.
            log.exception("answer_failed")
            count_answer(self._at_fault(text), "failed")
        return None if found is None else twiml(found, self._callback)

    async def _reply(self, text: _Text) -> str | None:
        """The handler's, else the one that is set; None where neither may be."""
        given = await self._handled(text)
        if given is not None and await self._may_be_sent(text):
            count_answer("handler", "sent")
            return given
        if given is not None:
            count_answer("handler", "refused")
        found = await self._configured(text)
        if found is not None:
            count_answer(kind_of(text.meaning), "sent")
        return found

    async def _handled(self, text: _Text) -> str | None:
        handler = self._handler_for(text)
        if handler is None:
            return None
        try:
            given = await self._calls.call(handler, _message(text))
        except HandlerBusy:
            log.warning("on_message_busy")
            count_answer("handler", "busy")
            return None
        except Exception:
            log.exception("on_message_failed")
            count_answer("handler", "failed")
            return None
        return _checked(given)

    async def _may_be_sent(self, text: _Text) -> bool:
        if text.twilio_answers or text.meaning.meaning == "out":
            return False
        return await self._status(text) != "out"

    async def _configured(self, text: _Text) -> str | None:
        if not is_wanted(self._texts, text.meaning) or text.twilio_answers:
            return None
        before = await self._before(text)
        return before and configured_reply(self._texts, text.meaning, before)

    async def _before(self, text: _Text) -> Answer | None:
        """What held until the text; None where it has changed nothing."""
        if text.meaning.meaning == "help":
            return await self._status(text)
        position = text.receipt.position
        return None if position is None else await self._previous(position)

    async def _previous(self, position: Position) -> Answer | None:
        [(_, event)] = await self._store.read_at([position])
        return event.previous_status if isinstance(event, ConsentChanged) else None

    async def _status(self, text: _Text) -> Answer:
        """Whether whoever was texted may text the person, as the ledger has it now."""
        number = canonical_number(text.field("From"))
        subject = (await person_now(self._store, self._keyring, number)).subject
        sender = Sender(text.field("MessagingServiceSid") or text.field("To"))
        return status_for(subject.facts, sender, suppressed=subject.suppressed)

    def _at_fault(self, text: _Text) -> ReplyKind:
        """Whose reply was being made, as far as is known from outside."""
        return "handler" if self._handler_for(text) else kind_of(text.meaning)

    def _handler_for(self, text: _Text) -> Handler | None:
        return self._calls.handler_for(
            to=text.field("To"), service_sid=text.field("MessagingServiceSid")
        )


def twiml(reply: str, callback: str | None) -> bytes:
    """A document that has Twilio text ``reply`` to whoever has texted.

    ``callback`` is where it says what becomes of the reply, which is a text as well.
    """
    document = MessagingResponse()
    written = _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", reply)
    document.message(written, status_callback=callback)
    return str(document.to_xml()).encode()


def _checked(given: object) -> str | None:
    """A handler's reply, if it can be sent."""
    if given is None or given == "":
        return None
    if isinstance(given, str) and len(given) <= REPLY_CHARACTERS_MAX:
        return given
    log.error("on_message_reply", extra={"kind": type(given).__name__})
    count_answer("handler", "failed")
    return None


def _message(text: _Text) -> InboundMessage:
    address = text.field("From")
    sid = text.field("MessageSid") or text.field("SmsMessageSid")
    return InboundMessage(
        sid=sid or text.field("SmsSid"),
        account_sid=text.field("AccountSid"),
        from_=address,
        to=text.field("To"),
        service_sid=text.field("MessagingServiceSid"),
        body=text.fields.get("Body", ""),
        channel=channel_of(address),
        meaning=text.meaning.meaning,
        is_repeat=text.receipt != NOTHING_TO_DO and not text.receipt.is_new,
        parameters=text.fields,
    )
