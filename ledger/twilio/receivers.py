"""What receives texts at Twilio, where it sends them, and what to change: pure.

A receiver is a number, a short code or a Messaging Service. The subtle part is who is
asked: a number in a service has a URL of its own that nobody calls, unless the service
says so; and a number with an application has URLs that nobody calls at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, Literal
from urllib.parse import urlsplit, urlunsplit

Kind = Literal["number", "short code", "service"]
Value = str | bool
Target = Literal["here", "elsewhere", "nowhere", "application"]

INBOUND_PATH: Final = "/optInStatus"
FALLBACK_PATH: Final = "/twilio/incoming-message"
"""The same webhook by its other name, so that an operator can tell the two apart."""
STATUS_PATH: Final = "/twilio/message-status"
"""Where Twilio reports what becomes of a text."""
OVERRIDES: Final = "rc=3&rp=all"
"""Three retries, after every kind of failure; the default is one, and only where there
was no connection (https://www.twilio.com/docs/usage/webhooks/
webhooks-connection-overrides)."""

_OF_NUMBERS: Final = (
    "sms_url",
    "sms_method",
    "sms_fallback_url",
    "sms_fallback_method",
)
FIELDS: Final[Mapping[Kind, tuple[str, ...]]] = {
    "number": (*_OF_NUMBERS, "sms_application_sid"),
    "short code": _OF_NUMBERS,
    "service": (
        "inbound_request_url",
        "inbound_method",
        "fallback_url",
        "fallback_method",
        "use_inbound_webhook_on_number",
        "status_callback",
    ),
}
"""The fields of Twilio's that decide who is called, as the twilio package names them.
A number's ``status_callback`` is not among them: it is for calls, not for texts."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """A number, a short code or a service; an empty value stands for none."""

    kind: Kind
    sid: str
    name: str
    fields: Mapping[str, Value]
    receives: bool = True

    @property
    def url(self) -> str:
        """The URL for inbound texts, whether or not it is the one that is called."""
        is_service = self.kind == "service"
        return str(self.fields["inbound_request_url" if is_service else "sms_url"])

    @property
    def fallback_url(self) -> str:
        """The URL for when the first one cannot be had."""
        is_service = self.kind == "service"
        return str(self.fields["fallback_url" if is_service else "sms_fallback_url"])

    @property
    def defers(self) -> bool:
        """Whether it is a service that leaves inbound texts to its numbers' URLs."""
        return bool(self.fields.get("use_inbound_webhook_on_number"))


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where texts are to go; None leaves what is there, and for a fallback ours."""

    public_url: str
    fallback_url: str | None = None
    status_callback: str | None = None

    @property
    def inbound_url(self) -> str:
        """What Twilio is to call for every inbound text."""
        return f"{self.public_url}{INBOUND_PATH}#{OVERRIDES}"


def changes(receiver: Receiver, addresses: Addresses) -> dict[str, Value]:
    """The fields to set so that texts come here; empty where all are as they should."""
    is_service = receiver.kind == "service"
    url, method, fallback_url, fallback_method = FIELDS[receiver.kind][:4]
    wanted: dict[str, Value] = {url: addresses.inbound_url, method: "POST"}
    if fallback := addresses.fallback_url or _fallback(receiver, addresses):
        wanted |= {fallback_url: fallback, fallback_method: "POST"}
    if is_service:
        wanted["use_inbound_webhook_on_number"] = False
        if callback := addresses.status_callback or _status_callback(
            receiver, addresses
        ):
            wanted["status_callback"] = callback
    elif "sms_application_sid" in receiver.fields:
        wanted["sms_application_sid"] = ""
    # Nothing is written as "" and, by the package, as None or False too.
    return {
        name: value
        for name, value in wanted.items()
        if (receiver.fields[name] or "") != (value or "")
    }


def target(receiver: Receiver, home: Receiver | None, public_url: str) -> Target:
    """Who is called for a text to a receiver; ``home`` is the service that it is in."""
    called = asked(receiver, home)
    if called.fields.get("sms_application_sid"):
        return "application"
    return leads(called.url, public_url)


def asked(receiver: Receiver, home: Receiver | None) -> Receiver:
    """Whose URL is called for a text to a receiver: its own, or its service's."""
    return receiver if home is None or home.defers else home


def leads(url: str, public_url: str) -> Target:
    """Whether a URL is our webhook's."""
    if not url:
        return "nowhere"
    try:
        plain = _plain(url)
    except ValueError:  # whatever was typed into a form at Twilio
        return "elsewhere"
    ours = {f"{_plain(public_url)}{path}" for path in (INBOUND_PATH, FALLBACK_PATH)}
    return "here" if plain in ours else "elsewhere"


def shown(value: Value) -> str:
    """A value for people; a password within a URL is not for them."""
    if isinstance(value, bool):
        return str(value).lower()
    parts = urlsplit(value)
    if "@" not in parts.netloc:
        return value
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"…@{host}"))


def _fallback(receiver: Receiver, addresses: Addresses) -> str | None:
    """Ours by its other name, where there is none; one that is there is left alone."""
    if receiver.fallback_url:
        return None
    return f"{addresses.public_url}{FALLBACK_PATH}#{OVERRIDES}"


def _status_callback(receiver: Receiver, addresses: Addresses) -> str | None:
    """Ours, where there is none: of texts that others send by the service, too."""
    if receiver.fields.get("status_callback"):
        return None
    return f"{addresses.public_url}{STATUS_PATH}"


def is_local(host: str) -> bool:
    """Whether a URL's host is, to whoever calls it, the machine that it calls from."""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def _plain(url: str) -> str:
    """A URL without credentials, fragment and the port that goes without saying."""
    parts = urlsplit(url)
    port = parts.port if parts.port not in {None, 80, 443} else None
    host = (parts.hostname or "") + (f":{port}" if port else "")
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), parts.query, ""))
