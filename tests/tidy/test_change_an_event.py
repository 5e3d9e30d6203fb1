"""The tutorial that changes an event, done: two releases on one database."""

import shutil

import pytest
from tidy.releases import reading


@pytest.mark.skipif(shutil.which("curl") is None, reason="the page asks with curl")
async def test_an_event_is_changed_as_the_page_shows(dsn: str) -> None:
    """Both releases do what it says of them, and so do the tests."""
    with reading(dsn) as reader:
        await reader.follow("tutorials/change-an-event.md", "show_holds.py")
