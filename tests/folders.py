"""Where the tests keep databases that they throw away: in memory, if it has room.

What survives a power cut is tested nowhere, so nothing here needs a disk; and a file
system in memory makes the four hundred files of a database eight times faster.
"""

import os
import shutil
from pathlib import Path
from typing import Final

MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it
# The servers of three workers and of a service, their logs and some databases each.
ROOM_BYTES: Final = 4 * 1024**3


def quick_folder() -> str:
    """A folder for folders: in memory, or else where there is always room.

    Not the system's choice: a socket's path has to be short.
    """
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= ROOM_BYTES:
        return str(MEMORY)
    return "/tmp"  # noqa: S108 - the same
