"""The packets of an Ogg file."""

from __future__ import annotations

from collections.abc import Iterator

from tsresformer._headers import ReadAt
from tsresformer.tagging._parts import Part, comment_parts

_CODECS = {
    b"\x01vorbis": 7,
    b"OpusHead": 8,
    b"\x7fFLAC": 4,
    b"Speex   ": 0,
}
"""First bytes of a stream -> bytes before the comments in its second packet."""

_HEADER_BYTES = 27


def ogg_parts(read_at: ReadAt, start: int, size: int, key: str) -> Iterator[Part]:
    """Packets of all streams with their times, but for the comments of the first known stream.

    How packets are laid out on pages is left out: a longer comment moves it.
    """
    if start:
        raise ValueError("bytes stand before its first page")
    tagged: int | None = None
    unfinished: dict[int, bytearray] = {}
    n_packets: dict[int, int] = {}
    skip = 0
    for head, body in _pages(read_at, size):
        serial, granule = int.from_bytes(head[14:18], "little"), head[6:14]
        if head[5] & 2:
            unfinished[serial], n_packets[serial] = bytearray(), 0
            codec = next((magic for magic in _CODECS if body.startswith(magic)), None)
            if codec and tagged is None:
                tagged, skip = serial, _CODECS[codec]
        finished, unfinished[serial] = _packets(unfinished.get(serial, bytearray()), head, body)
        for packet in finished:
            n_packets[serial] = n_packets.get(serial, 0) + 1
            if serial == tagged and n_packets[serial] == 2:
                yield from comment_parts(packet[skip:], key)
            else:
                yield "audio", head[14:18] + granule + packet
    if tagged is None:
        raise ValueError("no stream in it has comments that can be written")
    for serial, rest in unfinished.items():
        yield "audio", serial.to_bytes(4, "little") + rest


def _pages(read_at: ReadAt, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Header with its table of lengths, and body, of each page."""
    position = 0
    while position < size:
        head = read_at(_HEADER_BYTES + 255, position)
        if len(head) < _HEADER_BYTES or head[:4] != b"OggS":
            raise ValueError("a page of it is damaged")
        head = head[: _HEADER_BYTES + head[26]]
        length = sum(head[_HEADER_BYTES:])
        body = read_at(length, position + len(head))
        if len(body) < length:
            raise ValueError("its last page is cut off")
        yield head, body
        position += len(head) + length


def _packets(begun: bytearray, head: bytes, body: bytes) -> tuple[list[bytes], bytearray]:
    """Packets that end on a page, and what is left for the next."""
    finished, position = [], 0
    for length in head[_HEADER_BYTES:]:
        begun += body[position : position + length]
        position += length
        if length < 255:
            finished.append(bytes(begun))
            begun = bytearray()
    return finished, begun
