"""Files that are made once, by whoever comes first, and that only their owner reads."""

import os
import tempfile
from pathlib import Path

from ledger.errors import ConfigurationError


def made_once(path: Path, content: str) -> str:
    """What is in the file at ``path``, which is ``content`` if there was none.

    Raises:
        ConfigurationError: the folder or the file cannot be used.
    """
    try:
        return _made_once(path, content)
    except OSError as error:
        raise ConfigurationError(
            f"cannot use {path.parent}: {error.strerror}; let this user write there, "
            "or set LEDGER_DATA_DIR to a folder where it can"
        ) from error


def _made_once(path: Path, content: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written aside and linked into place: of two first starts at once one wins, and a
    # kill leaves no half of a file. Not named by the process: in two containers on one
    # volume both are number 1.
    descriptor, aside = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(aside, path)
    except FileExistsError:
        pass
    finally:
        Path(aside).unlink()
    _keep(path.parent)
    return path.read_text()


def _keep(folder: Path) -> None:
    """Have the name on disk too: else a power cut leaves a ledger without its key."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
