"""Files that are made once: the first wins, and nobody else reads them."""

import os
import threading
from pathlib import Path

import pytest

from ledger.errors import ConfigurationError
from ledger.private_files import made_once


def test_the_first_content_stays(tmp_path: Path) -> None:
    """Whoever comes later is told what it is."""
    path = tmp_path / "a" / "folder" / "too" / "kept"
    assert made_once(path, "first") == "first"
    assert made_once(path, "second") == "first"
    assert path.read_text() == "first"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_the_owner_reads_it(tmp_path: Path, umask: int) -> None:
    """Whatever the umask is, and from its first byte on."""
    before = os.umask(umask)
    try:
        made_once(tmp_path / "kept", "secret")
    finally:
        os.umask(before)
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o600


def test_of_many_at_once_one_wins(tmp_path: Path) -> None:
    """All are told the same, and nothing is left beside it."""
    told: list[str] = []
    everyone = threading.Barrier(8)

    def make(n: int) -> None:
        everyone.wait()
        told.append(made_once(tmp_path / "kept", f"content {n}" * 1000))

    threads = [threading.Thread(target=make, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 8
    assert set(told) == {(tmp_path / "kept").read_text()}
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_what_a_kill_has_left_behind_is_in_nobodys_way(tmp_path: Path) -> None:
    """Half of a file under another name is never taken for it."""
    for name in (f"kept.{os.getpid()}", "kept."):
        (tmp_path / name).write_text("half of a sec")
    assert made_once(tmp_path / "kept", "secret") == "secret"


def test_nothing_is_written_beside_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command asks for it, and a kill would leave a secret there."""
    made_once(tmp_path / "kept", "secret")
    monkeypatch.setattr(os, "link", None)
    assert made_once(tmp_path / "kept", "another") == "secret"


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """With what to do about it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="set LEDGER_DATA_DIR") as refused:
        made_once(tmp_path / "file" / "kept", "secret")
    assert str(tmp_path / "file") in str(refused.value)
    assert "secret" not in str(refused.value)
