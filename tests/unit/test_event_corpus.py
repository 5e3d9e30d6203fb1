"""What was ever stored is read, as it was meant, by this release too."""

import ast
import dataclasses
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import pytest
from builders import DAY, subject_key
from corpus import complaints as found
from corpus import kept as corpus_module
from corpus.complaints import meant_now
from corpus.kept import Kept, digest_of, kept
from corpus.make import make
from eventsourcing.application import Application
from eventsourcing.persistence import StoredEvent
from tidy.repository import ROOT, tree_of

from ledger.domain import events as event_module
from ledger.domain.consent import Subject, overall
from ledger.domain.events import (
    ConsentChanged,
    HoldReleased,
    LedgerEvent,
    MessageEvent,
)
from ledger.domain.ids import Sealed
from ledger.domain.messages import Message
from ledger.store.codec import decode
from ledger.store.kinds import CLASSES
from ledger.store.sealing import open_evidence

CORPUS: Final = kept()
by_position: Final = pytest.mark.parametrize(
    "event", CORPUS, ids=lambda event: str(event.row.notification_id)
)


class Ledger(Application[UUID]):
    """The library's own application, with its default transcodings."""


MAPPER = Ledger().mapper


def opened(event: LedgerEvent) -> dict[str, Any]:
    """Its fields as they were meant: what is personal open, and times as text."""
    fields = {f.name: getattr(event, f.name) for f in dataclasses.fields(event)}
    key, where = subject_key(event.subject_id), (event.stream_id, event.version)
    for name in event.personal:
        sealed = fields[name]
        if sealed is None:
            continue
        assert isinstance(sealed, Sealed)
        if name == "evidence":
            secret = key.evidence_secret(DAY)
            fields[name] = open_evidence(sealed, secret, *where)
        else:
            fields[name] = key.open_text(name, sealed, *where)
    return {
        name: as_text(value)
        for name, value in fields.items()
        if name not in ("originator_id", "originator_version")
    }


def as_text(value: object) -> object:
    """A value as the corpus has it."""
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value


def status_of(subject: Subject | Message) -> str:
    """What is answered for a person as a whole, erased or not; or for a text."""
    if isinstance(subject, Message):
        return subject.status
    if subject.erased or not subject.facts:
        return "out" if subject.suppressed else "unknown"
    return overall(subject.facts)


# The corpus is whole, and stays as it is.


def test_every_version_of_every_kind_is_in_the_corpus() -> None:
    """Whoever adds a kind or a version keeps an example of how it is stored."""
    assert list(found.missing_versions(CLASSES)) == []


def test_no_file_of_the_corpus_is_ever_changed() -> None:
    """Each is as its digest says, and none is gone."""
    assert list(found.changed_files()) == []


def test_no_kind_changes_its_fields_without_a_new_version() -> None:
    """What is stored under a version has that version's fields, for ever."""
    assert list(found.changed_shapes(CLASSES)) == []


def test_every_value_of_a_field_is_in_the_corpus() -> None:
    """Each status, source and way of recognising."""
    assert list(found.missing_values(CLASSES)) == []


def test_what_an_old_event_cannot_supply_is_unknown() -> None:
    """A field that came later has no value that somebody made up."""
    assert list(found.guesses()) == []


def test_every_group_of_samples_has_its_file() -> None:
    """Making what is missing makes nothing, and touches nothing."""
    assert make() == []


def test_the_corpus_is_one_ledger() -> None:
    """Positions and versions without a gap, under the topics that its files name."""
    assert [e.row.notification_id for e in CORPUS] == [*range(1, len(CORPUS) + 1)]
    versions: dict[UUID, int] = {}
    for event in CORPUS:
        row = event.row
        versions[row.originator_id] = versions.get(row.originator_id, 0) + 1
        assert row.originator_version == versions[row.originator_id]
        assert row.topic == f"ledger.domain.events:{event.kind}"
        assert event.state.get("class_version", 1) == event.class_version


def test_every_kind_that_is_written_down_is_known() -> None:
    """A class in the module of events is read, and checked at the start."""
    classes = [
        value
        for value in vars(event_module).values()
        if isinstance(value, type)
        and issubclass(value, LedgerEvent)
        and value not in (LedgerEvent, MessageEvent)
    ]
    assert set(CLASSES) == set(classes)


def test_no_name_is_given_twice_in_an_event_class() -> None:
    """Python would keep the second of two upcasters, and nobody see the first."""
    for node in ast.walk(tree_of(ROOT / "ledger/domain/events.py")):
        if isinstance(node, ast.ClassDef):
            names = [n.name for n in node.body if isinstance(n, ast.FunctionDef)]
            assert len(names) == len(set(names)), node.name


# What it says.


@by_position
def test_what_was_stored_is_read_as_it_was_meant(event: Kept) -> None:
    """Each field, and in those that came later what the old event can say."""
    said = opened(decode(event.row).event)
    assert said == {name: meant_now(event, name) for name in said}


@by_position
def test_the_library_reads_what_was_stored_as_we_do(event: Kept) -> None:
    """By the same classes and the same upcasters."""
    assert (
        MAPPER.to_domain_event(StoredEvent(*event.row[:4])) == decode(event.row).event
    )


def test_what_was_stored_adds_up_to_what_it_did() -> None:
    """After every event the status is the one that was written down with it."""
    subjects: dict[UUID, Subject | Message] = {}
    for event in CORPUS:
        id_ = event.row.originator_id
        subjects[id_] = decode(event.row).event.mutate(subjects.get(id_))
        assert status_of(subjects[id_]) == event.then, event.row.notification_id


# Each complaint is made.


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumberReassigned(LedgerEvent):
    """A kind of which nothing is kept."""

    actor: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Longer(ConsentChanged):
    """ConsentChanged, with one field more and no new version."""

    language: str


Longer.__name__ = "ConsentChanged"


@pytest.fixture
def _folder(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A copy of one file, and its digest."""
    for name in ("FOLDER", "DIGESTS"):
        for module in (corpus_module, found):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, tmp_path / name)
    (tmp_path / "FOLDER").mkdir()
    file = tmp_path / "FOLDER" / "HoldReleased.v1.jsonl"
    file.write_text("{}\n")
    (tmp_path / "DIGESTS").write_text(f"{digest_of(file)}  {file.name}\n")
    yield
    monkeypatch.undo()


def test_a_kind_without_an_example_is_missed() -> None:
    """It says which, and what to do."""
    [said] = found.missing_versions([*CLASSES, NumberReassigned])
    assert said.startswith("NumberReassigned version 1 has no stored example: add a")


def test_a_version_without_an_example_is_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The example of the version before does not do."""
    monkeypatch.setattr(HoldReleased, "class_version", 2, raising=False)
    [said] = found.missing_versions(CLASSES)
    assert said.startswith("HoldReleased version 2 has no stored example")


def test_a_kind_that_is_gone_is_missed() -> None:
    """Ledgers hold it."""
    [said] = found.missing_versions(k for k in CLASSES if k is not HoldReleased)
    assert said.startswith("HoldReleased version 1 was released and is not known")


def test_a_field_more_without_a_new_version_is_found() -> None:
    """It says which version to write."""
    [said] = found.changed_shapes([Longer])
    assert "(language): set class_version = 2, write upcast_v1_v2" in said


@pytest.mark.usefixtures("_folder")
def test_a_file_that_was_changed_is_found() -> None:
    """As is one that is gone, and one that nobody has made."""
    file = corpus_module.FOLDER / "HoldReleased.v1.jsonl"
    assert list(found.changed_files()) == []
    file.write_text("{} \n")
    assert ["was changed" in said for said in found.changed_files()] == [True]
    file.rename(file.with_name("HoldReleased.v2.jsonl"))
    gone, new = found.changed_files()
    assert "is gone" in gone
    assert "was not made by" in new


@pytest.mark.parametrize(
    ("value", "is_guess"),
    [
        ("unknown", False),
        ({"as": "actor"}, False),
        ("in", True),
        ("en", True),
        (None, True),
        ({"as": "language"}, True),
    ],
)
def test_a_guess_is_found(value: object, *, is_guess: bool) -> None:
    """Whatever is not what the old event itself says."""
    said = list(found.guesses({"ConsentChanged": {"v1": {"language": value}}}))
    assert bool(said) == is_guess
