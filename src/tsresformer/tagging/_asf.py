"""The objects of an ASF file (Windows Media)."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from tsresformer._headers import ReadAt
from tsresformer.tagging._parts import Part


def _guid(text: str) -> bytes:
    return UUID(text).bytes_le


_HEADER = _guid("75B22630-668E-11CF-A6D9-00AA0062CE6C")
_FILE_PROPERTIES = _guid("8CABDCA1-A947-11CF-8EE4-00C00C205365")
_EXTENSION = _guid("5FBF03B5-A92E-11CF-8EE3-00C00C205365")
_TAGS = frozenset(
    _guid(text)
    for text in (
        "75B22633-668E-11CF-A6D9-00AA0062CE6C",  # content description
        "D2D0A440-E307-11D2-97F0-00A0C95EA850",  # extended content description
        "C5F8CBEA-5BAF-4877-8467-AA8C44FA4CCA",  # metadata
        "44231C94-9498-49D1-A141-1D134E457054",  # metadata library
        "1806D474-CADF-4509-A4BA-9AABCB96AAE8",  # padding
    )
)
_OBJECT_BYTES, _HEADER_BYTES = 24, 30
_EXTENSION_BYTES = _OBJECT_BYTES + 22
_SIZE_AT, _SIZE_END = 40, 48


def asf_parts(read_at: ReadAt, size: int) -> Iterator[Part]:
    """What follows the header, and the header's objects but those that hold tags."""
    head = read_at(_HEADER_BYTES, 0)
    end = int.from_bytes(head[16:24], "little")
    if head[:16] != _HEADER or end > size:
        raise ValueError("its header claims more bytes than there are")
    for guid, start, stop in _objects(read_at, _HEADER_BYTES, end):
        if guid == _EXTENSION:
            for inner, inner_start, inner_stop in _objects(read_at, start + _EXTENSION_BYTES, stop):
                if inner not in _TAGS:
                    yield "objects", (inner_start, inner_stop)
        elif guid == _FILE_PROPERTIES:  # it also holds the size of the file
            yield "objects", (start, start + _SIZE_AT)
            yield "objects", (start + _SIZE_END, stop)
        elif guid not in _TAGS:
            yield "objects", (start, stop)
    yield "audio", (end, size)


def _objects(read_at: ReadAt, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    while start + _OBJECT_BYTES <= end:
        head = read_at(_OBJECT_BYTES, start)
        stop = start + int.from_bytes(head[16:], "little")
        if stop < start + _OBJECT_BYTES or stop > end:
            raise ValueError("an object of its header claims more bytes than there are")
        yield head[:16], start, stop
        start = stop
