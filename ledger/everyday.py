"""Requests in the one plain form that nearly all come in, and who answers those.

Pure: reads bytes and answers with bytes. Never decides what is wrong with a request:
whatever is not plain, or not everyday to whom it is for, goes to aiohttp as the bytes
that it was, and is answered there. The subtle part is strictness: the parser is llhttp,
which is aiohttp's too, and what a proxy before us could take differently all the same
(a repeated header, a length beside chunks) makes a request not plain, so that all
agree on where a request ends.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from aiohttp import web
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

_HEAD_BYTES_MAX: Final = 8_190  # aiohttp's own limit of one line
_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(r"0|[1-9][0-9]{0,8}")
_METHODS: Final = (b"GET", b"POST")
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


class _Message:
    """What the parser tells of the bytes that it is fed."""

    __slots__ = ("body", "fields", "messages", "target")

    def __init__(self) -> None:
        self.target = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.messages = 0

    def on_url(self, url: bytes) -> None:
        """Path and query, or a part of them."""
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header's line; a trailer's too."""
        self.fields.append((name, value))

    def on_body(self, body: bytes) -> None:
        """Some of the body."""
        self.body += body

    def on_message_complete(self) -> None:
        """One message has ended."""
        self.messages += 1


def read(received: bytes | bytearray, body_bytes_max: int) -> Plain | int | None:
    """The plain request that was received.

    A number where its body is still to come: how many bytes the whole will have. None
    where it is not plain, or not whole up to its body.
    """
    head_bytes = received.find(_HEAD_END, 0, _HEAD_BYTES_MAX) + len(_HEAD_END)
    message = _Message()
    parser = HttpRequestParser(message)
    try:
        parser.feed_data(received)
        target = message.target.decode("ascii")
        headers = {
            name.decode("ascii").lower(): value.decode("ascii").strip(" \t")
            for name, value in message.fields
        }
    except (HttpParserError, HttpParserUpgrade, UnicodeDecodeError):
        return None
    method = parser.get_method()
    is_known = method in _METHODS and parser.get_http_version() == "1.1"
    if (
        not is_known
        or head_bytes < len(_HEAD_END)
        or len(headers) < len(message.fields)
    ):
        return None
    length = _body_bytes(method, headers)
    if length is None or length > body_bytes_max or not _is_plain_target(target):
        return None
    if not message.messages:
        return head_bytes + length
    if len(received) > head_bytes + length:
        return None
    return Plain(method.decode(), target, headers, message.body)


def _is_plain_target(target: str) -> bool:
    return target.startswith("/") and "#" not in target


def _body_bytes(method: bytes, headers: Mapping[str, str]) -> int | None:
    """How long the body is; None where that is not plain to see."""
    if "host" not in headers or not _NOT_PLAIN.isdisjoint(headers):
        return None
    if headers.get("connection", "keep-alive").lower() != "keep-alive":
        return None
    length = headers.get("content-length")
    if method == b"GET":
        return 0 if length is None else None
    return int(length) if length and _LENGTH.fullmatch(length) else None
