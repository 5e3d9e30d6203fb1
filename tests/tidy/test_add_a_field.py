"""The tutorial that adds a field to a projection, done, on two releases."""

import shutil

import pytest
from tidy.releases import reading

from ledger.api import serving
from projections import registry


@pytest.mark.skipif(shutil.which("curl") is None, reason="the page asks with curl")
async def test_a_field_is_added_as_the_page_shows(dsn: str) -> None:
    """Both releases answer all the while, and the new one knows the field."""
    with reading(dsn) as reader:
        await reader.follow("tutorials/add-a-field.md", "show_first_seen.py")


def test_what_is_read_can_be_kept_up_to_date() -> None:
    """Every shape that readers know is one that the projector fills."""
    assert set(registry.SHAPES) >= serving.SHAPES
