"""One M3U8 playlist a genre."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from tsresformer.files import atomic_write
from tsresformer.labels import fold

MARK = "# written by tsresformer"
"""Second line of a playlist that may be overwritten."""

_NOT_IN_NAMES = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')
_MAX_NAME_BYTES = 200


def write_playlists(folder: Path, tracks: Iterable[tuple[str, tuple[str, ...]]]) -> Iterator[str]:
    """Write the playlists of a library, and remove those of ours that have no track any more.

    Parameters
    ----------
    folder : of the playlists of this library and no other
    tracks : path and genres of each

    Yields
    ------
    problem : what had to be left out, or left alone
    """
    names: dict[str, str] = {}
    lists: dict[str, list[str]] = {}
    for path, genres in tracks:
        if not path.isprintable():  # neither a line break nor a byte that is not UTF-8
            yield f"{path}: its name cannot stand in a playlist"
            continue
        for genre in genres:
            name = names.setdefault(fold(genre), _file_name(genre))
            lists.setdefault(name, []).append(_relative(path, folder))
    for name, lines in lists.items():
        target = folder / name
        if target.exists() and not _is_ours(target):
            yield f"{target}: left alone, tsresformer did not write it; rename it"
            continue
        with atomic_write(target) as stream:
            stream.writelines(f"{line}\n" for line in ("#EXTM3U", MARK, *sorted(lines)))
    for old in sorted(folder.glob("*.m3u8")):
        if old.name not in lists and _is_ours(old):
            old.unlink()


def _is_ours(path: Path) -> bool:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return [stream.readline().strip() for _ in range(2)] == ["#EXTM3U", MARK]
    except OSError:
        return False


def _relative(path: str, folder: Path) -> str:
    text = os.path.relpath(path, os.path.realpath(folder))
    return f"./{text}" if text.startswith("#") else text


def _file_name(genre: str) -> str:
    name = _NOT_IN_NAMES.sub("_", genre).strip(". ") or "_"
    return name.encode()[:_MAX_NAME_BYTES].decode("utf-8", "ignore") + ".m3u8"
