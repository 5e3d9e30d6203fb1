"""Moving in: the real command on a file of mostly new numbers.

Beside it, on the same server, a COPY of the very rows that the command has stored, into
tables with the same keys: what PostgreSQL alone needs for them, with nothing read,
decided, sealed or looked up, and with one commit in the place of hundreds.
"""

import json
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import psutil
import psycopg

from bench.database import Database
from bench.load import BadRound
from bench.results import Row
from bench.rows import Plan, rounds_of
from bench.service import environment, postgres
from ledger.store.embedded import DATABASE

ROWS_A_SECOND: Final = 100_000
"""Of the file, for each second that a round was asked to have: 500,000 for five."""
KNOWN_EVERY: Final = 100
"""One row in so many is about a number that the file has had before."""

_COMMAND: Final = Path(sys.executable).with_name("consent-ledger")
_SELECTED: Final = {
    "ledger_events": """
        SELECT * FROM ledger_events WHERE notification_id > {after:d}
        ORDER BY notification_id""",
    "signal_keys": """
        SELECT * FROM signal_keys WHERE position > {after:d} ORDER BY position""",
    "subject_keys": """
        SELECT * FROM subject_keys LIMIT {rows:d}""",
}
"""What the command has stored, of each table that it has written to."""


class _Imported(NamedTuple):
    """What one run of the command has cost."""

    per_second: float
    python_us: float
    postgres_us: float


def import_rows(plan: Plan, folder: Path) -> Row:
    """Rows a second of ``consent-ledger import --apply``, by its own count."""
    found: list[_Imported] = []
    copied: list[float] = []
    rows = ROWS_A_SECOND * plan.seconds
    with postgres(folder) as database:
        for ordinal in rounds_of(plan, "import-rows"):
            file = plan.scratch / "crm.csv"
            _write(file, ordinal, rows)
            found.append(_import(database, file, ordinal, rows))
            copied.append(_copy(database, plan.scratch, rows))
            file.unlink()
            plan.say(
                f"  {found[-1].per_second:,.0f} rows/s, CPU a row: Python "
                f"{found[-1].python_us:.0f} us, PostgreSQL {found[-1].postgres_us:.0f} "
                f"us; COPY {copied[-1]:,.0f} rows/s"
            )
    ours = [one.per_second for one in found]
    ratio = statistics.median([a / b for a, b in zip(ours, copied, strict=True)])
    python = statistics.median([one.python_us for one in found])
    server = statistics.median([one.postgres_us for one in found])
    copy = statistics.median(copied)
    notes = [
        f"{ratio:.2f} of the COPY of the same rows ({copy:,.0f}/s)",
        f"CPU a row: Python {python:.0f} us, PostgreSQL {server:.0f} us",
    ]
    detail = {"copiedPerSecond": copied, "runs": [one._asdict() for one in found]}
    return Row("import-rows", ours, notes=notes, detail=detail)


def _write(file: Path, ordinal: int, rows: int) -> None:
    """A CRM's export; of each round's numbers no other round has any."""
    chance = random.Random(ordinal)  # noqa: S311 - nothing is kept secret by it
    with file.open("w") as out:
        out.write("Phone,Status,Consent Date,First Name,Email,Plan\n")
        out.writelines(_lines(ordinal, rows, chance))


def _lines(ordinal: int, rows: int, chance: random.Random) -> Iterator[str]:
    for place in range(rows):
        person = chance.randrange(place) if place % KNOWN_EVERY == 99 else place
        status = "subscribed" if chance.random() < 0.8 else "unsubscribed"
        day = f"2024-{1 + place % 12:02d}-{1 + place % 28:02d}"
        at = f"{day}T10:{place // 60 % 60:02d}:{place % 60:02d}.{place:06d}Z"
        number = f"+1{ordinal % 10}{person:09d}"
        mail = f"person{person}@example.com"
        yield f"{number},{status},{at},Person {person},{mail},gold\n"


def _import(database: Database, file: Path, ordinal: int, rows: int) -> _Imported:
    command = [_COMMAND, "import", file, "--source", f"bench-{ordinal}"]
    command += ["--apply", "--json"]
    server, python = server_seconds(database), children_seconds()
    done = subprocess.run(
        [str(part) for part in command],
        env=environment(database.folder, 0),
        check=False,
        capture_output=True,
        text=True,
    )
    server, python = server_seconds(database) - server, children_seconds() - python
    if done.returncode != 0:
        raise BadRound(f"the import failed: {done.stderr[-2000:]}")
    answer = json.loads(done.stdout)
    if answer["recorded"] != rows:
        raise BadRound(f"{answer} of {rows} rows")
    return _Imported(rows / answer["seconds"], 1e6 * python / rows, 1e6 * server / rows)


def _copy(database: Database, scratch: Path, rows: int) -> float:
    """Rows a second of a COPY of what was stored last; dropped afterwards."""
    after = database.position() - rows
    files = {table: scratch / f"{table}.copy" for table in _SELECTED}
    with psycopg.connect(
        host=database.socket_dir, user="postgres", dbname=DATABASE, autocommit=True
    ) as connection:
        for table, file in files.items():
            made = f"CREATE TABLE copy_{table} (LIKE {table} INCLUDING ALL)"
            connection.execute(made)
            selected = f"COPY ({_SELECTED[table]}) TO STDOUT"
            selected = selected.format(after=after, rows=rows)
            with connection.cursor().copy(selected) as copy, file.open("wb") as out:
                out.writelines(copy)
        connection.execute("CHECKPOINT")
        started = time.perf_counter()
        with connection.transaction():
            for table, file in files.items():
                into = f"COPY copy_{table} FROM STDIN"
                with connection.cursor().copy(into) as copy, file.open("rb") as stored:
                    while piece := stored.read(1 << 20):
                        copy.write(piece)
        seconds = time.perf_counter() - started
        for table, file in files.items():
            connection.execute(f"DROP TABLE copy_{table}")
            file.unlink()
        connection.execute("CHECKPOINT")
    return rows / seconds


def children_seconds() -> float:
    """CPU of the processes of ours that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def server_seconds(database: Database) -> float:
    """CPU of the server's processes, those that have ended included."""
    postmaster = psutil.Process(database.postmaster_pid)
    own = postmaster.cpu_times()
    seconds = own.user + own.system + own.children_user + own.children_system
    for child in postmaster.children():
        try:
            times = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        seconds += times.user + times.system
    return float(seconds)
