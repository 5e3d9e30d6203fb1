"""The names of things: who, what about, and where in the ledger.

Never parses HTTP and never decides. The subtle part is ``canonical_number``: it settles
which raw addresses are one person, so a change to it is a change of identity and needs
a decision record, not an edit.
"""

import re
from typing import Final, Literal, NewType
from uuid import UUID

SubjectId = NewType("SubjectId", UUID)
"""The person behind a phone number: a keyed HMAC of it, never the number itself."""

PhoneNumber = NewType("PhoneNumber", str)
"""E.164 (``+14155550100``), or a raw ``From`` that is not E.164, as it came."""

Sender = NewType("Sender", str)
"""What a consent is about: a MessagingServiceSid, or the Twilio address in ``To``."""

MessageId = NewType("MessageId", UUID)
"""A text, in or out: a keyed digest of what names it, never Twilio's SID itself."""

Position = NewType("Position", int)
"""Place of an event in the whole ledger, from 1, gapless, in commit order."""

Version = NewType("Version", int)
"""Place of an event in its stream, a subject's or a message's, from 1."""


class Sealed(str):
    """Personal data as it is stored: opened with the subject's key alone."""

    __slots__ = ()


THE_LEDGER: Final = SubjectId(UUID("00000000-0000-8000-8000-6c6564676572"))
"""Not a person: the stream of what happens to the ledger as a whole."""

Status = Literal["in", "out"]
Answer = Literal["in", "out", "unknown"]

EVERY_SENDER: Final = Sender("*")
NO_SENDER: Final = Sender("")
"""Where a lapse stands among what senders were told: it was said to none of them."""

_E164 = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)
_CHANNEL = re.compile(r"^[a-z]+:", re.ASCII)
_TOLL_FREE = re.compile(r"\+18(00|33|44|55|66|77|88)[0-9]{7}", re.ASCII)
_OLD_MEXICAN_MOBILE = re.compile(r"^\+521([0-9]{10})$", re.ASCII)


def is_e164(number: str) -> bool:
    """Whether ``number`` has E.164's form; says nothing of whether it is in use."""
    return _E164.fullmatch(number) is not None


def canonical_number(address: str) -> PhoneNumber:
    """The phone number behind a Twilio address, the same for every channel.

    ``whatsapp:+1…`` and ``rcs:+1…`` are the person at ``+1…``: a STOP on one channel
    holds on the others (Twilio changelog, "Unified Opt-Outs", 15 March 2026).
    ``+521`` and ten digits is Mexico's mobile prefix from before 2019, which WhatsApp
    still uses; the number itself is ``+52`` and the same ten. Whatever is not E.164
    after that (a short code, a name, an agent id) is kept exactly as it came: a STOP is
    never rejected because a number looks invalid.
    """
    number = _CHANNEL.sub("", address, count=1) if ":" in address else address
    if not is_e164(number):
        return PhoneNumber(address)
    if number.startswith("+521"):
        return PhoneNumber(_OLD_MEXICAN_MOBILE.sub(r"+52\1", number))
    return PhoneNumber(number)


def typed_number(given: str) -> PhoneNumber:
    """The number that a person has typed, as ``+1 (415) 555-0100`` or ``12345``.

    In ``+44 (0)20 …`` the zero is dialled by some and not by others, and which depends
    on the country: that is not understood, and stays as it came.
    """
    plain = re.sub(r"[\s().-]", "", given)
    is_plain = is_e164(plain) and "(0)" not in given
    return canonical_number(plain if is_plain else given.strip())


def channel_of(address: str) -> str:
    """``sms`` or the prefix that Twilio puts before the address (``whatsapp``)."""
    found = _CHANNEL.match(address) if ":" in address else None
    return found.group()[:-1] if found else "sms"


def is_toll_free(number: str) -> bool:
    """Whether a number is a North American toll-free one, by its area code."""
    return _TOLL_FREE.fullmatch(number) is not None
