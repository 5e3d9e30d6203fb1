"""Size, depth and names: what keeps a newcomer able to guess where a line lives."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tidy.repository import ROOT, files, named, tree_of

MODULE_LINES_MAX: Final = 400
FUNCTION_LINES_MAX: Final = 70
FOLDERS_MAX: Final = 3
EMPTY_NAMES: Final = frozenset(
    f"{name}{ending}"
    for name in ("util", "helper", "common", "base", "misc")
    for ending in ("", "s")
)
# Not written out, so that this file does not find itself.
LEFT_FOR_LATER: Final = ("TO" + "DO", "FIX" + "ME", "X" * 3)


def test_modules_are_short() -> None:
    """A module of the product has fewer lines than a person reads at one sitting."""
    for path in _product():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines < MODULE_LINES_MAX, (
            f"{named(path)} has {lines} lines, {MODULE_LINES_MAX - 1} at most: "
            "move what stands on its own into a module named for what it does"
        )


def test_functions_are_short() -> None:
    """A function fits on a screen, in tests as well."""
    for path in files(".py"):
        for function in _functions(path):
            end = function.end_lineno or function.lineno
            lines = end - function.lineno + 1
            assert lines <= FUNCTION_LINES_MAX, (
                f"{named(path)}:{function.lineno} {function.name} has {lines} lines, "
                f"{FUNCTION_LINES_MAX} at most: keep the decisions, move the work down"
            )


def test_folders_are_not_deep() -> None:
    """Nothing lies more than three folders deep."""
    for path in files(".py", ".sql", ".md", ".html", ".js", ".css"):
        folders = path.relative_to(ROOT).parts[:-1]
        assert len(folders) <= FOLDERS_MAX, f"{named(path)}: move it up"


def test_names_say_what_is_inside() -> None:
    """No module and no folder has a name that would fit anything."""
    for path in files(".py", ".sql"):
        for part in path.relative_to(ROOT).with_suffix("").parts:
            assert part not in EMPTY_NAMES, (
                f"{named(path)}: {part!r} would fit anything; name what it is about"
            )


def test_nothing_is_left_for_later() -> None:
    """What is to be done is in an issue, and not in a comment."""
    for path in files(".py", ".sql", ".md", ".toml", ".yml", ".js", ".css", ".html"):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
            for word in LEFT_FOR_LATER:
                assert word not in line, (
                    f"{named(path)}:{number} says {word}: do it, or open an issue"
                )


def _product() -> list[Path]:
    return [
        path for top in ("ledger", "projections") for path in files(".py", below=top)
    ]


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
