"""Shows what was measured: a table for people, JSON for scripts."""

import json
import os
import platform
import statistics
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.results import TARGETS, Row
from bench.rows import Writing
from bench.usage import KINDS

_FOLDER: Final = Path(__file__).with_name("results")
_COLOURS: Final = {"aim": "green", "at least": "yellow", "below": "red"}


def print_table(console: Console, rows: Iterable[Row]) -> None:
    """The issue's table, with a verdict a row, and what else was seen."""
    rows = list(rows)
    table = Table("what", "against", "value", "at least", "aim", "verdict", "measured")
    for row in rows:
        table.add_row(*_cells(row))
    console.print(table)
    for row in rows:
        for note in row.notes:
            console.print(f"{row.name}: {note}", highlight=False)


def print_costs(console: Console, writing: Writing) -> None:
    """Where the time of the rounds at 64 connections went."""
    if not writing.spent_on:
        return
    table = Table("processes", "CPU ms a webhook", "of a core", title="where time goes")
    for kind in (*KINDS, "wrk"):
        spent = writing.spent.get(kind, 0)
        share = 100 * spent / writing.spent_wall
        table.add_row(kind, f"{1000 * spent / writing.spent_on:.4f}", f"{share:.0f} %")
    console.print(table)


def save(rows: Iterable[Row], writing: Writing | None, server: str) -> dict[str, Any]:
    """Write everything to ``bench/results`` and return it."""
    at = datetime.now(UTC)
    found: dict[str, Any] = {
        "at": at.isoformat(timespec="seconds"),
        "machine": _machine(server),
        "rows": [_row(row) for row in rows],
        "cpuSecondsPerThousandWebhooks": _costs(writing),
    }
    _FOLDER.mkdir(exist_ok=True)
    file = _FOLDER / f"{at:%Y%m%dT%H%M%S}.json"
    file.write_text(json.dumps(found, indent=2) + "\n")
    return found | {"file": str(file)}


def _cells(row: Row) -> list[str]:
    target, value = row.target, row.value
    colour = _COLOURS.get(row.verdict, "red")
    return [
        target.what,
        target.against,
        "" if value is None else f"{value:.3g}{target.unit}",
        f"{target.at_least:.3g}{target.unit}",
        f"{target.aim:g}{target.unit}",
        f"[{colour}]{row.verdict}[/{colour}]",
        _measured(row),
    ]


def _measured(row: Row) -> str:
    if not row.theirs:
        return ", ".join(f"{value:,.4g}" for value in row.ours)
    ours, theirs = statistics.median(row.ours), statistics.median(row.theirs)
    unit = row.target.ours_in
    form = ",.2f" if unit == " ms" else ",.0f"
    return f"{ours:{form}} : {theirs:{form}}{unit}"


def _row(row: Row) -> Mapping[str, object]:
    return {
        "name": row.name,
        "what": row.target.what,
        "against": row.target.against,
        "value": row.value,
        "atLeast": row.target.at_least,
        "aim": row.target.aim,
        "verdict": row.verdict,
        "rounds": row.rounds,
        "ours": list(row.ours),
        "theirs": list(row.theirs),
        "notes": list(row.notes),
        "detail": dict(row.detail),
    }


def _costs(writing: Writing | None) -> Mapping[str, float]:
    if writing is None or not writing.spent_on:
        return {}
    thousands = writing.spent_on / 1000
    return {kind: spent / thousands for kind, spent in writing.spent.items()}


def _machine(server: str) -> Mapping[str, object]:
    return {
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "server": server,
    }


def known_names() -> list[str]:
    """Every row's name, in the table's order."""
    return list(TARGETS)
