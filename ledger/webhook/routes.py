"""``/optInStatus``: verify, parse, record, answer with TwiML that is empty, as a rule.

Never answers 200 before what it acknowledges is durable, and never with a body that
Twilio would text to the person.
"""

import logging
import re
from typing import Final

from aiohttp import web

from ledger.command_handler import NOTHING_TO_DO, CommandHandler, Receipt
from ledger.domain.classify import Vocabulary
from ledger.domain.messages import Arrival
from ledger.errors import UnusableText
from ledger.everyday import Answer, Plain, Reply, Route
from ledger.observations import count_arrival
from ledger.webhook.answering import Answering
from ledger.webhook.parse import first, parse_form, parse_text
from ledger.webhook.signature import SignatureChecker
from ledger.webhook.verified import SIGNATURE_HEADER, verified

log = logging.getLogger(__name__)

PATHS = ("/optInStatus", "/twilio/incoming-message")

# "Receive and send nothing": a text/plain answer would be texted to the person
# (https://www.twilio.com/docs/messaging/twiml).
_EMPTY_TWIML: Final = b'<?xml version="1.0" encoding="UTF-8"?><Response/>'
_NO_REPLY: Final = Answer(
    200, b"Content-Type: text/xml; charset=utf-8\r\n", _EMPTY_TWIML
)

_SIGNATURE: Final = SIGNATURE_HEADER.lower()
_FORM: Final = re.compile(
    r"application/x-www-form-urlencoded(?:; ?charset=utf-8)?", re.ASCII | re.IGNORECASE
)


class Webhook:
    """Twilio's inbound webhook."""

    def __init__(
        self,
        checker: SignatureChecker,
        vocabulary: Vocabulary,
        handler: CommandHandler,
        answering: Answering | None = None,
        *,
        records_messages: bool,
    ) -> None:
        self._checker = checker
        self._vocabulary = vocabulary
        self._handler = handler
        self._answering = answering
        self._records_messages = records_messages

    def routes(self) -> list[web.RouteDef]:
        """POST and GET, on both paths."""
        # No HEAD: aiohttp would have it record, and Twilio never asks.
        return [
            route
            for path in PATHS
            for route in (
                web.post(path, self.receive),
                web.get(path, self.receive, allow_head=False),
            )
        ]

    def everyday(self) -> list[Route]:
        """POST on both paths, for a form that is plainly Twilio's and gets no reply."""
        if self._answering is not None:
            return []
        return [Route("POST", path, path, self.take) for path in PATHS]

    def take(self, request: Plain, reply: Reply) -> bool:
        """As ``receive``, of what nearly all of Twilio's requests are.

        Never says what is wrong with one: ``receive`` does, of the same bytes.
        """
        signature = request.headers.get(_SIGNATURE)
        if signature is None or not _FORM.fullmatch(
            request.headers.get("content-type", "")
        ):
            return False
        parameters = parse_form(request.body)
        account_sid = first(parameters, "AccountSid")
        if not self._checker.matches(
            account_sid, request.target, parameters, signature
        ):
            return False
        try:
            text = parse_text(parameters, self._vocabulary)
        except UnusableText:
            return False
        arrival = text if self._records_messages else text.signal
        if arrival is None:
            reply.answer(_NO_REPLY)
        else:
            self._handler.put(arrival, _Acknowledgement(arrival, reply))
        return True

    async def receive(self, request: web.Request) -> web.Response:
        """Record a text and what it says of consent, and say what to reply, if that.

        Raises:
            InvalidSignature: it is not Twilio's; nothing was recorded.
            UnusableText: it is Twilio's, and names no person or message.
            StoreUnavailable, QueueFull: not durable; Twilio may try again.
        """
        parameters = await verified(self._checker, request)
        try:
            text = parse_text(parameters, self._vocabulary)
        except UnusableText as error:
            log.warning(
                "unusable_text",
                extra={
                    "reason": str(error),
                    "names": sorted({n for n, _ in parameters}),
                },
            )
            raise
        receipt = NOTHING_TO_DO
        arrival = text if self._records_messages else text.signal
        if arrival is not None:
            receipt = await self._handler.handle(arrival)
            count_arrival(arrival, receipt)
        twiml = None
        if self._answering is not None:
            twiml = await self._answering.reply(parameters, receipt)
        return web.Response(
            body=twiml or _EMPTY_TWIML, content_type="text/xml", charset="utf-8"
        )


class _Acknowledgement:
    """Tells Twilio what became of a text, and nothing before that is known."""

    __slots__ = ("_arrival", "_reply")

    def __init__(self, arrival: Arrival, reply: Reply) -> None:
        self._arrival = arrival
        self._reply = reply

    def done(self) -> bool:
        """Never: a text is recorded also where nobody waits for the answer."""
        return False

    def set_result(self, receipt: Receipt) -> None:
        """It is durable; and answered, whether or not it can be counted."""
        self._reply.answer(_NO_REPLY)
        count_arrival(self._arrival, receipt)

    def set_exception(self, error: Exception) -> None:
        """It is refused, or not known to be durable."""
        self._reply.fail(error)
