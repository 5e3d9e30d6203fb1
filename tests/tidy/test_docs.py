"""The pages say what the code does: all of it, and nothing else."""

import ast
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, get_args

import pytest
from aiohttp import hdrs
from conftest import settings_for
from pydantic.fields import FieldInfo
from tidy.repository import (
    DOCS,
    ROOT,
    anchors,
    blocks,
    files,
    first_cells,
    named,
    page,
    pages,
    rows,
    sections,
    tree_of,
)
from typer.main import get_command

from ledger.__main__ import app as command_line
from ledger.api.keys import ROLES
from ledger.api.models import HistoryEvent
from ledger.api.openapi import problem_codes
from ledger.api.operations.operation import Operation
from ledger.api.operations.table import OPERATIONS
from ledger.app import make_app
from ledger.domain.classify import HELP_WORDS, IN_WORDS, OUT_WORDS, MatchedBy
from ledger.domain.events import LedgerEvent
from ledger.domain.signals import Source
from ledger.imports.refusals import Code
from ledger.settings import Settings
from ledger.store.database import Connection
from ledger.store.kinds import CLASSES
from projections.comparison import Kind

_LINK: Final = re.compile(r"\[[^]]*\]\(([^)\s]+)\)")
_PATH: Final = re.compile(
    r"`((?:ledger|projections|tests|docs|bench)/[\w/.-]+|[\w-]+\.(?:yml|toml|txt))`"
)
_NOWHERE: Final = "postgresql://127.0.0.1:1/nowhere"
_SELF_EXPLAINING: Final = {"X-Twilio-Signature", "number"}


def test_every_setting_is_documented_with_its_default() -> None:
    """The page of settings has each variable, and no other, with its true default."""
    documented = {cells[0]: cells[2] for cells in rows(page("reference/settings.md"))}
    fields = {str(f.alias): f for f in Settings.model_fields.values()}
    assert documented.keys() == fields.keys()
    for name, field in fields.items():
        expected = _shown_default(field)
        if expected is not None:
            assert documented[name] == expected, f"the default of {name}"


def test_every_error_code_is_documented_with_its_status() -> None:
    """The page of errors has each code, and no other, with its status."""
    documented = {
        cells[0]: int(cells[1]) for cells in rows(page("reference/errors.md"))
    }
    assert documented == {c: status for c, (status, _) in problem_codes().items()}


async def test_every_route_is_documented() -> None:
    """The page of HTTP has each method and path of the application, and no other."""
    application = await make_app(_NOWHERE, settings_for(_NOWHERE))
    served = {
        (route.method, route.resource.canonical)
        for route in application.router.routes()
        if route.resource and route.method != hdrs.METH_HEAD
    }
    documented = {
        (method, path)
        for heading in sections(page("reference/http.md"), level=3)
        for methods, path in re.findall(r"([A-Z, ]+) (/\S*)", heading)
        for method in methods.strip().split(", ")
    }
    assert documented == served


@pytest.mark.parametrize(
    "operation", OPERATIONS, ids=lambda operation: str(operation.name)
)
def test_what_a_route_takes_and_answers_is_documented(operation: Operation) -> None:
    """A route's section names its parameters, its answers and its refusals."""
    [text] = [
        body
        for heading, body in sections(page("reference/http.md"), level=3).items()
        if operation.path in heading.split()
        and operation.method.upper() in re.findall("[A-Z]+", heading)
    ]
    wanted = {p.name for p in operation.parameters} - _SELF_EXPLAINING
    wanted |= {header for answer in operation.answers for header in answer.headers}
    wanted |= {str(answer.status) for answer in operation.answers}
    wanted |= {refusal.code for refusal in operation.refusals}
    missing = {name for name in wanted if f"`{name}`" not in text}
    assert missing == set(), f"{operation.method.upper()} {operation.path}"


def test_every_field_of_an_event_is_documented() -> None:
    """The page of events has each kind, each of its fields, and each value."""
    text = page("reference/events.md")
    by_heading = sections(text, level=2)
    common = {field.name for field in dataclasses.fields(LedgerEvent)}
    assert set(first_cells(by_heading["Fields of every event"])) == common
    kinds = {kind.__name__: kind for kind in CLASSES}
    for heading, body in by_heading.items():
        described = [kinds.pop(word) for word in heading.split() if word in kinds]
        if described:
            known = {f.name for kind in described for f in dataclasses.fields(kind)}
            assert set(first_cells(body)) == known - common, heading
    assert kinds == {}
    for value in (*get_args(Source), *get_args(MatchedBy)):
        assert f"`{value}`" in text


def test_every_field_of_a_history_is_documented() -> None:
    """The page of events says what each is called in JSON."""
    by_heading = sections(page("reference/events.md"), level=2)
    fields = [
        cells
        for heading in ("Fields of every event", "ConsentChanged")
        for cells in rows(by_heading[heading])
    ]
    shown = {str(f.alias) for f in HistoryEvent.model_fields.values()} - {
        "position",
        "evidenceErased",
    }
    assert {cells[1] for cells in fields} - {""} == shown | {"phoneNumber"}


def test_every_command_is_documented() -> None:
    """The page of commands has each command with its arguments and options."""
    documented = {
        heading: {cell for cell in first_cells(body) if cell != "argument or option"}
        for heading, body in sections(page("reference/command-line.md"), 2).items()
        if heading.startswith("consent-ledger")
    }
    known = {}
    for name, command in _commands(get_command(command_line), "consent-ledger"):
        shown = [p for p in command.params if not getattr(p, "hidden", False)]
        kinds = {p.name: p.param_type_name for p in shown}
        arguments = [n.upper() for n, kind in kinds.items() if kind == "argument"]
        options = {o for p in shown if kinds[p.name] == "option" for o in p.opts}
        known[" ".join([name, *arguments])] = {*arguments, *options} - {"--help"}
    assert documented.keys() == known.keys()
    for heading, parameters in known.items():
        assert documented[heading] == parameters, heading


def test_every_kind_of_difference_is_documented() -> None:
    """The page of checks has each kind that a check names, and no other."""
    text = page("how-to/check-that-nothing-was-lost.md")
    assert first_cells(text) == list(get_args(Kind))


def test_every_refusal_of_an_import_is_documented() -> None:
    """The page of commands has each code of a refused row, and no other."""
    by_heading = sections(page("reference/command-line.md"), level=2)
    documented = set(first_cells(by_heading["Rows that an import refuses"]))
    assert documented == set(get_args(Code))


def test_every_metric_is_documented_with_its_labels() -> None:
    """The page of metrics has each metric, its kind and its labels, and no other."""
    documented = {
        cells[0]: (cells[1], set(cells[2].split(", ")) - {"none"})
        for cells in rows(page("reference/metrics.md"))
    }
    assert documented == dict(_metrics())


async def test_every_table_is_documented_with_its_columns(
    connection: Connection,
) -> None:
    """The page of tables has each table and column, and no other, with its type."""
    found = await connection.fetch(
        """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod)
        FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
            AND a.attnum > 0 AND NOT a.attisdropped
        """
    )
    documented = {
        (table, *cells[:2])
        for table, body in sections(page("reference/tables.md"), level=3).items()
        for cells in rows(body)
    }
    assert documented == {
        (table, column, kind.replace("timestamp with time zone", "timestamptz"))
        for table, column, kind in found
    }


async def test_every_database_function_is_documented(connection: Connection) -> None:
    """The page of tables has each function of ours, and no other."""
    found = await connection.fetch(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
    )
    text = sections(page("reference/tables.md"), level=2)["Functions and channels"]
    functions = {cell for cell in first_cells(text) if not cell.startswith("channel ")}
    assert functions == {row[0] for row in found}


def test_every_role_is_documented() -> None:
    """The page of keys has each role, and no other."""
    assert set(first_cells(page("how-to/manage-api-keys.md"))) == set(ROLES)


def test_every_built_in_word_is_documented() -> None:
    """The page of rules has each keyword that has a meaning of its own."""
    text = page("explanation/consent-rules.md")
    for word in OUT_WORDS | IN_WORDS | HELP_WORDS:
        assert re.search(rf"\b{re.escape(word.upper())}\b", text), word


def test_every_log_event_is_documented() -> None:
    """The page of watching has each event that the service logs, and no other."""
    logged = {
        str(argument.value)
        for top in ("ledger", "projections")
        for path in files(".py", below=top)
        for argument in _logged(tree_of(path))
    }
    text = sections(page("how-to/watch-it.md"), level=2)["Read the logs"]
    assert set(first_cells(text)) == logged


def test_links_lead_somewhere() -> None:
    """Each link between pages names a file, and a heading, that is there."""
    for path in pages():
        for target in _LINK.findall(path.read_text(encoding="utf-8")):
            if "://" in target:
                continue
            name, _, fragment = target.partition("#")
            linked = (path.parent / name).resolve() if name else path
            assert linked.exists(), f"{named(path)} links to {target}"
            if fragment:
                text = linked.read_text(encoding="utf-8")
                assert fragment in anchors(text), f"{named(path)} links to {target}"


def test_files_that_are_named_are_there() -> None:
    """A path that a page names is one that a reader can open."""
    for path in pages():
        for name in _PATH.findall(path.read_text(encoding="utf-8")):
            assert (ROOT / name).exists(), f"{named(path)} names {name}"


def test_every_page_is_in_the_index() -> None:
    """Whoever begins at the index can reach every page, but for decisions, in one."""
    index = DOCS / "index.md"
    linked = {
        (DOCS / target.partition("#")[0]).resolve()
        for target in _LINK.findall(index.read_text(encoding="utf-8"))
    }
    for path in DOCS.rglob("*.md"):
        assert path in {index, *linked}, f"docs/index.md does not link to {named(path)}"


def test_decisions_are_numbered_and_whole() -> None:
    """Decisions count from 1 without a gap, and each has its four parts."""
    decisions = sorted((DOCS / "decisions").glob("*.md"))
    assert [int(path.name[:4]) for path in decisions] == [*range(1, len(decisions) + 1)]
    for path in decisions:
        text = path.read_text(encoding="utf-8")
        assert re.match(rf"# {int(path.name[:4])}\. \w", text), named(path)
        assert re.search(r"^Status: \w+", text, re.MULTILINE), named(path)
        assert list(sections(text, level=2)) == ["Context", "Decision", "Consequences"]


@pytest.mark.parametrize("path", pages(), ids=named)
def test_python_in_pages_is_python(path: Path) -> None:
    """Each example in Python can be compiled."""
    for block in blocks(path.read_text(encoding="utf-8"), "python"):
        compile(block, named(path), "exec")


def _shown_default(field: FieldInfo) -> str | None:
    """A default as the page shows it; None where the page explains it in words."""
    default: Any = field.get_default(call_default_factory=True)
    if isinstance(default, bool):
        return str(default).lower()
    if default in ((), {}):
        return "none"
    if isinstance(default, float):
        return f"{default:g}"
    return None if default is None else str(default)


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every command with its whole name, but for hidden ones."""
    below = getattr(command, "commands", {})
    for word, sub in below.items():
        if not sub.hidden:
            unnamed = word == getattr(command, "unnamed", None)
            yield from _commands(sub, name if unnamed else f"{name} {word}")
    if not below:
        yield name, command


def _metrics() -> Iterator[tuple[str, tuple[str, set[str]]]]:
    """Name, kind and labels, as ``ledger/observations.py`` writes them down."""
    for node in tree_of(ROOT / "ledger/observations.py").body:
        if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)):
            continue
        call = node.value
        if not (isinstance(call.func, ast.Name) and call.args):
            continue
        kind = call.func.id.lower()
        name = ast.literal_eval(call.args[0])
        labels = set(ast.literal_eval(call.args[2])) if len(call.args) > 2 else set()
        yield (f"{name}_total" if kind == "counter" else name), (kind, labels)


def _logged(tree: ast.Module) -> Iterator[ast.Constant]:
    """The first argument of each call of a logger's method."""
    methods = ("debug", "info", "warning", "error", "exception", "log")
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            logger = getattr(node.func.value, "id", "")
            if logger in {"log", "access"} and node.func.attr in methods:
                yield next(
                    a
                    for a in node.args
                    if isinstance(a, ast.Constant) and isinstance(a.value, str)
                )
