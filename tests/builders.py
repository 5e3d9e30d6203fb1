"""Texts, signals and events with defaults for what a test does not care about."""

import base64
import hashlib
import itertools
import secrets
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final
from uuid import UUID

from twilio.request_validator import RequestValidator

from ledger.domain.consent import Proposal, Subject, decide, nobody
from ledger.domain.events import ConsentChanged, ConsentLapsed
from ledger.domain.ids import PhoneNumber, Sender, SubjectId, Version
from ledger.domain.signals import Signal
from ledger.store.codec import Entry, Sealing, encode
from ledger.store.keyring import subject_purpose
from ledger.store.master import MasterKeys
from ledger.store.sealing import Day, SubjectKey

ACCOUNT_SID: Final = f"AC{'a' * 32}"
AUTH_TOKEN: Final = "a-token-for-tests"
ADMIN_KEY: Final = "clk_an-admin-key-for-tests"
MASTER_SECRET: Final = hashlib.sha256(b"a master key for tests").digest()
MASTER_KEY: Final = base64.b64encode(MASTER_SECRET).decode()
MASTERS: Final = MasterKeys([MASTER_SECRET])
DAY: Final = Day("2026-01-01", hashlib.sha256(b"a day for tests").digest())
PUBLIC_URL: Final = "https://sms.example.com"
NUMBER: Final = PhoneNumber("+14155550100")
SENDER: Final = Sender("+14155550199")
PATH: Final = "/optInStatus"

_numbers = itertools.count(1)


def text_form(body: str = "STOP", **more: str) -> dict[str, str]:
    """The form that Twilio posts for an inbound text; a new MessageSid each time."""
    sid = f"SM{next(_numbers):08x}{secrets.token_hex(12)}"
    form = {
        "ToCountry": "US",
        "ToState": "CA",
        "SmsMessageSid": sid,
        "NumMedia": "0",
        "ToCity": "",
        "FromZip": "94105",
        "SmsSid": sid,
        "FromState": "CA",
        "SmsStatus": "received",
        "FromCity": "SAN FRANCISCO",
        "Body": body,
        "FromCountry": "US",
        "To": SENDER,
        "NumSegments": "1",
        "MessageSid": sid,
        "AccountSid": ACCOUNT_SID,
        "From": NUMBER,
        "ApiVersion": "2010-04-01",
    }
    return form | more


def signed(
    form: Any, *, path: str = PATH, token: str = AUTH_TOKEN, url: str = PUBLIC_URL
) -> dict[str, str]:
    """The header with which Twilio signs ``form``, made by twilio's own validator."""
    signature = RequestValidator(token).compute_signature(url + path, form)
    return {"X-Twilio-Signature": signature}


def signal(**more: Any) -> Signal:
    """A STOP by text to ``SENDER``; a new key each time."""
    given: dict[str, Any] = {
        "key": f"twilio:{ACCOUNT_SID}:SM-{next(_numbers)}",
        "phone_number": NUMBER,
        "sender": SENDER,
        "status": "out",
        "occurred_at": None,
        "source": "twilio.inbound",
        "matched_by": "keyword",
        "actor": "subject",
        "evidence": {"Body": "STOP"},
    }
    return Signal(**(given | more))


def consent_changed(
    subject_id: SubjectId, version: int = 1, **more: Any
) -> ConsentChanged:
    """A STOP as it was recorded on the first day of 2026."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    given: dict[str, Any] = {
        "originator_id": subject_id,
        "originator_version": Version(version),
        "timestamp": at,
        "status": "out",
        "previous_status": "unknown",
        "sender": SENDER,
        "occurred_at": at,
        "source": "twilio.inbound",
        "matched_by": "keyword",
        "actor": "subject",
        "phone_number": NUMBER,
        "evidence": {"Body": "STOP"},
    }
    return ConsentChanged(**(given | more))


def consent_lapsed(subject_id: SubjectId, version: int, at: datetime) -> ConsentLapsed:
    """The number was deactivated, and that was recorded at once."""
    return ConsentLapsed(
        originator_id=subject_id,
        originator_version=Version(version),
        timestamp=at,
        occurred_at=at,
        previous_status="in",
        source="twilio.deactivations",
        matched_by="deactivated",
        actor="cli:cron",
    )


def entry(subject: Subject | SubjectId, **more: Any) -> Entry:
    """What the store is given for ``signal(**more)`` of a subject, or of a new one."""
    known = subject if isinstance(subject, Subject) else nobody(subject)
    given = signal(**more)
    [proposal] = decide(known, given)
    return entry_of(proposal, given.key)


def entry_of(proposal: Proposal, key: str) -> Entry:
    """What the store is given for a proposal, the first of whom stores the key."""
    is_new_key = proposal.version == 1
    sealed_with = subject_key(proposal.subject_id)
    sealing = Sealing(proposal.subject_id, sealed_with, is_new_key=is_new_key, day=DAY)
    return encode(signal_key(key), [proposal], sealing)


def signal_key(key: str) -> UUID:
    """A signal's key as the store takes it, though without a ledger's secret."""
    return UUID(bytes=hashlib.sha256(key.encode()).digest()[:16])


@cache
def subject_key(subject_id: SubjectId) -> SubjectKey:
    """The same key for the same subject, wrapped by ``MASTERS``."""
    secret = hashlib.sha256(subject_id.bytes).digest()
    return SubjectKey(secret, MASTERS.wrap(secret, subject_purpose(subject_id)))


def bearer(key: str = ADMIN_KEY) -> dict[str, str]:
    """The header that carries an API key."""
    return {"Authorization": f"Bearer {key}"}
