"""A number's story has its texts, in the place that each has in the ledger."""

from typing import Any

import pytest
from builders import NUMBER, SENDER
from message_steps import a_text, a_wish, status, taken

from ledger.cli.story import lines_of
from ledger.command_handler import CommandHandler
from ledger.domain.ids import Sender
from ledger.erasure import Erasures
from ledger.message_log import MessageLog
from ledger.replay import Story, as_json, tell
from ledger.store.keyring import Keyring
from ledger.store.postgres import PostgresEventStore

OTHER = Sender("MG" + "d" * 32)


@pytest.fixture
def log(
    handler: CommandHandler, store: PostgresEventStore, keyring: Keyring
) -> MessageLog:
    """The log of texts."""
    return MessageLog(handler, store, keyring)


@pytest.fixture(autouse=True)
async def texts(log: MessageLog) -> None:
    """One that says nothing, one that says START, and one that was sent."""
    await log.record(a_text("SM1", evidence={"Body": "Hello"}, sender=OTHER))
    await log.record(a_text("SM2", says="in", evidence={"Body": "START"}))
    await log.record(a_wish())
    # What became of it is known before Twilio's answer is.
    await log.record(await status(log, "delivered"))
    await log.record(taken())


def page(story: Story) -> str:
    """The story as it is printed."""
    return "\n".join(line for line, _ in lines_of(story))


def kinds(story: Story) -> list[tuple[int, str]]:
    """Where each event is, and what it is."""
    return [(t.record["position"], t.record["kind"]) for t in story.events]


async def test_texts_are_told_in_their_places(
    store: PostgresEventStore, keyring: Keyring
) -> None:
    """In and out, with what was said, and what it said of consent before it."""
    story = await tell(store, keyring, NUMBER)
    assert kinds(story) == [
        (1, "MessageReceived"),
        (2, "ConsentChanged"),
        (3, "MessageReceived"),
        (4, "MessageRequested"),
        (5, "MessageStatusChanged"),
        (6, "MessageSent"),
    ]
    printed = page(story)
    assert printed.startswith(f"{NUMBER}: 6 events\n")
    first, *_, asked, _, sent = printed.split("\nPosition ")[1:]
    assert first.startswith(f"1: a text from the person, to {SENDER}\n")
    assert '  said          "Hello"\n' in first
    assert "  known by      twilio.inbound, subject, MessageSid SM1\n" in first
    assert "as in the event before" in printed
    assert asked.startswith(f"4: a text to the person is to be sent, from {SENDER}\n")
    assert '  said          "Your order"\n' in asked
    assert f"  status        in, for {SENDER}\n" in asked
    assert sent.startswith(f"6: a text to the person, from {SENDER}: queued\n")


async def test_with_a_sender_only_its_texts_are_told(
    store: PostgresEventStore, keyring: Keyring
) -> None:
    """And all that became of them."""
    story = await tell(store, keyring, NUMBER, sender=SENDER)
    assert [position for position, _ in kinds(story)] == [2, 3, 4, 5, 6]
    story = await tell(store, keyring, NUMBER, sender=OTHER)
    assert kinds(story) == [(1, "MessageReceived")]


async def test_texts_of_the_erased_are_told_as_destroyed(
    store: PostgresEventStore,
    keyring: Keyring,
    erasures: Erasures,
    log: MessageLog,
) -> None:
    """What became of one is told though it came later; and who returns is new, once."""
    await erasures.erase(NUMBER, reason="by e-mail", actor="key:office")
    await log.record(a_text("SM3", evidence={"Body": "Me again"}))
    await log.record(await status(log, "read"))
    story = await tell(store, keyring, NUMBER)
    told: list[dict[str, Any]] = as_json(story)["events"]
    assert [one["position"] for one in told] == list(range(1, 10))
    assert told[0]["destroyed"] == ["phoneNumber", "sid", "evidence"]
    assert told[7]["evidence"]["Body"] == "Me again"
    printed = page(story)
    assert "Hello" not in printed
    assert printed.count("a new subject") == 1
