"""kill -9 of anything at any moment: what was acknowledged is in the ledger, once.

The seed is printed; CRASH_SEED repeats the order of the kills and the texts, though not
the machine's timing.
"""

import os
import random
import secrets
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import psutil
import pytest
from e2e.audit import Whole, assert_whole, read_whole
from e2e.processes import Load, Service, eventually, kill, new_folder, running

MORE_KILLS: Final = 3
ACKNOWLEDGED_BETWEEN_MAX: Final = 300

Victims = Callable[[Service], list[psutil.Process]]


def web_process(service: Service) -> list[psutil.Process]:
    """One of the two."""
    return service.web_processes()[:1]


def parent(service: Service) -> list[psutil.Process]:
    """What the operator has started: gunicorn's arbiter, who watches over the rest."""
    return [psutil.Process(service.process.pid)]


def postmaster(service: Service) -> list[psutil.Process]:
    """Its children find out, and end."""
    return [service.postmaster()]


def backend(service: Service) -> list[psutil.Process]:
    """One process of the database; the postmaster then ends all and recovers."""
    return service.postmaster().children()[-1:]


KILLS: Final[tuple[Victims, ...]] = (
    web_process,
    parent,
    Service.projectors,
    postmaster,
    backend,
    Service.postgres,
    Service.processes,
)


async def test_nothing_acknowledged_is_lost_whatever_is_killed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """After kills of every process, all that was acknowledged is there exactly once."""
    seed = int(os.environ.get("CRASH_SEED") or secrets.randbelow(1_000_000))
    say(capsys, f"CRASH_SEED={seed}")
    chance = random.Random(seed)  # noqa: S311 it is no secret
    kills = [*KILLS, *chance.choices(KILLS, k=MORE_KILLS)]
    chance.shuffle(kills)
    with new_folder() as folder, running(folder) as service:
        await service.ready()
        async with Load(service.url, seed=seed) as load:
            for victims in kills:
                await load.acknowledged_more(chance.randrange(ACKNOWLEDGED_BETWEEN_MAX))
                await kill_and_start_again(service, victims, chance)
            await load.acknowledged_more(100)
        assert set(load.answers) <= {200, 503, 0}, load.answers
        whole = await read_whole(service.dsn())
        # Until the last one started can be used, those of one that was killed answer.
        await service.ready()
        assert service.stop() == 0
        assert service.processes() == []
    acknowledged = load.all_acknowledged()
    lost = set(acknowledged) - whole.reflected()
    say(
        capsys,
        f"{len(kills)} kills, {len(acknowledged)} texts acknowledged, "
        f"{len(whole.events)} events; acknowledged minus reflected: {len(lost)}",
    )
    assert_whole(whole, acknowledged)
    assert_in_order(whole, load)
    assert_that_the_audit_can_fail(whole, acknowledged)


async def kill_and_start_again(
    service: Service, victims: Victims, chance: random.Random
) -> None:
    """Kill in any order; what the service starts again by itself is left to it."""
    found: list[psutil.Process] = []

    def some() -> bool:
        # They may just be starting again.
        try:
            found[:] = victims(service)
        except (psutil.Error, OSError, LookupError, ValueError):
            return False
        return found != []

    await eventually(some)
    for process in chance.sample(found, len(found)):
        kill(process)
    if service.process.pid in [process.pid for process in found]:
        service.ended()
        service.start()


def assert_in_order(whole: Whole, load: Load) -> None:
    """What a client posted after an answer comes after what was answered."""
    positions = whole.message_sids()
    for sids in load.acknowledged:
        places = [positions[sid] for sid in sids]
        assert places == sorted(places)


def assert_that_the_audit_can_fail(whole: Whole, acknowledged: list[str]) -> None:
    """A lost event, a doubled row and a lost acknowledgement are noticed."""
    lost = replace(whole, events=whole.events[:-1])
    with pytest.raises(AssertionError):
        assert_whole(lost, [])
    whole.tables.history.update([next(iter(whole.tables.history))])
    with pytest.raises(AssertionError):
        assert_whole(whole, acknowledged)
    with pytest.raises(AssertionError):
        assert_whole(whole, [*acknowledged, "SMlost"])


def say(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """Print it though the test passes."""
    with capsys.disabled():
        sys.stdout.write(f"\n{text}\n")
