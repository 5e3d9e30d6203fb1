"""How things are logged: one JSON object a line, on standard error.

Never a phone number or a text: a request is named by its id and its route's pattern, a
person by the subject's id. The subtle part is exceptions: a message may quote what was
wrong, and PostgreSQL's quotes the row, so a traceback is logged without messages.
"""

import logging
import sys
import traceback
from collections.abc import Iterator
from types import TracebackType

from pythonjsonlogger.json import JsonFormatter

_Raised = (
    tuple[type[BaseException], BaseException, TracebackType | None]
    | tuple[None, None, None]
)


def configure_logging(level: str) -> None:
    """Log from ``level`` on, as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        Formatter(
            "{levelname}{name}{message}{process}",
            style="{",
            timestamp=True,
            rename_fields={"levelname": "level", "name": "logger", "message": "event"},
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


class Formatter(JsonFormatter):
    """JSON, with what was raised where, and never what it said."""

    def formatException(self, ei: _Raised) -> str:  # noqa: N802
        """The frames and the classes of an exception and of those that led to it."""
        return "\n".join(_lines(ei[1]))


def _lines(error: BaseException | None) -> Iterator[str]:
    if error is None:
        return
    yield from _lines(error.__cause__ or error.__context__)
    yield type(error).__name__
    for frame in traceback.extract_tb(error.__traceback__):
        yield f"  {frame.filename}:{frame.lineno} {frame.name}"
