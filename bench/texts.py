"""Prepares requests: signed texts as Twilio posts them, and reads with a key.

Every request of a file has the same length, so that wrk can step through it by bytes.
Signed with plain HMAC and not by twilio's validator, which would take a minute; the
service, which checks every one, says whether that is right.
"""

import base64
import hmac
import itertools
import secrets
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote_plus

from bench.load import Prepared
from bench.service import ACCOUNT_SID, AUTH_TOKEN, BEARER, Running

PATH: Final = "/optInStatus"

_SCATTER: Final = 7_368_787
"""Coprime to ten, so its multiples modulo 10^10 repeat only after 10^10 of them."""

_numbers = itertools.count(1)


def number(ordinal: int) -> str:
    """A phone number of 12 characters, another one for each ordinal, scattered."""
    return f"+1{ordinal * _SCATTER % 10**10:010d}"


def form(phone_number: str, message_sid: str) -> dict[str, str]:
    """What Twilio posts for an inbound STOP: every field that it documents."""
    return {
        "AccountSid": ACCOUNT_SID,
        "ApiVersion": "2010-04-01",
        "Body": "STOP",
        "From": phone_number,
        "FromCity": "SAN FRANCISCO",
        "FromCountry": "US",
        "FromState": "CA",
        "FromZip": "94105",
        "MessageSid": message_sid,
        "MessagingServiceSid": f"MG{'c' * 32}",
        "NumMedia": "0",
        "NumSegments": "1",
        "OptOutType": "STOP",
        "SmsMessageSid": message_sid,
        "SmsSid": message_sid,
        "SmsStatus": "received",
        "To": "+14155550199",
        "ToCity": "",
        "ToCountry": "US",
        "ToState": "CA",
        "ToZip": "",
    }


def signed_texts(
    running: Running, ordinals: Iterable[int] = _numbers
) -> Iterator[tuple[str, bytes]]:
    """Endless signed texts, each from a number and with a SID of its own.

    Made from one template, since only four fields differ and sorting is the same.
    """
    fields = form("{number}", "{sid}")
    signed = running.url + PATH + "".join(n + v for n, v in sorted(fields.items()))
    body = "&".join(f"{n}={_quoted(v)}" for n, v in fields.items())
    key = AUTH_TOKEN.encode()
    for ordinal in ordinals:
        phone, sid = number(ordinal), f"SM{secrets.token_hex(16)}"
        text = signed.format(number=phone, sid=sid)
        signature = base64.b64encode(hmac.digest(key, text.encode(), "sha1")).decode()
        sent = body.format(number=phone.replace("+", "%2B"), sid=sid)
        yield phone, _post(running, sent, signature)


def prepare_texts(running: Running, count: int, folder: Path) -> Prepared:
    """A file of ``count`` signed texts; none of them is in any other file."""
    texts = itertools.islice(signed_texts(running), count)
    return _written((text for _, text in texts), folder / "texts.http", count)


def prepare_reads(running: Running, paths: Sequence[str], folder: Path) -> Prepared:
    """A file of GETs with the admin key, one a path."""
    longest = max(map(len, paths))
    requests = (read(running, path, longest - len(path)) for path in paths)
    file = folder / f"reads-{running.port}.http"
    return _written(requests, file, len(paths))


def read(running: Running, path: str, padding: int = 0) -> bytes:
    """One GET with the admin key; the padding makes requests equally long."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{running.port}\r\n"
        f"Authorization: {BEARER}\r\nAccept: application/json\r\n"
        f"X-Padding: {'x' * padding}\r\n\r\n"
    ).encode()


def number_path(phone_number: str) -> str:
    """The record of a number."""
    return f"/PhoneNumbers/{phone_number.replace('+', '%2B')}"


def _post(running: Running, body: str, signature: str) -> bytes:
    return (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{running.port}\r\n"
        "Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nX-Twilio-Signature: {signature}\r\n"
        "User-Agent: TwilioProxy/1.1\r\nAccept: */*\r\n\r\n"
        f"{body}"
    ).encode()


def _quoted(value: str) -> str:
    return value if value.startswith("{") else quote_plus(value)


def _written(requests: Iterable[bytes], path: Path, count: int) -> Prepared:
    lengths = set()
    with path.open("wb") as file:
        for request in requests:
            lengths.add(len(request))
            file.write(request)
    (length,) = lengths
    return Prepared(path, length, count)
