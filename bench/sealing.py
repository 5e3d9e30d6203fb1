"""What sealing costs: the service as shipped, against itself without sealing.

Both run side by side, each on a database of its own, and take turns. The one without is
made by ``bench/unsealed`` and exists nowhere else.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.database import Database
from bench.fill import reset_projections
from bench.results import Row
from bench.rows import Plan, Writing, project_all, rounds_of, texts
from bench.service import postgres, serve

_CONNECTIONS = 64


def sealing(plan: Plan, folder: Path) -> Iterator[Row]:
    """Rates with sealing against rates without: of webhooks, then of the projector."""
    with _two_databases(folder) as (sealed, plain):
        yield _webhooks(plan, sealed, plain)
        yield _projector(plan, sealed, plain)


@contextmanager
def _two_databases(folder: Path) -> Iterator[tuple[Database, Database]]:
    with postgres(folder / "sealed") as sealed, postgres(folder / "plain") as plain:
        yield sealed, plain


def _webhooks(plan: Plan, sealed: Database, plain: Database) -> Row:
    with ExitStack() as stack:
        sides = [
            Writing(
                plan,
                stack.enter_context(serve(database.folder, is_sealed=is_sealed)),
                database,
            )
            for database, is_sealed in ((sealed, True), (plain, False))
        ]
        for side in sides:
            texts(side, connections=_CONNECTIONS, seconds=2)
        ours: list[float] = []
        theirs: list[float] = []
        for _ in rounds_of(plan, "sealing-webhooks"):
            for side, found in zip(sides, (ours, theirs), strict=True):
                found.append(texts(side, connections=_CONNECTIONS).per_second)
            plan.say(f"  {ours[-1]:,.0f} against {theirs[-1]:,.0f} a second")
    bytes_of = [f"{side.database.event_row_bytes():,}" for side in sides]
    note = f"rows of {bytes_of[0]} bytes against {bytes_of[1]}"
    return Row("sealing-webhooks", ours, theirs, notes=[note])


def _projector(plan: Plan, sealed: Database, plain: Database) -> Row:
    ours: list[float] = []
    theirs: list[float] = []
    for _ in rounds_of(plan, "sealing-projector"):
        for database, found in ((sealed, ours), (plain, theirs)):
            reset_projections(database)
            seconds = project_all(database, is_sealed=database is sealed)
            found.append(database.position() / seconds)
        plan.say(f"  {ours[-1]:,.0f} against {theirs[-1]:,.0f} events/s")
    return Row("sealing-projector", ours, theirs)
