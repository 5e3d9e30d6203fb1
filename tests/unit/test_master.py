"""Master keys: they unwrap what they wrapped, for its purpose, and are never shown."""

import base64
import binascii
import hashlib
import re

import pytest

from ledger.errors import ConfigurationError, MasterKeyMissing
from ledger.store.master import (
    MasterKeys,
    WrappedKey,
    key_id,
    new_master_key,
    parse_master_keys,
)

OLD, NEW = (hashlib.sha256(name).digest() for name in (b"old", b"new"))
SECRET = bytes(range(32))
PURPOSE = b"subject 1"
KEY = base64.b64encode(OLD).decode()


def text_of(*secrets: bytes, separator: str = ",") -> str:
    """Master keys as a setting gives them."""
    return separator.join(base64.b64encode(secret).decode() for secret in secrets)


def test_what_is_wrapped_is_unwrapped_for_the_same_purpose() -> None:
    """And is not to be seen in what is stored."""
    wrapped = MasterKeys([OLD]).wrap(SECRET, PURPOSE)
    assert MasterKeys([OLD]).unwrap(wrapped, PURPOSE) == SECRET
    assert SECRET not in wrapped.box
    assert wrapped.master_key == key_id(OLD)


def test_a_secret_is_wrapped_in_another_way_each_time() -> None:
    """So nobody sees that two subjects have the same key."""
    masters = MasterKeys([OLD])
    boxes = {masters.wrap(SECRET, PURPOSE).box for _ in range(100)}
    assert len(boxes) == 100


def test_it_is_not_unwrapped_for_another_purpose() -> None:
    """A row that was copied over another subject's is no key of that subject."""
    masters = MasterKeys([OLD])
    wrapped = masters.wrap(SECRET, PURPOSE)
    with pytest.raises(MasterKeyMissing, match="altered"):
        masters.unwrap(wrapped, b"subject 2")


@pytest.mark.parametrize("place", [0, 11, 12, 43, 44, 59])
def test_it_is_not_unwrapped_once_it_was_altered(place: int) -> None:
    """A bit of the nonce, of the secret or of the tag is enough."""
    masters = MasterKeys([OLD])
    box, master_key = masters.wrap(SECRET, PURPOSE)
    assert len(box) == 60
    altered = box[:place] + bytes([box[place] ^ 1]) + box[place + 1 :]
    with pytest.raises(MasterKeyMissing, match="altered"):
        masters.unwrap(WrappedKey(altered, master_key), PURPOSE)


@pytest.mark.parametrize("length", [0, 7, 12, 27, 59])
def test_half_of_it_is_an_altered_one(length: int) -> None:
    """However little was left of the row."""
    masters = MasterKeys([OLD])
    box, master_key = masters.wrap(SECRET, PURPOSE)
    with pytest.raises(MasterKeyMissing, match="altered"):
        masters.unwrap(WrappedKey(box[:length], master_key), PURPOSE)


def test_another_master_key_is_refused_by_name() -> None:
    """Both are named by their ids, and the operator is told what would be lost."""
    wrapped = MasterKeys([OLD]).wrap(SECRET, PURPOSE)
    with pytest.raises(MasterKeyMissing) as refused:
        MasterKeys([NEW]).unwrap(wrapped, PURPOSE)
    said = str(refused.value)
    for part in (key_id(OLD), key_id(NEW), "LEDGER_MASTER_KEY", "is lost", "no STOP"):
        assert part in said
    assert_shows_no_key(said, OLD, NEW)


def test_a_key_that_calls_itself_by_another_name_does_not_unwrap() -> None:
    """The name says which key to try, and proves nothing."""
    wrapped = MasterKeys([OLD]).wrap(SECRET, PURPOSE)
    with pytest.raises(MasterKeyMissing, match="altered"):
        MasterKeys([NEW]).unwrap(wrapped._replace(master_key=key_id(NEW)), PURPOSE)


def test_while_rotating_the_first_wraps_and_all_unwrap() -> None:
    """Whatever a process with one of them alone has wrapped."""
    both = MasterKeys([NEW, OLD])
    for secret in (OLD, NEW):
        assert both.unwrap(MasterKeys([secret]).wrap(SECRET, PURPOSE), PURPOSE) == (
            SECRET
        )
    assert both.current == both.wrap(SECRET, PURPOSE).master_key == key_id(NEW)
    assert both.ids == {key_id(OLD), key_id(NEW)}


def test_the_name_of_a_key_says_nothing_of_it() -> None:
    """It is the start of a SHA-256 of 32 random bytes."""
    assert key_id(OLD) == hashlib.sha256(OLD).hexdigest()[:12]


@pytest.mark.parametrize("separator", [",", " , ", "\n", "\r\n", ",\n\n", " \t"])
def test_several_are_given_by_commas_or_lines(separator: str) -> None:
    """In their order, the current one first; blanks around them do not count."""
    text = separator + text_of(NEW, OLD, separator=separator) + separator
    masters = parse_master_keys(text)
    assert masters.current == key_id(NEW)
    assert masters.ids == {key_id(NEW), key_id(OLD)}


def test_one_that_we_make_is_one_that_we_read() -> None:
    """Random, and another one each time."""
    made = [new_master_key() for _ in range(10)]
    assert len({parse_master_keys(each).current for each in made}) == 10


@pytest.mark.parametrize(
    "wrong",
    [
        KEY[:-1],
        KEY[:-4],
        KEY + "AAAA",
        "\u00e9" + KEY,
        KEY.replace("=", "-"),
        OLD.hex(),
        f"{KEY},{KEY[:-2]}",
        f"'{KEY}'",
        f"{KEY};{KEY}",
    ],
)
def test_what_is_no_key_is_refused_and_not_shown(wrong: str) -> None:
    """Neither in the message nor in what stands behind it."""
    with pytest.raises(
        ConfigurationError, match="32 random bytes in base64"
    ) as refused:
        parse_master_keys(wrong)
    error: BaseException | None = refused.value
    while error is not None:
        assert_shows_no_key(str(error), OLD)
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("text", ["", " ", "\n", ",", " ,\n"])
def test_nothing_is_no_key(text: str) -> None:
    """An empty file is not a ledger without a master key."""
    with pytest.raises(ConfigurationError, match="empty"):
        parse_master_keys(text)


def assert_shows_no_key(said: str, *secrets: bytes) -> None:
    """Not even a part of one, in any form that a person could use."""
    for secret in secrets:
        for form in (base64.b64encode(secret).decode(), secret.hex(), repr(secret)):
            parts = {form[at : at + 13] for at in range(len(form) - 12)}
            assert [part for part in parts if part in said] == []
    assert re.search(r"[A-Za-z0-9+/]{40,}", said) is None
    assert binascii.hexlify(SECRET).decode() not in said
