"""Where the master key comes from: one place, or a refusal that shows nothing."""

import json
import shlex
import sys
from pathlib import Path

import pytest
from builders import ACCOUNT_SID, AUTH_TOKEN, MASTER_KEY, MASTERS

from ledger.errors import ConfigurationError
from ledger.master_key import MASTER_KEY_FILE, load_master_keys
from ledger.settings import Settings
from ledger.store.master import parse_master_keys

DATABASE = {
    "DATABASE_URL": "postgresql://ledger@db/ledger",
    "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
    "TWILIO_AUTH_TOKEN": AUTH_TOKEN,
}


def read(**environment: str) -> Settings:
    """The settings of a ledger in a database that is not ours."""
    return Settings.from_mapping(DATABASE | environment)


def printing(text: str, *, then: str = "") -> str:
    """A command that prints a text, and then does something."""
    return shlex.join([sys.executable, "-c", f"print({text!r}); {then}"])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with the master key, as a secret is mounted."""
    path = tmp_path / "mounted"
    path.write_text(MASTER_KEY + "\n")
    return path


def test_it_is_read_from_a_setting_a_file_or_a_command(file: Path) -> None:
    """All three give the same key."""
    for given in (
        {"LEDGER_MASTER_KEY": MASTER_KEY},
        {"LEDGER_MASTER_KEY_FILE": str(file)},
        {"LEDGER_MASTER_KEY_COMMAND": printing(MASTER_KEY)},
    ):
        assert load_master_keys(read(**given)).current == MASTERS.current


@pytest.mark.parametrize("embedded", [True, False])
def test_two_places_at_once_are_refused_by_name(embedded: bool, file: Path) -> None:  # noqa: FBT001
    """Nobody has to guess which one was in force."""
    given = {
        "LEDGER_MASTER_KEY": MASTER_KEY,
        "LEDGER_MASTER_KEY_FILE": str(file),
        "LEDGER_MASTER_KEY_COMMAND": printing(MASTER_KEY),
    }
    for left_out in given:
        two = {name: value for name, value in given.items() if name != left_out}
        settings = Settings.from_mapping(two) if embedded else read(**two)
        with pytest.raises(ConfigurationError, match=" and ".join(two)):
            load_master_keys(settings)


def test_with_a_database_none_is_made_up(tmp_path: Path) -> None:
    """A made-up key that is lost with its container would take all people along."""
    settings = read(LEDGER_DATA_DIR=str(tmp_path))
    with pytest.raises(ConfigurationError, match="openssl rand -base64 32"):
        load_master_keys(settings)
    assert list(tmp_path.iterdir()) == []


def test_with_the_embedded_server_one_is_made_once(tmp_path: Path) -> None:
    """In the data folder, for its owner alone, and the same at each start after."""
    settings = Settings.from_mapping(
        {"LEDGER_DATA_DIR": str(tmp_path / "made" / "too")}
    )
    first = load_master_keys(settings)
    assert load_master_keys(settings).current == first.current
    [path] = (tmp_path / "made" / "too").iterdir()
    assert path.name == MASTER_KEY_FILE
    assert path.stat().st_mode & 0o777 == 0o600
    assert parse_master_keys(path.read_text()).current == first.current


def test_a_key_that_is_set_leaves_no_file(tmp_path: Path) -> None:
    """Where the operator keeps it, and nowhere else."""
    given = {"LEDGER_DATA_DIR": str(tmp_path), "LEDGER_MASTER_KEY": MASTER_KEY}
    assert load_master_keys(Settings.from_mapping(given)).current == MASTERS.current
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Missing, a folder, not a text, or empty."""
    (tmp_path / "bytes").write_bytes(b"\xff\xfe" * 16)
    (tmp_path / "empty").write_text("\n")
    for name in ("missing", "bytes", "."):
        path = tmp_path / name
        with pytest.raises(ConfigurationError, match="LEDGER_MASTER_KEY_FILE") as said:
            load_master_keys(read(LEDGER_MASTER_KEY_FILE=str(path)))
        assert str(path) in str(said.value)
    with pytest.raises(ConfigurationError, match="empty"):
        load_master_keys(read(LEDGER_MASTER_KEY_FILE=str(tmp_path / "empty")))


@pytest.mark.parametrize(
    "command",
    [
        printing(MASTER_KEY, then="exit(1)"),
        printing(MASTER_KEY, then="import os; os.kill(os.getpid(), 9)"),
        printing(MASTER_KEY, then="raise SystemError('marked')"),
        printing(MASTER_KEY[:-3]),
        printing(json.dumps({"key": MASTER_KEY})),
        "/nowhere/to/be/found",
        "an unclosed 'quote",
        " ",
        printing(MASTER_KEY, then="open(1, 'wb').write(bytes([255]))"),
    ],
)
def test_a_command_that_fails_never_shows_what_it_printed(
    command: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """It may be the key, or half of it; the refusal says only that it failed."""
    with pytest.raises(ConfigurationError) as refused:
        load_master_keys(read(LEDGER_MASTER_KEY_COMMAND=command))
    assert refused.value.__cause__ is None
    said = str(refused.value) + "".join(capfd.readouterr())
    parts = {MASTER_KEY[at : at + 8] for at in range(len(MASTER_KEY) - 8)}
    assert [part for part in (*parts, "marked") if part in said] == []


def test_a_command_is_not_given_to_a_shell(tmp_path: Path) -> None:
    """What a shell would do with it is part of an argument."""
    witness = tmp_path / "witness"
    command = f"{printing(MASTER_KEY)} ; touch {witness} $(touch {witness})"
    assert load_master_keys(read(LEDGER_MASTER_KEY_COMMAND=command)).ids == MASTERS.ids
    assert not witness.exists()


def test_no_master_key_is_ever_shown() -> None:
    """Neither by the settings nor by a setting beside it that is wrong."""
    assert MASTER_KEY not in repr(read(LEDGER_MASTER_KEY=MASTER_KEY))
    with pytest.raises(ConfigurationError) as refused:
        read(LEDGER_MASTER_KEY=MASTER_KEY, LEDGER_PORT="no port")
    assert MASTER_KEY not in str(refused.value)
    assert MASTER_KEY not in repr(load_master_keys(read(LEDGER_MASTER_KEY=MASTER_KEY)))
