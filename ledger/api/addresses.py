"""What stands in a path, a header or a query of one resource, as values.

Pure. A list's query is ``query``'s work; this is the rest.
"""

import re
from collections.abc import Iterable, Mapping

from aiohttp import hdrs, web

from ledger.api.models import PhoneNumberRecord
from ledger.domain.ids import (
    PhoneNumber,
    Position,
    Sender,
    Version,
    canonical_number,
    is_e164,
)
from ledger.errors import InvalidPhoneNumber, InvalidQuery, NotFound, PreconditionFailed

_ETAG = re.compile(r'(?:W/)?"([0-9]{1,19})-([0-9]{1,19})"')
_POSITION = re.compile(r"[0-9]{1,18}", re.ASCII)


def route_of(request: web.Request) -> str:
    """The route's pattern, for logs and counts: the path may hold a phone number."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else "unmatched"


def parse_number(given: str) -> PhoneNumber:
    """An E.164 number, of any channel.

    Raises:
        InvalidPhoneNumber: it is not E.164.
    """
    number = canonical_number(given.strip())
    if not is_e164(number):
        raise InvalidPhoneNumber("write it as +14155550100, the plus as %2B in a query")
    return number


def number_in(given: str) -> PhoneNumber:
    """The number, or the address, that a path names.

    Raises:
        NotFound: there can be none.
    """
    if "\0" in given:
        # PostgreSQL's text has none, so no record can have this address.
        raise NotFound("this number was never seen")
    return canonical_number(given)


def etag_of(record: PhoneNumberRecord) -> str:
    """The validator of a record: it changes with every event of the number."""
    return f'"{record.position}-{record.version}"'


def version_in(etag: str) -> Version:
    """The version that an If-Match names.

    Raises:
        PreconditionFailed: it is not a validator of ours, so it matches nothing.
    """
    matched = _ETAG.fullmatch(etag.strip())
    if matched is None:
        raise PreconditionFailed("If-Match is not an ETag that we gave")
    return Version(int(matched[2]))


def is_unchanged(request: web.Request, etag: str) -> bool:
    """Whether If-None-Match says that the client has this representation already."""
    given = request.headers.get(hdrs.IF_NONE_MATCH)
    if given is None:
        return False
    known = {tag.strip().removeprefix("W/") for tag in given.split(",")}
    return "*" in known or etag.removeprefix("W/") in known


def single_parameters(
    request: web.Request, allowed: Iterable[str]
) -> Mapping[str, str]:
    """The query's parameters, each at most once.

    Raises:
        InvalidQuery: one is repeated, or is not of this route.
    """
    given = request.query
    parameters = dict(given)
    if len(parameters) < len(given):
        raise InvalidQuery("a parameter is given more than once")
    unknown = parameters.keys() - set(allowed)
    if unknown:
        names = ", ".join(sorted(allowed))
        raise InvalidQuery(f"{min(unknown)!r} is not one of: {names}")
    return parameters


def parse_position(name: str, given: str) -> Position:
    """A position in a query.

    Raises:
        InvalidQuery: it is not a whole number.
    """
    if not _POSITION.fullmatch(given):
        raise InvalidQuery(f"{name} must be a whole number from 0")
    return Position(int(given))


def sender_in(given: str | None) -> Sender | None:
    """The sender in a query; a plus sign that was not sent as %2B is a space there.

    Raises:
        InvalidQuery: it is empty.
    """
    if given == "":
        raise InvalidQuery("sender is empty: leave it out to ask for every sender")
    return Sender(re.sub("^ (?=[0-9])", "+", given)) if given else None
