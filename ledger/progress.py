"""How far a long command has come: a bar on a terminal, lines in a log.

On standard error, so that the answer alone is on standard output.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

LINE_SECONDS: Final = 5.0

Advance = Callable[[int], None]
"""Called with how many more are done."""


@contextmanager
def shown_progress(
    what: str,
    total: int,
    *,
    done: int = 0,
    file: IO[str] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Advance]:
    """Show how many of ``total`` are done, how fast it goes, and how long it takes.

    What was ``done`` before is counted, and not taken for fast work.
    """
    console = Console(file=file or sys.stderr)
    if not console.is_terminal:
        lines = _Lines(what, total, done, console.file, clock)
        yield lines.advance
        lines.write()
        return
    with _bar(console) as bar:
        task = bar.add_task(what, total=total, completed=done)
        yield lambda count: bar.advance(task, count)


class _Lines:
    """A line every few seconds, and one at the end."""

    def __init__(
        self,
        what: str,
        total: int,
        done: int,
        file: IO[str],
        clock: Callable[[], float],
    ) -> None:
        self._what, self._total = what, total
        self._file, self._clock = file, clock
        self._done = self._done_before = done
        self._began = self._written = clock()

    def advance(self, count: int) -> None:
        self._done += count
        if self._clock() - self._written >= LINE_SECONDS:
            self.write()

    def write(self) -> None:
        self._written = self._clock()
        seconds = max(self._written - self._began, 1e-9)
        rate = (self._done - self._done_before) / seconds
        line = f"{self._what}: {self._done} of {self._total}, {rate:.0f}/s"
        left = max(self._total - self._done, 0)
        if rate or not left:
            line += f", {left / rate if left else 0:.0f} s left"
        print(line, file=self._file, flush=True)


class _Rate(ProgressColumn):
    """How many a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:.0f}/s")


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=console,
    )
