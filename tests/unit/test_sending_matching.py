"""Which of Twilio's messages is ours, and when nobody can tell."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from ledger.sending.matching import Wanted, match
from ledger.twilio.messages import ShownMessage

AT: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
TO: Final = "+14155550100"
FROM: Final = "+14155550199"
SERVICE: Final = f"MG{'5' * 32}"


def wanted(**more: Any) -> Wanted:
    """A text that was asked for at noon."""
    given: dict[str, Any] = {
        "to": TO,
        "sender": FROM,
        "body": "Hello",
        "since": AT,
        "until": AT + timedelta(seconds=30),
    }
    return Wanted(**(given | more))


def shown(sid: str = "SM1", **more: Any) -> ShownMessage:
    """What Twilio shows of it."""
    given: dict[str, Any] = {
        "sid": sid,
        "status": "queued",
        "direction": "outbound-api",
        "to": TO,
        "from_": FROM,
        "service_sid": None,
        "body": "Hello",
        "error_code": None,
        "created_at": AT + timedelta(seconds=1),
    }
    return ShownMessage(**(given | more))


def test_the_one_that_is_just_like_it_is_ours() -> None:
    """To, from, body and time agree; blanks around a body do not matter."""
    assert match(wanted(), [shown()], set()) == shown()
    assert match(wanted(body="Hello "), [shown(created_at=None)], set()) != "absent"
    by_service = shown(from_=None, service_sid=SERVICE)
    assert match(wanted(sender=SERVICE), [by_service], set()) == by_service


@pytest.mark.parametrize(
    "other",
    [
        {"direction": "inbound"},
        {"direction": "outbound-reply"},
        {"to": "+14155550101"},
        {"from_": "+14155550198"},
        {"from_": FROM, "service_sid": SERVICE, "sid": "taken"},
        {"created_at": AT - timedelta(minutes=3)},
        {"created_at": AT + timedelta(minutes=3)},
    ],
)
def test_what_cannot_be_ours_does_not_count(other: dict[str, Any]) -> None:
    """Then Twilio has nothing of it, and it was not sent."""
    assert match(wanted(), [shown(**other)], {"taken"}) == "absent"
    assert match(wanted(), [], set()) == "absent"


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (wanted(), [shown(body="H3llo")]),
        (wanted(), [shown(body="")]),
        (wanted(body=None), [shown()]),
        (wanted(), [shown("SM1"), shown("SM2")]),
        (wanted(equals=2), [shown("SM1")]),
        (wanted(equals=2), [shown("SM1"), shown("SM2"), shown("SM3")]),
    ],
)
def test_where_it_may_be_ours_or_not_nobody_says_so(
    asked: Wanted, found: list[ShownMessage]
) -> None:
    """A changed body, a template, two alike, one for two: it cannot be told."""
    assert match(asked, found, set()) == "unknown"


def test_what_says_just_what_another_was_to_say_is_not_ours() -> None:
    """It was made for that one, as far as it can have been."""
    other = wanted(body="Goodbye")
    his = shown("SM1", body="Goodbye ")
    assert match(wanted(), [his], set(), [other]) == "absent"
    assert match(wanted(body=None), [his], set(), [other]) == "absent"
    assert match(wanted(), [his, shown("SM2")], set(), [other]) == shown("SM2")
    assert match(wanted(), [his, shown(body="H3llo")], set(), [other]) == "unknown"
    later = wanted(body="Goodbye", since=AT + timedelta(hours=1))
    assert match(wanted(), [his], set(), [later]) == "unknown"
    template = wanted(body=None)
    assert match(wanted(), [his], set(), [template]) == "unknown"


def test_as_many_as_were_asked_for_are_all_ours() -> None:
    """Each has one of its own, in the order of time."""
    first = shown("SM2", created_at=AT)
    second = shown("SM1", created_at=AT + timedelta(seconds=2))
    for number, expected in enumerate((first, second)):
        asked = wanted(equals=2, equals_before=number)
        assert match(asked, [second, first], set()) == expected
