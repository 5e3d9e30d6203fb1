"""Both projections make of everything that was ever stored what was meant by it."""

from typing import Any, Final

import pytest
from builders import subject_key
from conftest import CatchUp
from corpus.complaints import meant_now
from corpus.kept import Kept, kept

from ledger.domain.ids import SubjectId
from ledger.store.database import Connection

CORPUS: Final = kept()
HISTORY: Final = (
    "sender",
    "status",
    "previous_status",
    "occurred_at",
    "timestamp",
    "source",
    "matched_by",
    "actor",
)


@pytest.fixture
async def _corpus(connection: Connection) -> None:
    """A ledger with the corpus in it, and the keys of who is not erased."""
    await connection.executemany(
        "INSERT INTO ledger_events VALUES ($1, $2, $3, $4, $5)",
        [event.row for event in CORPUS],
    )
    update = "UPDATE ledger_position SET position = $1, recorded_at = now()"
    await connection.execute(update, len(CORPUS))
    people = {e.row.originator_id for e in CORPUS if e.kind == "ConsentChanged"}
    await connection.executemany(
        "INSERT INTO subject_keys VALUES ($1, $2, $3)",
        [
            (id_, *subject_key(SubjectId(id_)).wrapped)
            for id_ in people - {e.row.originator_id for e in erased()}
        ],
    )
    await connection.executemany(
        "INSERT INTO erased_subjects VALUES ($1, $2, now(), $3)",
        [(e.row.originator_id, e.then, e.row.notification_id) for e in erased()],
    )


def erased() -> list[Kept]:
    """The ends of streams."""
    return [event for event in CORPUS if event.kind == "SubjectErased"]


def told() -> list[Kept]:
    """What people said who are not erased, and what has lapsed of it."""
    gone = {event.row.originator_id for event in erased()}
    return [
        event
        for event in CORPUS
        if event.kind in {"ConsentChanged", "ConsentLapsed"}
        and event.row.originator_id not in gone
    ]


def of_history(event: Kept, name: str) -> Any:
    """What the history has of it; a lapse is to no sender, and makes unknown."""
    if event.kind == "ConsentLapsed" and name in {"sender", "status"}:
        return {"sender": "", "status": "unknown"}[name]
    return meant_now(event, name)


def shown(value: Any) -> Any:
    """A column's value as the corpus has it."""
    return value.isoformat() if hasattr(value, "isoformat") else value


@pytest.mark.usefixtures("_corpus")
async def test_each_number_says_what_it_said(
    connection: Connection, catch_up: CatchUp
) -> None:
    """Its status, and its address as it came."""
    await catch_up()
    rows = await connection.fetch(
        "SELECT subject_id, phone_number, status FROM phone_numbers_v1"
    )
    people = {event.row.originator_id: event.meant for event in told()[::-1]}
    assert {row[0]: (row[1], row[2]) for row in rows} == {
        event.row.originator_id: (
            people[event.row.originator_id]["phone_number"],
            event.then,
        )
        for event in told()
    }


@pytest.mark.usefixtures("_corpus")
async def test_the_history_holds_what_was_said(
    connection: Connection, catch_up: CatchUp
) -> None:
    """Every field of every consent, at its position."""
    await catch_up()
    rows = await connection.fetch(
        "SELECT position, sender, status, previous_status, occurred_at, recorded_at, "
        "source, matched_by, actor FROM consent_history_v1 ORDER BY position"
    )
    assert [tuple(map(shown, row)) for row in rows] == [
        (event.row.notification_id, *(of_history(event, name) for name in HISTORY))
        for event in told()
    ]
