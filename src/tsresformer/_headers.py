"""Audio headers, byte by byte: runs of MPEG and ADTS frames, and the lengths that headers claim.

Decoders replace a header's claim by what they find, which hides that a file was cut; the claims
here are what the file's maker wrote.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

ReadAt = Callable[[int, int], bytes]
"""`read_at(n_bytes, offset)` gives at most that many bytes of a file."""

_BIT_RATES_KBPS = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SAMPLE_RATES_HZ = (44100, 48000, 32000)
_RATE_SHIFTS = {3: 0, 2: 1, 0: 2}
_TRAILING_TAGS = (b"TAG", b"APE", b"ID3", b"LYR")
_PLAIN_WAV = (1, 3, 6, 7, 0xFFFE)
_PLAIN_AIFF = (b"", b"NONE", b"sowt", b"twos", b"fl32", b"FL32", b"fl64", b"FL64", b"raw ")
_MAX_CHUNKS = 1000
_SCAN_BYTES, _MAX_LINKS = 2**20, 10_000


def find_frames(head: bytes, *, whole: bool) -> tuple[str, int]:
    """Find the first run of MPEG audio or ADTS frames, each where its predecessor ends.

    Parameters
    ----------
    head : the first bytes of the stream
    whole : nothing follows `head` in the file

    Returns
    -------
    format : "mp3" (any layer), "aac", or "" if there is no such run
    offset : of the first frame in `head`
    """
    offset = head.find(b"\xff")
    while offset >= 0:
        name = _run_of_frames(head, offset, whole=whole)
        if name:
            return name, offset
        offset = head.find(b"\xff", offset + 1)
    return "", 0


def ogg_links(read_at: ReadAt, start: int, size: int) -> list[tuple[int, int]]:
    """Start and end of each logical stream that is chained to the next in an Ogg file.

    The pages that begin a stream come together; one that comes after other pages starts a link.
    """
    starts, last_end, position = [start], start, start
    while len(starts) < _MAX_LINKS and (head := read_at(_SCAN_BYTES + 5, position)):
        at = head.find(b"OggS\0")
        while 0 <= at < len(head) - 5:
            if head[at + 5] & 2 and position + at >= last_end:
                if position + at > last_end:
                    starts.append(position + at)
                page = read_at(27 + 255, position + at)  # byte 26: the number of lengths behind it
                n_lengths = page[26] if len(page) > 26 else 0
                last_end = position + at + 27 + n_lengths + sum(page[27 : 27 + n_lengths])
            at = head.find(b"OggS\0", at + 1)
        position += _SCAN_BYTES
    return list(zip(starts, [*starts[1:], size], strict=True))


def claimed_seconds(name: str, start: int, read_at: ReadAt) -> float | None:
    """Length in seconds that the header of a wav, aiff, au or mp3 file claims, if it claims one."""
    claims = {"wav": _claimed_by_wav, "aiff": _claimed_by_aiff, "au": _claimed_by_au}
    try:
        if name == "mp3":
            return _claimed_by_xing(read_at(4096, start))
        return claims[name](start, read_at) if name in claims else None
    except (struct.error, ZeroDivisionError, OverflowError):
        return None


def _run_of_frames(head: bytes, offset: int, *, whole: bool) -> str:
    """Format of the frames that start at `offset`, or "" if they are too few to tell.

    Three are enough; at offset 0 fewer if the file has no more. Layer I, whose header is the byte
    order mark of UTF-16 text too, and free format, whose frames tell no length, start at 0 only.
    """
    first, position = head[offset : offset + 4], offset
    name, length = _frame(head, offset)
    layer_1 = first[1:2] and first[1] & 6 == 6
    if not name or (offset and (layer_1 or not length)):
        return ""
    if not length:
        return name if _repeats(head) else ""
    for n_frames in (1, 2, 3):
        position += length
        header = head[position : position + 4]
        if n_frames == 3 or (offset == 0 and header.startswith(_TRAILING_TAGS)):
            return name
        if position + 7 > len(head):
            return name if whole and offset == 0 and not (layer_1 and n_frames == 1) else ""
        _, length = _frame(head, position)
        same_stream = first[1] & 0xFE == header[1] & 0xFE and not (first[2] ^ header[2]) & 0x0C
        if not length or not same_stream:
            return ""
    return ""


def _frame(head: bytes, offset: int) -> tuple[str, int]:
    """Format and length in bytes of one frame; ("", 0) is no frame, ("mp3", 0) free format."""
    word = int.from_bytes(head[offset : offset + 7].ljust(7, b"\0"), "big")
    header = word >> 24
    version, layer = header >> 19 & 3, 4 - (header >> 17 & 3)
    if header >> 20 == 0xFFF and layer == 4:
        length = word >> 13 & 0x1FFF
        return ("aac", length) if header >> 10 & 15 < 13 and length > 7 else ("", 0)
    bit_rate, rate, padding = header >> 12 & 15, header >> 10 & 3, header >> 9 & 1
    if header >> 21 != 0x7FF or version == 1 or layer == 4 or bit_rate == 15 or rate == 3:
        return "", 0
    if not bit_rate:
        return "mp3", 0
    kbps = _BIT_RATES_KBPS[1 if version == 3 else 2, layer][bit_rate - 1]
    samples_per_byte = _samples_per_frame(version, layer) // 8
    n_bytes = samples_per_byte * kbps * 1000 // (_SAMPLE_RATES_HZ[rate] >> _RATE_SHIFTS[version])
    return "mp3", n_bytes // 4 * 4 + padding * 4 if layer == 1 else n_bytes + padding


def _samples_per_frame(version: int, layer: int) -> int:
    return 384 if layer == 1 else 576 if layer == 3 and version != 3 else 1152


def _repeats(head: bytes) -> bool:
    """Whether a free-format header comes again twice, at the same distance but for padding."""
    sync = head[:2]
    second = head.find(sync, 4, 8192)
    while second >= 0:
        same_rates = second + 2 < len(head) and not (head[second + 2] ^ head[2]) & 0xFC
        if same_rates and head.find(sync, 2 * second - 1, 2 * second + 4) >= 0:
            return True
        second = head.find(sync, second + 1, 8192)
    return False


def _claimed_by_xing(head: bytes) -> float | None:
    """Frame count of a Xing, Info or VBRI header, less the encoder's delay and padding."""
    header = int.from_bytes(head[:4], "big")
    version, layer, rate = header >> 19 & 3, 4 - (header >> 17 & 3), header >> 10 & 3
    if header >> 21 != 0x7FF or version == 1 or layer != 3 or rate == 3:
        return None
    n_samples = 0
    for tag in (b"Xing", b"Info"):
        at = head.find(tag, 4, 64)
        if at >= 0 and head[at + 7 : at + 8] and head[at + 7] & 1:
            n_samples = int.from_bytes(head[at + 8 : at + 12], "big") * _samples_per_frame(
                version, 3
            )
            if head[at + 7] & 15 == 15 and head[at + 120 : at + 124] in (b"LAME", b"Lavc", b"Lavf"):
                gaps = int.from_bytes(head[at + 141 : at + 144], "big")
                n_samples -= (gaps >> 12) + (gaps & 0xFFF)
    if head[36:40] == b"VBRI":
        n_samples = int.from_bytes(head[50:54], "big") * _samples_per_frame(version, 3)
    sample_rate = _SAMPLE_RATES_HZ[rate] >> _RATE_SHIFTS[version]
    return n_samples / sample_rate if n_samples > 0 else None


def _chunks(start: int, read_at: ReadAt, order: str) -> Iterator[tuple[bytes, int, int]]:
    """Name, offset and claimed size of each chunk of a RIFF or IFF file."""
    position = start + 12
    for _ in range(_MAX_CHUNKS):
        head = read_at(8, position)
        if len(head) < 8:
            return
        name, size = struct.unpack(f"{order}4sI", head)
        yield name, position + 8, size
        position += 8 + size + size % 2


def _claimed_by_wav(start: int, read_at: ReadAt) -> float | None:
    order = ">" if read_at(4, start) == b"RIFX" else "<"
    bytes_per_second, long_size = 0, 0
    for name, offset, size in _chunks(start, read_at, order):
        if name == b"ds64":
            long_size = int.from_bytes(read_at(16, offset)[8:], "little")
        elif name == b"fmt ":
            kind, rate, align = struct.unpack(f"{order}H2xI4xH", read_at(14, offset))
            bytes_per_second = rate * align if kind in _PLAIN_WAV else 0
        elif name == b"data":
            size = long_size if size == 0xFFFFFFFF else size
            return size / bytes_per_second if size else None
    return None


def _claimed_by_aiff(start: int, read_at: ReadAt) -> float | None:
    for name, offset, size in _chunks(start, read_at, ">"):
        if name == b"COMM":
            common = read_at(min(size, 22), offset)
            n_frames, exponent, mantissa = struct.unpack(">2xI2xHQ", common[:18])
            plain = common[18:] in _PLAIN_AIFF
            return n_frames / (mantissa * 2.0 ** (exponent - 16383 - 63)) if plain else None
    return None


def _claimed_by_au(start: int, read_at: ReadAt) -> float | None:
    size, encoding, rate, n_channels = struct.unpack(">8xIIII", read_at(24, start))
    width = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}.get(encoding)
    if width is None or size in (0, 0xFFFFFFFF):
        return None
    return float(size / (width * rate * n_channels))
