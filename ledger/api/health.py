"""``/healthz``, ``/readyz`` and ``/metrics``: for those who operate the service.

The only routes but the webhook that need no key; they name no number.
"""

import contextlib

import asyncpg
from aiohttp import web

from ledger.api.answers import of_model
from ledger.api.models import Liveness, ProjectionState, Readiness
from ledger.api.read_model import ReadModel
from ledger.errors import NotServed, SchemaMismatch, StoreUnavailable, UnknownEvent
from ledger.migrations import check_schema
from ledger.notifying.standing import read_channels
from ledger.observations import (
    metrics,
    observe_notices,
    observe_projections,
    observe_rebuilds,
)
from ledger.settings import Settings
from ledger.store.database import Pool, translated


class HealthApi:
    """Tells whether the service lives, can be used, and what it counted."""

    def __init__(
        self,
        pool: Pool,
        read_model: ReadModel,
        settings: Settings,
    ) -> None:
        self._pool = pool
        self._read_model = read_model
        self._settings = settings

    def routes(self) -> list[web.RouteDef]:
        """Three paths that every orchestrator asks for."""
        return [
            web.get("/healthz", self.alive),
            web.get("/readyz", self.ready),
            web.get("/metrics", self.metrics),
        ]

    async def alive(self, _: web.Request) -> web.Response:
        """The process answers."""
        return of_model(Liveness(alive=True))

    async def ready(self, _: web.Request) -> web.Response:
        """Database reachable, migrations current, projections running and near."""
        readiness = await self.readiness()
        return of_model(readiness, status=200 if readiness.ready else 503)

    async def metrics(self, _: web.Request) -> web.Response:
        """Everything that was counted, by all processes."""
        # The counts are worth having while the database is down or empty, too.
        with contextlib.suppress(StoreUnavailable, asyncpg.UndefinedTableError):
            await self._observe()
        return web.Response(
            body=metrics(), headers={"Content-Type": "text/plain; version=0.0.4"}
        )

    async def readiness(self) -> Readiness:
        """What stands in the way of using the service, if anything."""
        try:
            with translated():
                async with self._pool.acquire() as connection:
                    await check_schema(connection)
            position, found = await self._read_model.projections()
            answering = await self._read_model.answering() if found else {}
        except NotServed as error:
            return _unready(f"{error.code}: {error}")
        except StoreUnavailable as error:
            # Not its message: that may name the server, and anyone may ask here.
            return _unready(f"{error.code}: {error.title()}")
        except SchemaMismatch as error:
            return _unready(f"{error.code}: {error}")
        states = [_discreet(state) for state in found]
        # Of the version that answers here: another may be days from it, and do no harm.
        reasons = [
            reason
            for state in states
            if answering.get(state.name) == state.version
            for reason in self._reasons(state)
        ]
        if not states:
            reasons.append("no projection was ever started")
        return Readiness(
            ready=not reasons, reasons=reasons, position=position, projections=states
        )

    def _reasons(self, state: ProjectionState) -> list[str]:
        reasons = []
        if state.stopped_reason is not None:
            told = _told(state.stopped_reason)
            reasons.append(f"{state.name} has stopped after {state.position}{told}")
        elif not state.running:
            reasons.append(f"{state.name} is not running")
        if state.lag_events > self._settings.lag_events_max:
            reasons.append(f"{state.name} is {state.lag_events} events behind")
        return reasons

    async def _observe(self) -> None:
        # Of a channel that nobody has set, the lag grows and means nothing.
        found = await read_channels(self._pool, self._settings.notice_channels)
        observe_notices({c.channel: c.lag_events for c in found if c.is_set})
        position, states = await self._read_model.projections()
        rebuilds = {r.name: r for r in await self._read_model.rebuilds()}
        answering = {s.name: s.version for s in states if s.serving}
        with contextlib.suppress(NotServed):
            answering = {**answering, **await self._read_model.answering()}
        # Of the version that answers here, as readiness: where a newer release has
        # switched, nobody may keep its version up to date before it is started.
        serving = [s for s in states if answering.get(s.name) == s.version]
        observe_projections(
            position,
            {s.name: (s.position, s.stopped_reason is not None) for s in serving},
        )
        observe_rebuilds(
            {
                s.name: (r.phase, r.events_done, r.events_total)
                if (r := rebuilds.get(s.name))
                else None
                for s in serving
            }
        )


def _unready(reason: str) -> Readiness:
    return Readiness(ready=False, reasons=[reason], position=None, projections=[])


def _discreet(state: ProjectionState) -> ProjectionState:
    """Without the message of what stopped it, which may show a row: anyone may ask.

    But for an event of another release: that names a position, a kind and a release.
    """
    reason = state.stopped_reason
    if reason is None or _is_of_another_release(reason):
        return state
    return state.model_copy(update={"stopped_reason": reason.partition(":")[0]})


def _told(reason: str) -> str:
    return f": {reason.partition(': ')[2]}" if _is_of_another_release(reason) else ""


def _is_of_another_release(reason: str) -> bool:
    return reason.startswith(f"{UnknownEvent.__name__}: ")
