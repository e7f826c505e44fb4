"""Files that arrive in a library are tagged when they have stopped growing."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tsresformer.errors import require
from tsresformer.tagging.finder import find
from tsresformer.tagging.library import Genres, Library
from tsresformer.tagging.plan import Row

_LOOKS_PER_SETTLING = 4
_MAX_STEP_MS = 1000


def watch(
    library: Library,
    classifier: Genres,
    *,
    settle_s: float = 3.0,
    stop: threading.Event | None = None,
) -> Iterator[Row]:
    """Tag what is in a library, then what arrives, until `stop` is set or Ctrl-C.

    Parameters
    ----------
    library : held by this process
    settle_s : seconds for which a file must keep its size and time before it is read
    """
    watchfiles = require("watchfiles", "tag")
    step_ms = max(1, min(_MAX_STEP_MS, round(1000 * settle_s / _LOOKS_PER_SETTLING)))
    arrivals = _Arrivals(library.root, settle_s)
    events = watchfiles.watch(
        library.root,
        watch_filter=lambda _change, path: not _is_hidden(library.root, path),
        step=min(50, step_ms),
        debounce=step_ms,
        rust_timeout=step_ms,
        yield_on_timeout=True,
        stop_event=stop,
        raise_interrupt=True,
    )
    first = True
    for changes in events:
        # What is there at first is looked at while it is watched, so that nothing is missed.
        arrivals.note([str(library.root)] if first else [path for _change, path in changes])
        first = False
        settled = arrivals.settled()
        if settled:
            yield from library.tag(classifier, settled)


def _is_hidden(root: Path, path: str) -> bool:
    return any(part.startswith(".") for part in Path(path).relative_to(root).parts)


class _Arrivals:
    """Files that have changed, until they rest."""

    def __init__(self, root: Path, settle_s: float) -> None:
        self._root, self._settle_s = root, settle_s
        self._waiting: dict[str, tuple[tuple[int, int], float]] = {}

    def note(self, paths: list[str]) -> None:
        """Take note of paths that have changed; of a folder, all that it holds."""
        for found in find(self._root, [path for path in paths if os.path.exists(path)]):
            signature = _signature(found.path)
            if signature:
                self._waiting[found.path] = (signature, time.monotonic())

    def settled(self) -> list[str]:
        """Files that have kept their size and time for long enough, each once."""
        now = time.monotonic()
        ready = []
        for path, (signature, since) in list(self._waiting.items()):
            current = _signature(path)
            if current is None:
                del self._waiting[path]
            elif current != signature:
                self._waiting[path] = (current, now)
            elif now - since >= self._settle_s:
                del self._waiting[path]
                ready.append(path)
        return ready


def _signature(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
