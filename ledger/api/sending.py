"""``POST /Messages``: a text, sent where the person's consent allows it.

Answers with the text as the ledger has it. The subtle part is repeating: the same
Idempotency-Key is the same text, whatever has become of it, so that after any failure
the call may be made again, and no second text goes out.
"""

from http import HTTPStatus
from typing import Final

import orjson
from aiohttp import web

from ledger.api.addresses import parse_number
from ledger.api.answers import of_model
from ledger.api.consents import POSITION_HEADER
from ledger.api.inputs import idempotency_key, read_input
from ledger.api.keys import WRITE, Keys, Principal
from ledger.api.models import HistoryEvent
from ledger.api.problems import problem
from ledger.api.sending_models import MessageInput, OutgoingMessage
from ledger.domain.consent import decisive_for
from ledger.domain.events import ConsentChanged
from ledger.domain.ids import Sender, canonical_number
from ledger.domain.messages import BLOCKED
from ledger.errors import InvalidMessage, MessageFailed, NotAllowed
from ledger.generations import Generation, person_now
from ledger.sending.sender import Sending, Sent, Wish
from ledger.sending.texts import RequestedText
from ledger.settings import Settings
from ledger.store.event_store import EventStore
from ledger.store.keyring import Keyring
from ledger.twilio.messages import SERVICE_PREFIX

_TWILIO_ERROR: Final = "https://www.twilio.com/docs/api/errors/"


class SendingApi:
    """Sends texts for applications."""

    def __init__(
        self,
        keys: Keys,
        sending: Sending,
        store: EventStore,
        keyring: Keyring,
        settings: Settings,
    ) -> None:
        self._keys = keys
        self._sending = sending
        self._store = store
        self._keyring = keyring
        self._settings = settings

    def routes(self) -> list[web.RouteDef]:
        """POST of a message."""
        return [web.post("/Messages", self.post)]

    async def post(self, request: web.Request) -> web.Response:
        """Send a text; 201 where Twilio has it, 202 where that is not known.

        Raises:
            Unauthenticated, Forbidden: the key is not a writer's.
            InvalidPhoneNumber, InvalidMessage, InvalidRequest: what to change.
            NotAllowed: the person is out for that sender, or nothing is known.
            IdempotencyKeyReused: the key was used for another text.
            MessageFailed: Twilio does not send it.
            StoreUnavailable, QueueFull: send it again with the same key.
        """
        principal = await self._keys.require(request, WRITE)
        given = await read_input(request, MessageInput, InvalidMessage)
        wish = self._wish(given, principal, idempotency_key(request))
        try:
            sent = await self._sending.send(wish)
            _refuse_failed(sent.text)
        except NotAllowed as refusal:
            return await self._refused(wish, refusal)
        return _answer(sent)

    def _wish(self, given: MessageInput, principal: Principal, key: str | None) -> Wish:
        number = parse_number(given.to)
        named = given.messaging_service_sid or given.from_
        sender = Sender(named or self._settings.sender or "")
        if not sender:
            raise InvalidMessage("give from or messagingServiceSid, or set a default")
        if canonical_number(sender) == number:
            raise InvalidMessage("from is the number itself")
        if given.send_at is not None and not sender.startswith(SERVICE_PREFIX):
            raise InvalidMessage(
                "sendAt needs messagingServiceSid: Twilio schedules "
                "for a Messaging Service alone"
            )
        content = {"body": given.body, "contentSid": given.content_sid}
        if given.content_variables is not None:
            written = orjson.dumps(given.content_variables, option=orjson.OPT_SORT_KEYS)
            content["contentVariables"] = written.decode()
        return Wish(
            key=key,
            phone_number=number,
            to=given.to,
            sender=sender,
            content={n: v for n, v in content.items() if v is not None},
            actor=f"key:{principal.name}",
            send_at=given.send_at,
        )

    async def _refused(self, wish: Wish, refusal: NotAllowed) -> web.Response:
        """409, with the event that decides."""
        person = await person_now(self._store, self._keyring, wish.phone_number)
        return problem(
            HTTPStatus.CONFLICT,
            refusal.code,
            refusal.title(),
            str(refusal),
            decided_by=_deciding(person, wish.sender),
        )


def _refuse_failed(text: RequestedText) -> None:
    """What Twilio has refused is refused, and as often as it is asked for.

    Raises:
        NotAllowed: Twilio blocks the number for that sender.
        MessageFailed: any other reason.
    """
    message = text.message
    if message.status != "failed" or text.sid is not None:
        return
    code = message.error_code
    if code == BLOCKED:
        raise NotAllowed("out", None)
    said = f"error {code}, {_TWILIO_ERROR}{code}" if code else "no code of Twilio's"
    raise MessageFailed(
        f"message {message.id}: {said}; it is not sent by this key again"
    )


def _answer(sent: Sent) -> web.Response:
    text = sent.text
    message = text.message
    shown = OutgoingMessage(
        id=str(message.id),
        sid=text.sid,
        to=text.content_field("to") or text.phone_number or "",
        from_=message.address,
        sender=text.sender,
        status=message.status,
        error_code=message.error_code,
        send_at=message.send_at,
        requested_at=text.requested_at,
        position=text.position,
    )
    status = 201 if sent.is_new else 200
    if text.is_unsettled:
        status = 202
    return of_model(shown, status=status, headers={POSITION_HEADER: str(text.position)})


def _deciding(person: Generation, sender: Sender) -> HistoryEvent | None:
    """The event that decided, as a history shows it, without what is personal.

    None where nothing was said, or where who said it was erased.
    """
    fact = decisive_for(person.subject.facts, sender)
    version = fact.version if fact else None
    for position, event in person.events:
        if isinstance(event, ConsentChanged) and event.version == version:
            return HistoryEvent(
                position=position,
                version=event.version,
                sender=event.sender,
                status=event.status,
                previous_status=event.previous_status,
                occurred_at=event.occurred_at,
                recorded_at=event.recorded_at,
                source=event.source,
                matched_by=event.matched_by,
                actor=event.actor,
            )
    return None
