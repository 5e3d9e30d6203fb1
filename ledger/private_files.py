"""Files that only their owner reads: made once by whoever comes first, or replaced."""

import os
import tempfile
from contextlib import suppress
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
    if not path.exists():
        _make(path, content.encode())
    keep_names(path.parent)
    return path.read_text()


def _make(path: Path, content: bytes) -> None:
    # Written aside and linked into place: of two first starts at once one wins, and a
    # kill leaves no half of a file. Not named by the process: in two containers on one
    # volume both are number 1.
    descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    aside = Path(name)
    _write(descriptor, content)
    with suppress(FileExistsError):
        os.link(aside, path)
    aside.unlink()


def replace_file(path: Path, content: bytes) -> None:
    """Let ``path`` hold ``content``, at once and for good, whatever it held.

    For one writer at a time: what is written aside has one name, so that kills leave
    one crumb at most, which the next writing takes away.
    """
    aside = path.with_name(f"{path.name}.new")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    _write(descriptor, content)
    aside.replace(path)
    keep_names(path.parent)


def _write(descriptor: int, content: bytes) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def keep_names(folder: Path) -> None:
    """Have the name on disk too: else a power cut leaves a ledger without its key."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
