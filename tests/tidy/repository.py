"""The checkout as text: what the tidy tests look at, and how pages are laid out."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"

# Not asked of git: a test run needs Python and make, and an archive has no history.
_TOPS: Final = (".", "ledger", "projections", "tests", "docs", "bench")

_FENCE: Final = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
_HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)


def files(*suffixes: str, below: str = "") -> list[Path]:
    """Every file of the project with one of the suffixes."""
    return [
        path
        for top in _TOPS
        for path in sorted((ROOT / top).glob("*" if top == "." else "**/*"))
        if path.suffix in suffixes
        and path.is_file()
        and path.is_relative_to(ROOT / below)
    ]


def named(path: Path) -> str:
    """A file as a person would name it."""
    return str(path.relative_to(ROOT))


@cache
def tree_of(path: Path) -> ast.Module:
    """A Python file, parsed."""
    return ast.parse(path.read_text(encoding="utf-8"))


def pages() -> list[Path]:
    """Every page that a person reads."""
    return [
        path for path in files(".md") if path.parent == ROOT or DOCS in path.parents
    ]


def page(name: str) -> str:
    """The text of a page below ``docs/``."""
    return (DOCS / name).read_text(encoding="utf-8")


def sections(text: str, level: int) -> dict[str, str]:
    """What stands under each heading of a level, by heading, without backticks."""
    parts = re.split(rf"^{'#' * level} (.+)$", text, flags=re.MULTILINE)
    deeper = rf"^#{{1,{level}}} "
    return {
        heading.replace("`", ""): re.split(deeper, body, flags=re.MULTILINE)[0]
        for heading, body in zip(parts[1::2], parts[2::2], strict=True)
    }


def rows(text: str) -> Iterator[list[str]]:
    """The cells of every row of every table, but for headings and rules."""
    lines = text.splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        is_row = line.lstrip().startswith("|")
        if is_row and not _is_rule(line) and not _is_rule(following):
            cells = re.split(r"(?<!\\)\|", line.strip().strip("|"))
            yield [cell.strip().replace("`", "") for cell in cells]


def first_cells(text: str) -> list[str]:
    """What each row of each table is about."""
    return [cells[0] for cells in rows(text)]


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks in a language, without their indentation."""
    found = []
    for name, body in _FENCE.findall(text):
        if name == language:
            indented = min(
                (len(line) - len(line.lstrip()) for line in body.splitlines() if line),
                default=0,
            )
            found.append(
                "\n".join(line[indented:] for line in body.splitlines()) + "\n"
            )
    return found


def anchors(text: str) -> set[str]:
    """The fragments by which a page's headings can be linked to."""
    without_code = _FENCE.sub("", text)
    plain = (re.sub(r"[`*]", "", h).lower() for h in _HEADING.findall(without_code))
    return {re.sub(r"[^\w -]", "", heading).replace(" ", "-") for heading in plain}


def _is_rule(line: str) -> bool:
    return re.fullmatch(r"[ |:-]+", line) is not None and "-" in line
