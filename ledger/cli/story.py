"""A number's story in lines that fit a terminal, or a page of a lawyer's letter.

Never prints what would steer a terminal: a text is whatever a stranger wrote.
"""

import textwrap
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from ledger.domain.ids import EVERY_SENDER
from ledger.replay import Change, Held, Story, Told

WIDTH: Final = 80
_LABEL: Final = 14
_TWILIO: Final = "twilio."

Line = tuple[str, bool]
"""A line, and whether it is a heading."""


def lines_of(story: Story) -> Iterator[Line]:
    """The story: every event, then what held at its end."""
    yield f"{_plain(story.phone_number)}: {_count(story)}", True
    subjects: set[str] = set()
    for told in story.events:
        yield "", False
        # What became of a text may be known only after its person was erased.
        if subjects and told.record["subjectId"] not in subjects:
            yield "After an erasure the same number is a new subject.", False
            yield "", False
        subjects.add(told.record["subjectId"])
        yield f"Position {told.record['position']}: {_what(told.record)}", True
        for label, text in _facts_of(told):
            yield from ((line, False) for line in _labelled(label, text))
    yield "", False
    yield f"{_when(story)}:", True
    yield from ((line, False) for line in _ending(story))


def _count(story: Story) -> str:
    subjects = {told.record["subjectId"] for told in story.events}
    events = "1 event" if len(story.events) == 1 else f"{len(story.events)} events"
    if len(subjects) > 1:
        return f"{events}, of {len(subjects)} subjects, one after the other"
    return events


_WHAT: Final = {
    "ConsentLapsed": "every consent has lapsed: the number may be another person's",
    "SubjectErased": "erased",
    "HoldPlaced": "a legal hold was placed",
    "HoldReleased": "the legal hold was released",
}


_TEXT: Final = {
    "MessageReceived": "a text from the person, to {ours}",
    "MessageRequested": "a text to the person is to be sent, from {ours}",
    "MessageSent": "a text to the person, from {ours}: {status}",
    "MessageStatusChanged": "what became of a text: {status}",
}


def _what(record: Mapping[str, Any]) -> str:
    if record["kind"] == "ConsentChanged":
        sender = "every sender" if record["sender"] == "*" else _plain(record["sender"])
        return f"{record['status']}, for {sender}"
    kind: str = record["kind"]
    if kind in _TEXT:
        ours = _plain(record.get("address") or record.get("sender"))
        return _TEXT[kind].format(ours=ours, status=_plain(record.get("status")))
    return _WHAT.get(kind, kind)


def _facts_of(told: Told) -> Iterator[tuple[str, str]]:
    record = told.record
    occurred, recorded = record["occurredAt"], record["recordedAt"]
    yield "occurred at", _time(occurred)
    yield "recorded at", _time(recorded)
    if record["kind"] == "ConsentChanged":
        yield from _said(record)
    if "until" in record:
        yield "until", _time(record["until"])
    if "reason" in record:
        yield "reason", _plain(record["reason"])
    if record["kind"] == "SubjectErased":
        yield "stays", f"{record['status']}; the key {record['keyId']} was destroyed"
    if record["kind"] in _TEXT:
        yield from _of_text(record)
    else:
        yield "changed", _changed(told)
    yield "known by", _known_by(record)


def _said(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    evidence = record["evidence"]
    if evidence is None:
        whole = "phoneNumber" in record["destroyed"]
        yield "said", "destroyed, with the person's key" if whole else "destroyed"
    elif "Body" in evidence:
        yield "said", f'"{_plain(evidence["Body"])}"'
    yield "matched by", record["matchedBy"]
    if evidence and not record["source"].startswith(_TWILIO):
        for name, value in evidence.items():
            yield "evidence", f"{_plain(name)}: {_plain(value)}"


def _of_text(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "text", record["messageId"]
    evidence = record["evidence"] or {}
    if "evidence" in record["destroyed"]:
        yield "said", "destroyed"
    elif (body := evidence.get("Body", evidence.get("body"))) is not None:
        yield "said", f'"{_plain(body)}"'
    elif record.get("consentVersion") is not None:
        yield "said", "as in the event before"
    if send_at := record.get("sendAt"):
        yield "to be sent at", _time(send_at)
    if "consentStatus" in record:
        status = f"{record['consentStatus']}, for {_plain(record['sender'])}"
        yield "status", status
    if record.get("errorCode") is not None:
        yield "error", str(record["errorCode"])


def _changed(told: Told) -> str:
    parts = [f"overall {_arrow(told.overall)}"]
    if told.sender is not None:
        parts.insert(0, f"for this sender {_arrow(told.sender)}")
    return "; ".join(parts)


def _arrow(change: Change) -> str:
    if change.before == change.after:
        return f"{change.after}, as before"
    return f"{change.before} -> {change.after}"


def _known_by(record: Mapping[str, Any]) -> str:
    parts = [record.get("source"), _plain(record["actor"])]
    sid = record.get("sid") or (record.get("evidence") or {}).get("MessageSid")
    parts.append(f"MessageSid {_plain(sid)}" if sid else None)
    return ", ".join(part for part in parts if part)


def _when(story: Story) -> str:
    clocks = zip(("as of", "known at"), story.moment, strict=True)
    said = ", ".join(f"{name} {_time(at)}" for name, at in clocks if at is not None)
    return said[:1].upper() + said[1:] or f"Now, at position {story.position}"


def _ending(story: Story) -> Iterator[str]:
    yield from _labelled("overall", _held(story.overall))
    for sender, held in story.senders.items():
        name = "every sender" if sender == "*" else _plain(sender)
        said = _held(held)
        if held.said_to not in {None, sender, EVERY_SENDER}:
            said += f", which was said to {_plain(held.said_to)}"
        yield from _labelled(name, said)
    yield from _labelled("any other", story.any_other)


def _held(held: Held) -> str:
    if held.since is None:
        return held.status
    return f"{held.status} since {_time(held.since)}, by position {held.position}"


def _labelled(label: str, text: str) -> list[str]:
    lead = f"  {label:<{_LABEL}}"
    if len(label) > _LABEL:  # a sender may be long
        return [f"  {label}", *_labelled("", text)]
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=lead,
        subsequent_indent=" " * len(lead),
        break_on_hyphens=False,
    ) or [lead.rstrip()]


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f UTC")


def _plain(value: object) -> str:
    """As it is, with whatever does not print named by its code."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode()
        for c in str(value)
    )
