"""Adapters: each turns a data set, in the layout it is released in, into a Manifest.

Every adapter is a module with a function `read(...) -> Manifest`. Paths are absolute, ids
unique, rows in a fixed order; what is missing keeps a row with its status; what the user should
know besides is in the manifest's notes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from tsresformer.errors import ManifestError


def require_folder(path: str | Path, expected: str) -> Path:
    """Absolute path of a folder that exists, or a ManifestError that says what was expected."""
    folder = Path(os.path.abspath(path))
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "no such folder"
        raise ManifestError(f"{path}: {problem}; expected {expected}")
    return folder


def walk(root: Path) -> Iterator[Path]:
    """Regular files below a folder, sorted, each folder once however symbolic links lead to it.

    Hidden files and folders (AppleDouble's ``._x`` among them) are left out.

    Raises
    ------
    ManifestError : a folder cannot be read
    """
    seen: set[tuple[int, int]] = set()
    pending = [root]
    while pending:
        folder = pending.pop()
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise ManifestError(f"{folder}: cannot be read: {error.strerror}") from error
        folders = []
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = folder / entry.name
            mode = _mode(path)
            if stat.S_ISDIR(mode):
                folders.append(path)
            elif stat.S_ISREG(mode):
                yield path
        pending += reversed(folders)


def _mode(path: Path) -> int:
    """File type behind any links; 0 for a link that leads nowhere."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0
