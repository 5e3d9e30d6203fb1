"""What is a plain request, and what is left to aiohttp."""

import pytest

from ledger.everyday import Plain, read

HEAD = (
    b"POST /optInStatus HTTP/1.1\r\nHost: a\r\nX-Id:  b \r\nContent-Length: 4\r\n\r\n"
)
PLAIN = Plain(
    "POST",
    "/optInStatus",
    {"host": "a", "x-id": "b", "content-length": "4"},
    b"a=bc",
)


def test_a_request_with_its_whole_body_is_plain() -> None:
    """Names in lower case, values without the blanks around them."""
    assert read(HEAD + b"a=bc", 4) == PLAIN
    assert read(bytearray(HEAD + b"a=bc"), 4) == PLAIN


def test_the_body_may_still_be_to_come() -> None:
    """How many bytes the whole has is known as soon as the head is there."""
    assert read(HEAD, 4) == len(HEAD) + 4
    assert read(HEAD + b"a=b", 4) == len(HEAD) + 4


def test_a_get_has_no_body() -> None:
    """A GET is plain without a length, and with one it is not."""
    assert read(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n", 4) == Plain(
        "GET", "/a", {"host": "a"}, b""
    )
    with_length = b"GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
    assert read(with_length, 4) is None


@pytest.mark.parametrize(
    "received",
    [
        b"",
        HEAD[:-2],
        HEAD + b"a=bcP",
        HEAD.replace(b"HTTP/1.1", b"HTTP/1.0") + b"a=bc",
        HEAD.replace(b"POST", b"PUT") + b"a=bc",
        HEAD.replace(b"Host: a", b"Host: \xe9") + b"a=bc",
        HEAD.replace(b"Host", b"Most") + b"a=bc",
        HEAD.replace(b"Host: a", b"Host: a\r\nX-ID: a") + b"a=bc",
        HEAD.replace(b"Host: a", b"Host: a\r\n b") + b"a=bc",
        HEAD.replace(b"Host: a\r\n", b"Host: a\n") + b"a=bc",
        HEAD.replace(b"Host", b"Connection") + b"a=bc",
        HEAD.replace(b"Host", b"Transfer-Encoding") + b"a=bc",
        HEAD.replace(b"Host", b"Content-Encoding") + b"a=bc",
        HEAD.replace(b"Host", b"Expect") + b"a=bc",
        HEAD.replace(b"b", b"b" * 9_000) + b"a=bc",
        HEAD.replace(b"Length: 4", b"Length: 5") + b"a=bcd",
        HEAD.replace(b"Length: 4", b"Length: 04") + b"a=bc",
        HEAD.replace(b"Length", b"Size") + b"a=bc",
    ],
)
def test_whatever_else_it_is_is_left_to_aiohttp(received: bytes) -> None:
    """Not whole, not alone, not ours, or not to be read in one way only."""
    assert read(received, 4) is None
