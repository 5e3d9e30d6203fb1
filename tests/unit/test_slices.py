"""All subjects, in equal parts."""

import itertools
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.slices import SLICES, SLICES_MAX, slice_of, slices, slices_for

powers = st.integers(0, 12).map(lambda exponent: 1 << exponent)


@given(subject_id=st.uuids(), count=powers)
def test_every_subject_is_in_one_slice(subject_id: UUID, count: int) -> None:
    """In the one that its id says, whatever the number of slices."""
    found = [
        n
        for n, part in enumerate(slices(count))
        if part.first <= subject_id <= part.last
    ]
    assert found == [slice_of(subject_id, count)]


def test_slices_join_without_a_gap() -> None:
    """From the first id to the last."""
    parts = list(slices())
    assert len(parts) == SLICES
    assert (parts[0].first.int, parts[-1].last.int) == (0, 2**128 - 1)
    for part, following in itertools.pairwise(parts):
        assert following.first.int == part.last.int + 1


@given(st.integers(0, 10**12), st.integers(1, 10**6))
def test_there_are_as_many_as_keep_each_small(events: int, each: int) -> None:
    """A power of two, enough for the events and no more than twice that."""
    count = slices_for(events, each)
    assert count.bit_count() == 1
    assert count == SLICES_MAX or count * each >= events
    assert count == 1 or (count // 2) * each < events


@pytest.mark.parametrize("count", [0, 3, 1000, SLICES_MAX * 2])
def test_only_powers_of_two_divide_equally(count: int) -> None:
    """So a slice is always a whole number of smaller ones."""
    with pytest.raises(ValueError, match="power of two"):
        next(slices(count))
