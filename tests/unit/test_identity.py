"""From a phone number to its subject, and no way back without the secret."""

import hmac
from uuid import UUID

import pytest
from builders import NUMBER

from ledger.domain.ids import PhoneNumber
from ledger.store.identity import Identity

SECRET = bytes(range(32))


def test_a_number_always_has_the_same_subject() -> None:
    """In every process and every release: it is what the streams are named by."""
    expected = UUID("c3991c58-56dd-8f3b-b619-be32ac4f8ae4")
    for _ in range(2):
        assert Identity(SECRET).subject_id(NUMBER) == expected


@pytest.mark.parametrize(
    "number", ["+14155550101", "14155550100", "32665", "", "\0", "\ud800", "😀" * 256]
)
def test_another_number_is_another_subject(number: str) -> None:
    """Whatever it looks like."""
    identity = Identity(SECRET)
    assert identity.subject_id(PhoneNumber(number)) != identity.subject_id(NUMBER)


def test_another_ledger_has_other_subjects() -> None:
    """Without the secret nobody can try all numbers."""
    others = {Identity(bytes([n]) * 32).subject_id(NUMBER) for n in range(100)}
    assert len(others) == 100
    assert Identity(SECRET).subject_id(NUMBER) not in others


def test_a_subject_id_is_a_uuid_of_version_8() -> None:
    """RFC 9562's version for what an application makes in its own way."""
    identity = Identity(SECRET)
    ids = [identity.subject_id(PhoneNumber(f"+1415555{n:04}")) for n in range(100)]
    assert {(each.version, each.variant) for each in ids} == {
        (8, "specified in RFC 4122")
    }
    assert len(set(ids)) == 100


def test_each_subject_of_a_person_has_an_id_of_its_own() -> None:
    """Always the same one, so that an erased person is recognised, not remembered."""
    identity = Identity(SECRET)
    ids = [identity.subject_id(NUMBER, generation) for generation in range(20)]
    assert len(set(ids)) == 20
    assert ids == [Identity(SECRET).subject_id(NUMBER, n) for n in range(20)]
    assert {each.version for each in ids} == {8}
    assert ids[1] == UUID("68dae865-00fe-8e51-b534-297ba3e4bfe7")


@pytest.mark.parametrize("ending", ["\0", "\x01", "1", "\x001", "ÿ1", "\udcff1"])
def test_no_number_is_another_ones_later_subject(ending: str) -> None:
    """However it ends: what is not E.164 is kept as it came, so it may be anything."""
    identity = Identity(SECRET)
    other = PhoneNumber(f"{NUMBER}{ending}")
    assert identity.subject_id(other) != identity.subject_id(NUMBER, 1)


def test_a_signals_key_is_always_the_same_and_its_own() -> None:
    """In every process and every release, whatever it holds: a repeat is told by it."""
    identity = Identity(SECRET)
    keys = ["api:1", "api:2", "api:+14155550100", "", "\0", "\ud800", "😀" * 256]
    made = [identity.signal_key(key) for key in keys]
    assert made == [Identity(SECRET).signal_key(key) for key in keys]
    assert len(set(made)) == len(keys)
    assert {each.version for each in made} == {8}
    assert made[0] == UUID("3dd9c65e-72d6-896e-9426-757aa8478210")


def test_a_signals_key_does_not_tell_what_it_is_made_of() -> None:
    """Without the secret nobody finds a phone number by trying all of them."""
    made = {Identity(bytes([n]) * 32).signal_key(NUMBER) for n in range(100)}
    assert len(made) == 100
    identity = Identity(SECRET)
    assert identity.signal_key(NUMBER) != identity.subject_id(NUMBER)


@pytest.mark.parametrize("generation", [0, 1, 12])
@pytest.mark.parametrize("number", ["+14155550100", "", "\ud800", "x" * 200])
def test_a_subject_is_the_standard_librarys_hmac(number: str, generation: int) -> None:
    """HMAC-SHA256 as others compute it, but for the bits that say it is version 8."""
    message = number.encode("utf-8", "surrogatepass")
    message += b"\xff%d" % generation if generation else b""
    expected = bytearray(hmac.digest(SECRET, message, "sha256")[:16])
    expected[6] = 0x80 | expected[6] & 0x0F
    expected[8] = 0x80 | expected[8] & 0x3F
    found = Identity(SECRET).subject_id(PhoneNumber(number), generation)
    assert found.bytes == expected
