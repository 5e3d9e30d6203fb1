"""What evidence may be, whoever gives it: an application, or a row of an import.

Never says whether it proves anything.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from ledger.domain.signals import Evidence
from ledger.errors import InvalidConsent

_LEVELS_MAX: Final = 32


def checked_evidence(given: Mapping[str, object]) -> Evidence:
    """``given``, which the ledger can keep and give back.

    Names with a leading underscore are the stored form's own: the library's transcoder
    reads an object of ``_type_`` and ``_data_`` as a value of its own, so one from
    outside could make the ledger unreadable to it. What is nested too deep could be
    read, and not be written again.

    Raises:
        InvalidConsent: a name or the depth is not allowed.
    """
    level: list[object] = [given]
    for _ in range(_LEVELS_MAX):
        names = [name for value in level if isinstance(value, dict) for name in value]
        if any(name.startswith("_") for name in names):
            raise InvalidConsent("evidence has a name that starts with _")
        level = [below for value in level for below in _inside(value)]
        if not level:
            return dict(given)
    raise InvalidConsent(f"evidence has more than {_LEVELS_MAX} levels")


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
