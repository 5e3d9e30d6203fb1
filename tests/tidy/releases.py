"""Who reads a page about two releases, and does what it says: the tutorials, done.

The reader's two checkouts are a folder with this one as ``old`` and a copy as ``new``,
in which the page's changes are made. In what is shown, ``…`` stands for anything.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from builders import ADMIN_KEY
from conftest import eventually
from e2e.processes import Service, new_folder
from tidy.repository import ROOT, blocks, page

SHOWN_ADDRESS: Final = "http://127.0.0.1:8080"
SECONDS_MAX: Final = 60
_COPIED: Final = ("ledger", "projections", "tests", "pyproject.toml")
_BLOCK: Final = re.compile(r"^```(?:console|diff)\n.*?^```$", re.DOTALL | re.MULTILINE)
_RELEASE: Final = "Metadata-Version: 2.1\nName: consent-ledger\nVersion: 0.2.0\n"


@contextmanager
def reading(dsn: str) -> Iterator["Reader"]:
    """Somebody with two checkouts and a database."""
    with new_folder() as folder:
        reader = Reader(folder, dsn)
        try:
            yield reader
        finally:
            reader.old.end()
            reader.new.end()


class Reader:
    """Who does what the page says, in its order."""

    def __init__(self, folder: Path, dsn: str) -> None:
        self.folder = folder
        # What is asked with minPosition waits in vain where a projection stands.
        wait = {"LEDGER_WAIT_SECONDS_MAX": "0.2"}
        alike = wait | {"DATABASE_URL": dsn, "LEDGER_WORKERS": "1"}
        self.old = Service(folder, alike)
        same = alike | {"LEDGER_PORT": str(self.old.port)}
        # Before the installed package: what a checkout of its own would install.
        self.new = Service(folder, same | {"PYTHONPATH": str(folder / "new")})
        venv = Path(sys.executable).parents[1]
        for name in ("old", "new"):
            (folder / name).mkdir()
            (folder / name / ".venv").symlink_to(venv)
        for name in _COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, folder / "new" / name)

    async def follow(self, name: str, script: str) -> None:
        """Do all that a page says; its one piece of Python is ``script``."""
        text = page(name)
        [source] = blocks(text, "python")
        (self.folder / script).write_text(source, encoding="utf-8")
        for block in _BLOCK.findall(text):
            for diff in blocks(block, "diff"):
                self.change(diff)
            for console in blocks(block, "console"):
                for step in re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]:
                    command, _, shown = step.partition("\n")
                    await self.take(command, shown)

    async def take(self, command: str, shown: str) -> None:
        """Type a command, and see what the page shows."""
        match command.split():
            case ["make", "setup"]:
                folder = self.folder / "new" / "consent_ledger-0.2.0.dist-info"
                folder.mkdir()
                (folder / "METADATA").write_text(_RELEASE)
            case [("old/.venv/bin/consent-ledger"), "serve"]:
                self.old.start()
                await self.old.ready()
            case [("new/.venv/bin/consent-ledger"), "serve"]:
                self.old.stop()
                self.new.start()
                await self.new.ready()
            case _:
                await self.see(command, shown)

    async def see(self, command: str, shown: str) -> None:
        """What a command prints; where it is about the projections, in the end."""
        pattern = re.escape(shown.strip()).replace("…", ".*")
        printed = ""

        async def is_seen() -> bool:
            nonlocal printed
            printed = self.run(command)
            return re.match(pattern, printed, re.DOTALL) is not None

        if command.endswith("/readyz"):
            with suppress(TimeoutError):
                await eventually(is_seen)
        assert await is_seen(), f"{command} printed {printed}"

    def run(self, command: str) -> str:
        """What it prints, whatever its exit code is."""
        service = self.old if command.startswith("old/") else self.new
        return subprocess.run(
            ["/bin/sh", "-c", command.replace(SHOWN_ADDRESS, service.url)],
            cwd=self.folder,
            # What was said to this run of pytest is not meant for theirs.
            env={
                **os.environ,
                **service.environment,
                "KEY": ADMIN_KEY,
                "PYTEST_ADDOPTS": "",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        ).stdout

    def change(self, diff: str) -> None:
        """Make the changes that the page shows, each in one place."""
        for part in re.split(r"^--- ", diff, flags=re.MULTILINE)[1:]:
            name, _, lines = part.partition("\n")
            path = self.folder / "new" / name
            source = path.read_text(encoding="utf-8") if path.exists() else ""
            before, after = (
                "".join(f"{line[1:]}\n" for line in lines.splitlines() if line[0] in of)
                for of in (" -", " +")
            )
            assert path.exists() == bool(before), f"{name} is there, or is not"
            assert not before or source.count(before) == 1, f"{name}: {before}"
            path.write_text(source.replace(before, after), encoding="utf-8")
