"""Whoever has the database alone reads no number and no text in the ledger's tables.

The tables that answer for numbers hold them, each in one column that is named here;
nothing else does, in no form that a reader without the master key could undo.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator
from typing import Final

import pytest
from api_steps import path_of, record, text
from builders import bearer
from conftest import Client

from ledger.store.database import Connection

PERSON: Final = "+14155557391"
SAID: Final = "please stop texting me, marked-body"
FORM: Final = "marked-evidence"
IN_CLEAR: Final = {
    ("phone_numbers_v1", "phone_number"),
    ("phone_number_senders_v1", "phone_number"),
}
TABLES: Final = (
    "SELECT relname FROM pg_class "
    "WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
)
HASHES: Final = ("md5", "sha1", "sha256", "sha512", "blake2b", "blake2s")


def marks() -> dict[str, bytes]:
    """What must not be found: the words, the number, and what is guessed from it."""
    digits = PERSON[1:]
    found = {
        "body": b"marked-body",
        "evidence": FORM.encode(),
        "number": digits[1:].encode(),
    }
    return found | {
        f"{name} of {number}": hashlib.new(name, number.encode()).digest()[:8]
        for name in HASHES
        for number in (PERSON, digits, digits[1:])
    }


def forms_of(value: object) -> Iterator[bytes]:
    """A value as it is stored, and as whoever looks for a number would undo it."""
    raw = value if isinstance(value, bytes) else str(value).encode()
    yield raw
    yield raw.lower()
    for word in re.findall(rb"[A-Za-z0-9+/_-]{8,}={0,2}", raw):
        yield from _undone(word)
        # A hash is truncated and dressed as a UUID, but for its version and variant.
        yield from _undone(word.replace(b"-", b""))


def _undone(word: bytes) -> Iterator[bytes]:
    for undo in (binascii.unhexlify, base64.b64decode, base64.urlsafe_b64decode):
        try:
            yield undo(word)
        except ValueError:
            continue


async def places_of(connection: Connection) -> set[tuple[str, str, str]]:
    """Table, column and mark, wherever a mark is found."""
    found = set()
    wanted = marks()
    for [table] in await connection.fetch(TABLES):
        for row in await connection.fetch(f"SELECT * FROM {table}"):  # noqa: S608
            for column, value in row.items():
                for form in forms_of(value):
                    for name, mark in wanted.items():
                        if mark in form:
                            found.add((table, column, name))
    return found


@pytest.fixture
async def _history(client: Client, projector: None) -> None:  # noqa: ARG001 it runs
    """The person texts and is recorded, under keys that hold the number itself."""
    await text(client, SAID, From=PERSON)
    await text(client, "START", From=f"whatsapp:{PERSON}", MessageSid=f"SM{PERSON}")
    consent = {"status": "in", "evidence": {"wording": FORM, "number": PERSON}}
    for _ in range(2):
        answer = await record(client, consent, number=PERSON, Idempotency_Key=PERSON)
        assert answer.status == 200


@pytest.mark.usefixtures("_history")
async def test_nothing_personal_is_in_clear_but_where_numbers_are_listed(
    connection: Connection,
) -> None:
    """Not in an event, not in the key of a signal, not as a hash that is guessed."""
    assert await connection.fetchval("SELECT count(*) FROM ledger_events") == 3
    found = await places_of(connection)
    assert {(table, column) for table, column, _ in found} == IN_CLEAR
    assert {mark for _, _, mark in found} == {"number"}


@pytest.mark.usefixtures("_history")
async def test_the_person_is_answered_for_all_the_same(client: Client) -> None:
    """So it is really that history in which nothing was found."""
    path = path_of(PERSON, "/history")
    answer = await client.get(path, headers=bearer())
    said = await answer.text()
    assert answer.status == 200
    assert "marked-body" in said
    assert FORM in said


@pytest.mark.parametrize(
    "hidden",
    [
        f"twilio:SM{PERSON}",
        base64.b64encode(f"nonce{PERSON}tag".encode()).decode(),
        f"2026-01-01.{base64.urlsafe_b64encode(SAID.encode()).decode()}",
        PERSON.encode().hex(),
        hashlib.sha256(PERSON.encode()).hexdigest(),
        base64.b64encode(hashlib.sha1(PERSON[1:].encode()).digest()).decode(),  # noqa: S324
    ],
)
async def test_what_is_only_hidden_is_found(
    connection: Connection, hidden: str
) -> None:
    """Encoded or hashed without a key, in a column of any type: the search can fail."""
    await connection.execute("CREATE TABLE leak (a text, b bytea)")
    await connection.execute("INSERT INTO leak (a) VALUES ($1)", hidden)
    await connection.execute("INSERT INTO leak (b) VALUES ($1)", hidden.encode())
    places = {(table, column) for table, column, _ in await places_of(connection)}
    assert places == {("leak", "a"), ("leak", "b")}
