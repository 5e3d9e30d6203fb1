"""Every version of every kind leads to the current one, or nothing starts."""

import re

import pytest

from ledger import __main__ as command_line
from ledger.domain.events import ConsentChanged, HoldReleased, LedgerEvent
from ledger.errors import ChainBroken
from ledger.store import kinds
from ledger.store.kinds import CLASSES, check_chains, known_versions


def step(_: dict[str, object]) -> None:
    """An upcaster that has nothing to do."""


STEP = staticmethod(step)

BROKEN: dict[str, tuple[dict[str, object], str]] = {
    "no first step": (
        {"class_version": 2},
        "version 1 does not lead to version 2: upcast_v1_v2 is missing",
    ),
    "a gap": (
        {"class_version": 4, "upcast_v1_v2": STEP, "upcast_v3_v4": STEP},
        "version 2 does not lead to version 4: upcast_v2_v3 is missing",
    ),
    "a step beyond the end": (
        {"class_version": 2, "upcast_v1_v2": STEP, "upcast_v2_v3": STEP},
        "upcast_v2_v3 is not a step on the way to version 2",
    ),
    "a step without a version": (
        {"upcast_v1_v2": STEP},
        "upcast_v1_v2 is not a step on the way to version 1",
    ),
    "a leap": (
        {"class_version": 3}
        | {f"upcast_v{a}_v{b}": STEP for a, b in ((1, 2), (2, 3), (1, 3))},
        "upcast_v1_v3 is not a step on the way to version 3",
    ),
    "a step back": (
        {"class_version": 2, "upcast_v1_v2": STEP, "upcast_v2_v1": STEP},
        "upcast_v2_v1 is not a step",
    ),
    "a step from nowhere": (
        {"class_version": 2, "upcast_v1_v2": STEP, "upcast_v0_v1": STEP},
        "upcast_v0_v1 is not a step",
    ),
    "the same step twice": (
        {"class_version": 2, "upcast_v1_v2": STEP, "upcast_v01_v2": STEP},
        "upcast_v01_v2 is there twice, as upcast_v1_v2",
    ),
    "another name": (
        {"class_version": 2, "upcast_v1_v2": STEP, "upcast_1_2": STEP},
        "upcast_1_2 is not named",
    ),
    "a method": (
        {"class_version": 2, "upcast_v1_v2": step},
        "upcast_v1_v2 is not a static method",
    ),
    "version zero": ({"class_version": 0}, "class_version 0 is not 1 or more"),
    "a version that is text": ({"class_version": "2"}, "class_version '2' is not"),
}


def test_the_chains_of_this_release_are_whole() -> None:
    """Or it would not be one."""
    check_chains()


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_chain_is_refused(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault names the class and the version."""
    attributes, said = BROKEN[kind]
    for name, value in attributes.items():
        monkeypatch.setattr(ConsentChanged, name, value, raising=False)
    with pytest.raises(ChainBroken) as refused:
        check_chains()
    assert str(refused.value).startswith("ConsentChanged: ")
    assert said in str(refused.value)


def test_a_whole_chain_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step once; and every version on the way is known."""
    monkeypatch.setattr(HoldReleased, "class_version", 3, raising=False)
    for name in ("upcast_v1_v2", "upcast_v2_v3"):
        monkeypatch.setattr(HoldReleased, name, STEP, raising=False)
    check_chains()
    known = [version for topic, version in known_versions() if "Released" in topic]
    assert known == [1, 2, 3]


class Past(LedgerEvent):
    """A class with a past."""

    class_version = 2
    upcast_v1_v2 = STEP


class Heir(Past):
    """A class whose past is another's."""


class Other(Past):
    """A class that overrides it."""

    class_version = 2
    upcast_v1_v2 = STEP


class Moved(LedgerEvent):
    """A class that is stored under a name that is not its own."""

    TOPIC = "ledger.domain.events:Elsewhere"


class Impostor(LedgerEvent):
    """A class that is stored as another is."""

    TOPIC = "ledger.domain.events:ConsentChanged"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([Heir], "Heir: class_version 2 is another class's"),
        ([Other], "Other: upcast_v1_v2 is Past's: write its own"),
        ([Moved], "Moved: its topic 'ledger.domain.events:Elsewhere' is not its"),
        ([*CLASSES, Impostor], "Impostor: Refusing to cache"),
        ([*CLASSES, ConsentChanged], "ConsentChanged is there twice"),
    ],
)
def test_a_class_has_one_past_and_one_topic_of_its_own(
    given: list[type[LedgerEvent]], said: str
) -> None:
    """Of two upcasters the nearest would win, and of two classes the first."""
    with pytest.raises(ChainBroken, match=f"^{re.escape(said)}"):
        check_chains(given)


def test_no_command_begins_with_a_broken_chain(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3, before a setting is read or a database opened."""
    monkeypatch.setattr(ConsentChanged, "class_version", 2, raising=False)
    monkeypatch.setattr(command_line, "app", lambda: pytest.fail("it began"))
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert ended.value.code == 3
    said = capsys.readouterr().err
    assert "ConsentChanged: version 1 does not lead to version 2" in said


def test_what_a_state_holds_is_known_of_every_kind() -> None:
    """All fields but the two that are columns of their own."""
    assert kinds.STORED_FIELDS[HoldReleased] == {
        "timestamp",
        "occurred_at",
        "reason",
        "actor",
    }
