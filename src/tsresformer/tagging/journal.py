"""The journal: what it takes to make every file of a run exactly what it was.

One line of JSON a changed file, on disk before the file takes its new content. A journal is only
ever appended to by the run that began it; a last line that is torn belongs to a file that was not
changed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsresformer.errors import TsResformerError
from tsresformer.files import fsync_folder
from tsresformer.tagging.delta import Delta

FORMAT = 1

_UNREADABLE = (
    AttributeError,
    KeyError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
)
_MOST_NS = 2**63
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Change:
    """One file's change.

    Parameters
    ----------
    path : of the file, relative to the library
    old_sha256, new_sha256 : of its whole content, before and after
    old_mtime_ns : its time of modification before
    before, after : values of the field
    delta : what of the old content is where in the new
    """

    path: str
    old_sha256: str
    new_sha256: str
    old_mtime_ns: int
    before: tuple[str, ...]
    after: tuple[str, ...]
    delta: Delta

    def as_json(self) -> dict[str, object]:
        """The journal's line."""
        return {
            "path": self.path,
            "before": list(self.before),
            "after": list(self.after),
            "old": {"sha256": self.old_sha256, "mtime_ns": self.old_mtime_ns},
            "new": {"sha256": self.new_sha256},
            **self.delta.as_json(),
        }

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> Change:
        """Read a journal's line.

        Raises
        ------
        ValueError, TypeError, KeyError : it is no such line
        """
        path, hashes = str(line["path"]), (line["old"]["sha256"], line["new"]["sha256"])
        if os.path.isabs(path) or ".." in Path(path).parts or not path:
            raise ValueError("a path leads out of the library")
        if not all(_HASH.fullmatch(text) for text in hashes):
            raise ValueError("a hash is none")
        mtime_ns = int(line["old"]["mtime_ns"])
        if abs(mtime_ns) >= _MOST_NS:
            raise ValueError("a time is none")
        return cls(
            path,
            *hashes,
            mtime_ns,
            tuple(map(str, line["before"])),
            tuple(map(str, line["after"])),
            Delta.from_json(line["pieces"], line["literals"]),
        )


class Journal:
    """A journal that is being written; its file appears with the first change.

    Parameters
    ----------
    folder : the library's own folder for such things
    about : said on the first line, for people
    """

    def __init__(self, folder: Path, about: Mapping[str, object]) -> None:
        self._folder, self._about = folder, about
        self.path: Path | None = None
        self._descriptor, self._end = -1, 0

    def append(self, change: Change) -> None:
        """Put a change on disk; if that fails, the journal stays as it was.

        Raises
        ------
        OSError : it cannot be written
        """
        if self._descriptor < 0:
            self._begin()
        self._line(change.as_json())

    def _begin(self) -> None:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        names = (f"journal-{stamp}{n}.jsonl" for n in ("", *(f"-{n}" for n in range(1, 1000))))
        for name in names:
            path = self._folder / name
            with contextlib.suppress(FileExistsError):
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                self._descriptor = os.open(path, flags, 0o666)
                self.path = path
                break
        try:
            self._line({"format": FORMAT, **self._about})
            fsync_folder(self._folder)
        except OSError:
            self._give_up()
            raise

    def _give_up(self) -> None:
        """Leave no journal behind that has no first line."""
        self.close()
        if self.path:
            self.path.unlink(missing_ok=True)
        self.path, self._end = None, 0

    def _line(self, value: Mapping[str, object]) -> None:
        view = memoryview(json.dumps(value).encode() + b"\n")
        end = self._end + len(view)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
            os.fsync(self._descriptor)
        except BaseException:
            os.ftruncate(self._descriptor, self._end)
            os.lseek(self._descriptor, self._end, os.SEEK_SET)
            raise
        self._end = end

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def read_journal(path: Path) -> Iterator[Change]:
    """Read the changes of a journal, in their order.

    Raises
    ------
    TsResformerError : it is no journal, of an unknown format, or damaged before its last line
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise TsResformerError(f"{path}: {error.strerror}; name a journal to undo") from None
    last = len(lines) - 1  # what follows the last end of line: nothing, or a torn line
    for number, line in enumerate(lines[:last]):
        try:
            value = json.loads(line)
            if number:
                yield Change.from_json(value)
                continue
            known = value["format"]
        except _UNREADABLE as error:
            what = "is no journal" if not number else f"line {number + 1} is damaged ({error})"
            raise TsResformerError(
                f"{path}: {what}; name a file journal-<time>.jsonl of a library"
            ) from None
        if known != FORMAT:
            raise TsResformerError(
                f"{path}: journal of format {known}, this version knows {FORMAT}; "
                "undo it with the version that wrote it"
            )
