"""How often Python looks for cycles among objects: seldom, where there are none.

For processes that make and drop very many objects.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

GARBAGE_MIN: Final = 50_000
"""Objects made before cycles are looked for. Those of a request, or of a batch of rows,
live while it waits and have none: with Python's 700, looking is a twentieth of the work
of a service, and a third of an import's."""


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """Never look for cycles in what was made before, and elsewhere seldom.

    Undone at the end: a process that runs tests starts many applications.
    """
    thresholds = gc.get_threshold()
    gc.set_threshold(GARBAGE_MIN)
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)
