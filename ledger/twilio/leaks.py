"""What loses a STOP, by how a receiver is set up at Twilio: pure, one sentence each.

Says no more than the API shows. The subtle part is a number in a service: what is to be
said of its texts is said of the service, whose URL is called.
"""

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple
from urllib.parse import parse_qs, urlsplit

from ledger.domain.ids import is_toll_free
from ledger.twilio.receivers import OVERRIDES, Receiver, leads, target

Weight = Literal["note", "warning", "wrong"]
"""Wrong is a STOP that is lost for certain, and a note is what nobody can change or
what cannot be known."""


class Leak(NamedTuple):
    """A way in which a STOP does not reach us, or is not honoured by Twilio."""

    sentence: str
    weight: Weight
    is_mended: bool = False
    """Whether ``twilio connect`` mends it."""


ADVANCED_OPT_OUT: Final = Leak(
    "the API does not show whether Advanced Opt-Out is on. Without it OptOutType is "
    "not sent, and the ledger reads the words itself; what was made a keyword at "
    "Twilio alone belongs into LEDGER_OUT_WORDS as well",
    "note",
)
TOLL_FREE: Final = Leak(
    "it is toll-free: the carriers' network answers STOP, and lets nobody back in but "
    "by START or UNSTOP",
    "note",
)
SHORT_CODE_ALONE: Final = Leak(
    "it is a short code in no service: Twilio neither answers STOP and HELP nor "
    "blocks. Put it into a service with Advanced Opt-Out",
    "wrong",
)
DEFERS: Final = Leak(
    "it leaves inbound texts to the URL of each number, so that a number without one "
    "reaches nobody",
    "warning",
    is_mended=True,
)
SERVICE_NOWHERE: Final = Leak(
    "it has no inbound URL: texts to its numbers are neither delivered nor logged, and "
    "no STOP can be found later",
    "wrong",
    is_mended=True,
)
NOWHERE: Final = Leak("it has no URL: nobody records a STOP", "wrong", is_mended=True)
APPLICATION: Final = Leak(
    "an application at Twilio handles its texts, and its URL is ignored",
    "warning",
    is_mended=True,
)
ELSEWHERE: Final = Leak(
    "its texts go to another address, and so does every STOP",
    "warning",
    is_mended=True,
)
UNREPEATED: Final = Leak(
    f"its URL does not end in #{OVERRIDES}: Twilio does not try again after a 500, a "
    "503 or a time-out",
    "warning",
    is_mended=True,
)
NO_FALLBACK: Final = Leak(
    "it has no fallback URL: what fails is logged at Twilio, and that is all",
    "warning",
    is_mended=True,
)
FALLBACK_ELSEWHERE: Final = Leak(
    "its fallback URL has another address: see that it leads to the same ledger",
    "note",
)


def leaks(receiver: Receiver, home: Receiver | None, public_url: str) -> Iterator[Leak]:
    """What loses a STOP to a receiver; ``home`` is the service that it is in."""
    yield from _on_the_way(receiver, home, public_url)
    if receiver.kind == "service":
        yield ADVANCED_OPT_OUT
    if receiver.kind == "number" and is_toll_free(receiver.name):
        yield TOLL_FREE
    if receiver.kind == "short code" and home is None:
        yield SHORT_CODE_ALONE


def _on_the_way(
    receiver: Receiver, home: Receiver | None, public_url: str
) -> Iterator[Leak]:
    if receiver.defers:
        yield DEFERS
    elif home is None or home.defers:
        match target(receiver, home, public_url):
            case "nowhere":
                yield SERVICE_NOWHERE if receiver.kind == "service" else NOWHERE
            case "application":
                yield APPLICATION
            case "elsewhere":
                yield ELSEWHERE
            case "here":
                yield from _where_it_fails(receiver, public_url)


def _where_it_fails(receiver: Receiver, public_url: str) -> Iterator[Leak]:
    if not _is_repeated(receiver.url):
        yield UNREPEATED
    match leads(receiver.fallback_url, public_url):
        case "nowhere":
            yield NO_FALLBACK
        case "elsewhere":
            yield FALLBACK_ELSEWHERE
        case _:
            pass


def _is_repeated(url: str) -> bool:
    """Whether Twilio calls again after an error or a time-out, too."""
    overrides = parse_qs(urlsplit(url).fragment)
    kinds = set(overrides.get("rp", [""])[0].split(","))
    is_after_errors = "all" in kinds or kinds >= {"5xx", "rt"}
    return is_after_errors and overrides.get("rc") != ["0"]
