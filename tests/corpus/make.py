"""Makes the files of the corpus that are missing, and never touches one that is there.

Run it after a group was added to ``samples.py``. What it writes is what this release
stores, sealed with keys that are the same in every run (``builders``); so it can be
made only by the release that is the first to write that version, and only once.
"""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

from builders import DAY, signal_key, subject_key
from corpus.kept import DIGESTS, FOLDER, digest_of, digests, kept
from corpus.samples import GROUPS, Sample

from ledger.domain.consent import Proposal
from ledger.domain.events import ConsentChanged, MessageEvent
from ledger.domain.ids import MessageId, SubjectId, Version
from ledger.domain.messages import MessageProposal
from ledger.store.codec import (
    STATE_HEAD,
    STATE_MIDDLE,
    Sealing,
    encode,
    encode_open,
)
from ledger.store.kinds import class_version_of

BEGIN: Final = datetime(2026, 1, 1, tzinfo=UTC)


def make() -> list[str]:
    """The names of the files that were missing, and are there now."""
    made = []
    for name, samples in GROUPS.items():
        path = FOLDER / f"{name}.jsonl"
        if path.name in digests():
            continue
        _check(name, samples)
        begin = len(kept()) + 1
        lines = [_line(at, each) for at, each in enumerate(samples, start=begin)]
        with path.open("x", encoding="utf-8") as file:
            file.writelines(lines)
        with DIGESTS.open("a", encoding="utf-8") as file:
            file.write(f"{digest_of(path)}  {path.name}\n")
        made.append(path.name)
    return made


def _check(name: str, samples: Sequence[Sample]) -> None:
    """A group is of the version that is written now: of no other could it be made."""
    for sample in samples:
        version = class_version_of(sample.kind)
        named = f"{sample.kind.__name__}.v{version}"
        if not f"{name}.".startswith(f"{named}."):
            sys.exit(f"{name} holds what would be stored as {named}")


def _line(position: int, sample: Sample) -> str:
    recorded_at = BEGIN + timedelta(minutes=position, microseconds=position)
    occurred_at = sample.occurred_at or recorded_at
    state = (
        STATE_HEAD
        + _as_postgres_writes(recorded_at)
        + STATE_MIDDLE
        + _as_postgres_writes(occurred_at)
        + _tail(sample)
    )
    topic = f"ledger.domain.events:{sample.kind.__name__}"
    meant = {"timestamp": recorded_at, "occurred_at": occurred_at, **sample.fields}
    line = {
        "position": position,
        "originator_id": str(sample.subject_id),
        "originator_version": sample.version,
        "topic": topic,
        "state": state.decode(),
        "meant": meant,
        "then": sample.then,
    }
    return json.dumps(line, default=_as_text) + "\n"


def _as_text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _tail(sample: Sample) -> bytes:
    version = Version(sample.version)
    if not sample.kind.personal:
        given = (sample.kind, sample.subject_id, version, sample.fields)
        [event] = encode_open(*given).events
        return event.tail
    fields: dict[str, Any] = {**sample.fields}
    subject_id = fields.get("counterparty", sample.subject_id)
    sealing = Sealing(subject_id, subject_key(subject_id), is_new_key=False, day=DAY)
    proposal = _proposal(sample, version, fields)
    [event] = encode(signal_key(""), [proposal], sealing).events
    return event.tail


def _proposal(
    sample: Sample, version: Version, fields: dict[str, Any]
) -> Proposal | MessageProposal:
    if sample.kind is ConsentChanged:
        subject_id = SubjectId(sample.subject_id)
        return Proposal(subject_id, version, occurred_at=sample.occurred_at, **fields)
    assert issubclass(sample.kind, MessageEvent)
    personal = {name: fields.pop(name) for name in sample.kind.personal}
    message_id, counterparty = MessageId(sample.subject_id), fields.pop("counterparty")
    place = (message_id, version, counterparty, sample.occurred_at)
    return MessageProposal(sample.kind, *place, fields=fields, personal=personal)


def _as_postgres_writes(time: datetime) -> bytes:
    """As the function ``rfc3339_v1`` does."""
    return time.isoformat(timespec="microseconds").encode()


if __name__ == "__main__":
    for name in make():
        print(f"made {name}")  # noqa: T201
