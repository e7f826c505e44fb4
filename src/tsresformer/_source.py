"""An audio file that was checked, opened and identified, before a decoder sees it."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Self

import soundfile

from tsresformer._mono import is_sane
from tsresformer._sniff import DEMUXERS, SOUNDFILE_FORMATS, describe, sniff
from tsresformer.errors import AudioError, NotAudioError

if TYPE_CHECKING:
    from tsresformer._pyav import PyavDecoder

MAX_HOLE_BYTES = 2**30

_NO_SUCH_FILE = ("there is no such file", "check the path")
_NOT_READABLE = ("it may not be read", "check its permissions")
_OPEN_ERRORS = {
    errno.ENOENT: _NO_SUCH_FILE,
    errno.ENOTDIR: _NO_SUCH_FILE,
    errno.EACCES: _NOT_READABLE,
    errno.EPERM: _NOT_READABLE,
    errno.ELOOP: ("it is a symbolic link that leads back to itself", "name the file itself"),
    errno.ENAMETOOLONG: ("its name is too long", "check the path"),
}


class SourceFile:
    """A regular file, open for reading, with its format by content.

    Parameters
    ----------
    path : the file

    Attributes
    ----------
    format : a key of `DEMUXERS`
    start : offset of the format's first byte, behind tags and garbage

    Raises
    ------
    AudioError : it cannot be opened, or is no audio
    """

    def __init__(self, path: str | Path) -> None:
        self.path = os.fspath(path)
        self._descriptor = -1
        try:
            self._open()
            self.format, self.start = sniff(self.read_at, self.size)
        except OSError as error:
            self.close()
            raise self._open_error(error) from None
        except BaseException:
            self.close()
            raise
        if not self.format:
            clue = describe(self.read_at(512, 0))
            self.close()
            remedy = "check what it is, or convert it to WAV or FLAC"
            raise NotAudioError(self.path, f"this is no audio: {clue}", remedy)

    def _open(self) -> None:
        """Open the file if it is a regular one; FIFOs and devices are never opened."""
        if "\0" in self.path:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        self._check(os.stat(self.path))
        self._descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        status = os.fstat(self._descriptor)
        self._check(status)
        self.size = status.st_size

    def _check(self, status: os.stat_result) -> None:
        if stat.S_ISDIR(status.st_mode):
            raise self.error("it is a folder", "name a file")
        if not stat.S_ISREG(status.st_mode):
            raise self.error("it is no regular file", "name a file")
        if not status.st_size:
            raise self.error("it is empty", "copy or download it again")
        if status.st_size - status.st_blocks * 512 > MAX_HOLE_BYTES:
            raise self.error("more than 1 GiB of it are holes", "copy or download it again")

    def _open_error(self, error: OSError) -> AudioError:
        reason = error.strerror or str(error)
        problem, remedy = _OPEN_ERRORS.get(
            error.errno or 0, (f"it cannot be read ({reason.lower()})", "check the disk")
        )
        missing = (problem, remedy) == _NO_SUCH_FILE
        return self.error(problem, remedy, status="missing" if missing else "undecodable")

    def read_at(self, n_bytes: int, offset: int) -> bytes:
        """At most `n_bytes` of the file from `offset` on."""
        try:
            return os.pread(self._descriptor, n_bytes, offset)
        except OSError as error:
            raise self._open_error(error) from None

    def n_unread(self) -> int:
        """Bytes behind the place that libsndfile has read to."""
        return self.size - os.lseek(self._descriptor, 0, os.SEEK_CUR)

    def open_soundfile(self) -> soundfile.SoundFile | None:
        """Open the file with libsndfile; None if it cannot, or if the header is absurd."""
        if self.format not in SOUNDFILE_FORMATS:
            return None
        os.lseek(self._descriptor, self.start, os.SEEK_SET)
        try:
            sound = soundfile.SoundFile(self._descriptor, closefd=False)
        except soundfile.SoundFileError:
            return None
        if is_sane(sound.samplerate, sound.channels):
            return sound
        sound.close()
        return None

    def open_pyav(self, window: tuple[int, int] | None = None) -> PyavDecoder:
        """Open the file, or the bytes of it from one offset to another, with FFmpeg."""
        from tsresformer._pyav import PyavDecoder

        demuxer = DEMUXERS[self.format]
        return PyavDecoder(self.path, self._descriptor, demuxer, window or (self.start, self.size))

    def error(self, problem: str, remedy: str, *, status: str = "undecodable") -> AudioError:
        return AudioError(self.path, problem, remedy, status=status)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
