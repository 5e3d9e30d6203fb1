"""Commands about keys, evidence and one person's data, as an operator runs them."""

import getpass
import json
import stat
from pathlib import Path
from typing import Any, Final

import pytest
from builders import MASTER_KEY, MASTER_SECRET, NUMBER, signal
from e2e.processes import command_line, environment_for, free_port

from ledger.command_handler import CommandHandler
from ledger.settings import Settings
from ledger.store.database import Connection
from ledger.store.keyring import Keyring
from ledger.store.master import key_id, new_master_key, parse_master_keys
from ledger.store.postgres import PostgresEventStore

NEW_KEY: Final = new_master_key()
NEW_ID: Final = parse_master_keys(NEW_KEY).current

Environment = dict[str, str]


@pytest.fixture
async def environment(
    dsn: str,
    tmp_path: Path,
    store: PostgresEventStore,
    keyring: Keyring,
    settings: Settings,
) -> Environment:
    """Settings for a database in which one person has said STOP."""
    async with CommandHandler(store, keyring, settings) as handler:
        await handler.handle(signal())
    return environment_for(tmp_path, free_port()) | {
        "DATABASE_URL": dsn,
        "LEDGER_MASTER_KEY": MASTER_KEY,
    }


def run(environment: Environment, *arguments: str, code: int = 0) -> str:
    """What a command prints, once it has ended with a code."""
    done = command_line(environment, *arguments)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


async def test_rotating_says_which_key_may_be_removed(environment: Environment) -> None:
    """How many keys there were, and that only the new one is in use."""
    environment["LEDGER_MASTER_KEY"] = f"{NEW_KEY},{MASTER_KEY}"
    printed = run(environment, "keys", "rotate-master").splitlines()
    assert printed == [
        "3 keys wrapped anew",
        f"master key {NEW_ID} is in use, by 3 keys",
        f"every master key but {NEW_ID} may be removed from the settings",
    ]
    environment["LEDGER_MASTER_KEY"] = NEW_KEY
    again = json.loads(run(environment, "keys", "rotate-master", "--json"))
    assert again == {"rewrapped": 0, "current": NEW_ID, "inUse": {NEW_ID: 3}}
    environment["LEDGER_MASTER_KEY"] = MASTER_KEY
    assert NEW_ID in run(environment, "export", "--subject", NUMBER, code=3)


async def test_rotating_without_the_old_key_changes_nothing(
    environment: Environment, connection: Connection
) -> None:
    """It names the key that is missing, and exits with 3."""
    environment["LEDGER_MASTER_KEY"] = NEW_KEY
    said = run(environment, "keys", "rotate-master", code=3)
    assert key_id(MASTER_SECRET) in said
    used = await connection.fetch("SELECT DISTINCT master_key FROM subject_keys")
    assert [row["master_key"] for row in used] == [key_id(MASTER_SECRET)]


async def test_evidence_is_kept_where_no_age_is_set(environment: Environment) -> None:
    """The command says how to set one, and exits with 2."""
    assert "LEDGER_EVIDENCE_DAYS_MAX" in run(environment, "erase-evidence", code=2)
    run(environment, "erase-evidence", "--older-than", "1", code=2)


async def test_old_evidence_goes_by_setting_or_option(
    environment: Environment, connection: Connection
) -> None:
    """A dry run first, then the run, then nothing more to do."""
    await connection.execute("UPDATE evidence_keys SET name = '2020-01-01'")
    environment["LEDGER_EVIDENCE_DAYS_MAX"] = "30"
    dry = json.loads(run(environment, "erase-evidence", "--dry-run", "--json"))
    assert (dry["days"], dry["from"], dry["to"]) == (1, "2020-01-01", "2020-01-01")
    assert (dry["dryRun"], dry["position"]) == (True, None)
    assert "no evidence" in run(environment, "erase-evidence", "--older-than", "36500")
    assert run(environment, "erase-evidence") == (
        "destroyed: the evidence of 1 day, 2020-01-01\n"
    )
    assert "no evidence" in run(environment, "erase-evidence")


async def test_a_persons_data_goes_to_a_file_of_its_owner_or_is_printed(
    environment: Environment, tmp_path: Path
) -> None:
    """The file is new, and nobody else reads it."""
    path = tmp_path / "for-them.json"
    printed: Any = json.loads(run(environment, "export", "--subject", NUMBER))
    run(environment, "export", "--subject", NUMBER, "--output", str(path))
    written = json.loads(path.read_text())
    assert written | {"exportedAt": ""} == printed | {"exportedAt": ""}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert written["events"][0]["evidence"] == {"Body": "STOP"}
    run(environment, "export", "--subject", NUMBER, "--output", str(path), code=2)


async def test_a_number_that_was_never_seen_exits_with_1(
    environment: Environment,
) -> None:
    """There is nothing to give."""
    run(environment, "export", "--subject", "+14155550999", code=1)


async def test_events_go_to_a_file_and_the_account_is_logged(
    environment: Environment, tmp_path: Path
) -> None:
    """With a manifest; once the file is there, it is not written again."""
    path = tmp_path / "all.csv"
    given = ("export", "--format", "csv", "--output", str(path))
    done = command_line(environment, *given)
    assert (done.returncode, done.stdout) == (
        0,
        f"1 events in {path}, {path}.manifest.json\n",
    )
    lines = [json.loads(x) for x in done.stderr.splitlines() if x.startswith("{")]
    assert [line["event"] for line in lines] == ["read_begun", "read"]
    assert {line["reader"] for line in lines} == {f"cli:{getpass.getuser()}"}
    assert [(line["after"], line["until"]) for line in lines] == [(0, 1), (0, 1)]
    assert lines[1]["count"] == 1
    assert "events: 1 of 1" in done.stderr
    assert NUMBER[1:] not in done.stderr
    assert NUMBER in path.read_text()
    run(environment, *given, code=2)
