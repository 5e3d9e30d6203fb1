"""Where the master key comes from: a setting, a file, a command, or a folder of ours.

Never shows a key. Never makes one where DATABASE_URL is set: a made-up key that is lost
takes the whole of the personal data along.
"""

import shlex
import subprocess
from pathlib import Path
from typing import Final

from ledger.errors import ConfigurationError
from ledger.private_files import made_once
from ledger.settings import Settings
from ledger.store.master import MasterKeys, new_master_key, parse_master_keys

MASTER_KEY_FILE: Final = "master.key"
_COMMAND_SECONDS_MAX: Final = 60


def load_master_keys(settings: Settings) -> MasterKeys:
    """The master keys in force.

    Raises:
        ConfigurationError: there is none, or more than one setting names it, or it
            cannot be read.
    """
    given = {
        "LEDGER_MASTER_KEY": settings.master_key,
        "LEDGER_MASTER_KEY_FILE": settings.master_key_file,
        "LEDGER_MASTER_KEY_COMMAND": settings.master_key_command,
    }
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise ConfigurationError(f"{' and '.join(names)} are set: set one of them")
    return parse_master_keys(_read(settings))


def _read(settings: Settings) -> str:
    if settings.master_key is not None:
        return settings.master_key.get_secret_value()
    if settings.master_key_file is not None:
        return _from_file(settings.master_key_file)
    if settings.master_key_command is not None:
        return _from_command(settings.master_key_command)
    if settings.is_embedded:
        return made_once(settings.data_dir / MASTER_KEY_FILE, new_master_key())
    raise ConfigurationError(
        "LEDGER_MASTER_KEY (or _FILE, or _COMMAND) must be set where DATABASE_URL is: "
        "it seals personal data. Make one with `openssl rand -base64 32`, and keep it "
        "apart from the database and its backups"
    )


def _from_file(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"LEDGER_MASTER_KEY_FILE {path} cannot be read: {type(error).__name__}"
        ) from error


def _from_command(command: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 the operator's own command
            shlex.split(command),
            capture_output=True,
            timeout=_COMMAND_SECONDS_MAX,
            check=True,
            text=True,
        )
    except (OSError, ValueError, IndexError, subprocess.SubprocessError) as error:
        # What it printed is not shown: it may be half of a key.
        raise ConfigurationError(
            f"LEDGER_MASTER_KEY_COMMAND failed: {type(error).__name__}"
        ) from None
    return done.stdout
