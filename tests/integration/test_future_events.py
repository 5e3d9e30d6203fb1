"""An event of a newer release: nothing is skipped, guessed or lost, and it is told."""

import re
from typing import Final

import orjson
import pytest
from api_steps import path_of, text
from builders import NUMBER, PATH, bearer, signed, text_form
from conftest import CatchUp, Client
from corpus.kept import kept

from ledger.domain.events import ConsentChanged
from ledger.domain.ids import PhoneNumber, Position, Version
from ledger.errors import UnknownEvent
from ledger.store import releases
from ledger.store.database import Connection, Pool
from ledger.store.keyring import Keyring
from ledger.store.kinds import known_versions
from ledger.store.postgres import PostgresEventStore
from ledger.store.releases import explained, note_kinds, this_release
from projections.app import PROJECTIONS
from projections.projection import say_stopped
from projections.worker import Means, Worker

OTHER: Final = PhoneNumber("+14155550101")
UNHEARD: Final = "ledger.domain.events:NumberReassigned"
CONSENT: Final = "ledger.domain.events:ConsentChanged"
SECOND: Final[dict[str, object]] = {**kept()[0].state, "class_version": 2}
KINDS: Final = "SELECT topic, class_version, release FROM event_kinds"
NOTE: Final = (
    "INSERT INTO event_kinds (topic, class_version, release) VALUES ($1, $2, $3)"
)


async def append_unheard(
    connection: Connection, keyring: Keyring, topic: str, state: dict[str, object]
) -> int:
    """What a newer release appends to the stream of ``NUMBER``; its position."""
    subject_id = (await keyring.identity()).subject_id(NUMBER)
    await connection.execute(
        "INSERT INTO ledger_events SELECT $1, max(e.originator_version) + 1, $2, $3, "
        "(SELECT position + 1 FROM ledger_position) FROM ledger_events AS e "
        "WHERE e.originator_id = $1",
        subject_id,
        topic,
        orjson.dumps(state),
    )
    move = "UPDATE ledger_position SET position = position + 1 RETURNING position"
    return int(await connection.fetchval(move))


async def stopped(means: Means, connection: Connection) -> list[tuple[int, str]]:
    """Where the projections stand and why, once each has stopped."""
    await Worker(PROJECTIONS, means).run()
    rows = await connection.fetch("SELECT position, stopped_reason FROM projections")
    return [tuple(row) for row in rows]


@pytest.mark.parametrize(
    ("topic", "state", "version"),
    [(UNHEARD, {}, 1), (CONSENT, SECOND | {"language": "fr"}, 2)],
)
async def test_a_projection_stops_and_says_what_to_start(  # noqa: PLR0913
    *,
    client: Client,
    connection: Connection,
    keyring: Keyring,
    means: Means,
    topic: str,
    state: dict[str, object],
    version: int,
) -> None:
    """The kind, the position, and the release that has noted that it knows it."""
    await text(client, "STOP")
    await append_unheard(connection, keyring, topic, state)
    await connection.execute(NOTE, topic, version, "7.8.9")
    said = (
        f"position 2 holds version {version} of '{topic}', which this release does not "
        "know: release 7.8.9 does, start that or a newer one"
    )
    assert await stopped(means, connection) == [(1, f"UnknownEvent: {said}")] * 3
    answer = await (await client.get("/readyz")).json()
    assert {*answer["reasons"]} == {
        f"{name} has stopped after 1: {said}"
        for name in ("phone_numbers", "consent_history", "messages")
    }
    assert {p["stoppedReason"] for p in answer["projections"]} == {
        f"UnknownEvent: {said}"
    }


async def test_it_is_said_where_no_release_is_known(
    client: Client, connection: Connection, keyring: Keyring, means: Means
) -> None:
    """Rather than a guess."""
    await text(client, "STOP")
    await append_unheard(connection, keyring, UNHEARD, {})
    reasons = {reason for _, reason in await stopped(means, connection)}
    [reason] = reasons
    assert reason.endswith("does not know, and no release has noted that it does")


async def test_the_service_answers_with_what_it_has(
    client: Client, connection: Connection, keyring: Keyring, means: Means
) -> None:
    """Reads of what was applied go on, and texts of everybody else are recorded."""
    await text(client, "STOP")
    await append_unheard(connection, keyring, UNHEARD, {})
    await stopped(means, connection)
    record_of = await client.get(path_of(NUMBER), headers=bearer())
    assert (await record_of.json())["status"] == "out"
    assert (await client.get("/healthz")).status == 200
    listed = await client.get("/PhoneNumbers/?status=out", headers=bearer())
    assert listed.status == 200
    history = await client.get(f"{path_of(NUMBER)}/history", headers=bearer())
    [event] = (await history.json())["events"]
    assert (event["status"], event["evidence"]["Body"]) == ("out", "STOP")
    await text(client, "STOP", From=OTHER)
    assert await connection.fetchval("SELECT position FROM ledger_position") == 3


async def test_a_text_that_cannot_be_decided_is_not_acknowledged(
    client: Client, connection: Connection, keyring: Keyring
) -> None:
    """503, so that Twilio comes again, and finds a process that knows; nothing else."""
    await text(client, "START")
    await append_unheard(connection, keyring, UNHEARD, {})
    await connection.execute(NOTE, UNHEARD, 1, "7.8.9")
    form = text_form("STOP")
    for _ in range(2):
        answer = await client.post(PATH, data=form, headers=signed(form))
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        problem = await answer.json()
        assert problem["code"] == "unknown_event"
        assert "release 7.8.9 does" in problem["detail"]
        assert NUMBER not in await answer.text()
    assert await connection.fetchval("SELECT position FROM ledger_position") == 2


async def test_a_text_that_was_refused_is_recorded_by_who_knows(
    client: Client,
    connection: Connection,
    keyring: Keyring,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same text, with the same key, once the new release is there."""
    await text(client, "START")
    await append_unheard(connection, keyring, CONSENT, SECOND)
    form = text_form("STOP")
    refused = await client.post(PATH, data=form, headers=signed(form))
    assert refused.status == 503

    def upcast_v1_v2(_: object) -> None: ...

    monkeypatch.setattr(ConsentChanged, "class_version", 2, raising=False)
    step = staticmethod(upcast_v1_v2)
    monkeypatch.setattr(ConsentChanged, "upcast_v1_v2", step, raising=False)
    accepted = await client.post(PATH, data=form, headers=signed(form))
    assert accepted.status == 200
    assert await connection.fetchval("SELECT position FROM ledger_position") == 3


async def test_a_projection_goes_on_with_the_release_that_knows(  # noqa: PLR0913
    *,
    client: Client,
    connection: Connection,
    keyring: Keyring,
    means: Means,
    catch_up: CatchUp,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From where it stood; the reason is cleared."""
    await text(client, "START")
    await append_unheard(connection, keyring, CONSENT, SECOND)
    assert {position for position, _ in await stopped(means, connection)} == {1}
    monkeypatch.setattr(ConsentChanged, "class_version", 2, raising=False)
    await catch_up()
    rows = await connection.fetch("SELECT position, stopped_reason FROM projections")
    assert {tuple(row) for row in rows} == {(2, None)}


async def test_an_older_worker_does_not_say_that_a_newer_one_has_stopped(
    client: Client, connection: Connection, keyring: Keyring, means: Means
) -> None:
    """While both run, in a rolling deployment: the table has gone past the event."""
    await text(client, "STOP")
    position = await append_unheard(connection, keyring, UNHEARD, {})
    newer = "UPDATE projections SET position = $1"
    await connection.execute(newer, position)
    [projection, *_] = PROJECTIONS
    for before, reason in ((position, None), (position + 1, "why")):
        await say_stopped(means.pool, projection, "why", before=before)
        found = await connection.fetchval(
            "SELECT stopped_reason FROM projections WHERE name = $1", projection.name
        )
        assert found == reason


# What releases note.


async def test_a_release_notes_what_it_knows_when_it_migrates(
    connection: Connection,
) -> None:
    """Every kind, in every version, with its own name."""
    rows = await connection.fetch(KINDS)
    assert {tuple(row) for row in rows} == {
        (topic, version, this_release()) for topic, version in known_versions()
    }
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", this_release())


async def test_the_first_to_note_a_kind_stays(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later release adds only what is new."""
    before = {tuple(row) for row in await connection.fetch(KINDS)}
    monkeypatch.setattr(releases, "this_release", lambda: "7.8.9")
    await note_kinds(connection)
    assert {tuple(row) for row in await connection.fetch(KINDS)} == before
    monkeypatch.setattr(
        releases, "known_versions", lambda: [*known_versions(), (UNHEARD, 1)]
    )
    await note_kinds(connection)
    after = {tuple(row) for row in await connection.fetch(KINDS)}
    assert after - before == {(UNHEARD, 1, "7.8.9")}


async def test_an_event_is_told_though_its_release_cannot_be_looked_up(
    pool: Pool, connection: Connection
) -> None:
    """The table may be missing, or the role have no right to it."""
    await connection.execute("DROP TABLE event_kinds")
    unknown = UnknownEvent(12, UNHEARD, 1)
    assert await explained(pool, unknown) is unknown


async def test_a_stream_with_an_unknown_event_is_refused_whole(
    client: Client, connection: Connection, keyring: Keyring, store: PostgresEventStore
) -> None:
    """Nobody folds half of what a person said; another's stream is read with it."""
    await text(client, "STOP")
    await text(client, "STOP", From=OTHER)
    position = await append_unheard(connection, keyring, UNHEARD, {})
    await append_unheard(connection, keyring, CONSENT, kept()[0].state)
    identity = await keyring.identity()
    ids = [identity.subject_id(number) for number in (NUMBER, OTHER)]
    streams = await store.read_streams(dict.fromkeys(ids, Version(0)))
    mine, others = (streams[id_] for id_ in ids)
    with pytest.raises(UnknownEvent, match=f"position {position}"):
        _ = mine.events
    with pytest.raises(UnknownEvent, match=f"position {position}"):
        mine.up_to(Position(position))
    assert [p for p, _ in mine.up_to(Position(position - 1))] == [1]
    assert [p for p, _ in mine.known] == [1]
    assert [p for p, _ in others.events] == [2]
