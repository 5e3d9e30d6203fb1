"""``consent-ledger import`` as an operator runs it, kills it, and runs it again."""

import asyncio
import csv
import json
import signal
import stat
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
from builders import MASTER_KEY, NUMBER
from e2e.processes import (
    COMMAND,
    SECONDS_MAX,
    command_line,
    environment_for,
    eventually,
    free_port,
)

from ledger.store.database import Connection

ROWS: Final = 12_000

Environment = dict[str, str]


@pytest.fixture
def environment(dsn: str, tmp_path: Path) -> Environment:
    """Settings for an empty ledger."""
    return environment_for(tmp_path, free_port()) | {
        "DATABASE_URL": dsn,
        "LEDGER_MASTER_KEY": MASTER_KEY,
    }


@pytest.fixture
def crowd(tmp_path: Path) -> str:
    """A file of many numbers that are out."""
    path = tmp_path / "crowd.csv"
    numbers = (f"+1415{ordinal:07d}" for ordinal in range(ROWS))
    path.write_text("\n".join(("phone", *numbers)))
    return str(path)


def begun(environment: Environment, *arguments: str) -> subprocess.Popen[bytes]:
    """A command that runs."""
    return subprocess.Popen(
        [COMMAND, *arguments], env=environment, stdout=subprocess.DEVNULL
    )


def imported(environment: Environment, *arguments: str, code: int = 0) -> Any:
    """What an import answers, once it has ended with a code."""
    done = command_line(environment, "import", *arguments, "--json")
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


async def is_alone(connection: Connection) -> bool:
    """Whether the database has no other connection."""
    count = """SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND pid != pg_backend_pid()"""
    return bool(await connection.fetchval(count) == 0)


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGINT])
async def test_an_import_that_is_ended_is_completed_by_the_next(
    environment: Environment, connection: Connection, crowd: str, signum: signal.Signals
) -> None:
    """Whichever rows were recorded: after the second run each is there, once."""
    arguments = ("import", crowd, "--source", "list", "--status", "out", "--apply")
    first = begun(environment, *arguments)

    async def has_begun() -> bool:
        position = await connection.fetchval("SELECT position FROM ledger_position")
        return bool(position) or first.poll() is not None

    await eventually(has_begun)
    first.send_signal(signum)
    code = await asyncio.to_thread(first.wait, SECONDS_MAX)
    assert code == (-signal.SIGKILL if signum == signal.SIGKILL else 130)
    # What a killed one had sent is still committed.
    await eventually(lambda: is_alone(connection))
    before = await connection.fetchval("SELECT count(*) FROM ledger_events")
    assert 0 < before < ROWS
    again = imported(environment, *arguments[1:])
    assert (again["duplicates"], again["recorded"]) == (before, ROWS - before)
    counted = "SELECT count(*), count(DISTINCT originator_id) FROM ledger_events"
    assert tuple(await connection.fetchrow(counted) or ()) == (ROWS, ROWS)


async def test_refused_rows_go_to_a_file_of_its_owner(
    environment: Environment, connection: Connection, tmp_path: Path
) -> None:
    """With their line and as they came; a dry run records nothing."""
    path, report = tmp_path / "crm.csv", tmp_path / "refused.csv"
    path.write_text(f"phone,status,date\n{NUMBER},out,2024-03-01\n5550101,out,\n")
    arguments = (str(path), "--source", "crm")
    dry = imported(environment, *arguments, code=1)
    assert (dry["dryRun"], dry["recorded"]) == (True, 1)
    assert dry["numbers"] == {"turnOut": 1, "turnIn": 0, "stay": 0}
    assert await connection.fetchval("SELECT count(*) FROM ledger_events") == 0
    refusing = (*arguments, "--apply", "--refused", str(report))
    done = imported(environment, *refusing, code=1)
    assert (done["dryRun"], done["recorded"]) == (False, 1)
    assert done["refused"] == {"invalid_phone_number": 1}
    with report.open(newline="") as file:
        [row] = csv.DictReader(file)
    assert (row["line"], row["row"]) == ("3", "5550101,out,")
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    assert NUMBER not in command_line(environment, "import", *arguments).stdout


WRONG: dict[str, tuple[str, ...]] = {
    "no file": ("none.csv", "--source", "x"),
    "a source with a blank": ("crowd.csv", "--source", "a b"),
    "no status anywhere": ("crowd.csv", "--source", "x"),
}


def test_wrong_usage_exits_with_2(environment: Environment, crowd: str) -> None:
    """Before anything is recorded."""
    for name, arguments in WRONG.items():
        path = str(Path(crowd).with_name(arguments[0]))
        done = command_line(environment, "import", path, *arguments[1:])
        assert done.returncode == 2, (name, done.stderr)


def test_a_database_that_is_not_there_exits_with_4(
    environment: Environment, crowd: str
) -> None:
    """It cannot be used now."""
    environment["DATABASE_URL"] = "postgresql://127.0.0.1:1/nowhere"
    done = command_line(environment, "import", crowd, "--source", "x")
    assert done.returncode == 4
