"""Laws of what becomes of a text: the furthest wins, in whatever order it is told."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.events import (
    LedgerEvent,
    MessageRequested,
    MessageSent,
    MessageStatusChanged,
)
from ledger.domain.ids import MessageId, Sender, SubjectId
from ledger.domain.messages import ENDED, Message, fold, unwritten

ID: Final = MessageId(UUID(int=9))
AT: Final = datetime(2026, 1, 1, tzinfo=UTC)
STATUSES: Final = (
    "accepted",
    "scheduled",
    "queued",
    "sending",
    "sent",
    "canceled",
    "failed",
    "undelivered",
    "delivered",
    "read",
    "of another time",
)

told = st.tuples(
    st.sampled_from((MessageSent, MessageStatusChanged)),
    st.sampled_from(STATUSES),
    st.sampled_from((None, 30003, 21610)),
)


def event(kind: type[LedgerEvent], version: int, **more: Any) -> LedgerEvent:
    """One of a text's stream."""
    given_: dict[str, Any] = {
        "originator_id": ID,
        "originator_version": version,
        "timestamp": AT + timedelta(minutes=version),
        "occurred_at": AT,
        "counterparty": SubjectId(UUID(int=1)),
        "actor": "twilio",
        "evidence": None,
    }
    if kind is not MessageStatusChanged:
        given_ |= {"sender": Sender("MG1"), "address": None, "phone_number": None}
    if kind is MessageRequested:
        given_ |= {"consent_status": "in", "allowed_by": 1, "send_at": None}
    else:
        given_ |= {"source": "twilio.status", "consent_version": None}
    if kind is MessageSent:
        given_ |= {"sid": None}
    return kind(**(given_ | more))


def folded(stream: list[tuple[type[LedgerEvent], str, int | None]]) -> Message:
    """A text that was asked for, and what was told of it."""
    message = fold(unwritten(ID), event(MessageRequested, 1))
    for version, (kind, status, code) in enumerate(stream, start=2):
        given_ = {"status": status, "error_code": code}
        message = fold(message, event(kind, version, **given_))
    return message


@given(
    st.lists(told, max_size=6).flatmap(
        lambda all_: st.tuples(st.just(all_), st.permutations(all_))
    )
)
def test_any_order_of_arrival_says_the_same(both: Any) -> None:
    """Status and error code, that Twilio has it, and how much was told."""
    first, second = (folded(stream) for stream in both)
    assert first == second


@given(st.lists(told, max_size=6), st.integers(0, 5))
def test_what_is_told_twice_changes_nothing_but_the_version(
    stream: list[Any], place: int
) -> None:
    """A repeat that got past its key would do no harm."""
    again = [*stream, *stream[place : place + 1]]
    first, second = folded(stream), folded(again)
    assert (first.status, first.error_code) == (second.status, second.error_code)


@given(st.lists(told, min_size=1, max_size=6))
def test_an_end_is_never_taken_back(stream: list[Any]) -> None:
    """By a status of the way there that arrives late."""
    if any(status in ENDED for _, status, _ in stream):
        assert folded(stream).status in ENDED
