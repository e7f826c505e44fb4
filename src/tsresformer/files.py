"""Files that are written whole or not at all, and their hashes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from tsresformer.errors import TsResformerError

SEAL = "sha256"
"""Key of a record's hash of itself."""

UNSEALED = 1
"""The format of most records before they had a hash of themselves; it is read still."""

REPORT_SCHEMA = 1
"""Of a report's ``metrics.json``."""

STUDY_FORMAT = 2
"""Of all records of a study, its cells among them."""

TOO_DEEP = "nested too deeply"

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file that takes the name `path` once it is complete and on disk.

    The temporary file lies in the same folder, so that the rename is atomic; on any error it
    is removed and whatever lay at `path` stays as it was. A symbolic link stays, and the file
    that it leads to is written; a device or a pipe is written to as it is.
    """
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    if _is_device(path):
        with _naming(path), open(path, mode, **text) as stream:
            yield stream
        return
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
    try:
        with _naming(path), os.fdopen(handle, mode, **text) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    fsync_folder(path.parent)


@contextlib.contextmanager
def _naming(path: str | Path) -> Iterator[None]:
    """Name the file in an error of a full disk, which has no name or a temporary one."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            error.filename = str(path)
        raise


def check_writable(path: str | Path, *, folder: bool = False) -> None:
    """Find out, before long work begins, whether its output can be written.

    Parameters
    ----------
    path : a file that will be written, or a folder that files will be written into
    folder : which of the two; it and the folders above it need not exist yet

    Raises
    ------
    TsResformerError : something else lies there, or a folder is no folder or may not be written
    """
    if _is_device(path) and not folder:
        return
    target = Path(os.path.realpath(path))
    if target.exists() and target.is_dir() != folder:
        what = "is no folder; name another" if folder else "is a folder; name a file"
        raise TsResformerError(f"{path}: {what} to write to")
    parts = [target, *target.parents] if folder else [*target.parents]
    place = next(part for part in parts if part.exists())
    if not place.is_dir():
        raise TsResformerError(f"{path}: cannot be written, {place} is no folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise TsResformerError(f"{path}: cannot be written, there is no permission for {place}")


@contextlib.contextmanager
def hold_folder(folder: str | Path, busy: Exception) -> Iterator[None]:
    """Hold a folder, made if need be, for this process alone; raise `busy` if another has it.

    The kernel lets go of the lock when the process ends, in whatever way. An error of a full disk
    that names no file gets the folder's name.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise busy from None
        try:
            yield
        except OSError as error:
            if error.errno in DISK_FULL and error.filename is None:
                error.filename = str(folder)
            raise


def fsync_folder(folder: str | Path) -> None:
    """Put a folder's entries on disk, so that a rename survives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: str | Path, value: object) -> None:
    """Write `value` as indented JSON, atomically."""
    with atomic_write(path) as stream:
        json.dump(value, stream, indent=2, ensure_ascii=False, allow_nan=False)
        stream.write("\n")


def read_json(path: str | Path) -> Any:
    """Read a file of JSON.

    Raises
    ------
    OSError, ValueError : missing or damaged
    """
    return parse_json(Path(path).read_text(encoding="utf-8"))


def parse_json(text: str | bytes) -> Any:
    """Parse JSON that anybody may have written; whatever is wrong with it is a ValueError."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML as `parse_json` does JSON."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None


def write_sealed(path: str | Path, record: Mapping[str, Any]) -> None:
    """Write a record with a hash of itself, as `write_json` does; see `is_intact`."""
    write_json(path, sealed(record))


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with a hash of itself."""
    return {**record, SEAL: _seal_of(record)}


def is_intact(record: Mapping[str, Any]) -> bool:
    """Whether a record that was sealed is still what it was.

    >>> record = sealed({"a": 1})
    >>> is_intact(record), is_intact({**record, "a": 2})
    (True, False)
    """
    try:
        return bool(record.get(SEAL) == _seal_of(record))
    except (RecursionError, UnicodeEncodeError):  # nothing that was ever written
        return False


def is_intact_or_old(record: Mapping[str, Any]) -> bool:
    """Whether a record is still what it was, or is of the first format, which had no seal.

    >>> is_intact_or_old({"format": 1, "a": 1}), is_intact_or_old({"format": 2, "a": 1})
    (True, False)
    """
    if SEAL not in record:
        return bool(record.get("format") == UNSEALED)
    return is_intact(record)


def _seal_of(record: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in record.items() if key != SEAL}
    return sha256_json(json.loads(json.dumps(rest)))  # keys are text once they were written


def sha256_file(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_json(value: object) -> str:
    """Hexadecimal SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _is_device(path: str | Path) -> bool:
    """Whether something that is neither a file nor a folder lies there, a pipe among others."""
    return os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
