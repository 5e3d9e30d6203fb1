"""The tests themselves: each says what is true, and none waits for time to pass."""

import ast
from collections.abc import Iterator

from tidy.repository import files, named, tree_of

Function = ast.FunctionDef | ast.AsyncFunctionDef


def test_every_test_says_what_is_true() -> None:
    """A test's docstring is a sentence, which a reader can agree or disagree with."""
    for path in files(".py", below="tests"):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, Function) and node.name.startswith("test_"):
                paragraph = (ast.get_docstring(node) or "").partition("\n\n")[0]
                assert paragraph.endswith((".", "?")), (
                    f"{named(path)}:{node.lineno} {node.name}: say in a sentence what "
                    "is true"
                )


def test_no_test_waits_for_time_to_pass() -> None:
    """Only a loop that looks for something sleeps, and only between two looks."""
    for path in files(".py", below="tests"):
        tree = tree_of(path)
        between_looks = {
            id(sleep)
            for node in ast.walk(tree)
            if isinstance(node, ast.While)
            for sleep in _sleeps(node)
        }
        for sleep in _sleeps(tree):
            assert id(sleep) in between_looks, (
                f"{named(path)}:{sleep.lineno} sleeps: wait for a signal, or look "
                "again and again with conftest.eventually"
            )


def _sleeps(tree: ast.AST) -> Iterator[ast.Call]:
    """Calls of a function named sleep, but for sleep(0), which only gives way."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            given = node.args[0]
            gives_way = isinstance(given, ast.Constant) and given.value == 0
            if name == "sleep" and not gives_way:
                yield node
