"""``consent-ledger twilio connect``: let one receiver send its texts here.

Changes only what differs, so that a second run changes nothing. Never takes a change
for made before Twilio shows it. An update that fails half-way does no harm: the same
command looks again and sets the rest.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from ledger.errors import ConfigurationError, TwilioUnusableAnswer
from ledger.settings import Settings
from ledger.twilio.account import TwilioAccount
from ledger.twilio.leaks import leaks
from ledger.twilio.receivers import (
    Addresses,
    Kind,
    Receiver,
    Value,
    changes,
    is_local,
)


@dataclass(frozen=True, slots=True)
class Plan:
    """A receiver as it is, what to set, and what loses a STOP even then."""

    receiver: Receiver
    home: Receiver | None
    changes: Mapping[str, Value]
    warnings: tuple[str, ...]


def addresses(
    settings: Settings, fallback_url: str | None, status_callback: str | None
) -> Addresses:
    """Where texts are to go.

    Raises:
        ConfigurationError: PUBLIC_URL is not set, or Twilio could not call it.
    """
    if settings.public_url is None:
        raise ConfigurationError(
            "PUBLIC_URL must be set to the scheme, host and port under which Twilio "
            "calls, such as https://sms.example.com"
        )
    host = urlsplit(settings.signed_url).hostname or ""
    # What stands in for Twilio may well be on this machine.
    if is_local(host) and settings.twilio_api_url is None:
        raise ConfigurationError(
            f"PUBLIC_URL leads to {host}, which is this machine to whoever calls it: "
            "set it to the scheme, host and port under which Twilio calls, such as "
            "https://sms.example.com"
        )
    return Addresses(settings.signed_url, fallback_url, status_callback)


async def look(account: TwilioAccount, kind: Kind, sid: str, wanted: Addresses) -> Plan:
    """What is there, and what to change.

    Raises:
        TwilioRefused, TwilioUnavailable: Twilio does not show it.
    """
    receiver = await account.receiver(kind, sid)
    home = None if kind == "service" else await _home(account, sid)
    return _plan(receiver, home, wanted)


async def apply(account: TwilioAccount, plan: Plan, wanted: Addresses) -> Plan:
    """Make the changes of a plan; what is there then.

    Raises:
        TwilioRefused, TwilioUnavailable: it was not done, or not as far as we know.
    """
    if not plan.changes:
        return plan
    receiver = await account.update(plan.receiver, plan.changes)
    done = _plan(receiver, plan.home, wanted)
    if done.changes:
        names = ", ".join(done.changes)
        raise TwilioUnusableAnswer(
            f"Twilio took the change and does not show it: {names}; run this again",
            may_be_done=True,
        )
    return done


def _plan(receiver: Receiver, home: Receiver | None, wanted: Addresses) -> Plan:
    to_set = changes(receiver, wanted)
    then = Receiver(
        kind=receiver.kind,
        sid=receiver.sid,
        name=receiver.name,
        fields={**receiver.fields, **to_set},
        receives=receiver.receives,
    )
    warnings = [leak.sentence for leak in leaks(then, home, wanted.public_url)]
    if home is not None and not home.defers:
        warnings.insert(
            0,
            f"it is in the service {home.sid}, whose URL is called instead of its own: "
            f"run `consent-ledger twilio connect --service {home.sid}`",
        )
    if not receiver.receives:
        warnings.append("it can receive no texts at all")
    return Plan(receiver, home, to_set, tuple(warnings))


async def _home(account: TwilioAccount, sid: str) -> Receiver | None:
    """The service that a number is in: no field of the number says so."""
    for service in await account.services():
        if sid in await account.pool(service.sid):
            return service
    return None
