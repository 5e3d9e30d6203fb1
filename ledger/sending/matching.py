"""Which of Twilio's messages is the one that we asked for: pure.

Twilio keeps no name of ours with a message and shows no callback, so that it is known
by whom it is to and from, by what it says, and by when it was made. The subtle part is
doubt. To take another's message for ours is to say that a text was sent that was not;
to overlook ours is to have it sent twice. Where it cannot be told, that is the answer.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple

from ledger.twilio.messages import SERVICE_PREFIX, ShownMessage

CLOCKS_APART_MAX: Final = timedelta(minutes=2)
"""How far Twilio's clock and the database's may be apart."""

Doubt = Literal["absent", "unknown"]


class Wanted(NamedTuple):
    """What was asked for."""

    to: str
    sender: str
    body: str | None
    """None where it is a template's, or was destroyed."""
    since: datetime
    """When it was asked for."""
    until: datetime
    """When nobody was asking any more."""
    equals_before: int = 0
    """How many of the same content, unsettled too, were asked for before it."""
    equals: int = 1
    """How many there are of them altogether."""


def match(
    wanted: Wanted,
    shown: Sequence[ShownMessage],
    taken: Collection[str],
    others: Sequence[Wanted] = (),
) -> ShownMessage | Doubt:
    """Twilio's message that is ``wanted``; else that there is none, or no telling.

    ``shown`` are all messages to the number; ``taken`` the SIDs of those that the
    ledger knows as another's; ``others`` are what was asked for with other words, and
    is as open. A message that says just what another one was to say is that one's.
    """
    possible = [
        message
        for message in shown
        if message.sid not in taken
        and _is_possible(wanted, message)
        and not any(_is_exact(other, message) for other in others)
    ]
    if not possible:
        return "absent"
    exact = [message for message in possible if _says(wanted, message)]
    if len(exact) != wanted.equals:
        return "unknown"
    in_order = sorted(exact, key=lambda m: (m.created_at or wanted.since, m.sid))
    return in_order[wanted.equals_before]


def _is_possible(wanted: Wanted, message: ShownMessage) -> bool:
    """Whether it was made by a call like ours at that time, whatever it says.

    What it says may have been changed on the way: by a service that shortens links, by
    one that keeps no bodies.
    """
    if message.direction != "outbound-api" or message.to != wanted.to:
        return False
    is_service = wanted.sender.startswith(SERVICE_PREFIX)
    sender = message.service_sid if is_service else message.from_
    if sender != wanted.sender:
        return False
    made = message.created_at
    since, until = wanted.since - CLOCKS_APART_MAX, wanted.until + CLOCKS_APART_MAX
    return made is None or since <= made <= until


def _is_exact(wanted: Wanted, message: ShownMessage) -> bool:
    return _says(wanted, message) and _is_possible(wanted, message)


def _says(wanted: Wanted, message: ShownMessage) -> bool:
    return bool(wanted.body) and message.body.strip() == (wanted.body or "").strip()
