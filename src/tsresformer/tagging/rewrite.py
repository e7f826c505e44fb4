"""A file is replaced by a copy with another field, once the copy is checked and can be undone."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tsresformer.errors import AudioError
from tsresformer.files import DISK_FULL, fsync_folder, sha256_file
from tsresformer.tagging.containers import ID3V1_BYTES, Payload, id3v1, payload
from tsresformer.tagging.delta import delta
from tsresformer.tagging.fields import GENRE, Field, id3v1_genres, open_tag
from tsresformer.tagging.journal import Change, Journal
from tsresformer.tagging.reading import Known

LEFTOVER = re.compile(r"\.tsresformer-[A-Za-z0-9_]+\.tmp")
"""Names of temporary files, by which a later run knows what a killed one left."""

_NO_GENRE = 255
_ACCESS_LIST = "system.posix_acl_access"
_WITH_ID3V1 = frozenset({"ape", "mp3", "musepack", "musepack8", "tta", "wavpack"})
_REFUSALS = {
    errno.ENOSPC: ("the disk is full", "make room", "unwritable"),
    errno.EDQUOT: ("the disk quota is used up", "make room", "unwritable"),
    errno.EROFS: ("its disk is mounted read-only", "mount it for writing", "read-only"),
    errno.EACCES: ("it may not be written", "check the permissions", "read-only"),
    errno.EPERM: ("it may not be written", "check the permissions", "read-only"),
    errno.ENOENT: ("it vanished", "run again if it comes back", "missing"),
    errno.ESTALE: ("it changed while it was tagged", "run again when it is at rest", "changed"),
}


@dataclass(frozen=True)
class Manner:
    """How files are replaced.

    Parameters
    ----------
    break_links : replace a file that has further hard links; they keep the old content
    keep_times : keep the time of modification
    """

    break_links: bool = False
    keep_times: bool = False


def rewrite(
    library: Path,
    path: str,
    format: str,
    field: Field,
    values: Sequence[str],
    journal: Journal,
    manner: Manner,
    expected: Known | None = None,
) -> Payload:
    """Give a file's field the values; the file has either its old or its new content, always.

    Parameters
    ----------
    library : the folder that journalled paths are relative to
    path : the file itself, not a link to it
    format : what its content says that it is
    expected : what the values were decided on; None if the file may hold anything

    Returns
    -------
    payload : of the file, old and new alike

    Raises
    ------
    AudioError : it is left as it was, and why
    """
    with as_row(path):
        status = _check_replaceable(path, manner)
        with _beside(path) as copy:
            before, values_before = _write_copy(path, format, field, values, copy)
            if expected and (expected.values, expected.audio) != (values_before, before.audio):
                raise AudioError(
                    path, "it changed since it was read", "run again", status="changed"
                )
            change = Change(
                os.path.relpath(path, library),
                sha256_file(path),
                sha256_file(copy),
                status.st_mtime_ns,
                values_before,
                tuple(values),
                delta(path, copy),
            )
            _check_undoable(path, change, copy)
            _dress(path, status, copy, status.st_mtime_ns if manner.keep_times else None)
            journal.append(change)
            _exchange(path, status, copy)
    return before


def restore(library: Path, change: Change, manner: Manner) -> str:
    """Undo one change.

    Returns
    -------
    status : ``restored``, or ``unchanged`` if the file has its old content already

    Raises
    ------
    AudioError : it has neither the old nor the new content, or cannot be replaced
    """
    path = os.path.join(library, change.path)
    with as_row(path):
        if os.path.realpath(path) != path or not stat.S_ISREG(os.lstat(path).st_mode):
            raise AudioError(path, "it is no file any more", "left as it is", status="changed")
        status = os.stat(path)
        found = sha256_file(path)
        if found == change.old_sha256:
            return "unchanged"
        if found != change.new_sha256:
            raise AudioError(
                path, "it was changed since it was tagged", "left as it is", status="changed"
            )
        _check_replaceable(path, manner)
        with _beside(path) as copy:
            with (
                open(path, "rb") as source,
                open(copy, "wb") as target,
                contextlib.suppress(ValueError, OverflowError),  # the hash tells
            ):
                change.delta.restore(source, target.write)
            if sha256_file(copy) != change.old_sha256:
                raise AudioError(path, "the journal does not give its old content", "left as it is")
            _dress(path, status, copy, change.old_mtime_ns)
            _exchange(path, status, copy)
    return "restored"


@contextlib.contextmanager
def as_row(path: str) -> Iterator[None]:
    """Turn an error of the operating system into one that a row can hold."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        problem, remedy, status = _REFUSALS.get(
            error.errno or 0, (f"it cannot be written ({reason})", "check the disk", "unwritable")
        )
        raise AudioError(path, problem, remedy, status=status) from None


def _check_replaceable(path: str, manner: Manner) -> os.stat_result:
    """Status of a file that may be replaced."""
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode):
        raise AudioError(path, "it is no regular file", "name a file", status="read-only")
    if not status.st_mode & 0o222 or not os.access(path, os.W_OK):
        raise AudioError(path, "it is read-only", "make it writable", status="read-only")
    if not os.access(os.path.dirname(path), os.W_OK | os.X_OK):
        raise AudioError(
            path, "its folder may not be written", "check its permissions", status="read-only"
        )
    if os.geteuid() not in (0, status.st_uid):
        raise AudioError(path, "it belongs to another user", "run as its owner", status="read-only")
    if status.st_nlink > 1 and not manner.break_links:
        raise AudioError(
            path,
            f"it has {status.st_nlink} hard links, of which only this one would change",
            "use --break-links",
            status="linked",
        )
    return status


@contextlib.contextmanager
def _beside(path: str) -> Iterator[str]:
    """An empty temporary file in the folder of `path`, removed at the end if it is still there.

    It is locked, which tells the run over a library around this one that nobody left it behind.
    """
    folder = os.path.dirname(path)
    handle, copy = tempfile.mkstemp(".tmp", ".tsresformer-", folder)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield copy
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(copy)
        os.close(handle)


def remove_leftover(path: str) -> None:
    """Remove a temporary file that a killed run left, but not one that a run is at."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
        finally:
            os.close(handle)


def _write_copy(
    path: str, format: str, field: Field, values: Sequence[str], copy: str
) -> tuple[Payload, tuple[str, ...]]:
    """Copy a file, change the copy's field, and check that nothing else changed."""
    before, tag = payload(path, field), open_tag(path, format, field)
    others, values_before = tag.others(), tag.values()
    shutil.copyfile(path, copy)
    last = _take_id3v1(copy) if format in _WITH_ID3V1 else b""
    tag.write(values, copy)
    if last:
        with open(copy, "ab") as stream:
            stream.write(_renumbered(last, values) if field.name == GENRE else last)
    harm = before.difference(payload(copy, field))
    written = open_tag(copy, format, field)
    if not harm and written.others() != others:
        harm = "another field"
    if not harm and written.values() != tuple(values):
        harm = "the genre as it was to be"
    if harm:
        raise AudioError(
            path,
            f"a change of its tag would not keep everything ({harm})",
            "left as it is; tag it with another program",
            status="untaggable",
        )
    return before, values_before


def _take_id3v1(copy: str) -> bytes:
    """Cut an ID3v1 tag off, which mutagen would remove or rewrite whole, and return it."""
    with open(copy, "r+b") as stream:
        size = stream.seek(0, os.SEEK_END)
        descriptor = stream.fileno()
        tag = id3v1(lambda n_bytes, offset: os.pread(descriptor, n_bytes, offset), size)
        stream.truncate(size - len(tag))
    return tag


def _renumbered(tag: bytes, values: Sequence[str]) -> bytes:
    """An ID3v1 tag with the number of the first value that has one."""
    numbers = [id3v1_genres().index(value) for value in values if value in id3v1_genres()]
    return tag[: ID3V1_BYTES - 1] + bytes([numbers[0] if numbers else _NO_GENRE])


def _check_undoable(path: str, change: Change, copy: str) -> None:
    """Undo the change once, in memory, before it is made."""
    digest = hashlib.sha256()
    with open(copy, "rb") as stream:
        change.delta.restore(stream, digest.update)
    if digest.hexdigest() != change.old_sha256:
        raise AudioError(path, "the change could not be undone", "left as it is")


def _dress(path: str, status: os.stat_result, copy: str, mtime_ns: int | None) -> None:
    """Give a copy the owner, mode and extended attributes of the file, and put it on disk."""
    made = os.stat(copy)
    if (made.st_uid, made.st_gid) != (status.st_uid, status.st_gid):
        os.chown(copy, status.st_uid, status.st_gid)
    os.chmod(copy, stat.S_IMODE(status.st_mode))
    names = _attributes(path)
    for name in {*_attributes(copy)} - {*names}:  # inherited from the folder
        with _if_it_may(name):
            os.removexattr(copy, name)
    for name in names:
        with _if_it_may(name):
            os.setxattr(copy, name, os.getxattr(path, name))
    if mtime_ns is not None:
        os.utime(copy, ns=(status.st_atime_ns, mtime_ns))
    handle = os.open(copy, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _attributes(path: str) -> list[str]:
    with contextlib.suppress(OSError):  # not every file system has them
        return os.listxattr(path)
    return []


@contextlib.contextmanager
def _if_it_may(name: str) -> Iterator[None]:
    """Do without an attribute that the system denies, but not the user's own or an access list."""
    try:
        yield
    except OSError as error:
        if name.startswith("user.") or name == _ACCESS_LIST or error.errno in DISK_FULL:
            raise


def _exchange(path: str, status: os.stat_result, copy: str) -> None:
    """Let the copy take the file's name, if the file is still the one that was copied."""
    now = os.lstat(path)
    if _identity(now) != _identity(status):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
    os.replace(copy, path)
    fsync_folder(os.path.dirname(path))


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
