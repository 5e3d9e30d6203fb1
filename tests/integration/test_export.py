"""``consent-ledger export``: whole, exact, and the same after a kill."""

import csv
import json
import os
import signal as signals
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final, get_args

import orjson
import pytest
from builders import MASTER_KEY, NUMBER, signal
from pyarrow import parquet
from typer.testing import CliRunner

from ledger import span
from ledger.__main__ import app
from ledger.command_handler import CommandHandler
from ledger.domain.ids import PhoneNumber, Position
from ledger.erasure import Erasures
from ledger.errors import InvalidRequest, NotFound, PositionMissing
from ledger.event_record import event_records, to_lines
from ledger.export import asked as asking
from ledger.export import export as exporting
from ledger.export import parquet as grouping
from ledger.export.asked import Asked, Format
from ledger.export.export import Export
from ledger.export.work import Work, digest
from ledger.store.database import Connection
from ledger.store.keyring import Keyring
from ledger.store.postgres import PostgresEventStore

FORMATS: Final = get_args(Format)
AT: Final = datetime(2026, 2, 1, tzinfo=UTC)
DAY_2: Final = date(2026, 1, 2)
OTHER: Final = PhoneNumber("+14155550101")

Run = Callable[..., Awaitable[dict[str, Any]]]


class Killed(Exception):
    """What a kill is to whoever it hits."""


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of three, so that a few events are several."""
    monkeypatch.setattr(span, "BATCH_MAX", 3)
    monkeypatch.setattr(asking, "BATCH_MAX", 3)
    monkeypatch.setattr(exporting, "CHECKPOINT_BATCHES", 2)
    monkeypatch.setattr(grouping, "ROWS_MAX", 4)


@pytest.fixture
async def twenty(handler: CommandHandler, erasures: Erasures) -> None:
    """A ledger of twenty events: texts of two people, an erasure, what needs quotes."""
    for i in range(18):
        body = ("STOP", '=1+1, "x"\r\n', "✋")[i % 3]
        number = (NUMBER, OTHER)[i % 2]
        await handler.handle(signal(phone_number=number, evidence={"Body": body}))
    await erasures.erase(OTHER, reason="=asked for, by mail", actor="key:office")
    await handler.handle(signal(phone_number=OTHER, sender="-a sender", status="in"))


@pytest.fixture
def run(store: PostgresEventStore, keyring: Keyring, tmp_path: Path) -> Run:
    """Makes an export, or goes on with it; its manifest."""

    async def make(
        name: str = "made", *, dies_after: int | None = None, **more: Any
    ) -> dict[str, Any]:
        asked = Asked(**{"format": "ndjson", **more})
        making = Export(store, keyring, asked, Work(tmp_path / name))
        await making.begin(AT)
        left = dies_after

        def advance(_: int) -> None:
            nonlocal left
            if left is not None:
                left -= 1
                if left < 0:
                    raise Killed

        return await making.run(advance)

    return make


def names(tmp_path: Path) -> set[str]:
    """The files that there are."""
    return {path.name for path in tmp_path.iterdir()}


@pytest.mark.usefixtures("twenty")
async def test_lines_are_the_events_of_the_store(
    run: Run, store: PostgresEventStore, keyring: Keyring, tmp_path: Path
) -> None:
    """As GET /events has them, all of them, with a manifest that says so."""
    manifest = await run()
    recorded = await store.read_after(Position(0), 100)
    lines = to_lines(await event_records(keyring, recorded))
    assert (tmp_path / "made").read_bytes() == lines
    assert manifest == json.loads((tmp_path / "made.manifest.json").read_bytes())
    assert (manifest["firstPosition"], manifest["lastPosition"]) == (1, 20)
    assert (manifest["count"], manifest["ledgerPosition"]) == (20, 20)
    assert manifest["exportedAt"] == "2026-02-01T00:00:00+00:00"
    assert names(tmp_path) == {"made", "made.manifest.json"}
    modes = [stat.S_IMODE((tmp_path / x).stat().st_mode) for x in names(tmp_path)]
    assert modes == [0o600, 0o600]


@pytest.mark.usefixtures("twenty")
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("without_personal", [True, False])
async def test_every_format_has_every_value(
    run: Run, tmp_path: Path, form: Format, *, without_personal: bool
) -> None:
    """Whichever it is, the same events come out of it, under the same names."""
    await run("lines", without_personal=without_personal)
    manifest = await run(format=form, without_personal=without_personal)
    expected = [json.loads(x) for x in (tmp_path / "lines").read_bytes().splitlines()]
    assert all(("evidence" in x) != without_personal for x in expected[:18])
    assert rows_of(tmp_path / "made", form) == [flat(record) for record in expected]
    assert manifest["sha256"] == digest(tmp_path / "made")
    assert manifest["bytes"] == (tmp_path / "made").stat().st_size
    assert (NUMBER[1:].encode() in (tmp_path / "made").read_bytes()) or (
        without_personal or form == "parquet"
    )


def rows_of(path: Path, form: Format) -> list[dict[str, str]]:
    """What is in a file, as text; without what an event does not have."""
    if form == "ndjson":
        return [flat(json.loads(line)) for line in path.read_bytes().splitlines()]
    if form == "parquet":
        table = parquet.read_table(path)
        assert str(table.schema.field("recordedAt").type) == "timestamp[us, tz=UTC]"
        assert parquet.ParquetFile(path).num_row_groups == 5
        return [flat(row) for row in table.to_pylist()]
    with path.open(newline="") as file:
        return [
            {name: v.removeprefix("'") for name, v in row.items() if v}
            for row in csv.DictReader(file)
        ]


def flat(record: dict[str, Any]) -> dict[str, str]:
    """A record as a row of text has it."""
    return {
        name: v
        if isinstance(v, str)
        else orjson.dumps(v, option=orjson.OPT_UTC_Z).decode().strip('"')
        for name, v in record.items()
        if v is not None
    }


@pytest.mark.usefixtures("twenty")
async def test_a_spreadsheet_runs_no_cell(run: Run, tmp_path: Path) -> None:
    """Only E.164 numbers begin as formulas do."""
    await run(format="csv")
    with (tmp_path / "made").open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    risky = {cell for cell in cells if cell.startswith(("=", "+", "-", "@"))}
    assert risky == {NUMBER, OTHER, "+14155550199"}
    assert {"'=asked for, by mail", "'-a sender"} <= set(cells)


@pytest.mark.usefixtures("twenty")
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("number", [None, NUMBER])
async def test_a_killed_export_goes_on_to_the_same_file(
    run: Run, handler: CommandHandler, tmp_path: Path, form: Format, number: str | None
) -> None:
    """Byte for byte, manifest too, however often it is killed and wherever."""
    await run("whole", format=form, number=number)
    for died, batches in enumerate((0, 1, 0)):
        with pytest.raises(Killed):
            await run(format=form, number=number, dies_after=batches)
        assert not (tmp_path / "made").exists()
        with (tmp_path / "made.part").open("ab") as torn:
            torn.write(b'{"position":' * (died + 1))
        # What comes meanwhile is not of this export.
        await handler.handle(signal())
    await run(format=form, number=number)
    assert digest(tmp_path / "made") == digest(tmp_path / "whole")
    manifests = [
        json.loads((tmp_path / f"{name}.manifest.json").read_bytes()) | {"file": ""}
        for name in ("made", "whole")
    ]
    assert manifests[0] == manifests[1]
    assert len(names(tmp_path)) == 4


@pytest.mark.usefixtures("twenty")
@pytest.mark.parametrize("form", FORMATS)
async def test_a_kill_while_it_is_finished_loses_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Format
) -> None:
    """Before the rename it is done again; after it only crumbs are taken away."""
    await run("whole", format=form)

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(Killed):
            await run(format=form)
    with monkeypatch.context() as patch:
        patch.setattr(Work, "_tidy", killed)
        with pytest.raises(Killed):
            await run(format=form)
    finished = Work(tmp_path / "made").finished()
    assert finished is not None
    assert finished["sha256"] == digest(tmp_path / "whole")
    assert len(names(tmp_path)) == 4


@pytest.mark.usefixtures("twenty")
async def test_kill_9_of_a_process_loses_nothing(
    run: Run, dsn: str, tmp_path: Path
) -> None:
    """What a real process had written is gone on with."""
    await run("whole")
    script = f"""
import os, signal
from datetime import datetime, UTC
from pathlib import Path
from ledger import span
from ledger.cli import setup
from ledger.export import export as exporting
from ledger.export.asked import Asked
from ledger.export.work import Work
span.BATCH_MAX, exporting.CHECKPOINT_BATCHES = 3, 2
async def run(ledger):
    work = Work(Path({str(tmp_path / "made")!r}))
    asked = Asked(format="ndjson")
    making = exporting.Export(ledger.store, ledger.keyring, asked, work)
    await making.begin(datetime(2026, 2, 1, tzinfo=UTC))
    def advance(count):
        if making.progress.count > 12:
            os.kill(os.getpid(), signal.SIGKILL)
    await making.run(advance)
setup.with_ledger(run)
"""
    environment = os.environ | {"DATABASE_URL": dsn, "LEDGER_MASTER_KEY": MASTER_KEY}
    environment |= {"PUBLIC_URL": "https://x", "TWILIO_ACCOUNT_SID": f"AC{'a' * 32}"}
    environment |= {"TWILIO_AUTH_TOKEN": "a-token-for-tests"}
    done = subprocess.run(  # noqa: ASYNC221 - nothing else goes on
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signals.SIGKILL, done.stderr
    begun = Work(tmp_path / "made").begun()
    assert begun is not None
    assert begun.count == 12
    await run()
    assert digest(tmp_path / "made") == digest(tmp_path / "whole")


@pytest.mark.usefixtures("twenty")
@pytest.mark.parametrize(
    ("more", "positions"),
    [
        ({"after": 5}, [*range(6, 21)]),
        ({"until": 5}, [*range(1, 6)]),
        ({"after": 5, "until": 7}, [6, 7]),
        ({"after": 20}, []),
        ({"until": 999}, [*range(1, 21)]),
        ({"number": NUMBER}, [*range(1, 18, 2)]),
        ({"number": OTHER, "after": 14}, [16, 18, 19, 20]),
        ({"number": OTHER, "until": 4}, [2, 4]),
        ({"first_day": date(2026, 1, 3)}, [*range(11, 21)]),
        ({"last_day": date(2026, 1, 2)}, [*range(1, 11)]),
        (
            {"first_day": date(2026, 1, 2), "last_day": date(2026, 1, 2)},
            [*range(6, 11)],
        ),
        ({"first_day": date(2026, 1, 2), "after": 8, "until": 12}, [9, 10, 11, 12]),
        ({"first_day": date(2030, 1, 1)}, []),
        ({"last_day": date(2020, 1, 1)}, []),
    ],
)
async def test_a_part_is_asked_for_by_number_position_and_day(
    run: Run,
    connection: Connection,
    tmp_path: Path,
    more: dict[str, Any],
    positions: list[int],
) -> None:
    """Days are UTC's, by when it was recorded; conditions are all true at once."""
    await connection.execute(
        """SET session_replication_role = replica;
        UPDATE ledger_events SET state = convert_to(regexp_replace(
            convert_from(state, 'UTF8'), '("timestamp":[^}]*"_data_":")[^"]*',
            '\\12026-01-0' || 1 + (notification_id - 1) / 5 || 'T23:59:59+00:00'
        ), 'UTF8')"""
    )
    manifest = await run(**more)
    lines = (tmp_path / "made").read_bytes().splitlines()
    assert [json.loads(line)["position"] for line in lines] == positions
    ends = (manifest["firstPosition"], manifest["lastPosition"])
    assert ends == ((positions[0], positions[-1]) if positions else (None, None))
    assert manifest["count"] == len(positions)


@pytest.mark.usefixtures("twenty")
async def test_what_is_lost_is_not_passed_over(
    run: Run, connection: Connection, tmp_path: Path
) -> None:
    """A gap ends the export, and no file appears; the last event counts too."""
    await connection.execute("SET session_replication_role = replica")
    await connection.execute("DELETE FROM ledger_events WHERE notification_id = 20")
    with pytest.raises(PositionMissing):
        await run()
    assert not (tmp_path / "made").exists()


@pytest.mark.usefixtures("twenty")
async def test_nothing_is_written_over(run: Run, tmp_path: Path) -> None:
    """Neither a file that is there, nor the part of another export, nor a busy one."""
    with pytest.raises(Killed):
        await run(dies_after=3)
    with pytest.raises(InvalidRequest, match="another export"):
        await run(after=Position(1))
    work = Work(tmp_path / "made")
    begun = work.begun()
    assert begun is not None
    with work.open(begun), pytest.raises(InvalidRequest, match="another process"):
        await run()
    (tmp_path / "made.part").write_bytes(b"")
    with pytest.raises(InvalidRequest, match="shorter"):
        await run()
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(InvalidRequest, match="there already"):
        Work(tmp_path / "mine").finished()


@pytest.mark.parametrize("form", FORMATS)
async def test_a_number_that_was_never_seen_is_not_found(
    run: Run, handler: CommandHandler, tmp_path: Path, form: Format
) -> None:
    """As for every other question; nothing is left in the corrected command's way."""
    await handler.handle(signal())
    with pytest.raises(NotFound):
        await run(number=OTHER, format=form)
    for left in ("made", "made.part", "made.part.json", "made.manifest.json"):
        assert not (tmp_path / left).exists(), left
    assert (await run(number=NUMBER, format=form))["count"] == 1


@pytest.mark.parametrize(
    "more",
    [
        {"number": NUMBER, "without_personal": True},
        {"after": 5, "until": 4},
        {"first_day": date(2026, 1, 2), "last_day": date(2026, 1, 1)},
    ],
)
def test_what_makes_no_sense_is_refused(more: dict[str, Any]) -> None:
    """Before anything is read."""
    with pytest.raises(InvalidRequest):
        Asked(format="csv", **more)


async def test_parquet_says_what_it_needs(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where pyarrow is not installed, the message names what to install."""
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(
        InvalidRequest, match=r"pip install 'consent-ledger\[parquet\]'"
    ):
        await run(format="parquet")


@pytest.mark.parametrize(
    "given",
    [
        [],
        ["--format", "csv"],
        ["--output", "x"],
        ["--subject", NUMBER, "--format", "csv"],
        ["--subject", NUMBER, "--number", NUMBER],
    ],
)
def test_a_command_that_says_too_little_or_too_much_is_refused(
    given: list[str],
) -> None:
    """Either one person's data or events."""
    result = CliRunner().invoke(app, ["export", *given])
    assert isinstance(result.exception, InvalidRequest)
