"""The story that large ledgers tell: the same again, and like the real thing."""

from collections import Counter
from itertools import pairwise
from typing import Final

import pytest

from bench.story import BEGINNING, END, LONGEST, Moment, Shape, moments, signal
from ledger.domain.ids import EVERY_SENDER
from ledger.domain.signals import Signal

SHAPE: Final = Shape(events=5_000, numbers=1_000)


def told(shape: Shape) -> list[tuple[Moment, Signal]]:
    """Every event's moment, and what arrived."""
    seen: set[int] = set()
    found = []
    for moment in moments(shape):
        is_first = moment.ordinal not in seen
        found.append((moment, signal(moment, is_first=is_first)))
        seen.add(moment.ordinal)
    return found


def test_a_seed_tells_one_story() -> None:
    """The same seed the same one, another seed another."""
    assert told(SHAPE) == told(SHAPE)
    other = Shape(SHAPE.events, SHAPE.numbers, seed=2)
    assert told(other) != told(SHAPE)


def test_places_are_gapless_and_times_never_decrease() -> None:
    """As the ledger's own; some share their time, as those of one transaction do."""
    found = list(moments(SHAPE))
    assert [moment.position for moment in found] == list(range(1, 5_001))
    times = [moment.recorded_at for moment in found]
    assert times == sorted(times)
    assert BEGINNING <= times[0] < times[-1] < END
    shared = sum(one == next_ for one, next_ in pairwise(times))
    assert 0.2 < shared / len(times) < 0.3


@pytest.mark.parametrize(
    ("events", "numbers", "longest"),
    [(1, 1, 1), (2, 2, 1), (50, 1, 5), (2_000, 400, 200), (200_000, 4, 10_000)],
)
def test_every_number_speaks_and_the_first_has_the_longest_history(
    events: int, numbers: int, longest: int
) -> None:
    """A tenth of all events, ten thousand at most; all of them where it is alone."""
    counted = Counter(moment.ordinal for moment in moments(Shape(events, numbers)))
    assert set(counted) == set(range(1, numbers + 1))
    assert counted[LONGEST] == (events if numbers == 1 else longest)


@pytest.mark.parametrize(("events", "numbers"), [(5, 6), (5, 0), (100, 92)])
def test_more_numbers_than_events_cannot_be(events: int, numbers: int) -> None:
    """Nobody is in a ledger without having said something."""
    with pytest.raises(ValueError, match="events cannot be of"):
        Shape(events, numbers)


def test_it_is_a_realistic_mix() -> None:
    """Texts by keyword, by Twilio's word and free; forms; rows of late facts."""
    found = told(SHAPE)
    manners = Counter((s.source, s.matched_by, s.status) for _, s in found)
    assert set(manners) == {
        ("twilio.inbound", "optOutType", "out"),
        ("twilio.inbound", "optOutType", "in"),
        ("twilio.inbound", "keyword", "out"),
        ("twilio.inbound", "keyword", "in"),
        ("twilio.inbound", "freeText", "out"),
        ("api", "explicit", "in"),
        ("api", "explicit", "out"),
        ("import", "explicit", "in"),
        ("import", "explicit", "out"),
    }
    assert min(manners.values()) > len(found) / 200
    senders = Counter(s.sender for _, s in found)
    assert len(senders) == 6
    assert senders[EVERY_SENDER] > 10
    late = [(m, s) for m, s in found if s.occurred_at is not None]
    assert 0.1 < len(late) / len(found) < 0.3
    assert all(s.occurred_at < m.recorded_at for m, s in late if s.occurred_at)
