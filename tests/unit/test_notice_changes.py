"""What an event changes of what a number says: what is told, and what is not."""

from datetime import UTC, datetime, timedelta
from email.policy import SMTP
from typing import Any, Final
from uuid import UUID

import orjson
from builders import NUMBER, SENDER, consent_changed, consent_lapsed

from ledger.domain.events import LedgerEvent, SubjectErased
from ledger.domain.ids import EVERY_SENDER, Position, Sender, SubjectId, Version
from ledger.notifying.changes import Change, OfConsent, change_by
from ledger.notifying.notice import Notice

WHO: Final = SubjectId(UUID(int=1))
OTHER: Final = Sender("+14155550198")
DAY: Final = datetime(2026, 1, 1, tzinfo=UTC)


def said(
    version: int, status: str, sender: Sender = SENDER, **more: Any
) -> LedgerEvent:
    """Something that was said on the day of that number."""
    at = DAY + timedelta(days=version)
    given = {"status": status, "sender": sender, "occurred_at": at, "timestamp": at}
    return consent_changed(WHO, version, **(given | more))


def erased(version: int, status: str) -> SubjectErased:
    """The end of a stream."""
    at = DAY + timedelta(days=version)
    return SubjectErased(
        originator_id=WHO,
        originator_version=Version(version),
        timestamp=at,
        occurred_at=at,
        status="out" if status == "out" else "unknown",
        key_id="",
        reason="asked",
        actor="cli:test",
    )


def changed(*events: LedgerEvent) -> Change | None:
    """What the last one has changed."""
    *earlier, last = events
    assert isinstance(last, OfConsent)
    return change_by(earlier, last)


LAPSED: Final = consent_lapsed(WHO, 3, DAY + timedelta(days=3))


def told(change: Change | None) -> tuple[object, ...]:
    """The change in short: about whom, overall, and every sender's."""
    assert change is not None
    before = change.overall.previous_status
    return (*change.about, before, change.overall.status, len(change.senders))


def test_a_first_word_and_its_contrary_are_told() -> None:
    """What the number says for that sender, before and after."""
    stop, start = said(1, "out"), said(2, "in")
    assert told(changed(stop)) == (SENDER, "unknown", "out", "unknown", "out", 1)
    assert told(changed(stop, start)) == (SENDER, "out", "in", "out", "in", 1)


def test_what_changes_nothing_is_not_told() -> None:
    """A second STOP, and an import of something older than what is known."""
    stop = said(1, "out")
    assert changed(stop, said(2, "out")) is None
    assert changed(stop, said(2, "in", occurred_at=DAY)) is None


def test_a_word_to_one_of_two_leaves_the_other() -> None:
    """Overall it is out still."""
    both = (said(1, "out"), said(2, "out", OTHER))
    assert told(changed(*both, said(3, "in"))) == (SENDER, "out", "in", "out", "out", 1)


def test_a_word_to_every_sender_changes_each() -> None:
    """Those that were told something before are named with it."""
    before = (said(1, "in"), said(2, "in", OTHER))
    change = changed(*before, said(3, "out", EVERY_SENDER))
    assert told(change) == (EVERY_SENDER, "unknown", "out", "in", "out", 3)
    assert change is not None
    assert [each.sender for each in change.senders] == ["*", OTHER, SENDER]


def test_a_lapse_is_told_where_it_ends_something() -> None:
    """For each sender that was in, and overall."""
    change = changed(said(1, "in"), said(2, "in", OTHER), LAPSED)
    assert told(change) == (EVERY_SENDER, "in", "unknown", "in", "unknown", 2)
    assert change is not None
    assert change.source == "twilio.deactivations"
    assert changed(said(1, "out"), LAPSED) is None


def test_an_erasure_is_told_of_whoever_has_said_something() -> None:
    """Of others nothing was ever told; a duty not to text stays ``out``."""
    start, stop = said(1, "in"), said(1, "out")
    assert told(changed(start, erased(2, "unknown")))[1:3] == ("in", "unknown")
    assert told(changed(stop, erased(2, "out")))[1:3] == ("out", "out")
    assert changed(erased(1, "unknown")) is None


def test_who_comes_back_after_an_erasure_begins_as_it_ended() -> None:
    """A STOP changes nothing of an ``out`` that stayed, and a START does."""
    assert changed(said(1, "out", previous_status="out")) is None
    back = changed(said(1, "in", previous_status="out"))
    assert told(back) == (SENDER, "out", "in", "out", "in", 1)


def test_a_notice_is_the_same_whenever_it_is_told() -> None:
    """For programs and for people; the subject of an e-mail has no number."""
    change = changed(said(1, "out"))
    assert change is not None
    notice = Notice(Position(7), change, NUMBER)
    assert notice.as_json() == notice.as_json()
    shown = orjson.loads(notice.as_json())
    assert (shown["id"], shown["position"]) == (f"{WHO}-1", 7)
    assert (shown["phoneNumber"], shown["status"]) == (NUMBER, "out")
    email = notice.as_email(from_address="a@example.org", to=("b@example.org",))
    assert email.as_bytes(policy=SMTP) == notice.as_email(
        from_address="a@example.org", to=("b@example.org",)
    ).as_bytes(policy=SMTP)
    assert email["Message-ID"] == f"<{WHO}-1@consent-ledger>"
    assert email["Subject"] == "Consent: unknown -> out"
    assert NUMBER in email.get_content()
