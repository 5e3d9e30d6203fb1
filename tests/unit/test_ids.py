"""Who an address belongs to."""

import pytest

from ledger.domain.ids import (
    canonical_number,
    channel_of,
    is_e164,
    is_toll_free,
    typed_number,
)

AS_IT_CAME = [
    "32665",
    "ACME",
    "anonymous",
    "",
    "4155550100",
    "+0155550100",
    "+141555",
    "+1234567890123456",
    "+1 415 555 0100",
    "+1415555010x",
    "+14155550100\n",
    "＋１４１５５５５０１００",  # noqa: RUF001 - full-width digits
    "+٤١٥٥٥٥٠١٠٠",
    "whatsapp:ACME",
    "rcs:brand_agent",
    "WHATSAPP:+14155550100",
    "whatsapp:sms:+14155550100",
    "+1415rcs:5550100",
    "1whatsapp:+14155550100",
    "sip:alice@example.com",
    "x" * 300,
]


@pytest.mark.parametrize(
    ("address", "number"),
    [
        ("+14155550100", "+14155550100"),
        ("+1234567", "+1234567"),
        ("+123456789012345", "+123456789012345"),
        ("whatsapp:+14155550100", "+14155550100"),
        ("rcs:+14155550100", "+14155550100"),
        ("+5215512345678", "+525512345678"),
        ("whatsapp:+5215512345678", "+525512345678"),
        ("+525512345678", "+525512345678"),
        ("+521551234567", "+521551234567"),
        ("+52155123456789", "+52155123456789"),
        ("+5491112345678", "+5491112345678"),
    ],
)
def test_every_channel_of_a_number_is_the_same_person(
    address: str, number: str
) -> None:
    """The channel goes, and so does Mexico's old mobile prefix; nothing else does."""
    assert canonical_number(address) == number


@pytest.mark.parametrize("address", AS_IT_CAME)
def test_what_is_not_a_number_is_kept_as_it_came(address: str) -> None:
    """A short code, a name or a broken number is still somebody who may say STOP."""
    assert canonical_number(address) == address


@pytest.mark.parametrize(
    ("address", "channel"),
    [
        ("+14155550100", "sms"),
        ("32665", "sms"),
        ("", "sms"),
        ("whatsapp:+14155550100", "whatsapp"),
        ("rcs:brand_agent", "rcs"),
        ("messenger:123", "messenger"),
        ("+1415rcs:5550100", "sms"),
    ],
)
def test_the_channel_is_what_stands_before_the_address(
    address: str, channel: str
) -> None:
    """A text without a prefix came by SMS."""
    assert channel_of(address) == channel


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("+1234567", True),
        ("+123456789012345", True),
        ("+123456", False),
        ("+1234567890123456", False),
        ("+0234567", False),
        ("1234567", False),
        ("+1234567\n", False),
        ("", False),
    ],
)
def test_e164_is_a_plus_and_seven_to_fifteen_digits(
    number: str, *, expected: bool
) -> None:
    """The form alone is looked at."""
    assert is_e164(number) is expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        *((f"+18{code}5550100", True) for code in (0, 33, 44, 55, 66, 77, 88) if code),
        ("+18005550100", True),
        ("+18225550100", False),
        ("+14155550100", False),
        ("+1800555010", False),
        ("+180055501000", False),
        ("+448005550100", False),
        ("8005550100", False),
    ],
)
def test_toll_free_is_known_by_its_area_code(number: str, *, expected: bool) -> None:
    """North America's toll-free codes in use are known, and nothing else."""
    assert is_toll_free(number) is expected


@pytest.mark.parametrize(
    ("given", "number"),
    [
        ("+1 (415) 555-0100", "+14155550100"),
        (" +14155550100 ", "+14155550100"),
        ("whatsapp:+14155550100", "+14155550100"),
        ("12345", "12345"),
        ("+44 (0)20 7946 0018", "+44 (0)20 7946 0018"),
        ("14155550100", "14155550100"),
        ("My Shop", "My Shop"),
    ],
)
def test_a_number_may_be_typed_as_people_write_it(given: str, number: str) -> None:
    """What is not E.164 after that is kept as it came."""
    assert typed_number(given) == number
