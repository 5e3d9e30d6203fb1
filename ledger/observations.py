"""Everything that is counted.

Never holds a phone number or a text: a subject is named by its id. Over several
processes the counts are kept in files (PROMETHEUS_MULTIPROC_DIR, which ``serve`` sets
before this module is imported) and any process can answer /metrics for all. The subtle
part is that requests and signals wait and are counted a moment's together, all that are
alike as one: one by one, each with its lock and its look at the process id, they are a
tenth of a text's work.
"""

import asyncio
import os
import time
from bisect import bisect_left
from collections import Counter as CountOf
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import Final, Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    generate_latest,
)
from prometheus_client import Histogram as OneByOne
from prometheus_client.multiprocess import MultiProcessCollector

from ledger.command_handler import Receipt
from ledger.domain.messages import (
    Arrival,
    SendRequest,
    SentReport,
    StatusReport,
    Text,
)
from ledger.domain.replies import ReplyKind
from ledger.domain.signals import Signal


class Histogram(OneByOne):
    """To which many are added at once."""

    def observe_all(self, amounts: Sequence[float]) -> None:
        """As ``observe`` of each."""
        self._sum.inc(sum(amounts))
        places = CountOf(bisect_left(self._upper_bounds, a) for a in amounts)
        for place, many in places.items():
            self._buckets[place].inc(many)


REQUESTS = Histogram(
    "ledger_request_seconds",
    "Time from a request's headers to its answer, in seconds.",
    ["route", "method", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15),
)
SIGNALS = Counter(
    "ledger_signals",
    "Signals recorded, by what they say and how it was recognised; repeats apart.",
    ["source", "status", "matched_by", "outcome"],
)
ANSWERS = Counter(
    "ledger_answers",
    "Replies to texts, by whose they are, and what became of them.",
    ["kind", "outcome"],
)
MESSAGES = Counter(
    "ledger_messages",
    "Texts received, requested and sent, and what became of them; repeats apart.",
    ["kind", "outcome"],
)
SETTLED = Counter(
    "ledger_settled",
    "Texts of which Twilio was asked, by what became of them.",
    ["outcome"],
)
SENDING_OPEN = Gauge(
    "ledger_sending_open",
    "Texts that were asked for and are not done with.",
    ["state"],
    multiprocess_mode="mostrecent",
)
NOTICES = Counter(
    "ledger_notices",
    "Notices of changes of consent, by whether the other side has taken them.",
    ["channel", "outcome"],
)
NOTICES_LAG = Gauge(
    "ledger_notices_lag_events",
    "Events that a channel of notices has still to look at.",
    ["channel"],
    multiprocess_mode="mostrecent",
)
QUEUE = Gauge(
    "ledger_queue_waiting",
    "Signals and texts waiting to be recorded.",
    multiprocess_mode="livesum",
)
POSITION = Gauge(
    "ledger_position", "Position of the newest event.", multiprocess_mode="max"
)
PROJECTION_POSITION = Gauge(
    "ledger_projection_position",
    "Position that a projection has reached.",
    ["projection"],
    multiprocess_mode="max",
)
PROJECTION_LAG = Gauge(
    "ledger_projection_lag_events",
    "Events that a projection has still to apply.",
    ["projection"],
    multiprocess_mode="mostrecent",
)
PROJECTION_STOPPED = Gauge(
    "ledger_projection_stopped",
    "1 where a projection has stopped at an event that it cannot apply.",
    ["projection"],
    multiprocess_mode="mostrecent",
)

REBUILD_PHASE = Gauge(
    "ledger_rebuild_phase",
    "Phase of the building of a projection's next version; 0 where there is none.",
    ["projection"],
    multiprocess_mode="mostrecent",
)
REBUILD_DONE = Gauge(
    "ledger_rebuild_events_done",
    "Events folded into the version that is being built.",
    ["projection"],
    multiprocess_mode="mostrecent",
)
REBUILD_TOTAL = Gauge(
    "ledger_rebuild_events",
    "Events to be folded into the version that is being built.",
    ["projection"],
    multiprocess_mode="mostrecent",
)
PHASES: Final = ("filling", "indexing", "catching up", "compared", "cancelled")

SettledOutcome = Literal["sent", "not_sent", "unknown", "canceled", "too_late"]
NoticeOutcome = Literal["delivered", "failed"]
AnswerOutcome = Literal["sent", "refused", "failed", "late", "busy"]
"""``refused``: a handler's reply that may not be sent to this person, or not by us."""

_KINDS: Final = {
    "Text": "received",
    "SendRequest": "requested",
    "SentReport": "sent",
    "StatusReport": "status",
}

QUEUE_SECONDS: Final = 0.25
"""How old the number of those that wait may be."""

GATHERING_SECONDS: Final = 0.05
"""How long counts wait at most: who asks another process may miss the last of them, and
a process that is killed takes them along."""

# The process's own, as the metrics are.
_requests: defaultdict[tuple[str, str, int], list[float]] = defaultdict(list)
_counts: defaultdict[Callable[[float], None], int] = defaultdict(int)


def observe_request(route: str, method: str, status: int, started: float) -> None:
    """Count one answered request; ``started`` is its ``time.perf_counter()``."""
    seconds = time.perf_counter() - started
    _count_in_a_moment()
    _requests[route, method, status].append(seconds)


def count_arrival(arrival: Arrival, receipt: Receipt) -> None:
    """Count what was recorded, or is a repeat, or changed nothing.

    As a signal, a text, or both; what was to be sent and what became of it as a text.
    """
    outcome = "ignored"
    if receipt.position is not None:
        outcome = "appended" if receipt.is_new else "duplicate"
    signal = arrival if isinstance(arrival, Signal) else _signal_of(arrival)
    if signal is not None:
        given = (signal.source, signal.status, signal.matched_by)
        said = "ignored" if receipt.is_silent else outcome
        _count(_signal_counter(*given, said))
    if not isinstance(arrival, Signal):
        _count(_message_counter(type(arrival).__name__, outcome))


def _signal_of(
    arrival: Text | SendRequest | SentReport | StatusReport,
) -> Signal | None:
    return None if isinstance(arrival, SendRequest) else arrival.signal


def count_answer(kind: ReplyKind, outcome: AnswerOutcome) -> None:
    """Count one reply to a text, or one that there is none of."""
    ANSWERS.labels(kind, outcome).inc()


def count_settled(outcome: SettledOutcome) -> None:
    """Count one text that was settled, or could not be."""
    SETTLED.labels(outcome).inc()


def observe_sending(*, unsettled: int, scheduled: int) -> None:
    """Set how many texts are open, and why."""
    SENDING_OPEN.labels("unsettled").set(unsettled)
    SENDING_OPEN.labels("scheduled").set(scheduled)


def count_notice(channel: str, outcome: NoticeOutcome) -> None:
    """Count one try to tell of a change."""
    NOTICES.labels(channel, outcome).inc()


def observe_notices(lag_events: Mapping[str, int]) -> None:
    """Set how far each channel is behind."""
    for channel, lag in lag_events.items():
        NOTICES_LAG.labels(channel).set(lag)


@asynccontextmanager
async def observing_queue(waiting: Callable[[], int]) -> AsyncIterator[None]:
    """Set how many wait in this process, now and then for as long as it runs.

    Whoever asks for the metrics asks one process, and is told of all.
    """

    async def observe() -> None:
        while True:
            QUEUE.set(waiting())
            await asyncio.sleep(QUEUE_SECONDS)

    observing = asyncio.create_task(observe(), name="queue")
    try:
        yield
    finally:
        observing.cancel()
        await asyncio.gather(observing, return_exceptions=True)


def count_gathered() -> None:
    """Count what waits; whoever ends the event loop calls it last.

    What cannot be counted, where the disk is full, is not kept: it would grow for ever.
    """
    requests, counts = _requests.copy(), _counts.copy()
    _requests.clear()
    _counts.clear()
    for labels, seconds in requests.items():
        _histogram(*labels).observe_all(seconds)
    for count, many in counts.items():
        count(many)


def metrics() -> bytes:
    """Every count in Prometheus's text format, of all processes."""
    count_gathered()
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest()
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def _count(counter: Callable[[float], None]) -> None:
    _count_in_a_moment()
    _counts[counter] += 1


def _count_in_a_moment() -> None:
    if not _requests and not _counts:
        asyncio.get_running_loop().call_later(GATHERING_SECONDS, count_gathered)


# Finding a child by its labels costs more than counting; there are few of them.
@cache
def _histogram(route: str, method: str, status: int) -> Histogram:
    return REQUESTS.labels(route, method, str(status))


@cache
def _signal_counter(
    source: str, status: str, matched_by: str, outcome: str
) -> Callable[[float], None]:
    return SIGNALS.labels(source, status, matched_by, outcome).inc


@cache
def _message_counter(kind: str, outcome: str) -> Callable[[float], None]:
    return MESSAGES.labels(_KINDS[kind], outcome).inc


def observe_projections(
    position: int, projections: Mapping[str, tuple[int, bool]]
) -> None:
    """Set the gauges: the ledger's position, each projection's and if it stopped."""
    POSITION.set(position)
    for name, (reached, stopped) in projections.items():
        PROJECTION_POSITION.labels(name).set(reached)
        PROJECTION_LAG.labels(name).set(max(0, position - reached))
        PROJECTION_STOPPED.labels(name).set(stopped)


def observe_rebuilds(rebuilds: Mapping[str, tuple[str, int, int] | None]) -> None:
    """Set the gauges of each projection: phase, events done and wanted, if any."""
    for name, rebuild in rebuilds.items():
        phase, done, wanted = rebuild or ("", 0, 0)
        number = PHASES.index(phase) + 1 if phase else 0
        REBUILD_PHASE.labels(name).set(number)
        REBUILD_DONE.labels(name).set(done)
        REBUILD_TOTAL.labels(name).set(wanted)
