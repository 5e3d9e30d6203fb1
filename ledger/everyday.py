"""Requests in the one plain form that nearly all come in, and who answers those.

Pure: reads bytes and answers with bytes. Never decides what is wrong with a request:
whatever is not plain, or not everyday to whom it is for, goes to aiohttp as the bytes
that it was, and is answered there. The subtle part is strictness: what two readers
could take differently (a bare line feed, a repeated header, a length beside chunks)
makes a request not plain, so that this reader, aiohttp and a proxy before us always
agree on where a request ends.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from aiohttp import web

_HEAD: Final = re.compile(
    rb"(GET|POST) (/[!-~]*) HTTP/1\.1\r\n"
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~]*\r\n)+)\r\n"
)
_HEAD_BYTES_MAX: Final = 8_190  # aiohttp's own limit of one line
_LENGTH: Final = re.compile(r"0|[1-9][0-9]{0,8}")
_NOT_PLAIN: Final = frozenset(
    ("transfer-encoding", "content-encoding", "expect", "upgrade", "trailer")
)


class Plain(NamedTuple):
    """A whole request, alone on its connection for the moment."""

    method: str
    target: str
    """Path and query, as they were sent."""
    headers: Mapping[str, str]
    """By name in lower case; none is repeated."""
    body: bytes


class Answer(NamedTuple):
    """A whole answer, but for what every answer has."""

    status: int
    headers: bytes
    """Lines of its own, each with its end."""
    body: bytes


class Reply(Protocol):
    """Who waits for the answer. One of the two is called, once, and does not raise."""

    def answer(self, answer: Answer) -> None:
        """Send it."""

    def fail(self, error: Exception) -> None:
        """Say what is wrong, as for any other route."""


Take = Callable[[Plain, Reply], bool]
"""Takes a request, to answer it now or later; or leaves it to aiohttp, untouched."""


class Route(NamedTuple):
    """A method and a path, or all paths in one that ends in a slash."""

    method: str
    path: str
    pattern: str
    """As aiohttp calls the same route, for counts and logs."""
    take: Take


class Everyday(NamedTuple):
    """What an application answers so."""

    routes: Sequence[Route]
    body_bytes_max: int


EVERYDAY: Final = web.AppKey("everyday", Everyday)
"""Where an application keeps it."""


def read(received: bytes | bytearray, body_bytes_max: int) -> Plain | int | None:
    """The plain request that was received.

    A number where its body is still to come: how many bytes the whole will have. None
    where it is not plain, or not whole up to its body.
    """
    head = _HEAD.match(received, 0, _HEAD_BYTES_MAX)
    if head is None:
        return None
    method, target, lines = (part.decode("ascii") for part in head.groups())
    fields = [line.partition(":") for line in lines.split("\r\n")[:-1]]
    headers = {name.lower(): value.strip(" \t") for name, _, value in fields}
    length = _body_bytes(method, headers)
    if length is None or length > body_bytes_max or len(headers) < len(fields):
        return None
    size = head.end() + length
    if len(received) < size:
        return size
    if len(received) > size:
        return None
    return Plain(method, target, headers, bytes(received[head.end() :]))


def _body_bytes(method: str, headers: Mapping[str, str]) -> int | None:
    """How long the body is; None where that is not plain to see."""
    if "host" not in headers or not _NOT_PLAIN.isdisjoint(headers):
        return None
    if headers.get("connection", "keep-alive").lower() != "keep-alive":
        return None
    length = headers.get("content-length")
    if method == "GET":
        return 0 if length is None else None
    return int(length) if length and _LENGTH.fullmatch(length) else None
