"""The PostgreSQL under the service, seen from beside it: pgbench, positions, sizes."""

import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import psycopg

from ledger.store.embedded import DATABASE

_PGBENCH_DATABASE: Final = "bench_pgbench"
_INSERT: Final = "INSERT INTO inserted (state) VALUES (convert_to(:state, 'UTF8'));\n"
_DATABASE_IS_THERE: Final = """
    SELECT 1 FROM pg_database WHERE datname = 'bench_pgbench'
"""
_TABLE: Final = """
    CREATE TABLE IF NOT EXISTS inserted (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, state bytea NOT NULL)
"""
LAG: Final = """
    SELECT coalesce(max((SELECT position FROM ledger_position) - position), 0)
    FROM projections
"""
"""How many events the slowest projection is behind."""
_TRANSACTIONS: Final = """
    SELECT count(DISTINCT xmin::text) FROM ledger_events WHERE notification_id >
"""
_STANDS: Final = """
    SELECT name, position, seen_at, stopped_reason FROM projections
"""
_SAID_AFTER: Final = """
    SELECT count(*) FROM ledger_events
    WHERE topic = 'ledger.domain.events:ConsentChanged' AND notification_id >
"""
_ROW_BYTES: Final = """
    SELECT avg(pg_column_size(e.*))::bigint FROM (
        SELECT * FROM ledger_events
        WHERE topic = 'ledger.domain.events:ConsentChanged'
        ORDER BY notification_id DESC LIMIT 1000) AS e
"""
_ROW_OVERHEAD_BYTES: Final = 24 + 8 + 4  # a row's header, the id, the length of state
_CAUGHT_UP_SECONDS_MAX: Final = 240


@dataclass(frozen=True, slots=True)
class Inserted:
    """What pgbench says of one run."""

    per_second: float
    median_ms: float


class Database:
    """The server that ``dsn`` names, and its own tools."""

    def __init__(self, dsn: str, bin_dir: Path, folder: Path) -> None:
        self.dsn = dsn
        self.folder = folder
        self._pgbench = bin_dir / "pgbench"
        self.socket_dir = parse_qs(urlsplit(dsn).query)["host"][0]

    @property
    def postmaster_pid(self) -> int:
        """The server's first process."""
        file = self.folder.resolve() / "postgres" / "postmaster.pid"
        return int(file.read_text().splitlines()[0])

    def value(self, statement: str, *, database: str = DATABASE) -> Any:  # noqa: ANN401
        """The one value that a statement gives, or None."""
        rows = self.rows(statement, database=database)
        return rows[0][0] if rows else None

    def rows(
        self, statement: str, *, database: str = DATABASE
    ) -> list[tuple[Any, ...]]:
        """All rows that a statement gives."""
        with psycopg.connect(
            host=self.socket_dir, user="postgres", dbname=database, autocommit=True
        ) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def position(self) -> int:
        """The ledger's position."""
        return int(self.value("SELECT position FROM ledger_position"))

    def said_after(self, position: int) -> int:
        """How many events after a position say something of consent."""
        return int(self.value(f"{_SAID_AFTER} {position:d}"))

    def transactions_after(self, position: int) -> int:
        """How many transactions wrote the events after a position."""
        return int(self.value(f"{_TRANSACTIONS} {position:d}"))

    def lag(self) -> int:
        """How many events the slowest projection is behind."""
        return int(self.value(LAG))

    @contextmanager
    def lags(self) -> Iterator[Callable[[], int]]:
        """``lag``, to be asked again and again on one connection, and so for little."""
        with psycopg.connect(
            host=self.socket_dir, user="postgres", dbname=DATABASE, autocommit=True
        ) as connection:
            yield lambda: int(connection.execute(LAG).fetchall()[0][0])

    def wait_caught_up(self) -> None:
        """Return once no projection is behind, so the next round starts in quiet."""
        deadline = time.monotonic() + _CAUGHT_UP_SECONDS_MAX
        while self.lag() > 0:
            if time.monotonic() > deadline:
                raise TimeoutError(self._why_behind())
            time.sleep(0.1)

    def _why_behind(self) -> str:
        log = self.folder / "serve.log"
        said = log.read_text(errors="replace")[-3000:] if log.exists() else ""
        return f"the projections do not catch up: {self.rows(_STANDS)}; serve: {said}"

    def event_row_bytes(self) -> int:
        """The average size of a stored event's row, as pgbench's rows shall be."""
        return int(self.value(_ROW_BYTES))

    def prepare_pgbench(self) -> None:
        """Make pgbench's own database and table; does nothing the second time."""
        if self.value(_DATABASE_IS_THERE) is None:
            self.rows(f"CREATE DATABASE {_PGBENCH_DATABASE}")
        self.rows(_TABLE, database=_PGBENCH_DATABASE)

    def pgbench(self, *, clients: int, seconds: int, row_bytes: int) -> Inserted:
        """Durable one-row inserts, each its own transaction; rate and median time."""
        with tempfile.TemporaryDirectory(dir=_memory()) as folder:
            script = Path(folder) / "insert.sql"
            script.write_text(_INSERT)
            command = [self._pgbench, "-h", self.socket_dir, "-U", "postgres", "-n"]
            command += ["-M", "prepared", "-f", script, "-T", seconds, "-c", clients]
            command += ["-j", min(2, clients), "-l", "--log-prefix", f"{folder}/log"]
            state = "x" * (row_bytes - _ROW_OVERHEAD_BYTES)
            command += ["-D", f"state={state}", _PGBENCH_DATABASE]
            done = subprocess.run(
                [str(part) for part in command],
                check=False,
                capture_output=True,
                text=True,
            )
            if done.returncode != 0:
                raise RuntimeError(f"pgbench failed: {done.stderr[-2000:]}")
            return Inserted(_per_second(done.stdout), _median_ms(Path(folder)))


def _per_second(printed: str) -> float:
    line = next(x for x in printed.splitlines() if x.startswith("tps = "))
    return float(line.split()[2])


def _median_ms(folder: Path) -> float:
    """The third field of pgbench's log is a transaction's microseconds."""
    times = [
        int(line.split()[2])
        for file in folder.glob("log*")
        for line in file.read_text().splitlines()
    ]
    return statistics.median(times) / 1000


def _memory() -> str | None:
    """Where a log costs the disk that is being measured nothing."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
