"""``PUT``, ``PATCH`` and ``POST`` of ``/PhoneNumbers``: explicit consent.

An application records what a person told it. Nothing is overwritten: an event is
appended, and the answer is the record that holds after it. The subtle part is
repeating: with an Idempotency-Key the same call may be made again after any failure and
counts once; the same key with another consent is refused.
"""

import uuid

from aiohttp import hdrs, web

from ledger.api.addresses import etag_of, parse_number, version_in
from ledger.api.answers import of_model
from ledger.api.inputs import idempotency_key, read_input
from ledger.api.keys import WRITE, Keys, Principal
from ledger.api.models import Accepted, ConsentInput, NewConsentInput
from ledger.api.read_model import ReadModel
from ledger.command_handler import CommandHandler, Receipt
from ledger.domain.events import ConsentChanged
from ledger.domain.evidence import checked_evidence
from ledger.domain.ids import (
    PhoneNumber,
    Position,
    Sender,
    Version,
    canonical_number,
)
from ledger.domain.signals import Signal
from ledger.errors import (
    AlreadyExists,
    IdempotencyKeyReused,
    InvalidConsent,
    InvalidRequest,
    NotYetProjected,
    PreconditionFailed,
)
from ledger.observations import count_arrival
from ledger.store.event_store import EventStore
from ledger.store.keyring import Keyring

POSITION_HEADER = "Ledger-Position"
"""Where this consent was recorded: of a repeat, the first one's position, though the
record may have moved on since."""


class ConsentsApi:
    """Records what applications say."""

    def __init__(
        self,
        keys: Keys,
        handler: CommandHandler,
        store: EventStore,
        read_model: ReadModel,
        keyring: Keyring,
    ) -> None:
        self._keys = keys
        self._handler = handler
        self._store = store
        self._read_model = read_model
        self._keyring = keyring

    def routes(self) -> list[web.RouteDef]:
        """PUT and PATCH of a number, POST of a new one."""
        return [
            web.put("/PhoneNumbers/{number}", self.put),
            web.patch("/PhoneNumbers/{number}", self.put),
            web.post("/PhoneNumbers/", self.post),
        ]

    async def put(self, request: web.Request) -> web.Response:
        """Record a consent for the number in the path; 201 for a number new to us.

        Raises:
            Unauthenticated, Forbidden: the key is not a writer's.
            InvalidPhoneNumber, InvalidConsent, InvalidRequest: what to change.
            PreconditionFailed: If-Match or If-None-Match does not hold.
            IdempotencyKeyReused: the key was used for another consent.
            StoreUnavailable, QueueFull: not durable; safe to send again.
        """
        principal = await self._keys.require(request, WRITE)
        number = parse_number(request.match_info["number"])
        given = await read_input(request, ConsentInput, InvalidConsent)
        if given.phone_number and parse_number(given.phone_number) != number:
            raise InvalidConsent("phoneNumber is not the number in the path")
        key, expected = _signal_key(request), _expected_version(request)
        if request.headers.get(hdrs.IF_MATCH) == "*":
            await self._require_record(number)
        return await self._record(key, principal, number, given, expected)

    async def post(self, request: web.Request) -> web.Response:
        """Record a consent for a number that was never seen, named in the body.

        Raises:
            AlreadyExists: the number has a record; PUT appends to it.
        """
        principal = await self._keys.require(request, WRITE)
        given = await read_input(request, NewConsentInput, InvalidConsent)
        number = parse_number(given.phone_number)
        try:
            response = await self._record(
                _signal_key(request), principal, number, given, Version(0)
            )
        except PreconditionFailed:
            raise AlreadyExists("PUT appends to a number that has a record") from None
        response.headers[hdrs.LOCATION] = f"/PhoneNumbers/%2B{number[1:]}"
        return response

    async def _record(
        self,
        key: str,
        principal: Principal,
        number: PhoneNumber,
        given: ConsentInput,
        expected_version: Version | None,
    ) -> web.Response:
        if canonical_number(given.sender) == number:
            raise InvalidConsent("sender is the number itself")
        signal = Signal(
            key=key,
            phone_number=number,
            sender=Sender(given.sender),
            status=given.status,
            occurred_at=given.occurred_at,
            source="api",
            matched_by="explicit",
            actor=f"key:{principal.name}",
            evidence=checked_evidence(given.evidence),
            expected_version=expected_version,
        )
        receipt = await self._handler.handle(signal)
        count_arrival(signal, receipt)
        if not receipt.is_new:
            await self._refuse_other(signal, receipt)
        return await self._answer(signal, receipt)

    async def _require_record(self, number: PhoneNumber) -> None:
        """Records go away only where one is erased, and then a new one begins."""
        record = await self._read_model.find(number)
        if record is None or record.erased:
            raise PreconditionFailed("there is no record yet")

    async def _refuse_other(self, signal: Signal, receipt: Receipt) -> None:
        """A repeat must be of the same consent, as far as that is still known.

        Evidence that was destroyed is not compared. A number that was erased is no
        more the one that is asked for: it may be another's.
        """
        if receipt.position is None:
            return
        before = Position(receipt.position - 1)
        [(_, event)] = await self._store.read_after(before, 1)
        assert isinstance(event, ConsentChanged), "only consents have such keys"  # noqa: S101
        [(number, evidence, _)] = await self._keyring.opened([event])
        asked = (
            signal.phone_number,
            signal.sender,
            signal.status,
            signal.occurred_at or event.recorded_at,
            signal.evidence if evidence is not None else None,
        )
        kept = (number, event.sender, event.status, event.occurred_at, evidence)
        if asked != kept:
            raise IdempotencyKeyReused(f"it recorded position {receipt.position}")

    async def _answer(self, signal: Signal, receipt: Receipt) -> web.Response:
        position = receipt.position or Position(0)
        headers = {POSITION_HEADER: str(position)}
        try:
            await self._read_model.wait_for(position, "phone_numbers")
        except NotYetProjected:
            accepted = Accepted(
                phone_number=signal.phone_number,
                status=signal.status,
                position=position,
            )
            return of_model(accepted, status=202, headers=headers)
        record = await self._read_model.find(signal.phone_number)
        assert record is not None, "a number with an event has a record"  # noqa: S101
        status = 201 if record.version == 1 and receipt.is_new else 200
        headers[hdrs.ETAG] = etag_of(record)
        return of_model(record, status=status, headers=headers)


def _signal_key(request: web.Request) -> str:
    return f"api:{idempotency_key(request) or uuid.uuid4()}"


def _expected_version(request: web.Request) -> Version | None:
    none_match = request.headers.get(hdrs.IF_NONE_MATCH, "*")
    if none_match != "*":
        raise InvalidRequest("If-None-Match can only be * where something is recorded")
    if hdrs.IF_NONE_MATCH in request.headers:
        return Version(0)
    given = request.headers.get(hdrs.IF_MATCH)
    return None if given in (None, "*") else version_in(given)
