"""A file into a real ledger: once, in order, whatever happens on the way."""

import asyncio
import io
import itertools
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from api_steps import text
from builders import ACCOUNT_SID, NUMBER, SENDER, signal
from conftest import Client

from ledger.command_handler import CommandHandler
from ledger.domain.classify import Vocabulary
from ledger.domain.consent import evolve, nobody, overall
from ledger.domain.events import ConsentChanged
from ledger.domain.ids import Position
from ledger.domain.messages import Text
from ledger.domain.signals import Signal
from ledger.erasure import Erasures
from ledger.errors import StoreUnavailable
from ledger.imports.importer import BATCH_ROWS, Importer, Outcome, Tally
from ledger.imports.interpret import Interpreter, Rules
from ledger.imports.refusals import NdjsonReport
from ledger.imports.rows import read_rows
from ledger.imports.sinks import Foresight, Recording, Repeats
from ledger.imports.texts import TextInterpreter
from ledger.store.database import Connection
from ledger.store.keyring import Keyring
from ledger.store.postgres import PostgresEventStore

LONG_AGO: Final = "2020-01-01T00:00:00Z"


@pytest.fixture
def repeats(store: PostgresEventStore, keyring: Keyring) -> Repeats:
    """What compares rows with what is recorded."""
    return Repeats(store, keyring)


@pytest.fixture
def recording(handler: CommandHandler, repeats: Repeats) -> Recording:
    """What an import with --apply writes to."""
    return Recording(handler, repeats)


def csv_of(*rows: str, header: str = "phone,status,date,key") -> bytes:
    """A file."""
    return "\n".join((header, *rows)).encode()


async def run(
    content: bytes,
    sink: Any,
    *,
    source: str = "crm",
    texts: bool = False,
    **more: Any,
) -> tuple[Tally, str]:
    """Import ``content``: what became of it, and the report of what was refused."""
    rows = read_rows(io.BytesIO(content))
    rules = Rules(source=source, file="a.csv", actor="cli:ann")
    reader = Interpreter(rules, rows.names) if not texts else _texts(rules, rows.names)
    report = io.StringIO()
    importer = Importer(reader, sink, NdjsonReport(report), lambda _: None, **more)
    await importer.run(rows, asyncio.Event())
    return importer.tally, report.getvalue()


def _texts(rules: Rules, names: tuple[str, ...] | None) -> TextInterpreter:
    return TextInterpreter(rules, Vocabulary(), names)


def number(ordinal: int) -> str:
    """A number of a crowd."""
    return f"+1415{ordinal:07d}"


async def events_of(store: PostgresEventStore) -> list[ConsentChanged]:
    """Every event, in order."""
    recorded = await store.read_after(Position(0), 100_000)
    return [event for _, event in recorded if isinstance(event, ConsentChanged)]


async def test_importing_twice_changes_nothing(
    recording: Recording, store: PostgresEventStore
) -> None:
    """More than a batch in each lane; the second run meets only what is there."""
    rows = [f"{number(i)},out,2024-03-01,{i}" for i in range(3 * BATCH_ROWS)]
    first, _ = await run(csv_of(*rows), recording)
    assert (first.recorded, first.duplicates, first.is_whole) == (len(rows), 0, True)
    position = await store.last_position()
    assert position == len(rows)
    again, _ = await run(csv_of(*rows, f"{number(0)},in,2024-03-02,x"), recording)
    assert (again.recorded, again.duplicates) == (1, len(rows))
    assert await store.last_position() == position + 1


async def test_a_row_is_an_event_with_its_own_time(
    recording: Recording, store: PostgresEventStore, keyring: Keyring
) -> None:
    """Recorded now, occurred then, sealed, and said where it is from."""
    await run(csv_of(f"{NUMBER},in,2020-01-01T00:00:00Z,7"), recording)
    [event] = await events_of(store)
    assert event.occurred_at == datetime(2020, 1, 1, tzinfo=UTC)
    assert event.recorded_at > event.occurred_at
    assert (event.source, event.matched_by) == ("import", "explicit")
    [(phone_number, evidence, _)] = await keyring.opened([event])
    assert phone_number == NUMBER
    assert evidence == {"import": {"source": "crm", "file": "a.csv", "line": 2}}


async def test_rows_of_a_number_keep_the_files_order(
    recording: Recording, store: PostgresEventStore
) -> None:
    """Over many batches, beside those of others."""
    crowd = [number(i) for i in range(5)]
    rows = [
        f"{crowd[i % 5]},{'out' if i % 2 else 'in'},{LONG_AGO},{i}"
        for i in range(2 * BATCH_ROWS)
    ]
    tally, _ = await run(csv_of(*rows), recording)
    assert tally.recorded == len(rows)
    events = await events_of(store)
    for subject_id in {event.subject_id for event in events}:
        own = [event for event in events if event.subject_id == subject_id]
        assert [event.version for event in own] == [*range(1, len(own) + 1)]
        # Each number has one row in five: in, out, in, out.
        assert all(a.status != b.status for a, b in itertools.pairwise(own))


async def test_a_late_fact_does_not_undo_a_newer_one(
    handler: CommandHandler, recording: Recording, store: PostgresEventStore
) -> None:
    """A STOP from before the import stands, whatever the file says of last year."""
    await handler.handle(signal(sender="*"))
    await run(csv_of(f"{NUMBER},in,{LONG_AGO},1"), recording)
    stop, late = await events_of(store)
    assert (late.status, late.previous_status) == ("in", "out")
    subject = evolve(evolve(nobody(stop.subject_id), stop), late)
    assert overall(subject.facts) == "out"


async def test_a_row_from_the_future_is_refused_and_no_other(
    recording: Recording,
) -> None:
    """By the ledger's clock, and reported with its line."""
    rows = [f"{number(1)},out,,1", f"{number(2)},out,2999-01-01,2"]
    tally, report = await run(csv_of(*rows), recording)
    assert (tally.recorded, dict(tally.refused)) == (1, {"time_in_future": 1})
    assert '"line":3' in report
    assert number(2) in report


async def test_a_key_that_says_something_else_is_refused(
    recording: Recording, store: PostgresEventStore
) -> None:
    """An opt-out is not lost because the same key opted in before."""
    await run(csv_of(f"{NUMBER},in,{LONG_AGO},1"), recording)
    for other in (
        f"{NUMBER},out,{LONG_AGO},1",
        f"{NUMBER},in,2020-01-02T00:00:00Z,1",
        f"{number(1)},in,{LONG_AGO},1",
    ):
        tally, report = await run(csv_of(other), recording)
        assert dict(tally.refused) == {"key_reused": 1}
        assert "position 1 " in report
    in_one_file = csv_of(*(f"{number(2)},{s},{LONG_AGO},2" for s in ("in", "out")))
    tally, _ = await run(in_one_file, recording)
    assert (tally.recorded, dict(tally.refused)) == (1, {"key_reused": 1})
    assert await store.last_position() == 2


async def test_a_row_of_somebody_who_was_erased_since_is_a_repeat(
    recording: Recording, erasures: Erasures, store: PostgresEventStore
) -> None:
    """Importing the file again does not bring the person back."""
    content = csv_of(f"{NUMBER},out,{LONG_AGO},1")
    await run(content, recording)
    await erasures.erase(NUMBER, reason="asked", actor="cli:ann")
    tally, _ = await run(content, recording)
    assert (tally.duplicates, tally.recorded) == (1, 0)
    assert await store.last_position() == 2


async def test_a_dry_run_foresees_what_the_import_then_does(
    handler: CommandHandler,
    repeats: Repeats,
    recording: Recording,
    store: PostgresEventStore,
) -> None:
    """The same counts, and nothing is appended by it."""
    await handler.handle(signal(sender="*"))
    await run(csv_of(f"{number(9)},in,{LONG_AGO},9"), recording)
    content = csv_of(
        f"{NUMBER},in,{LONG_AGO},1",  # older than its STOP
        f"{number(1)},in,{LONG_AGO},2",
        f"{number(1)},out,2020-01-02T00:00:00Z,3",
        f"{number(2)},in,{LONG_AGO},4",
        f"{number(2)},in,{LONG_AGO},4",
        f"{number(3)},out,2999-01-01,5",
        f"{number(9)},in,{LONG_AGO},9",
        f"{number(4)},maybe,{LONG_AGO},6",
    )
    before = await store.last_position()
    foresight = Foresight(handler, repeats)
    foreseen, report = await run(content, foresight)
    assert await store.last_position() == before
    assert foresight.turned == (1, 1, 2)
    assert await run(content, recording) == (foreseen, report)
    assert foreseen.recorded == 4


async def test_a_dry_run_foresees_a_key_that_is_used_twice(
    handler: CommandHandler, repeats: Repeats, recording: Recording
) -> None:
    """Refused where the rows differ, and a repeat where they do not."""
    content = csv_of(
        f"{NUMBER},in,{LONG_AGO},1",
        f"{NUMBER},in,{LONG_AGO},1",
        f"{NUMBER},out,{LONG_AGO},1",
        f"{NUMBER},in,2020-01-02T00:00:00Z,1",
        f"{number(1)},out,,2",
        f"{number(1)},out,,2",
        f"{number(2)},out,2999-01-01,3",
    )
    foresight = Foresight(handler, repeats)
    foreseen, _ = await run(content, foresight)
    assert dict(foreseen.refused) == {"key_reused": 2, "time_in_future": 1}
    assert (foreseen.recorded, foreseen.duplicates) == (2, 2)
    assert foresight.turned == (1, 1, 0), "whose rows are all refused is not counted"
    recorded, _ = await run(content, recording)
    assert recorded == foreseen


class Failing:
    """A sink behind a database that comes and goes."""

    def __init__(self, sink: Recording, is_down: Callable[[int], bool]) -> None:
        self._sink = sink
        self._is_down = is_down
        self._calls = 0

    async def take(self, signals: Sequence[Signal]) -> list[Outcome]:
        """Done, and then, every other time, nobody knows."""
        self._calls += 1
        outcomes = await self._sink.take(signals)
        if self._is_down(self._calls):
            raise StoreUnavailable("gone")
        return outcomes


async def test_an_outage_is_waited_out_and_counts_nothing_twice(
    recording: Recording, store: PostgresEventStore
) -> None:
    """Also where what was committed was not answered."""
    rows = [f"{number(i)},out,,{i}" for i in range(20)]
    sink = Failing(recording, lambda calls: calls == 1)
    tally, _ = await run(csv_of(*rows), sink)
    assert (tally.rows, tally.refused) == (len(rows), {})
    assert await store.last_position() == len(rows)


async def test_an_outage_that_does_not_end_ends_the_import(
    recording: Recording, store: PostgresEventStore
) -> None:
    """What is recorded stays, and a second run goes on."""
    rows = [f"{number(i)},out,,{i}" for i in range(20)]
    sink = Failing(recording, lambda _: True)
    with pytest.raises(StoreUnavailable):
        await run(csv_of(*rows), sink, outage_seconds_max=0.01)
    tally, _ = await run(csv_of(*rows), recording)
    assert tally.rows == len(rows)
    assert await store.last_position() == len(rows)


async def test_another_process_may_append_meanwhile(
    recording: Recording, store: PostgresEventStore, keyring: Keyring, settings: Any
) -> None:
    """Texts of the same numbers come in during the import, and none is lost."""
    rows = [f"{number(i)},out,{LONG_AGO},{i}" for i in range(300)]
    async with CommandHandler(store, keyring, settings) as other:
        texts = [other.handle(signal(phone_number=number(i))) for i in range(300)]
        done = asyncio.gather(*texts)
        tally, _ = await run(csv_of(*rows), recording)
        await done
    assert tally.recorded == len(rows)
    events = await events_of(store)
    assert len(events) == 2 * len(rows)
    assert {event.version for event in events} == {1, 2}


async def test_a_text_in_the_log_and_from_the_webhook_counts_once(
    client: Client, recording: Recording, connection: Connection
) -> None:
    """Whichever of the two comes first."""
    await text(client, "STOP", MessageSid="SM1")
    log = csv_of(
        f"{NUMBER},{SENDER},STOP,2024-03-01T10:00:00Z,{ACCOUNT_SID},SM1,inbound",
        f"{NUMBER},{SENDER},START,2024-03-01T10:00:00Z,{ACCOUNT_SID},SM2,inbound",
        header="From,To,Body,DateSent,AccountSid,Sid,Direction",
    )
    tally, _ = await run(log, recording, texts=True)
    assert (tally.recorded, tally.duplicates) == (1, 1)
    await text(client, "START", MessageSid="SM2")
    assert await connection.fetchval("SELECT count(*) FROM ledger_events") == 2


async def test_a_text_that_was_recorded_as_an_ordinary_one_is_no_repeat(
    recording: Recording, handler: CommandHandler, store: PostgresEventStore
) -> None:
    """An opt-out by a word that was not known then is refused, and so not lost."""
    name = "AC1:SM1"
    text = Text(
        key=f"twilio:{name}",
        name=name,
        phone_number=NUMBER,
        sender=None,
        address=None,
        sid="SM1",
        evidence={"Body": "Stop!"},
        signal=None,
    )
    await handler.handle(text)
    log = csv_of(
        f"{NUMBER},+14155550199,Stop!,2024-03-01T10:00:00Z,inbound,SM1,AC1",
        header="From,To,Body,SentDate,Direction,Sid,AccountSid",
    )
    tally, report = await run(log, recording, texts=True)
    assert (tally.recorded, tally.duplicates) == (0, 0)
    assert "key_reused" in report
    assert await store.last_position() == 1
