"""Several projections catching up on one reading of the ledger.

Reading and decoding is much of what it costs to catch up, and projections that
are far behind mostly stand at the same place: all fresh, or all down for as long. Never
more than a short cut: at the first fault, or at the ledger's end, everyone goes on
alone, from the checkpoint in the database, and a fault is met again and dealt with
there. So a projection that stops holds back no other.
"""

import asyncio
import contextlib
from collections.abc import Sequence

from ledger.domain.ids import Position
from ledger.store.codec import RecordedEvent
from ledger.store.event_store import EventStore
from projections.worker import Worker


async def run_together(
    workers: Sequence[Worker], store: EventStore, batch_max: int
) -> None:
    """Run ``workers`` until cancelled: together while all are far behind, then alone.

    Returns only where every projection has stopped.
    """
    # Whatever it is, the worker that it concerns meets it again and says so.
    with contextlib.suppress(Exception):
        await catch_up_together(workers, store, batch_max)
    async with asyncio.TaskGroup() as group:
        for worker in workers:
            group.create_task(worker.run(), name=worker.name)


async def catch_up_together(
    workers: Sequence[Worker], store: EventStore, batch_max: int
) -> None:
    """Advance all of ``workers`` while each batch is full, reading each batch once.

    They may be up to a batch apart, as a process that was killed leaves them. A batch
    is written by all before the next is begun, while that is read: no more than two are
    in memory. One that fails rolls back the others' batch as well, and is raised.
    """
    positions = [await worker.position() for worker in workers]
    if max(positions) - min(positions) >= batch_max:
        return
    events = await store.read_after(min(positions), batch_max)
    if max(positions) == 0 and len(events) == batch_max:
        # Nobody lists from tables that are empty; built at the end, the indexes cost a
        # third of what they cost kept up row by row.
        for worker in workers:
            await worker.drop_indexes()
    while len(events) == batch_max:
        batches = [_after(position, events) for position in positions]
        async with asyncio.TaskGroup() as group:
            last = events[-1].position
            reading = group.create_task(store.read_after(last, batch_max))
            for worker, batch in zip(workers, batches, strict=True):
                group.create_task(worker.advance(batch))
        events, positions = reading.result(), [last] * len(workers)


def _after(
    position: Position, events: Sequence[RecordedEvent]
) -> Sequence[RecordedEvent]:
    return events[position + 1 - events[0].position :]
