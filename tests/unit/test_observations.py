"""Counting: gathered for a moment, and never lost by who ends in order."""

import asyncio
import errno
import subprocess
import sys
import time

import pytest
from builders import signal
from prometheus_client import REGISTRY

from ledger import observations
from ledger.command_handler import Receipt
from ledger.domain.ids import Position
from ledger.observations import (
    GATHERING_SECONDS,
    count_arrival,
    count_gathered,
    metrics,
    observe_request,
)


def answered(route: str) -> float:
    """How many requests of a route are counted."""
    labels = {"route": route, "method": "GET", "status": "200"}
    return REGISTRY.get_sample_value("ledger_request_seconds_count", labels) or 0


def recorded(outcome: str) -> float:
    """How many STOPs by text are counted with an outcome."""
    labels = {"source": "twilio.inbound", "status": "out", "matched_by": "keyword"}
    name = "ledger_signals_total"
    return REGISTRY.get_sample_value(name, labels | {"outcome": outcome}) or 0


async def test_what_was_gathered_is_counted_after_a_moment() -> None:
    """Nobody has to ask; and the next to come starts another moment."""
    for count in (2, 4):
        observe_request("/a-moment", "GET", 200, time.perf_counter())
        observe_request("/a-moment", "GET", 200, time.perf_counter())
        assert answered("/a-moment") == count - 2
        over = asyncio.Event()
        asyncio.get_running_loop().call_later(GATHERING_SECONDS, over.set)
        await over.wait()
        assert answered("/a-moment") == count


async def test_who_asks_for_the_metrics_sees_what_was_just_gathered() -> None:
    """In the process that is asked, that is."""
    observe_request("/asked", "GET", 200, time.perf_counter())
    assert b'ledger_request_seconds_count{method="GET",route="/asked"' in metrics()
    assert answered("/asked") == 1


async def test_what_cannot_be_counted_does_not_end_the_counting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The files that hold the counts have no room: what comes after is counted."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no room")

    observe_request("/no-room", "GET", 200, time.perf_counter())
    with monkeypatch.context() as patched:
        patched.setattr(observations.Histogram, "observe_all", fail)
        with pytest.raises(OSError, match="no room"):
            count_gathered()
    observe_request("/no-room", "GET", 200, time.perf_counter())
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(GATHERING_SECONDS, over.set)
    await over.wait()
    assert answered("/no-room") == 1


async def test_nothing_is_counted_twice() -> None:
    """Not by who ends the process and not by the timer that is still running."""
    observe_request("/once", "GET", 200, time.perf_counter())
    count_gathered()
    count_gathered()
    assert answered("/once") == 1


@pytest.mark.parametrize(
    ("receipt", "outcome"),
    [
        (Receipt(Position(1), is_new=True), "appended"),
        (Receipt(Position(1), is_new=False), "duplicate"),
        (Receipt(None, is_new=False), "ignored"),
        (Receipt(Position(1), is_new=True, is_silent=True), "ignored"),
    ],
)
async def test_a_signal_is_counted_by_what_became_of_it(
    receipt: Receipt, outcome: str
) -> None:
    """Recorded, a repeat, or of no effect."""
    before = recorded(outcome)
    count_arrival(signal(), receipt)
    count_gathered()
    assert recorded(outcome) == before + 1


def test_the_command_line_does_not_meet_the_library_of_metrics() -> None:
    """It chooses when it is imported whether to count for several processes."""
    program = (
        "import sys, ledger.__main__, ledger.serve; "
        "sys.exit('prometheus_client' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
