"""SQL: one statement a file, loaded once, by the package that it lies in."""

import ast
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from tidy.repository import ROOT, files, named, tree_of

# Run by itself, because modules load their statements when they are imported.
_RECORD_LOADS: Final = """
import importlib, json, pkgutil, sys
from ledger.store import statements

load, calls = statements.statement, []

def recording(package, name):
    module = sys._getframe(1).f_globals["__name__"]
    calls.append((package, name, module))
    return load(package, name)

statements.statement = recording
for top in ("ledger", "projections"):
    folders = importlib.import_module(top).__path__
    for found in pkgutil.walk_packages(folders, f"{top}."):
        importlib.import_module(found.name)
print(json.dumps(calls))
"""
_KEYWORDS: Final = re.compile(
    r"\b(SELECT\s|INSERT INTO|UPDATE \w+ SET|DELETE FROM|WHERE \w|RETURNING \w"
    r"|(CREATE|ALTER|DROP) (TABLE|INDEX|FUNCTION|ROLE)|TRUNCATE \w)"
)
_PARAMETER: Final = re.compile(r"\$([0-9]+)")

Call = tuple[str, str, str]


@pytest.fixture(scope="module")
def calls() -> list[Call]:
    """Package, name and caller of every statement that is loaded."""
    done = subprocess.run(
        [sys.executable, "-c", _RECORD_LOADS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [
        (package, name, caller) for package, name, caller in json.loads(done.stdout)
    ]


def test_every_statement_is_loaded_exactly_once(calls: list[Call]) -> None:
    """A file below sql/ has one module that runs it; no file is left over."""
    loaded = Counter(
        ROOT.joinpath(*package.split("."), "sql", f"{name}.sql")
        for package, name, _ in calls
    )
    for path in _statements():
        assert loaded[path] == 1, (
            f"{named(path)} is loaded {loaded[path]} times: delete it, or let one "
            "module run it and others call that module"
        )


def test_a_statement_lies_beside_the_module_that_runs_it(calls: list[Call]) -> None:
    """A module loads from the sql/ folder of its own package."""
    for package, name, caller in calls:
        path = ROOT.joinpath(*caller.split("."))
        own = caller if path.is_dir() else caller.rpartition(".")[0]
        assert own == package, f"{caller} loads {name}.sql of {package}: move the file"


def test_a_statement_begins_with_what_it_is_for() -> None:
    """Each file opens with a comment, which names every parameter that is used."""
    for path in [*_statements(), *files(".sql", below="ledger/migrations")]:
        text = path.read_text(encoding="utf-8")
        header = _header(text)
        assert header, f"{named(path)}: say in a comment on top what it is for"
        body = text.removeprefix(header)
        for number in sorted(set(_PARAMETER.findall(body)), key=int):
            assert re.search(rf"\${number}\b", header), (
                f"{named(path)}: write `${number} name type` into the comment on top"
            )


def test_a_file_holds_one_statement() -> None:
    """What runs in one round trip has one file; a table comes with its indexes."""
    for path in _statements():
        if path.stem in ("table", "create_indexes"):
            continue
        body = path.read_text(encoding="utf-8").rstrip()
        assert ";" not in re.sub(r"--.*", "", body), f"{named(path)}: split it"


def test_there_is_no_sql_in_python() -> None:
    """SQL is in .sql files, where it is read as SQL."""
    for top in ("ledger", "projections"):
        for path in files(".py", below=top):
            for line, text in _strings(tree_of(path)):
                assert not _KEYWORDS.search(text), (
                    f"{named(path)}:{line} has SQL in a string: move it to a file "
                    "below sql/ and load it with statement()"
                )


def _statements() -> list[Path]:
    return [
        path
        for top in ("ledger", "projections")
        for path in files(".sql", below=top)
        if path.parent.name == "sql"
    ]


def _header(text: str) -> str:
    found = re.match(r"(--.*\n)+", text)
    return found.group() if found else ""


def _strings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every string but docstrings, with its line."""
    docstrings = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in docstrings:
            yield node.lineno, str(node.value)
