"""``GET /PhoneNumbers/{number}/history``: everything that a number has said.

Never shows what is personal to who may not see it: evidence is opened for auditors.
"""

from typing import Final

from aiohttp import hdrs, web

from ledger.api.addresses import (
    number_in,
    parse_position,
    route_of,
    single_parameters,
)
from ledger.api.answers import of_model
from ledger.api.keys import AUDIT, READ, Keys
from ledger.api.models import History, HistoryEvent
from ledger.api.read_model import ReadModel
from ledger.domain.events import ConsentChanged
from ledger.domain.ids import Position, SubjectId, Version
from ledger.domain.signals import Evidence
from ledger.errors import InvalidQuery, NotFound
from ledger.reads import record_read
from ledger.store.event_store import EventStore
from ledger.store.keyring import Keyring

HISTORY_EVENTS_MAX: Final = 10_000


class HistoryApi:
    """Answers with the events of one number."""

    def __init__(
        self, keys: Keys, read_model: ReadModel, store: EventStore, keyring: Keyring
    ) -> None:
        self._keys = keys
        self._read_model = read_model
        self._store = store
        self._keyring = keyring

    def routes(self) -> list[web.RouteDef]:
        """The history."""
        return [web.get("/PhoneNumbers/{number}/history", self.history)]

    async def history(self, request: web.Request) -> web.Response:
        """Every event of a number, oldest first; with evidence for auditors.

        Of a number that was erased, those since. At most 10,000 an answer; a
        ``Link: rel=next`` names the rest.

        Raises:
            NotFound: the number was never seen.
        """
        principal = await self._keys.require(request, READ)
        number = number_in(request.match_info["number"])
        parameters = single_parameters(request, ("after", "limit", "minPosition"))
        if "minPosition" in parameters:
            position = parse_position("minPosition", parameters["minPosition"])
            await self._read_model.wait_for(position, "consent_history")
        after = parse_position("after", parameters.get("after", "0"))
        limit = _limit(parameters.get("limit"))
        told = await self._read_model.history(number, after=after, limit=limit + 1)
        if not told.events and after == 0 and not told.erased:
            raise NotFound("this number was never seen")
        page = told.events[:limit]
        if principal.role in AUDIT and page:
            page = await self._with_evidence(told.subject_id, page)
            record_read(
                principal.name,
                route_of(request),
                len(page),
                subject_id=told.subject_id,
            )
        response = of_model(
            History(phone_number=number, events=page, erased=told.erased)
        )
        if len(told.events) > limit:
            url = request.rel_url.update_query(after=page[-1].position)
            response.headers[hdrs.LINK] = f'<{url}>; rel="next"'
        return response

    async def _with_evidence(
        self, subject_id: SubjectId, page: list[HistoryEvent]
    ) -> list[HistoryEvent]:
        """The same events, with what is kept only in the ledger itself, sealed.

        Though the stream goes on with what this release does not know.
        """
        streams = await self._store.read_streams(
            {subject_id: Version(page[0].version - 1)}
        )
        shown = {event.position for event in page}
        # A lapse has no evidence: nobody said it.
        sealed = [
            event
            for position, event in streams[subject_id].up_to(
                Position(page[-1].position)
            )
            if position in shown and isinstance(event, ConsentChanged)
        ]
        opened = await self._keyring.opened(sealed)
        evidence = {
            event.version: found
            for event, (_, found, _) in zip(sealed, opened, strict=True)
        }
        return [
            _with(event, evidence[version])
            if (version := Version(event.version)) in evidence
            else event
            for event in page
        ]


def _with(event: HistoryEvent, evidence: Evidence | None) -> HistoryEvent:
    update = {"evidence": evidence, "evidence_erased": evidence is None}
    return event.model_copy(update=update)


def _limit(given: str | None) -> int:
    if given is None:
        return HISTORY_EVENTS_MAX
    limit = parse_position("limit", given)
    if not 1 <= limit <= HISTORY_EVENTS_MAX:
        raise InvalidQuery(f"limit must be from 1 to {HISTORY_EVENTS_MAX}")
    return limit
