"""What a changed file's old bytes were, told from the new ones in few bytes.

A change of one field moves the audio, renumbers pages, and replaces a few lengths; so nearly all of
the old file is found again in the new one, at one distance or another.
"""

from __future__ import annotations

import base64
import errno
import mmap
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Span = tuple[int, int]

MIN_COPY_BYTES = 32
"""Shorter runs are cheaper as they are."""

_ANCHOR_BYTES, _ANCHOR_STEP, _MAX_ANCHORS = 48, 512, 256
_BLOCK_BYTES = 2**20


@dataclass(frozen=True)
class Delta:
    """Pieces that make up the old file.

    Parameters
    ----------
    pieces : in order, (offset, length) in the new file, or (-1, length) of the next literal bytes
    literals : bytes that the new file does not have
    """

    pieces: tuple[Span, ...]
    literals: bytes

    def as_json(self) -> dict[str, object]:
        """Plain values; the literal bytes compressed, in base 64."""
        packed = base64.b64encode(zlib.compress(self.literals, 9)).decode()
        return {"pieces": [list(piece) for piece in self.pieces], "literals": packed}

    @classmethod
    def from_json(cls, pieces: Sequence[Sequence[int]], literals: str) -> Delta:
        """Read what `as_json` gives.

        Raises
        ------
        ValueError : it is damaged
        """
        spans = tuple((int(offset), int(length)) for offset, length in pieces)
        try:
            return cls(spans, zlib.decompress(base64.b64decode(literals, validate=True)))
        except zlib.error as error:
            raise ValueError(str(error)) from None

    def restore(self, new: IO[bytes], write: Callable[[bytes], object]) -> None:
        """Give the old file's bytes to `write`, block by block, given the new file."""
        position = 0
        for offset, length in self.pieces:
            if offset < 0:
                write(self.literals[position : position + length])
                position += length
                continue
            new.seek(offset)
            while length > 0:
                block = new.read(min(length, _BLOCK_BYTES))
                if not block:
                    raise ValueError("the new file is too short")
                write(block)
                length -= len(block)


def delta(old_path: str | Path, new_path: str | Path) -> Delta:
    """Find the old file's bytes in the new file, which nobody else may write to.

    Raises
    ------
    OSError : a file cannot be read; ESTALE if the old one is cut short meanwhile
    """
    new = _mapped(new_path)
    pieces: list[Span] = []
    literals = bytearray()
    position = 0
    with open(old_path, "rb") as stream:
        old = _OldFile(stream.fileno())
        for start, end, shift in [*sorted(_copies(old, new)), (old.size, old.size, 0)]:
            if start > position:
                pieces.append((-1, start - position))
                literals += old.read(position, start)
            if end > start:
                pieces.append((start + shift, end - start))
            position = end
    return Delta(tuple(pieces), bytes(literals))


class _OldFile:
    """A file of the user's, read and never mapped: a mapped one that is cut short kills us."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def read(self, start: int, end: int) -> bytes:
        """The bytes from `start` to `end`, all of them."""
        data = os.pread(self._descriptor, end - start, start)
        if len(data) < end - start:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return data


def _mapped(path: str | Path) -> mmap.mmap:
    """Our file's bytes, until nothing refers to them; arrays over them do not let it be closed."""
    with open(path, "rb") as stream:
        return mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ)


def _copies(old: _OldFile, new: mmap.mmap) -> Iterator[tuple[int, int, int]]:
    """Stretches (start, end) of the old file with their distance from the same in the new one."""
    new_bytes = np.frombuffer(new, np.uint8)
    gaps: list[Span] = [(0, old.size)]
    for shift in _shifts(old, new, gaps):
        left: list[Span] = []
        for gap in gaps:
            position = gap[0]
            for start, end in _equal_runs(old, new_bytes, gap, shift):
                yield start, end, shift
                left.append((position, start))
                position = end
            left.append((position, gap[1]))
        gaps[:] = [(start, end) for start, end in left if end > start]


def _shifts(old: _OldFile, new: mmap.mmap, gaps: Sequence[Span]) -> Iterator[int]:
    """Distances worth a try: both files' starts, their ends, and where stretches are found again.

    `gaps` is what the distances so far have not explained.
    """
    yield 0
    yield len(new) - old.size
    position = 0
    for _ in range(_MAX_ANCHORS):
        places = (max(start, position) for start, end in gaps if end - _ANCHOR_BYTES >= position)
        at = next(places, None)
        if at is None:
            return
        found = new.find(old.read(at, min(at + _ANCHOR_BYTES, old.size)))
        position = at + _ANCHOR_STEP
        if found >= 0:
            yield found - at


def _equal_runs(old: _OldFile, new: Bytes, gap: Span, shift: int) -> Iterator[Span]:
    """Stretches of the old file in a gap that are the same in the new one at a distance."""
    start, end = max(gap[0], -shift), min(gap[1], len(new) - shift)
    begun = start
    for block in range(start, end, _BLOCK_BYTES):
        stop = min(block + _BLOCK_BYTES, end)
        piece = np.frombuffer(old.read(block, stop), np.uint8)
        differing = np.flatnonzero(piece != new[block + shift : stop + shift])
        edges = np.concatenate(([begun - 1], differing + block))
        for i in np.flatnonzero(np.diff(edges) > MIN_COPY_BYTES):
            yield int(edges[i]) + 1, int(edges[i + 1])
        begun = int(edges[-1]) + 1
    if end - begun >= MIN_COPY_BYTES:
        yield begun, end
