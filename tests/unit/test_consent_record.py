"""A consent record: what is known in the standard's fields, and null elsewhere."""

from datetime import UTC, datetime
from uuid import uuid4

from builders import NUMBER, SENDER, consent_changed

from ledger.consent_record import SCHEMA_VERSION, consent_record
from ledger.domain.events import ConsentLapsed
from ledger.domain.ids import EVERY_SENDER, SubjectId

WHO = SubjectId(uuid4())
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


def test_the_header_names_the_record_and_the_person() -> None:
    """By the newest subject, and the number."""
    record = consent_record(NUMBER, WHO, [])
    assert record["schema_version"] == SCHEMA_VERSION
    assert (record["record_id"], record["pii_principal_id"]) == (str(WHO), NUMBER)


def test_each_sender_is_a_purpose_of_its_own() -> None:
    """Consent given to one is not consent for another; what is not known is null."""
    changes = [
        consent_changed(WHO, 1, status="in"),
        consent_changed(WHO, 2, sender=EVERY_SENDER),
        consent_changed(WHO, 3),
    ]
    first, second = consent_record(NUMBER, WHO, changes)["processing"]["purposes"]
    assert first["purpose"] == f"texts from {SENDER}"
    assert (first["lawful_basis"], second["lawful_basis"]) == ("consent", None)
    assert second["purpose"] == "texts from every sender"
    assert first["retention_period"] is first["pii_controllers"] is None


def test_what_was_said_are_its_events() -> None:
    """Given or withdrawn, with time, manner and purpose."""
    given, withdrawn = (
        consent_changed(WHO, 1, status="in", source="api", matched_by="explicit"),
        consent_changed(WHO, 2),
    )
    events = consent_record(NUMBER, WHO, [given, withdrawn])["events"]
    kinds = [event["event_type"] for event in events]
    assert kinds == ["consent_given", "consent_withdrawn"]
    assert events[0]["event_time"] == given.occurred_at
    assert events[0]["manner"] == "api, explicit"
    assert events[1]["purpose"] == f"texts from {SENDER}"


def test_what_has_lapsed_is_an_event_of_every_sender() -> None:
    """No word of the person's: it is neither given nor withdrawn, nor a purpose."""
    lapse = ConsentLapsed(
        originator_id=WHO,
        originator_version=2,
        timestamp=NOW,
        occurred_at=NOW,
        previous_status="in",
        source="twilio.deactivations",
        matched_by="deactivated",
        actor="cli:office",
    )
    given = consent_changed(WHO, 1, status="in")
    record = consent_record(NUMBER, WHO, [given, lapse])
    assert len(record["processing"]["purposes"]) == 1
    assert record["events"][1] == {
        "event_type": "consent_lapsed",
        "event_time": NOW,
        "purpose": "texts from every sender",
        "manner": "twilio.deactivations, deactivated",
    }
