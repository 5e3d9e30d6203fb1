"""A number's story, for a person and for a script, and the whole ledger's check."""

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from builders import MASTER_KEY, NUMBER, SENDER, signal
from conftest import CatchUp
from hypothesis import HealthCheck, given
from hypothesis import settings as example_settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from ledger.__main__ import app
from ledger.cli.story import WIDTH, lines_of
from ledger.command_handler import CommandHandler
from ledger.domain.consent import Fact, Facts, overall, status_for, with_fact
from ledger.domain.events import ConsentChanged
from ledger.domain.ids import EVERY_SENDER, PhoneNumber, Position, Sender, Version
from ledger.erasure import Erasures
from ledger.errors import (
    FutureMoment,
    InvalidMoment,
    InvalidRequest,
    NotFound,
    UnknownTimeZone,
)
from ledger.replay import Moment, Story, as_json, tell
from ledger.store.database import Connection
from ledger.store.keyring import Keyring
from ledger.store.postgres import PostgresEventStore
from projections.worker import Means

OTHER: Final = Sender("MG" + "d" * 32)
SENDERS: Final = (SENDER, OTHER, EVERY_SENDER)
WHY: Final = {"reason": "request by e-mail", "actor": "key:office"}
MARCH: Final = datetime(2025, 3, 10, 12, tzinfo=UTC)

Tell = Callable[..., Awaitable[Story]]
Run = Callable[..., Result]


@pytest.fixture
def told(store: PostgresEventStore, keyring: Keyring) -> Tell:
    """The story of the number."""

    async def run(**more: Any) -> Story:
        return await tell(store, keyring, NUMBER, **more)

    return run


def page(story: Story) -> str:
    """The story as it is printed."""
    return "\n".join(line for line, _ in lines_of(story))


@pytest.fixture
async def spoken(handler: CommandHandler, catch_up: CatchUp) -> None:
    """The number said STOP; then an import says that it had opted in before."""
    await handler.handle(signal(evidence={"Body": "Stop", "MessageSid": "SM1"}))
    await handler.handle(
        signal(
            status="in",
            occurred_at=MARCH,
            source="import",
            matched_by="explicit",
            actor="key:crm",
            evidence={"wording": "I agree to texts"},
        )
    )
    await catch_up()


async def test_each_event_says_what_how_and_since_when(
    spoken: None, told: Tell
) -> None:
    """Both times, what was said, how it was understood and known, what it changed."""
    assert spoken is None
    story = await told()
    stop, start = story.events
    assert (stop.sender, stop.overall) == (("unknown", "out"), ("unknown", "out"))
    assert (start.sender, start.overall) == (("out", "out"), ("out", "out"))
    printed = page(story)
    recorded = stop.record["recordedAt"].strftime("%Y-%m-%d %H:%M:%S.%f UTC")
    assert printed.splitlines()[:9] == [
        f"{NUMBER}: 2 events",
        "",
        f"Position 1: out, for {SENDER}",
        f"  occurred at   {recorded}",
        f"  recorded at   {recorded}",
        '  said          "Stop"',
        "  matched by    keyword",
        "  changed       for this sender unknown -> out; overall unknown -> out",
        "  known by      twilio.inbound, subject, MessageSid SM1",
    ]
    assert "  occurred at   2025-03-10 12:00:00.000000 UTC\n" in printed
    assert "  evidence      wording: I agree to texts\n" in printed
    assert "  changed       for this sender out, as before; overall out, as" in printed
    assert printed.endswith(
        "Now, at position 2:\n"
        f"  overall       out since {recorded}, by position 1\n"
        f"  {SENDER}  out since {recorded}, by position 1\n"
        "  any other     out"
    )


async def test_a_story_stops_where_it_is_told_to(spoken: None, told: Tell) -> None:
    """By when things occurred, and by when the ledger knew of them."""
    assert spoken is None
    as_of = await told(moment=Moment(as_of=MARCH + timedelta(days=1)))
    assert [event.record["position"] for event in as_of.events] == [2]
    assert (as_of.overall.status, as_of.senders[SENDER].position) == ("in", 2)
    assert as_of.any_other == "unknown"
    before = await told(moment=Moment(as_of=MARCH - timedelta(days=1)))
    assert (before.events, before.overall) == ([], ("unknown", None, None, None))
    first = (await told()).events[0].record["recordedAt"]
    known = await told(moment=Moment(known_at=first))
    assert [event.record["position"] for event in known.events] == [1]
    neither = await told(moment=Moment(MARCH, first))
    assert (neither.events, neither.overall.status) == ([], "unknown")
    at = "2025-03-10 12:00:00.000000 UTC"
    for moment, heading in (
        (Moment(MARCH), f"As of {at}:"),
        (Moment(None, MARCH), f"Known at {at}:"),
        (Moment(MARCH, MARCH), f"As of {at}, known at {at}:"),
    ):
        assert heading in page(await told(moment=moment)).splitlines()


async def test_a_sender_hears_what_was_said_to_it(
    handler: CommandHandler, told: Tell
) -> None:
    """And to every sender, and nothing else."""
    await handler.handle(signal(status="in"))
    await handler.handle(signal(sender=OTHER))
    await handler.handle(signal(sender=EVERY_SENDER, status="in"))
    story = await told(sender=OTHER)
    assert [event.record["position"] for event in story.events] == [2, 3]
    assert [event.sender for event in story.events] == [
        ("unknown", "out"),
        ("out", "in"),
    ]
    assert story.senders.keys() == {OTHER}
    assert page(story).count("every sender") == 1


async def test_a_sender_that_heard_nothing_is_told_who_did(
    handler: CommandHandler, told: Tell
) -> None:
    """A STOP to another sender decides, and is named though it is not told."""
    await handler.handle(signal(status="in", sender="MG3"))
    await handler.handle(signal())
    story = await told(sender=OTHER)
    held = story.senders[OTHER]
    assert (story.events, held.status) == ([], "out")
    assert (held.position, held.said_to) == (2, SENDER)
    printed = " ".join(page(story).split())
    assert f"by position 2, which was said to {SENDER} any other out" in printed
    [answer] = as_json(story)["senders"]
    assert (answer["position"], answer["saidTo"]) == (2, SENDER)


async def test_holds_erasures_and_those_who_return_are_told(
    handler: CommandHandler, erasures: Erasures, told: Tell
) -> None:
    """What was destroyed is said to be so, and who comes back is somebody new."""
    await handler.handle(signal())
    until = datetime.now(UTC) + timedelta(days=1)
    await erasures.hold(NUMBER, until=until, **WHY)
    await erasures.release(NUMBER, **WHY)
    await erasures.erase(NUMBER, **WHY)
    await handler.handle(signal(status="in", sender=OTHER))
    story = await told()
    printed = page(story)
    for line in (
        f"{NUMBER}: 5 events, of 2 subjects, one after the other",
        "Position 2: a legal hold was placed",
        f"  until         {until:%Y-%m-%d %H:%M:%S.%f} UTC",
        "  reason        request by e-mail",
        "Position 3: the legal hold was released",
        "Position 4: erased",
        "  said          destroyed, with the person's key",
        "After an erasure the same number is a new subject.",
        "  known by      key:office",
    ):
        assert line in printed.splitlines()
    assert "  stays         out; the key " in printed
    assert story.events[3].overall == ("out", "out")
    assert story.events[4].sender == ("out", "in")
    assert (story.any_other, list(story.senders)) == ("out", [OTHER])


async def test_evidence_that_was_destroyed_is_said_to_be(
    handler: CommandHandler, connection: Connection, told: Tell
) -> None:
    """The rest is told as before."""
    await handler.handle(signal())
    await connection.execute("DELETE FROM evidence_keys")
    assert "  said          destroyed\n" in page(await told())


async def test_a_text_does_not_steer_the_terminal(
    handler: CommandHandler, told: Tell
) -> None:
    """What does not print is named by its code, and a long text is broken."""
    body = "STOP \x1b[2J\u202e\n" + "no more " * 40
    await handler.handle(signal(evidence={"Body": body}))
    printed = page(await told())
    assert r"STOP \x1b[2J\u202e\nno more" in printed
    assert max(map(len, printed.splitlines())) <= WIDTH


async def test_a_number_that_was_never_seen_has_no_story(told: Tell) -> None:
    """Which is an answer of its own."""
    with pytest.raises(NotFound):
        await told()


# Two clocks.

Word = tuple[int, bool, int | None]
words: st.SearchStrategy[list[Word]] = st.lists(
    st.tuples(st.integers(0, 2), st.booleans(), st.none() | st.integers(0, 9)),
    min_size=1,
    max_size=8,
)


@example_settings(
    max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(said=words, as_of=st.integers(0, 10), known=st.integers(0, 9))
async def test_what_held_is_a_fold_of_what_was_known(
    means: Means, said: list[Word], as_of: int, known: int
) -> None:
    """For any history, order of arrival and pair of moments.

    Of the events recorded by the one, ordered by (occurred at, position), cut at the
    other.
    """
    number = PhoneNumber(f"+1415{await means.store.last_position():07}")
    now = datetime.now(UTC)
    begun = await means.store.last_position()
    async with CommandHandler(means.store, means.keyring, means.settings) as handler:
        for addressed, is_in, ago in said:
            at = None if ago is None else now - timedelta(minutes=ago)
            word = signal(
                phone_number=number,
                sender=SENDERS[addressed],
                status="in" if is_in else "out",
                occurred_at=at,
            )
            await handler.handle(word)
    recorded = await means.store.read_after(begun, 100)
    known_at = recorded[min(known, len(recorded) - 1)].event.recorded_at
    moment = Moment(now - timedelta(minutes=as_of), known_at)
    facts: Facts = {}
    for position, event in sorted(
        recorded, key=lambda r: (r.event.occurred_at, r.position)
    ):
        assert isinstance(event, ConsentChanged)
        if event.recorded_at <= known_at and event.occurred_at <= moment.as_of:  # type: ignore[operator]
            fact = Fact(event.occurred_at, Version(position), event.status)
            facts = with_fact(facts, event.sender, fact)
    story = await tell(means.store, means.keyring, number, moment=moment)
    assert story.overall.status == overall(facts)
    assert story.any_other == status_for(facts, Sender("nobody"))
    for sender in SENDERS:
        one = await tell(
            means.store, means.keyring, number, moment=moment, sender=sender
        )
        assert one.senders[sender].status == status_for(facts, sender)


# The command.


@pytest.fixture
def run(dsn: str, spoken: None) -> Run:
    """Run ``replay`` on the ledger in which the number has spoken."""
    assert spoken is None
    environment = {"DATABASE_URL": dsn, "LEDGER_MASTER_KEY": MASTER_KEY}

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["replay", *arguments], env=environment)

    return invoke


def test_a_story_is_printed_without_colours_where_nobody_looks(run: Run) -> None:
    """Plain lines into a pipe, and the same as JSON."""
    done = run(NUMBER)
    assert done.exit_code == 0
    assert done.stdout.startswith(f"{NUMBER}: 2 events\n")
    assert "\x1b" not in done.stdout
    answer = json.loads(run(NUMBER, "--json", "--as-of", "2025-03-10").stdout)
    assert answer["asOf"] == "2025-03-10T23:59:59.999999Z"
    [event] = answer["events"]
    assert (event["position"], event["evidence"]) == (
        2,
        {"wording": "I agree to texts"},
    )
    assert event["changed"] == {
        "overall": {"before": "unknown", "after": "in"},
        "sender": {"before": "unknown", "after": "in"},
    }
    since = "2025-03-10T12:00:00Z"
    held = {"status": "in", "since": since, "position": 2, "saidTo": SENDER}
    assert answer["status"] == held
    assert answer["senders"] == [{"sender": SENDER, **held}]
    assert answer["anyOtherSender"] == "unknown"


def test_a_date_ends_where_its_zone_says(run: Run) -> None:
    """In UTC, or in the zone that is given; a time says its own."""
    for arguments, expected in (
        (("2025-03-09",), 0),
        (("2025-03-10",), 1),
        (("2025-03-09", "--tz", "Pacific/Honolulu"), 0),
        (("2025-03-10", "--tz", "Pacific/Kiritimati"), 0),
        (("2025-03-10T13:00:00+02:00",), 0),
        (("2025-03-10T14:00:00+02:00",), 1),
    ):
        done = run(NUMBER, "--json", "--as-of", *arguments)
        assert len(json.loads(done.stdout)["events"]) == expected, arguments


REFUSED: Final[list[tuple[tuple[str, ...], type[Exception]]]] = [
    ((), InvalidRequest),
    (("--all",), InvalidRequest),
    (("--check",), InvalidRequest),
    ((NUMBER, "--all", "--check"), InvalidRequest),
    (("--all", "--check", "--sender", "MG1"), InvalidRequest),
    ((NUMBER, "--as-of", "yesterday"), InvalidMoment),
    ((NUMBER, "--as-of", "2025-02-30"), InvalidMoment),
    ((NUMBER, "--as-of", "2025-03-10T12:00:00"), InvalidMoment),
    ((NUMBER, "--known-at", "9999-01-01"), FutureMoment),
    ((NUMBER, "--as-of", "2025-03-10", "--tz", "Mars"), UnknownTimeZone),
    (("+14155550111",), NotFound),
]


def test_what_cannot_be_told_is_refused(run: Run) -> None:
    """With one error that says why."""
    for arguments, error in REFUSED:
        assert isinstance(run(*arguments).exception, error), arguments


def test_a_sound_ledger_is_said_to_be(run: Run) -> None:
    """How many events, how many rows, and no difference; progress goes elsewhere."""
    done = run("--all", "--check")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "events       2, positions 1 to 2",
        "subjects     1, 0 of them erased",
        "digests      1 of consent_history_v1",
        "digests      1 of messages_v1",
        "digests      1 of phone_numbers_v1",
        "rows         2 in consent_history_v1",
        "rows         0 in messages_v1",
        "rows         1 in phone_number_senders_v1",
        "rows         1 in phone_numbers_v1",
        "compared     consent_history_v1 at position 2",
        "compared     messages_v1 at position 2",
        "compared     phone_numbers_v1 at position 2",
        "differences  0",
    ]
    digests, events = done.stderr.splitlines()
    assert digests.startswith("digests of events: 2 of 2, ")
    assert events.startswith("events: 2 of 2, ")


@pytest.fixture
async def in_place_of_out(connection: Connection, spoken: None) -> str:
    """A row says that the number is in; whose it is."""
    assert spoken is None
    changed = "UPDATE phone_numbers_v1 SET status = 'in' RETURNING subject_id"
    return str(await connection.fetchval(changed))


def test_a_ledger_that_was_changed_is_no_success(
    run: Run, in_place_of_out: str
) -> None:
    """Each difference is named by its subject, and the exit code is 1."""
    done = run("--all", "--check")
    assert done.exit_code == 1
    assert done.stdout.splitlines()[12:] == [
        "differences  1",
        "  1 altered in phone_numbers_v1",
        f"phone_numbers_v1: altered: subject {in_place_of_out}",
        "  stored     status in",
        "  events say status out",
    ]
    counted = run("--all", "--check", "--examples", "0").stdout.splitlines()
    assert counted[12:] == [
        "differences  1",
        "  1 altered in phone_numbers_v1",
        "and 1 more",
    ]
    answer = json.loads(run("--all", "--check", "--json").stdout)
    assert answer["differences"] == 1
    assert answer["examples"] == [
        {
            "table": "phone_numbers_v1",
            "kind": "altered",
            "subjectId": in_place_of_out,
            "where": {},
            "stored": {"status": "in"},
            "expected": {"status": "out"},
        }
    ]
    assert NUMBER not in json.dumps(answer)


async def test_the_story_as_json_can_be_written(spoken: None, told: Tell) -> None:
    """Its moments are there even where they are none."""
    assert spoken is None
    answer = as_json(await told())
    assert (answer["asOf"], answer["position"]) == (None, Position(2))
