"""How far a long command has come, where nobody sits before a terminal."""

import io
from collections.abc import Iterator

import pytest

from ledger.progress import shown_progress


def seconds(*times: float) -> Iterator[float]:
    """A clock that says these, one after the other."""
    return iter(times)


def test_a_log_gets_a_line_every_few_seconds_and_one_at_the_end() -> None:
    """With what is done, how fast, and how long it takes still."""
    clock = seconds(0, 1, 6, 6, 10)
    file = io.StringIO()
    with shown_progress("keys", 100, file=file, clock=lambda: next(clock)) as advance:
        advance(10)
        advance(50)
    assert file.getvalue().splitlines() == [
        "keys: 60 of 100, 10/s, 4 s left",
        "keys: 60 of 100, 6/s, 7 s left",
    ]


def test_what_was_done_before_is_not_taken_for_fast_work() -> None:
    """And before anything is done, nobody knows how long it will take."""
    clock = seconds(0, 5, 10, 10)
    file = io.StringIO()
    with shown_progress(
        "keys", 100, done=40, file=file, clock=lambda: next(clock)
    ) as advance:
        advance(0)
    assert file.getvalue().splitlines() == ["keys: 40 of 100, 0/s"] * 2
    clock = seconds(0, 10, 10, 10)
    with shown_progress(
        "keys", 100, done=40, file=file, clock=lambda: next(clock)
    ) as advance:
        advance(20)
    assert file.getvalue().splitlines()[2] == "keys: 60 of 100, 2/s, 20 s left"


def test_nothing_to_do_is_done_at_once() -> None:
    """No division by nothing."""
    file = io.StringIO()
    with shown_progress("keys", 0, file=file, clock=lambda: 0.0):
        pass
    assert file.getvalue() == "keys: 0 of 0, 0/s, 0 s left\n"


class Terminal(io.StringIO):
    """Somebody sits before it."""

    def isatty(self) -> bool:
        """So a bar is shown."""
        return True


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what is done of how many."""
    monkeypatch.setenv("TERM", "xterm")
    file = Terminal()
    with shown_progress("keys", 100, file=file) as advance:
        advance(60)
        advance(40)
    assert "100/100" in file.getvalue()
