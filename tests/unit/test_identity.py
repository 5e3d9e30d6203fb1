"""From a phone number to its subject, and no way back without the secret."""

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
