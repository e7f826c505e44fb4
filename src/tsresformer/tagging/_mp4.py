"""The boxes of an MP4 file."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from tsresformer._headers import ReadAt
from tsresformer.tagging._parts import MAX_TAG_BYTES, Part

_CONTAINERS = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl", b"udta", b"meta", b"edts"})
_FILLERS = frozenset({b"free", b"skip"})
_OFFSETS = {b"stco": ">I", b"co64": ">Q"}
_TAG_PATH = (b"moov", b"udta", b"meta")
_MAX_DEPTH = 12


@dataclass(frozen=True)
class _Box:
    path: tuple[bytes, ...]
    start: int  # of the content
    end: int


def mp4_parts(read_at: ReadAt, size: int, atoms: tuple[bytes, ...]) -> Iterator[Part]:
    """Media data, and all boxes but the tag's own; offsets count from their media data's start.

    Of the tag, the names of all atoms but `atoms`.
    """
    boxes = list(_boxes(read_at, 0, size, ()))
    if any(box.path[-1] == b"moof" for box in boxes):
        raise ValueError("it is a fragmented MP4 file")
    media = [(box.start, box.end) for box in boxes if box.path == (b"mdat",)]
    for span in media:
        yield "audio", span
    for box in boxes:
        name = box.path[-1]
        if box.path[:4] == (*_TAG_PATH, b"ilst"):
            names = [b.path[-1] for b in _children(read_at, box.start, box.end, box.path)]
            yield "atoms", b"".join(sorted(n for n in names if n not in atoms))
        elif box.path[:3] == _TAG_PATH or name in _FILLERS or box.path == (b"mdat",):
            continue
        elif name in _OFFSETS:
            yield "boxes", b"/".join(box.path) + _relative(read_at, box, media)
        else:
            yield "boxes", b"/".join(box.path)
            yield "boxes", (box.start, box.end)


def _boxes(read_at: ReadAt, start: int, end: int, path: tuple[bytes, ...]) -> Iterator[_Box]:
    """Boxes that hold no boxes of interest, in order."""
    for box in _children(read_at, start, end, path):
        if box.path[-1] not in _CONTAINERS or len(path) > _MAX_DEPTH:
            yield box
            continue
        # `meta` is a full box in MP4, with four bytes before its children, and a plain one in MOV.
        full = box.path[-1] == b"meta" and read_at(8, box.start)[4:8] != b"hdlr"
        yield from _boxes(read_at, box.start + 4 * full, box.end, box.path)


def _children(read_at: ReadAt, start: int, end: int, path: tuple[bytes, ...]) -> Iterator[_Box]:
    position = start
    while position + 8 <= end:
        head = read_at(16, position)
        length, name, skip = int.from_bytes(head[:4], "big"), head[4:8], 8
        if length == 1:
            length, skip = int.from_bytes(head[8:16], "big"), 16
        elif length == 0 and not path:
            length = end - position
        elif length == 0:
            return  # the four zeros that end `udta` in QuickTime
        if length < skip or position + length > end:
            raise ValueError("a box of it claims more bytes than there are")
        yield _Box((*path, name), position + skip, position + length)
        position += length


def _relative(read_at: ReadAt, box: _Box, media: list[tuple[int, int]]) -> bytes:
    """Offsets of chunks as number of the media data that holds them and place in it."""
    data = read_at(min(box.end - box.start, MAX_TAG_BYTES), box.start)
    step = struct.calcsize(_OFFSETS[box.path[-1]])
    n = min(int.from_bytes(data[4:8], "big"), (len(data) - 8) // step)
    offsets = struct.unpack_from(f">{n}{_OFFSETS[box.path[-1]][1]}", data, 8)
    found = bytearray()
    for offset in offsets:
        at = next((i for i, (start, end) in enumerate(media) if start <= offset <= end), None)
        if at is None:
            raise ValueError("its audio lies outside its media data")
        found += struct.pack(">IQ", at, offset - media[at][0])
    return bytes(found)
