"""``DELETE /PhoneNumbers/{number}``: erasing a person, never an event."""

from aiohttp import web

from ledger.api.addresses import single_parameters
from ledger.api.answers import of_model
from ledger.api.consents import POSITION_HEADER
from ledger.api.keys import ERASE, Keys
from ledger.api.models import ErasedRecord
from ledger.domain.ids import canonical_number
from ledger.erasure import Erasures
from ledger.errors import InvalidReason, NotFound


class ErasuresApi:
    """Destroys what is personal of a number."""

    def __init__(self, keys: Keys, erasures: Erasures) -> None:
        self._keys = keys
        self._erasures = erasures

    def routes(self) -> list[web.RouteDef]:
        """DELETE of a number."""
        return [web.delete("/PhoneNumbers/{number}", self.delete)]

    async def delete(self, request: web.Request) -> web.Response:
        """Erase the number in the path, for the reason in ``?reason=``.

        A second time answers as the first did.

        Raises:
            Unauthenticated, Forbidden: the key is not an admin's.
            InvalidReason: there is none, or it tells the number.
            NotFound: the number was never seen.
            OnHold: it is under a legal hold.
            TryAgain, TwilioRefused, TwilioUnavailable: a text that is scheduled to it
                is not known to be canceled. Nothing is erased.
            StoreUnavailable: not known to be done; safe to send again.
        """
        principal = await self._keys.require(request, ERASE)
        parameters = single_parameters(request, ("reason",))
        if "reason" not in parameters:
            raise InvalidReason("say why, as ?reason=")
        if "\0" in request.match_info["number"]:
            raise NotFound("this number was never seen")
        number = canonical_number(request.match_info["number"])
        erased = await self._erasures.erase(
            number, reason=parameters["reason"], actor=f"key:{principal.name}"
        )
        shown = ErasedRecord(
            phone_number=number, status=erased.status, position=erased.position
        )
        return of_model(shown, headers={POSITION_HEADER: str(erased.position)})
