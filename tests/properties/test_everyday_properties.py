"""A request that we read as a plain one, aiohttp reads as the same."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiohttp.streams import StreamReader
from hypothesis import event, example, given
from hypothesis import strategies as st

from ledger.everyday import Plain, read

BODY_BYTES_MAX = 40

Message = tuple[RawRequestMessage, StreamReader]

lines = st.sampled_from(
    (
        b"POST /optInStatus HTTP/1.1",
        b"POST /a?b=%20 HTTP/1.1",
        b"GET /PhoneNumbers/%2B14155550100 HTTP/1.1",
        b"GET / HTTP/1.0",
        b"POST http://example.com/a HTTP/1.1",
        b"PUT /a HTTP/1.1",
        b"POST  /a HTTP/1.1",
        b"POST /\xc3\xa9 HTTP/1.1",
        b"POST /a#b HTTP/1.1",
    )
)
names = st.sampled_from(
    b"Host Accept Content-Length content-length X-Id Connection Transfer-Encoding "
    b"Content-Encoding Upgrade Expect Content-Type Trailer".split()
) | st.binary(max_size=2)
values = (
    st.sampled_from(
        (b"7", b"4", b"0", b"+4", b"04", b"4, 4", b"keep-alive", b"Close", b"chunked")
    )
    | st.sampled_from((b"gzip", b"100-continue", b"h2c", b"a\tb", b"", b" 4 ", b"\xe9"))
    | st.binary(max_size=3)
)
colons = st.sampled_from((b": ", b":", b":  ", b" : ", b":\t"))
ends = st.sampled_from((b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r\n "))
odd = st.tuples(names, colons, values, ends).map(b"".join)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Mostly plain ones, with at most two things that may make them not so."""
    body = draw(st.sampled_from((b"", b"a=bc")) | st.binary(max_size=8))
    missing = draw(st.sampled_from((0, 0, 0, 1, -1)))
    length = b"Content-Length: %d\r\n" % max(0, len(body) + missing)
    line = draw(lines)
    own = [b"Host: a\r\n"] if line.startswith(b"GET") else [b"Host: a\r\n", length]
    headers = draw(st.permutations([*own, *draw(st.lists(odd, max_size=2))]))
    return b"".join((line, b"\r\n", *headers, b"\r\n", body))


@contextmanager
def messages_in(received: bytes) -> Iterator[list[Message]]:
    """What aiohttp reads, with the limits that it has by default."""
    loop = asyncio.new_event_loop()
    try:
        parser = HttpRequestParser(BaseProtocol(loop), loop, 2**16)
        found, upgraded, rest = parser.feed_data(received)
        assert not upgraded
        assert not rest
        yield found
    finally:
        loop.close()


@given(requests())
@example(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\na=bc")
@example(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\na=b")
@example(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
@example(b"POST /a HTTP/1.1\r\nX: \r\nHost:\r\nContent-Length:4\t\r\n\r\na=bc")
def test_whatever_is_plain_is_one_whole_request_to_aiohttp_too(received: bytes) -> None:
    """The same method, target, headers and body, and nothing before or after them."""
    request = read(received, BODY_BYTES_MAX)
    event(type(request).__name__)
    if not isinstance(request, Plain):
        return
    with messages_in(received) as found:
        [(message, payload)] = found
        assert (message.method, message.path) == (request.method, request.target)
        given = {name.lower(): value for name, value in message.headers.items()}
        assert given == request.headers
        kept = (message.should_close, message.upgrade, message.chunked)
        assert (*kept, message.compression) == (False, False, False, None)
        assert payload.is_eof()
        assert payload.read_nowait() == request.body


@given(requests())
@example(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\na=b")
def test_where_a_body_is_awaited_aiohttp_awaits_the_same(received: bytes) -> None:
    """With as many bytes more as are missing, and not before, it is whole to both."""
    size = read(received, BODY_BYTES_MAX)
    if not isinstance(size, int):
        return
    with messages_in(received) as found:
        [(_, payload)] = found
        assert not payload.is_eof()
    whole = received + b"x" * (size - len(received))
    with messages_in(whole) as found:
        [(_, payload)] = found
        assert payload.is_eof()
    assert isinstance(read(whole, BODY_BYTES_MAX), Plain)
