"""What is kept of each kind of event: one group for each file of the corpus.

Groups that were made are history, and only show what the files hold. For a new kind, a
new version or a new value of a field add a group, named ``<Class>.v<class_version>`` or
``<Class>.v<class_version>.<what is new>``, at the end, of subjects of its own; then run
``make.py``. Every status, source and so on that a field may have is in some group.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from ledger.domain.events import (
    ConsentChanged,
    ConsentChecked,
    ConsentLapsed,
    EvidenceErased,
    HoldPlaced,
    HoldReleased,
    LedgerEvent,
    MessageReceived,
    MessageRequested,
    MessageSent,
    MessageStatusChanged,
    ProjectionSwitched,
    SubjectErased,
)
from ledger.domain.ids import THE_LEDGER, Answer, MessageId, SubjectId


class Sample(NamedTuple):
    """An event that is to be kept."""

    kind: type[LedgerEvent]
    subject_id: UUID
    """Its stream: a subject's, a message's."""
    version: int
    fields: Mapping[str, object]
    then: str
    """The subject's overall status after it, written down by hand; of a message, what
    became of it by then."""
    occurred_at: datetime | None = None
    """None where it happened when it was recorded."""


LONG_AGO: Final = datetime(2020, 2, 29, 12, 30, tzinfo=UTC)
BEFORE_THAT: Final = datetime(2019, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
SERVICE: Final = "MG" + "b" * 32
NUMBER: Final = "+14155550199"
LATIN: Final = {"Body": "Arrêt ✋\0\r\n", "NumMedia": "0", "MediaUrl": ["a", "b"]}
FORM: Final = {"form": {"url": "https://example.com", "fields": [1, None]}}


def subject(number: int) -> SubjectId:
    """A person of the corpus: from 1 to 99."""
    return SubjectId(UUID(int=(8 << 76) + (2 << 62) + number))


def consent(number: int, version: int, then: Answer, **fields: Any) -> Sample:
    """A STOP by text, but for what is given."""
    occurred_at = fields.pop("occurred_at", None)
    given: dict[str, object] = {
        "status": "out",
        "previous_status": "unknown",
        "sender": NUMBER,
        "source": "twilio.inbound",
        "matched_by": "keyword",
        "actor": "subject",
        "phone_number": f"+141555501{number:02}",
        "evidence": {"Body": "STOP", "MessageSid": f"SM{number:030x}{version:02x}"},
    }
    return Sample(
        ConsentChanged, subject(number), version, given | fields, then, occurred_at
    )


def message(number: int) -> MessageId:
    """A text of the corpus: from 1 to 99."""
    return MessageId(UUID(int=(8 << 76) + (2 << 62) + 1000 + number))


def told(
    kind: type[LedgerEvent], number: int, version: int, then: str, **fields: Any
) -> Sample:
    """Something about a text, to or from subject 20, but for what is given."""
    given: dict[str, object] = {"counterparty": subject(20), "actor": "twilio"}
    evidence = {"Body": "Hello ✋\0", "MessageStatus": then}
    given |= {"source": "twilio.status", "consent_version": None, "evidence": evidence}
    if kind is not MessageStatusChanged:
        given |= {"sender": SERVICE, "address": NUMBER, "phone_number": "+14155550120"}
    if kind in (MessageReceived, MessageSent):
        given |= {"sid": f"SM{number:032x}"}
    return Sample(kind, message(number), version, given | fields, then)


def asked(number: int, **fields: Any) -> Sample:
    """Somebody wants to send a text to subject 20."""
    sample = told(MessageRequested, number, 1, "requested", **fields)
    left_out = ("source", "consent_version")
    given = {name: v for name, v in sample.fields.items() if name not in left_out}
    return sample._replace(fields=given)


BY_API: Final = {"source": "api", "matched_by": "explicit", "actor": "key:crm"}
IMPORTED: Final = {"source": "import", "matched_by": "explicit", "actor": "cli:office"}
WHY: Final = {"reason": "asked by letter ✉", "actor": "key:dpo"}
LISTED: Final = {
    "source": "twilio.deactivations",
    "matched_by": "deactivated",
    "actor": "cli:cron",
}

GROUPS: Final[Mapping[str, Sequence[Sample]]] = {
    "ConsentChanged.v1": [
        # Back and forth with one sender, then a word to another.
        consent(1, 1, "out"),
        consent(1, 2, "in", status="in", previous_status="out"),
        consent(1, 3, "out", previous_status="in", matched_by="freeText"),
        consent(1, 4, "out", status="in", sender=SERVICE, matched_by="optOutType"),
        # To every sender, through the API; then an import of what was before that.
        consent(
            2,
            1,
            "in",
            status="in",
            sender="*",
            occurred_at=LONG_AGO,
            evidence=FORM,
            **BY_API,
        ),
        consent(
            2,
            2,
            "in",
            sender="*",
            previous_status="in",
            occurred_at=BEFORE_THAT,
            **IMPORTED,
        ),
        # What the other sources say.
        consent(3, 1, "out", source="twilio.status", matched_by="error21610"),
        consent(4, 1, "out", source="twilio.import", matched_by="explicit", sender="*"),
        consent(5, 1, "in", status="in", occurred_at=LONG_AGO, **BY_API),
        # An address that is no number, and whatever a text may hold.
        consent(6, 1, "out", phone_number="ALPHA", evidence=LATIN),
        consent(7, 1, "in", status="in", evidence={}),
        # Those of whom there is more below.
        consent(8, 1, "in", status="in"),
        consent(9, 1, "out"),
        consent(10, 1, "in", status="in"),
    ],
    "HoldPlaced.v1": [
        Sample(
            HoldPlaced,
            subject(number),
            2,
            {"until": datetime(2027, 1, 1, tzinfo=UTC), **WHY},
            "in",
        )
        for number in (8, 10)
    ],
    "HoldReleased.v1": [Sample(HoldReleased, subject(8), 3, WHY, "in")],
    "SubjectErased.v1": [
        Sample(
            SubjectErased,
            subject(8),
            4,
            {"status": "unknown", "key_id": "0123456789ab", **WHY},
            "unknown",
        ),
        Sample(
            SubjectErased,
            subject(9),
            2,
            {"status": "out", "key_id": "ba9876543210", **WHY},
            "out",
        ),
    ],
    "EvidenceErased.v1": [
        Sample(
            EvidenceErased,
            THE_LEDGER,
            1,
            {
                "before": datetime(2025, 7, 1, tzinfo=UTC),
                "days": 7,
                "held": 1,
                "actor": "cli:cron",
            },
            "unknown",
        ),
    ],
    "ConsentChecked.v1": [
        Sample(
            ConsentChecked,
            subject(11),
            1,
            {
                "sender": "MG0123456789abcdef0123456789abcdef",
                "as_of": datetime(2025, 3, 1, tzinfo=UTC),
                "known_at": datetime(2025, 4, 1, tzinfo=UTC),
                "region": "US",
                "read_position": 7,
                "numbers": 10_000,
                "request_digest": "0" * 64,
                "answer_digest": "f" * 64,
                "actor": "key:blast",
            },
            "unknown",
        ),
        Sample(
            ConsentChecked,
            subject(12),
            1,
            {
                "sender": None,
                "as_of": None,
                "known_at": None,
                "region": None,
                "read_position": 0,
                "numbers": 1,
                "request_digest": "1" * 64,
                "answer_digest": "e" * 64,
                "actor": "cli:ann",
            },
            "unknown",
        ),
    ],
    "ProjectionSwitched.v1": [
        Sample(
            ProjectionSwitched,
            THE_LEDGER,
            2,
            {
                "projection": "phone_numbers",
                "from_version": 1,
                "to_version": 2,
                "report_id": "4f53cda18c2b",
                "changes": [
                    {
                        "was": "out",
                        "becomes": "in",
                        "numbers": 1,
                        "examples": ["00000000-0000-8000-8000-000000000001"],
                    }
                ],
                "accepted": True,
                "actor": "cli:ann",
            },
            "unknown",
        ),
    ],
    "ConsentChanged.v1.beforeALapse": [
        consent(13, 1, "in", status="in", sender=SERVICE, **BY_API),
        consent(14, 1, "out"),
        consent(14, 2, "out", status="in", sender=SERVICE, **BY_API),
        consent(15, 1, "in", status="in"),
    ],
    "ConsentLapsed.v1": [
        # Of who is in, of who is out for another sender; of before the consent.
        Sample(
            ConsentLapsed,
            subject(13),
            2,
            {"previous_status": "in", **LISTED},
            "unknown",
        ),
        Sample(
            ConsentLapsed, subject(14), 3, {"previous_status": "out", **LISTED}, "out"
        ),
        Sample(
            ConsentLapsed,
            subject(15),
            2,
            {"previous_status": "unknown", **LISTED},
            "in",
            LONG_AGO,
        ),
    ],
    "ConsentChanged.v1.reconcile": [
        consent(20, 1, "in", status="in", **BY_API),
        consent(21, 1, "out", source="reconcile", matched_by="explicit"),
    ],
    "MessageReceived.v1": [
        told(MessageReceived, 1, 1, "received", source="twilio.inbound"),
        told(
            MessageReceived,
            2,
            1,
            "received",
            source="twilio.import",
            consent_version=1,
            evidence=None,
            sender=None,
            address=None,
        ),
    ],
    "MessageRequested.v1": [
        asked(3, consent_status="in", allowed_by=1, send_at=None),
        asked(4, consent_status="unknown", allowed_by=None, send_at=LONG_AGO),
        asked(5, consent_status="in", allowed_by=1, send_at=None, address=None),
    ],
    "MessageSent.v1": [
        told(
            MessageSent, 3, 2, "queued", status="queued", error_code=None, source="api"
        ),
        # Known only by its callback; and of somebody who was erased.
        told(MessageSent, 6, 1, "delivered", status="delivered", error_code=None),
        told(
            MessageSent,
            7,
            1,
            "failed",
            status="failed",
            error_code=30003,
            source="twilio.import",
            phone_number=None,
            sid=None,
            evidence=None,
        ),
        told(
            MessageSent,
            8,
            1,
            "sent",
            status="sent",
            error_code=None,
            source="reconcile",
        ),
    ],
    "MessageStatusChanged.v1": [
        # In the wrong order: the furthest wins.
        told(
            MessageStatusChanged, 3, 3, "delivered", status="delivered", error_code=None
        ),
        told(MessageStatusChanged, 3, 4, "delivered", status="sent", error_code=None),
        told(
            MessageStatusChanged,
            4,
            2,
            "failed",
            status="failed",
            error_code=21610,
            source="api",
            consent_version=1,
            evidence=None,
        ),
        told(
            MessageStatusChanged,
            6,
            2,
            "read",
            status="read",
            error_code=None,
            source="reconcile",
        ),
        told(
            MessageStatusChanged,
            8,
            2,
            "sent",
            status="something new",
            error_code=None,
            source="twilio.import",
        ),
    ],
}
