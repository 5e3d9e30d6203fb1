"""``consent-ledger check FILE``: a file comes back with what its numbers say."""

import asyncio
import csv
import json
import stat
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any, Final

import pytest
from builders import MASTER_KEY, NUMBER, SENDER, signal
from conftest import CatchUp
from typer.testing import CliRunner, Result

from ledger.api.check_reader import read_said
from ledger.cli.check import check_app
from ledger.command_handler import CommandHandler
from ledger.domain.events import ConsentChecked
from ledger.domain.ids import PhoneNumber, Position
from ledger.errors import (
    FutureMoment,
    InvalidRequest,
    NoNumberColumn,
    NotFound,
    NotYetProjected,
)
from ledger.store.database import Connection
from ledger.store.postgres import PostgresEventStore

OTHER: Final = PhoneNumber("+14155550101")
LIST: Final = (
    "\ufeffname,Phone Number\r\n"
    f'"Ann, ""A""",{NUMBER}\r\n'
    "=1+1,(415) 555-0101\r\n"
    "\r\n"
    '"two\nlines",+14155550102\r\n'
    "nobody,n/a\r\n"
).encode()
Run = Callable[..., Any]


@pytest.fixture
def run(dsn: str) -> Run:
    """A command in a thread of its own, since it has a loop of its own."""
    environment = {
        "DATABASE_URL": dsn,
        "LEDGER_MASTER_KEY": MASTER_KEY,
        "LEDGER_WAIT_SECONDS_MAX": "0.2",
    }

    async def invoke(*arguments: str | Path, code: int = 0) -> Result:
        given = [str(argument) for argument in arguments]
        runner = CliRunner(env=environment)
        result = await asyncio.to_thread(runner.invoke, check_app, given)
        if isinstance(result.exception, Exception):
            raise result.exception
        assert result.exit_code == code, result.output
        return result

    return invoke


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A list as somebody's spreadsheet has written it."""
    path = tmp_path / "list.csv"
    path.write_bytes(LIST)
    return path


@pytest.fixture
async def known(handler: CommandHandler, catch_up: CatchUp) -> None:
    """One number is out, another is in."""
    await handler.handle(signal())
    await handler.handle(signal(phone_number=OTHER, status="in"))
    await catch_up()


def names_in(folder: Path) -> list[str]:
    """What is in a folder."""
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.usefixtures("known")
async def test_every_row_comes_back_with_more_columns(run: Run, file: Path) -> None:
    """As it was, in its place, and exit code 1 for the row without a number."""
    done = await run("check", file, "--region", "US", "--sender", SENDER, code=1)
    assert "5 rows" not in done.stderr
    assert "4 rows, 1 without a number, at position 2" in done.stderr
    rows = list(csv.DictReader(StringIO(done.stdout.removeprefix("\ufeff"))))
    assert [row["consentStatus"] for row in rows] == ["out", "in", "unknown", ""]
    assert [row["consentPosition"] for row in rows] == ["1", "2", "", ""]
    assert rows[1]["consentNumber"] == OTHER
    assert rows[3]["consentError"] == "invalid_phone_number"
    # Without what was added, it is the file.
    kept = done.stdout_bytes
    for row in rows:
        added = ",".join(list(row.values())[2:])
        kept = kept.replace(f",{added}\r\n".encode(), b"\r\n", 1)
    columns = ("Status", "Position", "Since", "Number", "Error", "Erased")
    header = "".join(f",consent{column}" for column in columns)
    assert kept.replace(header.encode(), b"") == LIST


@pytest.mark.usefixtures("known")
async def test_all_rows_are_of_the_position_at_the_start(
    run: Run,
    file: Path,
    handler: CommandHandler,
    catch_up: CatchUp,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is recorded and projected while the file is read counts for no row."""
    loop = asyncio.get_running_loop()

    async def everybody_changes() -> None:
        await handler.handle(signal(status="in"))
        await handler.handle(signal(phone_number=OTHER, status="out"))
        await catch_up()

    async def after_a_change(*arguments: Any) -> Any:
        change = asyncio.run_coroutine_threadsafe(everybody_changes(), loop)
        await asyncio.wrap_future(change)
        return await read_said(*arguments)

    monkeypatch.setattr("ledger.cli.check.read_said", after_a_change)
    monkeypatch.setattr("ledger.cli.check._ROWS_AT_ONCE", 1)
    done = await run("check", file, "--region", "US", code=1)
    rows = list(csv.DictReader(StringIO(done.stdout)))
    assert [row["consentStatus"] for row in rows] == ["out", "in", "unknown", ""]


@pytest.mark.usefixtures("known")
async def test_a_file_has_a_receipt(
    run: Run, file: Path, tmp_path: Path, store: PostgresEventStore
) -> None:
    """Over its bytes and those of the output, which verify from then on."""
    output = tmp_path / "out.csv"
    asked = ("--output", output, "--record", "--json", "--as-of", "2020-01-01")
    done = await run("check", file, *asked, code=1)
    summary = json.loads(done.stdout)
    assert (summary["rows"], summary["malformed"], summary["position"]) == (4, 2, 2)
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    assert names_in(tmp_path) == ["list.csv", "out.csv"]
    [(_, event)] = await store.read_after(Position(2), 10)
    assert isinstance(event, ConsentChecked)
    assert (event.numbers, event.read_position) == (4, 2)
    assert event.actor.startswith("cli:")
    receipt = summary["receipt"]
    saved = ("--answer", output, "--request", file)
    shown = json.loads((await run("receipt", receipt, *saved, "--json")).stdout)
    assert (shown["answerMatches"], shown["requestMatches"]) == (True, True)
    other = tmp_path / "other.csv"
    await asyncio.to_thread(other.write_bytes, LIST + b"one more,+14155550109\r\n")
    saved = ("--answer", output, "--request", other)
    done = await run("receipt", receipt, *saved, code=1)
    assert "answerMatches   True" in done.stdout
    assert "requestMatches  False" in done.stdout
    assert "answerDigest" in (await run("receipt", receipt)).stdout


@pytest.mark.usefixtures("known")
async def test_the_column_can_be_named(run: Run, tmp_path: Path) -> None:
    """Where no name tells, or two do."""
    file = tmp_path / "list.csv"
    file.write_text(f"home;work\n{OTHER};{NUMBER}\n")
    with pytest.raises(NoNumberColumn):
        await run("check", file)
    done = await run("check", file, "--column", "work")
    assert done.stdout.splitlines()[1].startswith(f"{OTHER};{NUMBER};out;1;")


async def test_what_cannot_be_done_leaves_nothing_behind(
    run: Run, file: Path, tmp_path: Path
) -> None:
    """No half of a file, and nothing that was there is written over."""
    taken = tmp_path / "taken.csv"
    taken.write_text("mine")
    broken = tmp_path / "broken.csv"
    broken.write_text('phone\n"+1\n')
    output = tmp_path / "out.csv"
    for arguments, error in (
        ((file, "--output", taken), InvalidRequest),
        ((file, "--output", tmp_path / "nowhere" / "out.csv"), InvalidRequest),
        ((broken, "--output", output), InvalidRequest),
        ((file, "--output", output, "--known-at", "2999-01-01"), FutureMoment),
        ((file, "--record"), InvalidRequest),
    ):
        with pytest.raises(error):
            await run("check", *arguments)
    assert taken.read_text() == "mine"
    assert names_in(tmp_path) == ["broken.csv", "list.csv", "taken.csv"]


async def test_a_history_that_is_behind_is_not_asked(
    run: Run, file: Path, handler: CommandHandler
) -> None:
    """Where nothing projects, the command says so rather than answer too little."""
    await handler.handle(signal())
    with pytest.raises(NotYetProjected, match="running"):
        await run("check", file)


async def test_a_receipt_that_is_none_is_not_found(
    run: Run, file: Path, connection: Connection
) -> None:
    """And a request is not compared without the answer's salt."""
    assert await connection.fetchval("SELECT count(*) FROM ledger_events") == 0
    with pytest.raises(NotFound):
        await run("receipt", "0b9c7c0e-4a58-4f0e-9d55-5a2f6f0f3c11")
    with pytest.raises(InvalidRequest, match="salt"):
        await run("receipt", "x", "--request", file)
