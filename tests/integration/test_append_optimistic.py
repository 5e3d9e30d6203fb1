"""Where the last reading brought nothing the handler decides without one.

A number that it does not remember is then taken for a new one. The append finds out, so
what is recorded is the same; only If-Match, and a YES that undoes nothing, would be
answered wrongly, and are read for.
"""

from collections.abc import AsyncIterator, Mapping, Sequence

import pytest
from builders import MASTERS, signal

from ledger.command_handler import NOTHING_TO_DO, CommandHandler, Receipt
from ledger.domain.events import ConsentChanged
from ledger.domain.ids import PhoneNumber, Position, Version
from ledger.domain.signals import Signal
from ledger.errors import PreconditionFailed
from ledger.settings import Settings
from ledger.store.codec import Entry
from ledger.store.database import Pool
from ledger.store.event_store import Conflict, Outcome, Stream, StreamId
from ledger.store.keyring import Keyring, Opened
from ledger.store.postgres import PostgresEventStore

KNOWN = PhoneNumber("+14155550100")


class Watched(PostgresEventStore):
    """A store that counts what is asked of it."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.reads = 0
        self.outcomes: list[list[type[Outcome]]] = []

    async def read_streams(
        self, after: Mapping[StreamId, Version]
    ) -> dict[StreamId, Stream]:
        """One more reading."""
        self.reads += 1
        return await super().read_streams(after)

    async def append(self, entries: Sequence[Entry]) -> list[Outcome]:
        """Another batch and what became of it."""
        outcomes = await super().append(entries)
        self.outcomes.append([type(outcome) for outcome in outcomes])
        return outcomes


@pytest.fixture
def watched(pool: Pool) -> Watched:
    """The store of the process that is looked at."""
    return Watched(pool)


@pytest.fixture
async def handler(
    watched: Watched, keyring: Keyring, settings: Settings
) -> AsyncIterator[CommandHandler]:
    """A handler that does not know ``KNOWN``, and whose last reading brought nothing.

    Another process has recorded a STOP of that number, and this one a new number's.
    """
    async with CommandHandler(watched, keyring, settings) as other:
        await other.handle(signal(phone_number=KNOWN, status="out"))
    async with CommandHandler(watched, keyring, settings) as handler:
        await handler.handle(new_number(1))
        watched.reads = 0
        watched.outcomes.clear()
        yield handler


def new_number(n: int) -> Signal:
    """The first signal of a number."""
    return signal(phone_number=PhoneNumber(f"+141555502{n:02}"))


async def history_of(store: PostgresEventStore) -> list[tuple[int, str, str]]:
    """Version, previous status and status of every event of ``KNOWN``."""
    recorded = await store.read_after(Position(0), 10_000)
    first = recorded[0].event.subject_id
    return [
        (event.version, event.previous_status, event.status)
        for _, event in recorded
        if isinstance(event, ConsentChanged) and event.subject_id == first
    ]


async def test_new_numbers_need_no_reading(
    handler: CommandHandler, watched: Watched
) -> None:
    """As long as all are new: one round trip a batch, the append's."""
    for n in range(2, 5):
        assert await handler.handle(new_number(n)) == Receipt(
            Position(n + 1), is_new=True
        )
    assert watched.reads == 0


async def test_a_known_number_after_new_ones_is_decided_on_its_history(
    handler: CommandHandler, watched: Watched, keyring: Keyring
) -> None:
    """The append refuses what was decided without it; it is read, and decided again."""
    receipt = await handler.handle(signal(phone_number=KNOWN, status="in"))
    assert receipt == Receipt(Position(3), is_new=True)
    assert await history_of(watched) == [(1, "unknown", "out"), (2, "out", "in")]
    assert watched.outcomes[0] == [Conflict]
    assert watched.reads == 1
    # Both are sealed with the one key that the subject has.
    recorded = await watched.read_after(Position(0), 9)
    events = [event for _, event in recorded if isinstance(event, ConsentChanged)]
    opened = [each for each in await keyring.opened(events) if each[0] == KNOWN]
    assert opened == [Opened(KNOWN, {"Body": "STOP"})] * 2


async def test_a_known_number_does_not_hold_back_the_new_ones_beside_it(
    handler: CommandHandler, watched: Watched
) -> None:
    """They are recorded by the append that refuses it."""
    signals = [new_number(2), signal(phone_number=KNOWN, status="in"), new_number(3)]
    results = await handler.handle_all(signals)
    positions = [result.position for result in results if isinstance(result, Receipt)]
    assert positions == [3, 5, 4]
    assert await history_of(watched) == [(1, "unknown", "out"), (2, "out", "in")]


async def test_all_signals_of_a_known_number_in_a_batch_are_decided_again(
    handler: CommandHandler, watched: Watched
) -> None:
    """Each on the one before, in their order, as if it had been known."""
    statuses = ("in", "out", "out", "in")
    signals = [signal(phone_number=KNOWN, status=status) for status in statuses]
    await handler.handle_all(signals)
    assert await history_of(watched) == [
        (1, "unknown", "out"),
        (2, "out", "in"),
        (3, "in", "out"),
        (4, "out", "out"),
        (5, "out", "in"),
    ]


@pytest.mark.parametrize("version", [0, 1])
async def test_if_match_is_never_answered_without_reading(
    handler: CommandHandler, watched: Watched, version: int
) -> None:
    """The version that it names is compared with the one that there is."""
    expecting = signal(
        phone_number=KNOWN, status="in", expected_version=Version(version)
    )
    if version == 1:
        assert await handler.handle(expecting) == Receipt(Position(3), is_new=True)
    else:
        with pytest.raises(PreconditionFailed, match="version 1, not 0"):
            await handler.handle(expecting)
    assert watched.reads == 1


async def test_a_yes_that_undoes_nothing_is_never_answered_without_reading(
    handler: CommandHandler, watched: Watched
) -> None:
    """A toll-free STOP stands until START, in the process that did not see it too."""
    yes = signal(phone_number=KNOWN, status="in", undoes_out=False)
    assert await handler.handle(yes) == NOTHING_TO_DO
    assert watched.outcomes == []
    assert await history_of(watched) == [(1, "unknown", "out")]


async def test_a_yes_is_recorded_once_another_process_has_seen_a_start(
    handler: CommandHandler, watched: Watched, pool: Pool, settings: Settings
) -> None:
    """What is remembered here, a STOP, is not what it is decided on."""
    await handler.handle(signal(phone_number=KNOWN, status="out"))
    async with CommandHandler(watched, Keyring(pool, MASTERS), settings) as other:
        await other.handle(signal(phone_number=KNOWN, status="in"))
    for n in range(2, 4):
        await handler.handle(new_number(n))
    yes = signal(phone_number=KNOWN, status="in", undoes_out=False)
    assert (await handler.handle(yes)).is_new
    assert (await history_of(watched))[-1] == (4, "in", "in")


@pytest.mark.parametrize("asked", [{"expected_version": Version(0)}, {"undoes_out": 0}])
async def test_one_that_must_be_read_for_is_read_with_its_whole_batch(
    handler: CommandHandler, watched: Watched, asked: dict[str, object]
) -> None:
    """So a known number beside it is not decided twice."""
    signals = [
        signal(phone_number=KNOWN, status="in"),
        signal(phone_number=PhoneNumber("+14155550290"), status="in", **asked),
    ]
    await handler.handle_all(signals)
    assert watched.reads == 1
    assert len(watched.outcomes) == 1
    assert await history_of(watched) == [(1, "unknown", "out"), (2, "out", "in")]


async def test_what_another_process_records_meanwhile_is_seen(
    handler: CommandHandler, watched: Watched, pool: Pool, settings: Settings
) -> None:
    """Though the number is remembered here and nothing but new ones came since."""
    await handler.handle(signal(phone_number=KNOWN, status="in"))
    async with CommandHandler(watched, Keyring(pool, MASTERS), settings) as other:
        await other.handle(signal(phone_number=KNOWN, status="out"))
    for n in range(2, 4):
        await handler.handle(new_number(n))
    await handler.handle(signal(phone_number=KNOWN, status="in"))
    assert await history_of(watched) == [
        (1, "unknown", "out"),
        (2, "out", "in"),
        (3, "in", "out"),
        (4, "out", "in"),
    ]


async def test_a_repeat_is_told_its_first_position_without_reading(
    handler: CommandHandler, watched: Watched
) -> None:
    """Its key is known to the append, whatever was remembered of the number."""
    same = signal(phone_number=KNOWN, status="in")
    assert await handler.handle(same) == Receipt(Position(3), is_new=True)
    await handler.handle(new_number(2))
    assert await handler.handle(same) == Receipt(Position(3), is_new=False)
    assert len(await history_of(watched)) == 2
