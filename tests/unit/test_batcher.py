"""Grouping: each caller's own result, whatever happens to the batch."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ledger.errors import LedgerError, QueueFull, StoreUnavailable
from ledger.store.batcher import Batcher

Answer = Callable[[Sequence[str]], Awaitable[Sequence[str | Exception]]]
BAD = "bad"


class Work:
    """Answers in upper case; can be held up, be down for a while, or find one bad."""

    def __init__(self, *, outages: int = 0) -> None:
        self.batches: list[list[str]] = []
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.outages = outages

    async def __call__(self, items: Sequence[str]) -> Sequence[str | Exception]:
        """One batch."""
        self.batches.append(list(items))
        self.begun.set()
        await self.may_end.wait()
        if self.outages > 0:
            self.outages -= 1
            raise StoreUnavailable("down")
        if BAD in items:
            raise ValueError(BAD)
        return [item.upper() for item in items]


@asynccontextmanager
async def batcher_of(
    work: Answer, *, batch_max: int = 100, **more: Any
) -> AsyncIterator[Batcher[str, str]]:
    """A batcher that runs."""
    given: dict[str, Any] = {"queue_max": 100, "timeout_seconds": 5.0, **more}
    batcher: Batcher[str, str] = Batcher(work, batch_max=batch_max, **given)
    async with batcher:
        try:
            async with asyncio.timeout(10):
                yield batcher
        finally:
            if isinstance(work, Work):
                work.may_end.set()


async def submitted(batcher: Batcher[str, str], *items: str) -> list[asyncio.Task[str]]:
    """Callers that wait in the queue or in the batch."""
    tasks = [asyncio.create_task(batcher.submit(item)) for item in items]
    await asyncio.sleep(0)
    return tasks


async def held(
    work: Work, batcher: Batcher[str, str], *items: str
) -> list[asyncio.Task[str]]:
    """The first item's batch is being worked on, and the others wait."""
    work.begun.clear()
    work.may_end.clear()
    tasks = await submitted(batcher, items[0])
    await work.begun.wait()
    return tasks + await submitted(batcher, *items[1:])


async def outcomes(tasks: Sequence[asyncio.Task[str]]) -> list[str | type]:
    """Each caller's result, or the kind of its error."""
    results = await asyncio.gather(*tasks, return_exceptions=True)
    return [r if isinstance(r, str) else type(r) for r in results]


async def test_who_comes_alone_again_is_not_made_to_wait() -> None:
    """Others are given a turn to come, but not behind one who was alone."""
    work = Work()
    async with batcher_of(work) as batcher:
        first, second = [await _turns_until_begun(work, batcher) for _ in range(2)]
    assert second == first - 1


async def _turns_until_begun(work: Work, batcher: Batcher[str, str]) -> int:
    work.begun.clear()
    [task] = await submitted(batcher, "a")
    turns = 0
    while not work.begun.is_set():
        await asyncio.sleep(0)
        turns += 1
    await task
    return turns


async def test_who_arrives_during_a_batch_makes_up_the_next() -> None:
    """Nobody waits for a timer, and everyone gets the answer to its own item."""
    work = Work()
    async with batcher_of(work) as batcher:
        tasks = await held(work, batcher, *"abcd")
        assert batcher.waiting == 3
        work.may_end.set()
        assert await asyncio.gather(*tasks) == list("ABCD")
        assert work.batches == [["a"], ["b", "c", "d"]]
        assert batcher.waiting == 0


async def test_a_batch_has_a_limit() -> None:
    """The rest makes up another one, in the order of arrival."""
    work = Work()
    async with batcher_of(work, batch_max=2) as batcher:
        tasks = await held(work, batcher, *"abcdef")
        work.may_end.set()
        assert await asyncio.gather(*tasks) == list("ABCDEF")
        assert work.batches == [["a"], ["b", "c"], ["d", "e"], ["f"]]


async def test_a_refusal_is_its_callers_alone() -> None:
    """An exception in the place of a result is raised for that caller."""

    async def work(items: Sequence[str]) -> list[str | Exception]:
        return [LedgerError(item) if item == BAD else item for item in items]

    async with batcher_of(work) as batcher:
        tasks = await submitted(batcher, "a", BAD, "b")
        assert await outcomes(tasks) == ["a", LedgerError, "b"]


async def test_one_bad_item_does_not_fail_its_neighbours() -> None:
    """A batch that fails for another reason than an outage is tried one by one."""
    work = Work()
    async with batcher_of(work) as batcher:
        tasks = await held(work, batcher, "a", "b", BAD, "c")
        work.may_end.set()
        assert await outcomes(tasks) == ["A", "B", ValueError, "C"]
        assert work.batches[1:] == [["b", BAD, "c"], ["b"], [BAD], ["c"]]
        assert await batcher.submit("d") == "D"


async def test_an_answer_too_few_fails_loudly_and_not_for_ever() -> None:
    """A fault in the work leaves nobody waiting, and the batcher goes on."""

    async def work(items: Sequence[str]) -> list[str | Exception]:
        return [item for item in items if item != BAD]

    async with batcher_of(work) as batcher:
        tasks = await submitted(batcher, "a", BAD)
        assert await outcomes(tasks) == ["a", ValueError]
        assert await batcher.submit("b") == "b"


async def test_an_outage_is_waited_out() -> None:
    """Nobody hears of one that ends before the deadline, and the order stays."""
    work = Work(outages=3)
    async with batcher_of(work) as batcher:
        tasks = await submitted(batcher, *"abc")
        assert await asyncio.gather(*tasks) == list("ABC")
        assert work.batches == [list("abc")] * 4


async def test_an_outage_is_waited_out_up_to_the_deadline() -> None:
    """Then everyone is told, those in the queue too, and the next ones are served."""
    work = Work(outages=1_000_000)
    async with batcher_of(work, batch_max=1, timeout_seconds=0.1) as batcher:
        tasks = await submitted(batcher, *"abc")
        assert await outcomes(tasks) == [StoreUnavailable] * 3
        assert batcher.waiting == 0
        work.outages = 0
        assert await batcher.submit("d") == "D"


class Patron:
    """Waits without a future, does not know that it was told, and then asks again."""

    def __init__(self, batcher: Batcher[str, str], more: Sequence[str] = ()) -> None:
        self.told: list[str | type] = []
        self._batcher = batcher
        self._more = list(more)

    def done(self) -> bool:
        """Never known."""
        return False

    def set_result(self, result: str) -> None:
        """Told."""
        self._tell(result)

    def set_exception(self, error: Exception) -> None:
        """Told that it failed."""
        self._tell(type(error))

    def _tell(self, outcome: str | type) -> None:
        self.told.append(outcome)
        if self._more:
            self._batcher.put(self._more.pop(0), self)


async def outlasted(work: Work, seconds: float) -> None:
    """The batch that is being worked on fails, after so long."""
    late = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, late.set)
    await late.wait()
    work.may_end.set()


async def test_who_is_told_of_an_outage_is_told_once() -> None:
    """Nothing is told for it again: its connection may have another request by then."""
    work = Work(outages=1)
    work.may_end.clear()
    async with batcher_of(work, timeout_seconds=0.2) as batcher:
        patron = Patron(batcher)
        batcher.put("a", patron)
        await outlasted(work, 0.21)
        assert await batcher.submit("b") == "B"
        assert patron.told == [StoreUnavailable]


async def test_who_is_told_of_an_outage_may_ask_again_at_once() -> None:
    """The next item of each waits its own time, and gets its own result."""
    work = Work(outages=1)
    work.may_end.clear()
    async with batcher_of(work, timeout_seconds=0.2) as batcher:
        patrons = [Patron(batcher, more=["next"]) for _ in range(3)]
        for patron in patrons:
            batcher.put("first", patron)
        await outlasted(work, 0.21)
        assert await batcher.submit("last") == "LAST"
        assert [p.told for p in patrons] == [[StoreUnavailable, "NEXT"]] * 3


async def test_an_outage_while_items_are_tried_one_by_one_is_waited_out() -> None:
    """What was done stays done; what is left is tried again."""
    work = Work()
    is_down = iter([False, False, True])

    async def frail(items: Sequence[str]) -> Sequence[str | Exception]:
        if next(is_down, False):
            raise StoreUnavailable("down")
        return await work(items)

    async with batcher_of(frail) as batcher:
        tasks = await submitted(batcher, "a", BAD, "b")
        assert await outcomes(tasks) == ["A", ValueError, "B"]
        assert work.batches.count(["a"]) == 1


async def test_who_waited_past_its_deadline_is_not_begun() -> None:
    """Slow work is no outage, and yet a caller is told in time that it is not done."""
    work = Work()
    async with batcher_of(work, timeout_seconds=0.05) as batcher:
        [first, late] = await held(work, batcher, "a", "b")
        asyncio.get_running_loop().call_later(0.06, work.may_end.set)
        assert await outcomes([first, late]) == ["A", StoreUnavailable]
        assert work.batches == [["a"]]


async def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    """Those who wait are served all the same."""
    work = Work()
    async with batcher_of(work, queue_max=2) as batcher:
        tasks = await held(work, batcher, *"abc")
        with pytest.raises(QueueFull) as refused:
            await batcher.submit("d")
        assert refused.value.retry_after_seconds >= 1
        work.may_end.set()
        assert await asyncio.gather(*tasks) == list("ABC")


async def test_leaving_finishes_what_was_accepted() -> None:
    """And accepts no more."""
    work = Work()
    async with batcher_of(work, batch_max=1) as batcher:
        tasks = await held(work, batcher, *"abc")
        leaving = asyncio.create_task(batcher.__aexit__(None, None, None))
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            await batcher.submit("d")
        assert not leaving.done()
        work.may_end.set()
        await leaving
        assert [task.result() for task in tasks] == list("ABC")


async def test_leaving_during_an_outage_ends_at_the_last_deadline() -> None:
    """Everyone is told, and nothing hangs."""
    work = Work(outages=1_000_000)
    async with batcher_of(work, timeout_seconds=0.1) as batcher:
        tasks = await submitted(batcher, *"ab")
    assert await outcomes(tasks) == [StoreUnavailable] * 2


async def test_leaving_an_idle_batcher_twice_is_harmless() -> None:
    """A stop may be called again."""
    async with batcher_of(Work()) as batcher:
        await batcher.__aexit__(None, None, None)


async def test_several_batches_are_worked_on_at_once() -> None:
    """For reads, which need not wait for one another."""
    both = asyncio.Barrier(2)

    async def work(items: Sequence[str]) -> Sequence[str | Exception]:
        await both.wait()
        return items

    async with batcher_of(work, batch_max=1, at_once=2) as batcher:
        tasks = await submitted(batcher, *"abcd")
        assert await asyncio.gather(*tasks) == list("abcd")


async def test_one_batch_at_a_time_is_the_rule() -> None:
    """Appends would only wait for each other in the database."""
    work = Work()
    async with batcher_of(work) as batcher:
        tasks = await held(work, batcher, *"ab")
        await asyncio.sleep(0)
        assert work.batches == [["a"]]
        work.may_end.set()
        await asyncio.gather(*tasks)


async def test_a_caller_who_goes_away_in_the_queue_costs_no_work() -> None:
    """The others are served."""
    work = Work()
    async with batcher_of(work) as batcher:
        tasks = await held(work, batcher, *"abc")
        tasks[1].cancel()
        work.may_end.set()
        assert await outcomes(tasks) == ["A", asyncio.CancelledError, "C"]
        assert work.batches == [["a"], ["c"]]


async def test_a_caller_who_goes_away_during_the_work_harms_nobody() -> None:
    """The batch is done all the same."""
    work = Work()
    async with batcher_of(work) as batcher:
        await held(work, batcher, "x")
        tasks = await submitted(batcher, *"ab")
        work.begun.clear()
        work.may_end.set()
        await work.begun.wait()
        tasks[0].cancel()
        assert await outcomes(tasks) == [asyncio.CancelledError, "B"]


@pytest.mark.parametrize("at_once", [1, 2])
async def test_a_whole_batch_of_callers_who_go_away_strands_nobody(
    at_once: int,
) -> None:
    """Those behind them are served without anyone else having to come."""
    work = Work()
    async with batcher_of(work, batch_max=2, at_once=at_once) as batcher:
        tasks = await held(work, batcher, *"abcdefgh")
        gone, left = tasks[3:7], [*tasks[:3], *tasks[7:]]
        for task in gone:
            task.cancel()
        await asyncio.wait(gone)
        work.may_end.set()
        assert await outcomes(left) == ["A", "B", "C", "H"]
        assert batcher.waiting == 0
