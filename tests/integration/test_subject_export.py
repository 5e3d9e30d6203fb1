"""A person's own data: all of it, readable, and honest about what was destroyed."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
import pytest
from builders import NUMBER, SENDER, signal

from ledger.command_handler import CommandHandler
from ledger.domain.ids import PhoneNumber, Position, Sender
from ledger.erasure import Erasures
from ledger.errors import NotFound
from ledger.store.database import Connection
from ledger.store.keyring import Keyring
from ledger.store.postgres import PostgresEventStore
from ledger.subject_export import export_subject

NOW: Final = datetime.now(UTC)
NEXT_YEAR: Final = NOW + timedelta(days=365)
OTHER: Final = PhoneNumber("+14155550101")
OTHER_SENDER: Final = Sender("MG1")
WHY: Final = {"reason": "request by e-mail", "actor": "key:office"}
STOP: Final = {"Body": "STOP"}

Export = Callable[..., Awaitable[Any]]


@pytest.fixture
def export(store: PostgresEventStore, keyring: Keyring) -> Export:
    """Makes the export, as whoever asked reads it."""

    async def make(given: str = NUMBER) -> Any:
        made = await export_subject(store, keyring, given, at=NOW)
        return orjson.loads(orjson.dumps(made))

    return make


async def test_everything_that_was_said_is_in_it(
    handler: CommandHandler, export: Export
) -> None:
    """Each event with both times, the number and the evidence, and nobody else's."""
    long_ago = datetime(2024, 2, 29, 12, tzinfo=UTC)
    await handler.handle(signal())
    await handler.handle(signal(phone_number=OTHER))
    await handler.handle(
        signal(status="in", occurred_at=long_ago, sender=OTHER_SENDER, source="api")
    )
    found = await export()
    stop, start = found["events"]
    assert (found["position"], found["status"]) == (3, "out")
    assert [event["position"] for event in found["events"]] == [1, 3]
    assert [event["version"] for event in found["events"]] == [1, 2]
    assert (stop["phoneNumber"], stop["evidence"]) == (NUMBER, STOP)
    assert stop["destroyed"] == []
    assert stop["occurredAt"] == stop["recordedAt"]
    assert start["occurredAt"] == "2024-02-29T12:00:00+00:00" != start["recordedAt"]
    assert (start["previousStatus"], start["matchedBy"]) == ("out", "keyword")
    assert OTHER not in orjson.dumps(found).decode()


async def test_it_says_what_each_sender_may_do_now(
    handler: CommandHandler, export: Export
) -> None:
    """As GET does: per sender, and overall."""
    await handler.handle(signal())
    await handler.handle(signal(status="in", sender=OTHER_SENDER))
    found = await export()
    assert {s["sender"]: s["status"] for s in found["senders"]} == {
        SENDER: "out",
        OTHER_SENDER: "in",
    }
    assert (found["status"], found["since"]) == ("out", found["senders"][0]["since"])


@pytest.mark.parametrize("given", [f"  {NUMBER}\n", f"whatsapp:{NUMBER}"])
async def test_the_number_is_shown_as_given_and_as_understood(
    handler: CommandHandler, export: Export, given: str
) -> None:
    """Whoever reads it sees whether the right person was looked up."""
    await handler.handle(signal())
    found = await export(given)
    assert found["phoneNumber"] == {"given": given, "understood": NUMBER}
    assert len(found["events"]) == 1


async def test_what_was_destroyed_is_null_and_said_to_be_so(
    handler: CommandHandler,
    export: Export,
    connection: Connection,
) -> None:
    """Evidence that retention has destroyed does not take the number along."""
    await handler.handle(signal())
    await connection.execute("DELETE FROM evidence_keys")
    [event] = (await export())["events"]
    assert (event["phoneNumber"], event["evidence"]) == (NUMBER, None)
    assert event["destroyed"] == ["evidence"]


async def test_an_erased_subject_and_the_one_after_it_are_both_in_it(
    handler: CommandHandler,
    erasures: Erasures,
    export: Export,
) -> None:
    """In order, each with what is left of it."""
    await handler.handle(signal())
    await erasures.erase(NUMBER, **WHY)
    await handler.handle(signal(status="in", sender=OTHER_SENDER))
    found = await export()
    first, second = found["subjects"]
    assert (first["generation"], first["erased"], first["status"]) == (0, True, "out")
    assert (second["generation"], second["erased"], second["status"]) == (
        1,
        False,
        "in",
    )
    assert [event["kind"] for event in found["events"]] == [
        "ConsentChanged",
        "SubjectErased",
        "ConsentChanged",
    ]
    assert found["events"][0]["destroyed"] == ["phoneNumber", "evidence"]
    assert found["events"][1]["reason"] == WHY["reason"]
    assert found["events"][2]["phoneNumber"] == NUMBER
    assert (found["status"], found["consentRecord"]["record_id"]) == (
        "in",
        second["subjectId"],
    )


@pytest.mark.parametrize(("said", "left"), [("out", "out"), ("in", "unknown")])
async def test_after_an_erasure_the_status_is_what_stays(
    handler: CommandHandler,
    erasures: Erasures,
    export: Export,
    said: str,
    left: str,
) -> None:
    """Out, if the number was out for anybody; else unknown."""
    await handler.handle(signal(status=said))
    await erasures.erase(NUMBER, **WHY)
    found = await export()
    assert (found["status"], found["senders"]) == (left, [])
    assert len(found["subjects"]) == 1


async def test_out_once_is_out_after_every_later_erasure(
    handler: CommandHandler, erasures: Erasures, export: Export
) -> None:
    """As every reader answers."""
    for status in ("out", "in"):
        await handler.handle(signal(status=status))
        await erasures.erase(NUMBER, **WHY)
    assert (await export())["status"] == "out"


async def test_a_hold_is_shown(
    handler: CommandHandler,
    erasures: Erasures,
    export: Export,
) -> None:
    """With the events that placed and released it."""
    await handler.handle(signal())
    await erasures.hold(NUMBER, until=NEXT_YEAR, **WHY)
    [held] = (await export())["subjects"]
    await erasures.release(NUMBER, **WHY)
    found = await export()
    assert (held["held"], found["subjects"][0]["held"]) == (True, False)
    assert [event["kind"] for event in found["events"][1:]] == [
        "HoldPlaced",
        "HoldReleased",
    ]


async def test_it_is_complete_at_the_position_that_it_names(
    handler: CommandHandler,
    store: PostgresEventStore,
    export: Export,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is recorded while it is made is left to the next."""
    await handler.handle(signal())
    last_position = store.last_position

    async def just_before() -> Position:
        position = await last_position()
        await handler.handle(signal(status="in"))
        return position

    monkeypatch.setattr(store, "last_position", just_before)
    found = await export()
    assert (found["position"], found["status"]) == (1, "out")
    assert [event["position"] for event in found["events"]] == [1]


async def test_a_number_that_was_never_seen_is_not_found(export: Export) -> None:
    """There is nothing to give, which is an answer too."""
    with pytest.raises(NotFound):
        await export()
