"""``/checks/{receipt}``: what was asked and answered, and whether this is it.

For auditors. Never keeps what is sent to be compared.
"""

from typing import Final

from aiohttp import web

from ledger.api.addresses import route_of, single_parameters
from ledger.api.answers import of_model
from ledger.api.check_models import CheckReceipt, ReceiptVerdict
from ledger.api.keys import AUDIT, Keys
from ledger.errors import BodyTooLarge
from ledger.reads import record_read
from ledger.receipts import Digest, Kept, find_receipt
from ledger.store.event_store import EventStore

SALT_HEADER: Final = "Receipt-Salt"
"""Not in the query: with it the digest of a short request could be broken, and
addresses are written to logs."""

VERIFIED_BYTES_MAX: Final = 67_108_864
"""Largest body that is compared, in bytes; the command line compares any."""


class ReceiptsApi:
    """Shows receipts and compares with them."""

    def __init__(self, keys: Keys, store: EventStore) -> None:
        self._keys = keys
        self._store = store

    def routes(self) -> list[web.RouteDef]:
        """A receipt, and comparing with it."""
        return [
            web.get("/checks/{receipt}", self.get),
            web.post("/checks/{receipt}/verify", self.verify),
        ]

    async def get(self, request: web.Request) -> web.Response:
        """The receipt.

        Raises:
            Unauthenticated, Forbidden: the key is not an auditor's.
            NotFound: there is none.
        """
        kept = await self._find(request)
        return of_model(_shown(kept))

    async def verify(self, request: web.Request) -> web.Response:
        """Whether the body is the answer that was given; with a salt, the request.

        Raises:
            Unauthenticated, Forbidden: the key is not an auditor's.
            NotFound: there is no such receipt.
            InvalidRequest: ``Receipt-Salt`` is no salt.
            BodyTooLarge: the command line compares larger ones.
        """
        kept = await self._find(request)
        digest = Digest(request.headers.get(SALT_HEADER))
        count = 0
        async for piece in request.content.iter_any():
            count += len(piece)
            if count > VERIFIED_BYTES_MAX:
                raise BodyTooLarge("use `consent-ledger receipt` for larger ones")
            digest.update(piece)
        verdict = ReceiptVerdict(
            receipt=str(kept.event.originator_id),
            part=digest.of,
            matches=digest.matches(kept.event),
        )
        return of_model(verdict)

    async def _find(self, request: web.Request) -> Kept:
        principal = await self._keys.require(request, AUDIT)
        single_parameters(request, ())
        kept = await find_receipt(self._store, request.match_info["receipt"])
        record_read(principal.name, route_of(request), 1, position=kept.position)
        return kept


def _shown(kept: Kept) -> CheckReceipt:
    event = kept.event
    return CheckReceipt(
        receipt=str(event.originator_id),
        position=kept.position,
        recorded_at=event.recorded_at,
        actor=event.actor,
        sender=event.sender,
        as_of=event.as_of,
        known_at=event.known_at,
        region=event.region,
        read_position=event.read_position,
        numbers=event.numbers,
        request_digest=event.request_digest,
        answer_digest=event.answer_digest,
    )
