"""The files of a library: each real file once, what cannot be used as an error."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tsresformer.errors import AudioError
from tsresformer.tagging.rewrite import LEFTOVER, remove_leftover


@dataclass(frozen=True)
class Found:
    """A file.

    Parameters
    ----------
    path : where it was found
    real : the file itself, behind any symbolic links
    error : why it cannot be used, or None
    """

    path: str
    real: str
    error: AudioError | None = None


def find(root: Path, places: list[str] | None = None, *, clean: bool = True) -> Iterator[Found]:
    """Files below a library, sorted, each once; symbolic links are followed within the library.

    Hidden files and folders are left out.

    Parameters
    ----------
    root : the library, an absolute path without symbolic links
    places : files and folders below it to look at; None for all of it
    clean : remove the temporary files that a killed run left
    """
    finder = _Finder(str(root), clean)
    for place in [str(root)] if places is None else sorted(set(places)):
        yield from finder.look(place)


class _Finder:
    def __init__(self, root: str, clean: bool) -> None:
        self._root, self._clean = root, clean
        self._seen: set[str] = set()

    def look(self, path: str) -> Iterator[Found]:
        """Files at a place: itself, or those below it."""
        pending = [path]
        while pending:
            path = pending.pop()
            found = self._one(path)
            if isinstance(found, Found):
                yield found
            elif found:
                try:
                    names = sorted(os.listdir(found))
                except OSError as error:
                    reason = (error.strerror or str(error)).lower()
                    yield self._error(path, f"the folder cannot be read ({reason})", "check it")
                    continue
                pending += reversed([os.path.join(path, n) for n in names if self._wanted(path, n)])

    def _wanted(self, folder: str, name: str) -> bool:
        if self._clean and LEFTOVER.fullmatch(name):
            remove_leftover(os.path.join(folder, name))
        return not name.startswith(".")

    def _one(self, path: str) -> Found | str:
        """A file, the real path of a folder to look into, or "" for what was seen before."""
        try:
            real = os.path.realpath(path, strict=True)
            status = os.stat(real)
        except OSError as error:
            linked = os.path.islink(path)
            what = "the link leads nowhere" if linked else "it vanished"
            reason = what if linked or isinstance(error, FileNotFoundError) else str(error.strerror)
            return self._error(path, reason, "check it", "missing")
        if os.path.commonpath([real, self._root]) != self._root:
            remedy = "tag the files there"
            return self._error(path, "the link leads out of the library", remedy, "outside")
        if real in self._seen:
            return ""
        self._seen.add(real)
        if stat.S_ISDIR(status.st_mode):
            return real
        if not stat.S_ISREG(status.st_mode):
            return self._error(path, "it is no regular file", "move it elsewhere")
        if not os.access(real, os.R_OK):
            return self._error(path, "it may not be read", "check its permissions")
        return Found(path, real)

    def _error(self, path: str, problem: str, remedy: str, status: str = "unreadable") -> Found:
        return Found(path, path, AudioError(path, problem, remedy, status=status))
