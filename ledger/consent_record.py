"""A person's consent in the fields of ISO/IEC TS 27560:2023, as far as they are known.

The names of the fields are taken second-hand, from public descriptions of the standard.
Null stands where the ledger cannot know: it records what people say, and not what they
were shown, for which purpose, or what is done with it.
"""

from collections.abc import Sequence
from typing import Any, Final

from ledger.domain.events import ConsentChanged, ConsentLapsed
from ledger.domain.ids import EVERY_SENDER, PhoneNumber, Sender, SubjectId

SCHEMA_VERSION: Final = "ISO/IEC TS 27560:2023"


def consent_record(
    number: PhoneNumber,
    record_id: SubjectId,
    changes: Sequence[ConsentChanged | ConsentLapsed],
) -> dict[str, Any]:
    """The record of one person, from everything that changed consent, oldest first."""
    said = [change for change in changes if isinstance(change, ConsentChanged)]
    senders = dict.fromkeys(change.sender for change in said)
    given = {change.sender for change in said if change.status == "in"}
    return {
        "schema_version": SCHEMA_VERSION,
        "record_id": str(record_id),
        "pii_principal_id": number,
        "processing": {
            "privacy_notice": None,
            "language": None,
            "purposes": [_purpose(sender, sender in given) for sender in senders],
        },
        "party_identification": None,
        "events": [_event(change) for change in changes],
    }


def _purpose(sender: Sender, is_consented: bool) -> dict[str, object]:  # noqa: FBT001
    return {
        "purpose": _texts_from(sender),
        "lawful_basis": "consent" if is_consented else None,
        "pii_information": ["phone number"],
        "pii_controllers": None,
        "collection_method": None,
        "processing_method": None,
        "storage_locations": None,
        "retention_period": None,
    }


def _event(change: ConsentChanged | ConsentLapsed) -> dict[str, object]:
    sender, kind = EVERY_SENDER, "consent_lapsed"
    if isinstance(change, ConsentChanged):
        given = change.status == "in"
        sender = change.sender
        kind = "consent_given" if given else "consent_withdrawn"
    return {
        "event_type": kind,
        "event_time": change.occurred_at,
        "purpose": _texts_from(sender),
        "manner": f"{change.source}, {change.matched_by}",
    }


def _texts_from(sender: Sender) -> str:
    return "texts from every sender" if sender == "*" else f"texts from {sender}"
