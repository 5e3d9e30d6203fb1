"""Whatever is said, and whenever, both versions end as the events say."""

from typing import Final

import pytest
from builders import signal
from hypothesis import HealthCheck, given
from hypothesis import settings as example_settings
from hypothesis import strategies as st
from rebuild_steps import Steps, checked

from ledger.command_handler import CommandHandler
from ledger.domain.ids import EVERY_SENDER, PhoneNumber, Sender
from ledger.erasure import Erasures
from ledger.errors import NotFound
from ledger.store.database import Connection
from projections import pages, rebuild
from projections.rebuild import drop_old
from projections.worker import Means

SENDERS: Final = (Sender("+14155550199"), EVERY_SENDER)
STEPS: Final = ("fill", "index", "follow", "switch")

said = st.tuples(
    st.integers(0, 3), st.sampled_from(SENDERS), st.sampled_from(("in", "out", "erase"))
)
histories = st.lists(st.lists(said, max_size=5), min_size=5, max_size=5)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices and pages of very few events."""
    monkeypatch.setattr(rebuild, "EVENTS_A_SLICE", 2)
    monkeypatch.setattr(pages, "EVENTS_A_PAGE", 3)


@example_settings(
    max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(history=histories)
async def test_every_interleaving_ends_as_the_events_say(  # noqa: PLR0913 - fixtures
    dsn: str,
    means: Means,
    handler: CommandHandler,
    erasures: Erasures,
    connection: Connection,
    *,
    history: list[list[tuple[int, Sender, str]]],
) -> None:
    """Texts and erasures before, between and after the steps, each by another process.

    Examples follow one another in one ledger, so each begins with what was before.
    """

    async def say(part: list[tuple[int, Sender, str]]) -> None:
        for n, sender, status in part:
            number = PhoneNumber(f"+1415333{n:04}")
            if status != "erase":
                given_now = signal(phone_number=number, sender=sender, status=status)
                await handler.handle(given_now)
                continue
            try:
                await erasures.erase(number, reason="a test", actor="test")
            except NotFound:
                assert status == "erase"

    for step, part in zip(STEPS, history, strict=False):
        await say(part)
        async with Steps(dsn, means) as steps:
            await getattr(steps, step)()
    await say(history[-1])
    assert (await checked(means)).differences == {}
    await drop_old(connection, "phone_numbers")
