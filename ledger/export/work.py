"""An export that is being made: FILE.part, and what is needed to go on after a kill.

FILE.part.json says how many bytes of FILE.part count, and up to which position: what
was written after that is cut off and written again. Never shows a FILE that is not
finished: the manifest comes first, then FILE by one rename. Only its owner reads any of
them. The subtle part is order: a checkpoint is made once its bytes are on disk, so it
never counts what a power cut takes.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import orjson

from ledger.errors import InvalidRequest
from ledger.private_files import keep_names, replace_file

Manifest = dict[str, Any]


@dataclass(slots=True)
class Progress:
    """How far an export has come; what is fixed at its beginning comes first."""

    asked: dict[str, Any]
    format: str
    columns: list[str]
    exported_at: str
    ledger_position: int
    after: int
    until: int
    position: int
    """Up to where the ledger has been read."""
    first_position: int | None = None
    last_position: int | None = None
    count: int = 0
    bytes: int = 0

    def is_of(self, other: "Progress") -> bool:
        """Whether both are the same export, begun at two times."""
        return (self.asked, self.format, self.columns) == (
            other.asked,
            other.format,
            other.columns,
        )


class Work:
    """The files of one export."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.part = output.with_name(f"{output.name}.part")
        self._checkpoint = output.with_name(f"{output.name}.part.json")
        self._manifest = output.with_name(f"{output.name}.manifest.json")

    def begun(self) -> Progress | None:
        """How far it had come when it was killed; None if it was not begun."""
        if not self._checkpoint.exists():
            return None
        return Progress(**orjson.loads(self._checkpoint.read_bytes()))

    def finished(self) -> Manifest | None:
        """The manifest, where the kill came after the last rename but one.

        Raises:
            InvalidRequest: there is a file of this name that is not of this export.
        """
        if not self.output.exists():
            return None
        if self._checkpoint.exists() and self._manifest.exists():
            manifest: Manifest = orjson.loads(self._manifest.read_bytes())
            if manifest["sha256"] == digest(self.output):
                self._tidy()
                return manifest
        raise InvalidRequest(f"cannot write {self.output}: it is there already")

    @contextmanager
    def open(self, progress: Progress) -> Iterator[IO[bytes]]:
        """The part, cut to what counts, for this process alone.

        Raises:
            InvalidRequest: it cannot be written, or another process writes it.
        """
        try:
            descriptor = os.open(self.part, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise InvalidRequest(
                f"cannot write {self.part}: {error.strerror}"
            ) from error
        with os.fdopen(descriptor, "r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise InvalidRequest(
                    f"{self.part} is being written by another process"
                ) from error
            if file.seek(0, os.SEEK_END) < progress.bytes:
                raise InvalidRequest(
                    f"{self.part} is shorter than it was: remove it and "
                    f"{self._checkpoint}, and begin again"
                )
            file.truncate(progress.bytes)
            file.seek(progress.bytes)
            yield file

    def checkpoint(self, file: IO[bytes], progress: Progress) -> None:
        """From here on a kill loses nothing of what was written."""
        file.flush()
        os.fsync(file.fileno())
        progress.bytes = file.tell()
        replace_file(self._checkpoint, orjson.dumps(asdict(progress)))

    def finish(self, product: Path, manifest: Manifest) -> None:
        """Show the product, which is on disk, under its name."""
        shown = orjson.dumps(
            manifest, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        )
        replace_file(self._manifest, shown)
        product.rename(self.output)
        # From here on it is finished; a kill before the next line leaves crumbs, which
        # the same command takes away.
        self._tidy()

    def give_up(self) -> None:
        """Leave nothing of what was begun, while the part is open."""
        self._tidy()

    def _tidy(self) -> None:
        self.part.unlink(missing_ok=True)
        self._checkpoint.unlink(missing_ok=True)
        keep_names(self.output.parent)


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
