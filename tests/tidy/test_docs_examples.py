"""The examples in the pages, run: what a newcomer types gives what the page shows.

In what is shown, ``…`` stands for anything, and a time for any time.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from api_steps import record, text
from builders import ADMIN_KEY, MASTER_KEY, NUMBER, SENDER
from conftest import Client, settings_for
from e2e.processes import (
    COMMAND,
    Service,
    command_line,
    environment_for,
    free_port,
    new_folder,
    running,
)
from tidy.repository import ROOT, blocks, page

from ledger.settings import Settings
from ledger.store.database import Connection

SECONDS_MAX: Final = 30
SHOWN_ADDRESS: Final = "http://127.0.0.1:8080"
SHOWN_COMMAND: Final = ".venv/bin/consent-ledger"

_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")

_SEALED: Final = re.compile(r"(\d{4}-\d\d-\d\d\.)?[A-Za-z0-9+/]{40,}={0,2}")

# A cell, and what it shows if it prints.
_CELL: Final = re.compile(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", re.DOTALL)
_NOTEBOOK: Final = "how-to/audit-without-our-service.md"

Step = tuple[str, str]


@pytest.fixture
def service() -> Iterator[Service]:
    """A service that was just started for the first time."""
    # Without a master key: it makes one, as it does for a newcomer.
    newcomer = {"LEDGER_MASTER_KEY": ""}
    with new_folder() as folder, running(folder, newcomer) as service:
        yield service


@pytest.fixture
def settings(dsn: str) -> Settings:
    """As the service has them if nothing is said: texts are recorded, too."""
    return settings_for(dsn, LEDGER_RECORD_MESSAGES="true")


async def test_the_readme_does_what_it_shows(service: Service) -> None:
    """Whoever types the README's commands sees what it prints."""
    await service.ready()
    steps = list(_steps((ROOT / "README.md").read_text(encoding="utf-8")))
    assert [command.split()[0] for command, _ in steps] == ["make", SHOWN_COMMAND]
    for step in steps:
        _take(step, service)


@pytest.mark.skipif(shutil.which("curl") is None, reason="the tutorial asks with curl")
async def test_the_tutorial_does_what_it_shows(service: Service) -> None:
    """Whoever types the tutorial's commands, in their order, sees what it prints."""
    await service.ready()
    for step in _steps(page("tutorials/first-opt-out.md")):
        _take(step, service)


async def test_an_export_of_harper_can_be_recorded(
    service: Service, tmp_path: Path
) -> None:
    """The example that moves data records each row once, however often it is run."""
    await service.ready()
    [source] = blocks(page("how-to/move-from-harper.md"), "python")
    example: dict[str, Any] = {}
    exec(compile(source, "move-from-harper.md", "exec"), example)  # noqa: S102
    export = tmp_path / "data.csv"
    export.write_text(f"phoneNumber,status\n{NUMBER},out\n+14155550101,in\n")
    for _ in range(2):
        example["record_all"](service.url, ADMIN_KEY, str(export))
    status = json.loads(command_line(service.environment, "status", "--json").stdout)
    assert (status["position"], status["numbers_in"], status["numbers_out"]) == (
        2,
        1,
        1,
    )


async def test_moving_in_goes_as_the_page_shows(dsn: str, tmp_path: Path) -> None:
    """Whoever has the page's file and types its commands sees what it prints."""
    shown = page("how-to/move-in.md")
    environment = environment_for(tmp_path, free_port()) | {"DATABASE_URL": dsn}
    [contacts] = blocks(shown, "csv")
    (tmp_path / "contacts.csv").write_text(contacts)
    (tmp_path / "opt-outs.csv").write_text("Phone\n+14155550104\n+14155550105\n")
    (tmp_path / "messages.csv").write_text(
        "From,To,Body,SentDate,Direction,Sid,AccountSid\n"
        "+14155550106,+14155550199,Stop!,2024-03-01T10:00:00Z,inbound,SM1,AC1\n"
        "+14155550106,+14155550199,Hi,2024-03-01T11:00:00Z,inbound,SM2,AC1\n"
        "+14155550199,+14155550106,Hello,2024-03-01T12:00:00Z,outbound-api,SM3,AC1\n"
    )
    for command, expected in _steps(shown):
        done = command_line(environment, *shlex.split(command)[1:])
        pattern = re.escape(expected.strip()).replace("…", ".*")
        assert re.fullmatch(pattern, done.stdout.strip()), f"{command}: {done}"
        assert done.returncode == int("refused" in expected)


async def test_the_library_reads_as_the_page_shows(client: Client, dsn: str) -> None:
    """The example reads every event without our service, and with a key whose it is."""
    await text(client, "STOP")
    await text(client, "START")
    [source] = blocks(page("how-to/read-with-eventsourcing.md"), "python")
    command = [sys.executable, "-W", "error", "-c", _at(dsn, source)]
    sealed, opened = _run(command), _run(command, LEDGER_MASTER_KEY=MASTER_KEY)
    for printed in (sealed, opened):
        lines = printed.splitlines()
        said, text_, said_after, text_after = (lines[n] for n in (0, 2, 3, 5))
        numbered = [line.split()[0] for line in (said, text_, said_after, text_after)]
        assert numbered == ["1", "2", "3", "4"]
        assert text_.endswith(" MessageReceived")
        assert [line.split()[1] for line in lines[1:5:3]] == ["out", "in"]
        assert lines[6].endswith(" ['ConsentChanged', 'ConsentChanged'] in")
    assert NUMBER not in sealed
    assert opened.count(f" {NUMBER} {{") == 2


async def test_an_auditor_sees_what_the_notebook_shows(
    client: Client, dsn: str
) -> None:
    """Each cell, in their order, prints what stands below it."""
    form = {
        "status": "in",
        "sender": SENDER,
        "occurredAt": "2025-03-01T12:00:00Z",
        "evidence": {"wording": "Yes, text me about my orders"},
    }
    await record(client, form)
    await text(client, "STOP")
    await text(client, "START", From="+14155550101")
    cells = _CELL.findall(page(_NOTEBOOK))
    end = "-- end of a cell"
    source = "".join(f"{cell}\nprint({end!r})\n" for cell, _ in cells)
    command = [sys.executable, "-W", "error", "-c", _at(dsn, source)]
    printed = _run(command, LEDGER_MASTER_KEY=MASTER_KEY).split(f"{end}\n")
    for (cell, shown), output in zip(cells, printed[:-1], strict=True):
        pattern = re.escape(shown).replace("…", r"\S+")
        assert re.fullmatch(pattern, output), f"{cell} printed {output}"


async def test_an_event_is_stored_as_the_page_shows(
    client: Client, connection: Connection
) -> None:
    """A STOP is stored in the page's form, with what is personal sealed."""
    [shown] = blocks(page("reference/events.md"), "json")
    expected = json.loads(shown)
    await text(client, "STOP")
    stored = json.loads(
        await connection.fetchval(
            "SELECT state FROM ledger_events ORDER BY notification_id"
        )
    )
    for name in ("timestamp", "occurred_at"):
        shown_time, time = expected[name].pop("_data_"), stored[name].pop("_data_")
        assert len(shown_time) == len(time)
    for name in ("phone_number", "evidence"):
        shown_box, box = expected.pop(name), stored.pop(name)
        assert _SEALED.fullmatch(shown_box)
        assert _SEALED.fullmatch(box)
        assert ("." in shown_box) == ("." in box) == (name == "evidence")
    # As text, so that the order counts.
    assert json.dumps(stored) == json.dumps(expected)


def _steps(text_of_page: str) -> Iterator[Step]:
    """Each command that the page types, and what it shows after it."""
    for block in blocks(text_of_page, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


def _take(step: Step, service: Service) -> None:
    """Run a command as the page has it, and compare."""
    command, expected = step
    if command == "make run":
        folder = str(service.folder.resolve())
        printed = service.log.replace(folder, "/.ledger")
        # Where they are not the default, the next command has them before it.
        printed = re.sub(r"LEDGER_(PORT|DATA_DIR)=\S+ ", "", printed)
    else:
        command = command.replace(SHOWN_COMMAND, COMMAND)
        command = command.replace(SHOWN_ADDRESS, service.url)
        printed = _run(["/bin/sh", "-c", command], **service.environment, KEY=ADMIN_KEY)
    pattern = re.escape(_plain(expected.strip())).replace("…", ".*")
    printed = _plain(printed.replace(service.url, SHOWN_ADDRESS))
    assert re.match(pattern, printed, re.DOTALL), f"{command} printed {printed}"


def _plain(output: str) -> str:
    return _TIME.sub("(a time)", output)


def _run(command: list[str], **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _at(dsn: str, source: str) -> str:
    """An example that reads this test's database."""
    for name, value in _place(dsn).items():
        source = re.sub(f'"{name}": ".*"', f'"{name}": "{value}"', source)
    return source


def _place(dsn: str) -> dict[str, str]:
    """A database, in the library's words."""
    parts = urlsplit(dsn)
    query = parse_qs(parts.query)
    return {
        "POSTGRES_DBNAME": parts.path[1:],
        "POSTGRES_HOST": parts.hostname or query["host"][0],
        "POSTGRES_PORT": str(parts.port or 5432),
        "POSTGRES_USER": unquote(parts.username or "postgres"),
        "POSTGRES_PASSWORD": unquote(parts.password or "none"),
    }
