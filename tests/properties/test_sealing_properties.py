"""Laws of sealing: what was sealed opens where it belongs, with its own key alone."""

from binascii import a2b_base64, b2a_base64
from typing import Final
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ledger.domain.ids import PhoneNumber, Sealed, SubjectId, Version
from ledger.domain.signals import Evidence
from ledger.errors import SealBroken
from ledger.store.master import WrappedKey
from ledger.store.sealing import Day, SubjectKey, day_of, open_evidence

NOT_STORED: Final = WrappedKey(b"", "")

keys = st.binary(min_size=32, max_size=32).map(lambda s: SubjectKey(s, NOT_STORED))
days = st.builds(
    Day,
    st.dates().map(lambda day: day.isoformat()),
    st.binary(min_size=32, max_size=32),
)
subjects = st.uuids().map(SubjectId)
versions = st.integers(1, 2**63 - 1).map(Version)
# A raw From may be anything, half of a character too.
numbers = st.text(st.characters(exclude_categories=()), max_size=20).map(PhoneNumber)
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text()
evidences = st.dictionaries(st.text(max_size=8), scalars, max_size=4)


@given(keys, numbers, subjects, versions)
def test_a_number_opens_to_what_was_sealed(
    key: SubjectKey, number: PhoneNumber, subject: SubjectId, version: Version
) -> None:
    """And differs each time, so that equal ones cannot be told."""
    sealed = [key.seal_number(number, subject, version) for _ in range(2)]
    assert sealed[0] != sealed[1]
    for each in sealed:
        assert isinstance(each, Sealed)
        assert key.open_number(each, subject, version) == number


@given(keys, evidences, days, subjects, versions)
def test_evidence_opens_to_what_was_sealed(
    key: SubjectKey,
    evidence: Evidence,
    day: Day,
    subject: SubjectId,
    version: Version,
) -> None:
    """With the subject's key and the secret of its day, whose name it bears."""
    sealed = key.seal_evidence(evidence, day, subject, version)
    assert day_of(sealed) == day.name
    secret = key.evidence_secret(day)
    assert open_evidence(sealed, secret, subject, version) == evidence


@given(keys, numbers, subjects, versions, keys, subjects, versions)
def test_a_number_opens_nowhere_else(  # noqa: PLR0913, PLR0917 what could be mixed up
    key: SubjectKey,
    number: PhoneNumber,
    subject: SubjectId,
    version: Version,
    other_key: SubjectKey,
    other_subject: SubjectId,
    other_version: Version,
) -> None:
    """Not for another subject or version, and not with another key."""
    assume(other_key.id != key.id)
    assume(other_subject != subject)
    assume(other_version != version)
    sealed = key.seal_number(number, subject, version)
    for opener, whose, which in (
        (other_key, subject, version),
        (key, other_subject, version),
        (key, subject, other_version),
    ):
        with pytest.raises(SealBroken):
            opener.open_number(sealed, whose, which)


@given(keys, evidences, days, subjects, versions, keys, days)
def test_evidence_opens_nowhere_else(  # noqa: PLR0913, PLR0917 what could be mixed up
    key: SubjectKey,
    evidence: Evidence,
    day: Day,
    subject: SubjectId,
    version: Version,
    other_key: SubjectKey,
    other_day: Day,
) -> None:
    """Of its two secrets each is needed: destroying either one erases it."""
    assume(other_key.id != key.id)
    assume(other_day.secret != day.secret)
    sealed = key.seal_evidence(evidence, day, subject, version)
    own = key.evidence_secret(day)
    without_the_subject = other_key.evidence_secret(day)
    without_the_day = key.evidence_secret(other_day)
    for secret, whose, which in (
        (without_the_subject, subject, version),
        (without_the_day, subject, version),
        (day.secret, subject, version),
        (own, SubjectId(UUID(int=subject.int ^ 1)), version),
        (own, subject, Version(version ^ 1)),
    ):
        with pytest.raises(SealBroken):
            open_evidence(sealed, secret, whose, which)


@given(keys, numbers, evidences, days, subjects, versions)
def test_one_field_does_not_open_as_the_other(  # noqa: PLR0913, PLR0917
    key: SubjectKey,
    number: PhoneNumber,
    evidence: Evidence,
    day: Day,
    subject: SubjectId,
    version: Version,
) -> None:
    """Though they are of the same event."""
    evidence_box = key.seal_evidence(evidence, day, subject, version)
    with pytest.raises(SealBroken):
        key.open_number(Sealed(evidence_box.partition(".")[2]), subject, version)
    number_box = Sealed(f"{day.name}.{key.seal_number(number, subject, version)}")
    with pytest.raises(SealBroken):
        open_evidence(number_box, key.evidence_secret(day), subject, version)


@given(keys, numbers, subjects, versions, st.data())
def test_what_was_altered_does_not_open(
    key: SubjectKey,
    number: PhoneNumber,
    subject: SubjectId,
    version: Version,
    data: st.DataObject,
) -> None:
    """Whichever bit it is, or however much of it is missing."""
    box = bytearray(a2b_base64(key.seal_number(number, subject, version)))
    if data.draw(st.booleans(), "is cut"):
        del box[data.draw(st.integers(0, len(box) - 1), "from") :]
    else:
        bit = data.draw(st.integers(0, len(box) * 8 - 1), "bit")
        box[bit // 8] ^= 1 << bit % 8
    altered = Sealed(b2a_base64(box, newline=False), "ascii")
    with pytest.raises(SealBroken):
        key.open_number(altered, subject, version)


@given(keys, st.text(max_size=60), subjects, versions)
def test_what_was_never_sealed_does_not_open(
    key: SubjectKey, text: str, subject: SubjectId, version: Version
) -> None:
    """Whatever stands there, it is told as what it is and not as an error of ours."""
    with pytest.raises(SealBroken):
        key.open_number(Sealed(text), subject, version)
    with pytest.raises(SealBroken):
        open_evidence(Sealed(text), bytes(32), subject, version)


@given(st.binary(min_size=32, max_size=32), days)
def test_the_name_of_a_key_and_its_secret_of_a_day_do_not_show_it(
    secret: bytes, day: Day
) -> None:
    """What is kept for a hold, or written into the ledger, opens nothing else."""
    key = SubjectKey(secret, NOT_STORED)
    assert secret not in key.evidence_secret(day)
    assert len(key.id) == 12
    assert key.id not in secret.hex()
    assert secret.hex() not in repr(key)
