"""``consent-ledger verify``: is what we serve what the events say?

Also what ``replay --all --check`` runs, which is its older name.
"""

import gc
from collections.abc import Collection, Iterable, Iterator
from typing import Annotated, Any

import asyncpg
import orjson
import typer

from ledger.cli.setup import AsJson, Ledger, with_ledger
from ledger.errors import InvalidRequest, NotFound, TryAgain
from ledger.garbage import GARBAGE_MIN
from ledger.progress import shown_progress
from projections.check import Check
from projections.comparison import Difference
from projections.registry import NAMES, known, read_live
from projections.report import EXAMPLES_MAX, Report

verify_app = typer.Typer()


@verify_app.command()
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...", help=f"Of {', '.join(NAMES)}; all, if left out."
        ),
    ] = None,
    *,
    first: Annotated[
        int | None,
        typer.Option("--from", min=1, metavar="POSITION", help="Where to begin."),
    ] = None,
    last: Annotated[
        int | None,
        typer.Option("--to", min=1, metavar="POSITION", help="Where to end."),
    ] = None,
    examples: Annotated[
        int, typer.Option(min=0, max=100_000, help="How many differences to show.")
    ] = EXAMPLES_MAX,
    as_json: AsJson = False,
) -> None:
    """Compare what every projection has applied, and its rows, with the events."""
    if unknown := set(names or ()) - set(NAMES):
        raise NotFound(f"there is no projection {', '.join(sorted(unknown))}")
    check_and_tell(names or (), first, last, examples, is_json=as_json)


def check_and_tell(
    names: Collection[str],
    first: int | None,
    last: int | None,
    examples_max: int,
    *,
    is_json: bool,
) -> None:
    """Compare, and print what was found; exit code 1 where that is anything.

    As well where something was left out: nobody knows whether that is right.

    Raises:
        InvalidRequest: there are no such positions.
        TryAgain: a version went away that was being compared.
        StoreUnavailable: the database cannot be read now.
    """

    async def run(ledger: Ledger) -> Report:
        live = [v for v in await read_live(ledger.pool) if not names or v.name in names]
        check = Check(ledger.pool, ledger.masters, known(live))
        report = await check.begin(first or 1, last, examples_max=examples_max)
        report.left_out = [f"{v.name}_v{v.version}" for v in live if not v.is_known]
        if report.part.events == 0 and (first or last):
            raise InvalidRequest(
                f"there is no event at positions {report.part.first} to "
                f"{last or report.position}; the ledger is at {report.position}"
            )
        try:
            with shown_progress("digests of events", report.part.events) as advance:
                await check.digests(report, advance)
            with shown_progress("events", report.part.events) as advance:
                await check.rows(report, advance)
        except asyncpg.UndefinedTableError as error:
            raise TryAgain("a version was dropped meanwhile") from error
        return report

    gc.set_threshold(GARBAGE_MIN)
    report = with_ledger(run)
    if is_json:
        options = orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z
        typer.echo(orjson.dumps(_report_json(report), option=options).decode())
    else:
        for line in _report_lines(report):
            typer.echo(line)
    if report.differences or report.left_out:
        raise typer.Exit(1)


def _report_lines(report: Report) -> Iterator[str]:
    first, last = report.part
    yield f"events       {report.events}, positions {first} to {last}"
    yield f"subjects     {report.subjects}, {report.erased} of them erased"
    for name, count in sorted(report.digests.items()):
        yield f"digests      {count} of {name}"
    for table, count in sorted(report.rows.items()):
        yield f"rows         {count} in {table}"
    for name, position in sorted(report.checkpoints.items()):
        yield f"compared     {name} at position {position}"
    for name in report.left_out:
        yield f"left out     {name}: this release does not know its columns"
    yield f"differences  {report.differences.total()}"
    for (table, kind), count in sorted(report.differences.items()):
        yield f"  {count} {kind} in {table}"
    for example in report.examples:
        yield from _difference_lines(example)
    if left := report.differences.total() - len(report.examples):
        yield f"and {left} more"


def _difference_lines(difference: Difference) -> Iterable[str]:
    place = " ".join(f"{n} {value}" for n, value in difference.where.items())
    who = f"subject {difference.subject_id}" if difference.subject_id else ""
    whose = " ".join(filter(None, (who, place)))
    yield f"{difference.table}: {difference.kind}: {whose}"
    for title, values in (
        ("stored", difference.stored),
        ("events say", difference.expected),
    ):
        if values is not None:
            shown = ", ".join(f"{n} {value}" for n, value in values.items())
            yield f"  {title:<11}{shown}"


def _report_json(report: Report) -> dict[str, Any]:
    return {
        "position": report.position,
        "from": report.part.first,
        "to": report.part.last,
        "events": report.events,
        "subjects": report.subjects,
        "erased": report.erased,
        "digests": dict(report.digests),
        "rows": dict(report.rows),
        "checkpoints": report.checkpoints,
        "leftOut": report.left_out,
        "differences": report.differences.total(),
        "kinds": [
            {"table": table, "kind": kind, "count": count}
            for (table, kind), count in sorted(report.differences.items())
        ],
        "examples": [_difference_json(example) for example in report.examples],
    }


def _difference_json(difference: Difference) -> dict[str, Any]:
    return {
        "table": difference.table,
        "kind": difference.kind,
        "subjectId": difference.subject_id and str(difference.subject_id),
        "where": difference.where,
        "stored": difference.stored,
        "expected": difference.expected,
    }
