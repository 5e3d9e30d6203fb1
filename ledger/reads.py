"""The record of reading: who has seen what personal data, a log line each.

Every route and command that shows evidence or events calls ``record_read``, once what
was asked for has been sent, or as much of it as was. Never names a person: a subject is
an id, a part of the ledger two positions. The line is logged at every level: which
lines are wanted is the operator's choice, whether reading is recorded is not.
"""

import logging
from uuid import UUID

log = logging.getLogger(__name__)
log.setLevel(logging.INFO)


def record_begun(reader: str, route: str, **what: int) -> None:
    """Log that ``reader`` begins to read by ``route``.

    For what takes long: should it be killed, nobody says how much was read.
    """
    log.info("read_begun", extra={"reader": reader, "route": route, **what})


def record_read(reader: str, route: str, count: int, **what: UUID | int) -> None:
    """Log that ``reader`` was shown ``count`` events by ``route``.

    ``reader`` is the name of an API key, or ``cli:`` and an account. ``what`` is ids
    and positions: a phone number is text, and does not fit.
    """
    shown = {name: str(v) if isinstance(v, UUID) else v for name, v in what.items()}
    extra = {"reader": reader, "route": route, "count": count, **shown}
    log.info("read", extra=extra)
