"""Where a web process spends its time, by py-spy, if that is installed."""

import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Final

from bench.rows import Writing, webhooks_64
from bench.usage import web_processes

_SHOWN: Final = 30


def print_hot_spots(writing: Writing) -> None:
    """Sample one web process through more rounds, and print its hottest functions."""
    if shutil.which("py-spy") is None:
        writing.plan.say("py-spy is not installed; no profile")
        return
    out = writing.plan.scratch / "profile.raw"
    pid = web_processes(writing.running)[0]
    command = ["py-spy", "record", "-p", str(pid), "-r", "500", "-f", "raw"]
    command += ["-F", "-o", str(out), "-d", "600"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as sampler:
        webhooks_64(writing)
        sampler.send_signal(2)
    _print(writing, out)


def _print(writing: Writing, file: Path) -> None:
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for line in file.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        own[frames[-1]] += int(count)
        whole.update(dict.fromkeys(set(frames), int(count)))
    # What every sample has in common is how the process was started.
    everywhere = [name for name, samples in whole.items() if samples == own.total()]
    for name in everywhere:
        del whole[name]
    total = own.total()
    for title, counted in (("own time", own), ("with callees", whole)):
        writing.plan.say(f"\n{title}, of {total} samples")
        for name, samples in counted.most_common(_SHOWN):
            writing.plan.say(f"{100 * samples / total:6.1f} %  {name}")
