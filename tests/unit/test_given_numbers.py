"""What a text in a list means, with a region and without."""

import pytest

from ledger.errors import UnknownRegion
from ledger.given_numbers import check_region, understood

UNDERSTOOD = [
    ("+14155550100", None, "+14155550100"),
    (" +1 (415) 555-0100 ", None, "+14155550100"),
    ("whatsapp:+14155550100", None, "+14155550100"),
    ("+5215512345678", None, "+525512345678"),
    ("4155550100", None, None),
    ("4155550100", "US", "+14155550100"),
    ("(415) 555-0100", "US", "+14155550100"),
    ("1-800-356-9377", "US", "+18003569377"),
    ("415/555.0100", "US", "+14155550100"),
    ("020 7946 0958", "GB", "+442079460958"),
    ("011 44 20 7946 0958", "US", "+442079460958"),
    ("０２０ ７９４６ ０９５８", "GB", "+442079460958"),  # noqa: RUF001 - full width
    # A number in E.164 is never another for being asked about from elsewhere.
    ("+14155550100", "GB", "+14155550100"),
    ("+999123456789", "US", "+999123456789"),
    # What the library would make a number of, and is none.
    ("32665", "US", None),
    ("12345", "DE", None),
    ("555-0100", "US", None),
    ("4155550100 x12", "US", None),
    ("call 4155550100 now", "US", None),
    ("1-800-FLOWERS", "US", None),
    ("tel:4155550100", "US", None),
    ("+", "US", None),
    ("", "US", None),
    ("9" * 300, "US", None),
]


@pytest.mark.parametrize(("given", "region", "number"), UNDERSTOOD)
def test_a_number_is_understood_or_it_is_none(
    given: str, region: str | None, number: str | None
) -> None:
    """Without a region only E.164 is a number, however it is spaced."""
    assert understood(given, region) == number


@pytest.mark.parametrize("region", ["XX", "USA", "", "001", "\xdf"])
def test_a_region_must_have_a_numbering_plan(region: str) -> None:
    """Else no national number could be told from none."""
    with pytest.raises(UnknownRegion):
        check_region(region)


def test_a_region_may_be_written_in_small_letters() -> None:
    """It is kept in capitals."""
    assert check_region("us") == "US"
