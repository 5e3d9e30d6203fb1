"""From what stands in a list to the phone number that is meant.

Pure. A number in E.164 is never guessed about: a region only tells what a national
number means, one that is written without a plus. The subtle part is what the
``phonenumbers`` library would accept: it finds a number inside any text, drops an
extension, and makes a number of a short code. So only digits and what people put
between them are given to it, and what comes out must be a number of the region's plan.
"""

import re
from typing import Final

import phonenumbers

from ledger.domain.ids import PhoneNumber, canonical_number, is_e164, typed_number
from ledger.errors import UnknownRegion

_NATIONAL: Final = re.compile(r"\(?\d[\d\s().\-/\u2010-\u2015]*")
_NATIONAL_DIGITS_MIN: Final = 7
"""Fewer may be a short code, in a plan that has numbers as short."""


def check_region(region: str) -> str:
    """The region in capital letters, if there is such a one.

    Raises:
        UnknownRegion: it is none of ISO 3166's that has a numbering plan.
    """
    capitals = region.upper()
    if not region.isascii() or capitals not in phonenumbers.SUPPORTED_REGIONS:
        raise UnknownRegion("use two letters, such as US or GB")
    return capitals


def understood(given: str, region: str | None) -> PhoneNumber | None:
    """The number in E.164 that a text means; None where it means none."""
    # Nearly every number is written as E.164 already.
    number = canonical_number(given)
    if is_e164(number) or is_e164(number := typed_number(given)):
        return number
    return _national(given.strip(), region) if region else None


def as_it_came(given: str) -> PhoneNumber:
    """A text that is no E.164 number, as the address that it may be of somebody.

    A STOP is recorded whatever its address looks like, so one may be known.
    """
    return canonical_number(given.strip())


def _national(given: str, region: str) -> PhoneNumber | None:
    if (
        not _NATIONAL.fullmatch(given)
        or sum(map(str.isdigit, given)) < _NATIONAL_DIGITS_MIN
    ):
        return None
    try:
        parsed = phonenumbers.parse(given, region)
    except phonenumbers.NumberParseException:
        return None
    if parsed.extension or not phonenumbers.is_valid_number(parsed):
        return None
    e164 = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    return canonical_number(e164)
