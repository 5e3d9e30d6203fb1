"""The corpus: every stored form of every event ever released, and what was meant by it.

Each line of a file below ``stored/`` is an event: as it is in the table (``topic``, and
``state`` to the byte), what went in (``meant``, open), and what the subject's overall
status was after it (``then``). In ``DIGESTS`` each file has its digest; neither is ever
changed. All files together are one ledger, in the order of their positions.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

from ledger.store.codec import StoredRow

FOLDER: Final = Path(__file__).parent / "stored"
DIGESTS: Final = Path(__file__).parent / "DIGESTS"
SINCE: Final = Path(__file__).parent / "since.json"
WHAT_TO_DO: Final = (
    "add a group to tests/corpus/samples.py, run .venv/bin/python tests/corpus/make.py "
    "and commit what it writes: docs/how-to/add-an-event.md"
)


class Kept(NamedTuple):
    """An event of the corpus."""

    row: StoredRow
    meant: Mapping[str, Any]
    then: str
    kind: str
    class_version: int

    @property
    def state(self) -> dict[str, Any]:
        """Its state, as JSON has it."""
        found: dict[str, Any] = json.loads(self.row.state)
        return found


def kept() -> list[Kept]:
    """The whole corpus, in the order of the ledger."""
    events = [
        _kept(json.loads(line), *_named(path))
        for path in sorted(FOLDER.glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    return sorted(events, key=lambda event: event.row.notification_id)


def versions() -> set[tuple[str, int]]:
    """The classes and versions of which anything is kept."""
    return {_named(path) for path in FOLDER.glob("*.jsonl")}


def since() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    """What events of an old version are taken to say in fields that came later.

    By class, version and field; where they say ``{"as": field}``, what the event itself
    says in that field.
    """
    found: dict[str, Any] = json.loads(SINCE.read_text(encoding="utf-8"))
    return found


def digest_of(path: Path) -> str:
    """What a file is held to for ever."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def digests() -> dict[str, str]:
    """Those of all files that were ever made, by name."""
    lines = DIGESTS.read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, name in map(str.split, lines)}


def _named(path: Path) -> tuple[str, int]:
    kind, version, *_ = path.stem.split(".")
    return kind, int(version.removeprefix("v"))


def _kept(line: dict[str, Any], kind: str, class_version: int) -> Kept:
    row = StoredRow(
        UUID(line["originator_id"]),
        line["originator_version"],
        line["topic"],
        line["state"].encode(),
        line["position"],
    )
    return Kept(row, line["meant"], line["then"], kind, class_version)
