"""Whether a text may be sent: the gate, as a pure function of what is known.

Never sends and never asks. The subtle part is what is not known: ``unknown`` is no
consent, and whoever was erased while out is out still.
"""

from typing import NamedTuple

from ledger.domain.consent import Fact, Subject, decisive_for, status_for
from ledger.domain.ids import Answer, Sender


class Permission(NamedTuple):
    """Whether ``sender`` may text somebody, and what says so."""

    is_given: bool
    status: Answer
    fact: Fact | None
    """What decided; None where nothing was said, or who said it is erased."""


def permission(subject: Subject, sender: Sender, *, to_unknown: bool) -> Permission:
    """Whether ``sender`` may text a person of whom this is known.

    ``to_unknown`` lets a text go to whoever has said nothing; it never lets one go to
    whoever is out.
    """
    status = status_for(subject.facts, sender, suppressed=subject.suppressed)
    is_given = status == "in" or (status == "unknown" and to_unknown)
    fact = decisive_for(subject.facts, sender)
    return Permission(
        is_given, status, fact if fact and fact.status == status else None
    )
