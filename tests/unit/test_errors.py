"""Errors of ours, as one process tells them to another."""

import pickle

import pytest

from ledger.errors import LedgerError, RebuildCancelled, StoreUnavailable, UnknownEvent


@pytest.mark.parametrize(
    "error",
    [
        RebuildCancelled("meanwhile"),
        StoreUnavailable("it is down", retry_after_seconds=7),
        UnknownEvent(12, "a:Topic", 2),
        UnknownEvent(12, "a:Topic", 2).known_to("7.8.9"),
    ],
)
def test_an_error_says_the_same_in_another_process(error: LedgerError) -> None:
    """Who waits for a process that fills a projection is told why it could not."""
    told = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (type(told), str(told), vars(told)) == (
        (type(error), str(error), vars(error))
    )
