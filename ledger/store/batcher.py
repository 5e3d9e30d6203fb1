"""Grouping: many callers, one piece of work.

Callers that arrive while a batch is being worked on make up the next one, so nobody
waits for a timer and a busy service shares round trips and commits by itself. Used for
appends (group commit: one fsync for many signals) and for reads (one query for many
requests).

Never knows what the work is. The subtle part is failure: a caller gets its own result,
an outage is waited out up to each caller's deadline, and when a batch fails for another
reason its items are tried one by one, so that one bad item does not fail its
neighbours.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from ledger.errors import QueueFull, StoreUnavailable

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")
Given_contra = TypeVar("Given_contra", contravariant=True)

_PAUSE_SECONDS_FIRST = 0.02
_PAUSE_SECONDS_MAX = 0.5


class Promise(Protocol[Given_contra]):
    """Who waits for a result: a future, or what needs no task to be woken for it."""

    def done(self) -> bool:
        """Whether nobody waits any more."""

    def set_result(self, result: Given_contra, /) -> None:
        """It is done."""

    def set_exception(self, error: Exception, /) -> None:
        """It is not, or that is not known."""


@dataclass(slots=True)
class _Waiting(Generic[Item, Result]):
    item: Item
    promise: Promise[Result]
    deadline: float


class Batcher(Generic[Item, Result]):
    """Groups concurrent ``submit`` calls into calls of ``work``.

    ``work`` takes a batch and returns one result an item, in order, or an exception
    instance in the place of a result. Use as ``async with``: leaving it finishes what
    was accepted.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]],
        *,
        batch_max: int,
        queue_max: int,
        timeout_seconds: float,
        at_once: int = 1,
    ) -> None:
        self._work = work
        self._batch_max = batch_max
        self._queue_max = queue_max
        self._timeout_seconds = timeout_seconds
        self._at_once = at_once
        self._queue: deque[_Waiting[Item, Result]] = deque()
        self._wake = asyncio.Event()
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Start working."""
        self._tasks = [
            asyncio.create_task(self._run(), name="batcher")
            for _ in range(self._at_once)
        ]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish what was accepted, then stop. May be called twice."""
        self._stopping = True
        self._wake.set()
        await asyncio.gather(*self._tasks)

    @property
    def waiting(self) -> int:
        """How many callers are in the queue now."""
        return len(self._queue)

    async def submit(self, item: Item) -> Result:
        """The result for ``item``, once its batch is done.

        Raises:
            QueueFull: too many are waiting; nothing was done.
            StoreUnavailable: the work could not be done before the deadline; whether
                it was done after all is unknown.
        """
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.put(item, future)
        return await future

    def put(self, item: Item, promise: Promise[Result]) -> None:
        """As ``submit``, for whoever is called with the result.

        Raises:
            QueueFull: too many are waiting; nothing was done.
        """
        if len(self._queue) >= self._queue_max or self._stopping:
            raise QueueFull(f"{len(self._queue)} are waiting")
        deadline = asyncio.get_running_loop().time() + self._timeout_seconds
        self._queue.append(_Waiting(item, promise, deadline))
        self._wake.set()

    async def _run(self) -> None:
        pause = _PAUSE_SECONDS_FIRST
        outage: StoreUnavailable | None = None
        was_alone = False
        while True:
            # Who comes alone, as the one before did, is not made to wait for others.
            if not was_alone or len(self._queue) != 1:
                await self._let_arrive()
            batch = self._take(outage)
            if not batch:
                if self._stopping:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            was_alone = len(batch) == 1
            try:
                await self._work_on(batch)
                pause, outage = _PAUSE_SECONDS_FIRST, None
            except StoreUnavailable as error:
                outage = error
                log.warning("store_unavailable", extra={"error": str(error)})
                self._put_back(batch, error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _PAUSE_SECONDS_MAX)

    async def _let_arrive(self) -> None:
        """Give callers that are about to submit, their input read, a turn to do so.

        No timer: a batch is taken as soon as a turn of the event loop brings nobody.
        """
        size = -1
        while size < len(self._queue) < self._batch_max:
            size = len(self._queue)
            await asyncio.sleep(0)

    def _take(self, outage: StoreUnavailable | None) -> list[_Waiting[Item, Result]]:
        """The next batch: empty only if nobody waits who is still there and in time."""
        taken: list[_Waiting[Item, Result]] = []
        now = asyncio.get_running_loop().time()
        while self._queue and len(taken) < self._batch_max:
            waiting = self._queue.popleft()
            if waiting.deadline <= now:
                _settle(waiting, outage or StoreUnavailable("waited too long"))
            elif not waiting.promise.done():
                taken.append(waiting)
        return taken

    async def _work_on(self, batch: list[_Waiting[Item, Result]]) -> None:
        try:
            results = await self._work([waiting.item for waiting in batch])
            answered = list(zip(batch, results, strict=True))
        except StoreUnavailable:
            raise
        except Exception as error:
            if len(batch) == 1:
                log.exception("work_failed")
                _settle(batch[0], error)
                return
            # One of them is bad. Alone, each gets its own answer; what was done before
            # the failure was rolled back with the batch's transaction.
            for position, waiting in enumerate(batch):
                try:
                    await self._work_on([waiting])
                except StoreUnavailable as outage:
                    self._put_back(batch[position:], outage)
                    return
            return
        for waiting, result in answered:
            _settle(waiting, result)

    def _put_back(
        self, batch: list[_Waiting[Item, Result]], error: StoreUnavailable
    ) -> None:
        now = asyncio.get_running_loop().time()
        still = [w for w in (*batch, *self._queue) if not w.promise.done()]
        # Out of the queue before it is told: a promise need not know that it was told,
        # and whoever is told may put the next item in at once.
        self._queue = deque(w for w in still if w.deadline > now)
        for waiting in still:
            if waiting.deadline <= now:
                _settle(waiting, error)


def _settle(waiting: _Waiting[Item, Result], result: Result | Exception) -> None:
    if waiting.promise.done():
        return
    try:
        if isinstance(result, Exception):
            waiting.promise.set_exception(result)
        else:
            waiting.promise.set_result(result)
    except Exception:
        # It costs whoever has raised it an answer, and must not cost the others theirs.
        log.exception("settling_failed")
