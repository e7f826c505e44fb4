"""Commands that are killed with -9 at random instants, and run again until they are done."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

CLI = (sys.executable, "-m", "tsresformer.cli")


def finish(arguments: Sequence[object], *, codes: tuple[int, ...] = (0,)) -> float:
    """Run a command undisturbed; the seconds that it took."""
    begun = time.monotonic()
    done = subprocess.run([*CLI, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode in codes, done.stderr
    return time.monotonic() - begun


def kill_within(arguments: Sequence[object], seconds: float) -> bool:
    """Start a command and kill it and its children after some seconds; whether it still ran."""
    process = subprocess.Popen(
        [*CLI, *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def kill_and_resume(
    command: Callable[[Path], Sequence[object]],
    home: Path,
    n_kills: int,
    generator: random.Random,
    *,
    typical_s: float,
    check: Callable[[Path], object],
    begun: Callable[[Path], object] = Path.exists,
    codes: tuple[int, ...] = (0,),
) -> Counter[str]:
    """Kill a command `n_kills` times; whenever it came to its end, begin again in a new place.

    Parameters
    ----------
    command : arguments that begin, or go on with, what is written to a place
    typical_s : what the whole takes; each run is killed at a random instant of that
    check : called with every place once its run came to its end
    begun : whether something of the work is in a place

    Returns
    -------
    counts : "kills", "kills in the middle" (of those, with something written) and "runs" (that
        came to their end)
    """
    counts: Counter[str] = Counter()
    while True:
        place = home / f"{counts['runs']:03d}"
        while counts["kills"] < n_kills:
            if not kill_within(command(place), generator.uniform(0.1, 1.1) * typical_s):
                break
            counts["kills"] += 1
            counts["kills in the middle"] += bool(begun(place))
        finish(command(place), codes=codes)
        check(place)
        counts["runs"] += 1
        if counts["kills"] >= n_kills:
            return counts
