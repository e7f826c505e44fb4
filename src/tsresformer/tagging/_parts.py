"""What the walks over containers share: parts, ID3v2 tags, Vorbis comments."""

from __future__ import annotations

from collections.abc import Generator, Iterator

from tsresformer._headers import ReadAt

Part = tuple[str, bytes | tuple[int, int]]
"""Name of a part, and a piece of it: bytes, or where they start and end in the file."""

MAX_TAG_BYTES = 2**28

_ID3_HEADER_BYTES = 10
_IN_A_LANGUAGE = (b"COMM", b"USLT")


def id3_parts(read_at: ReadAt, start: int, end: int, frame: str) -> Generator[Part, None, int]:
    """Version of an ID3v2 tag and the names of its frames but `frame`; returns where it ends.

    Empty frames do not count: the format forbids them, and they may go.

    Raises
    ------
    ValueError : the tag is damaged, or of a kind that cannot be written back
    """
    head = read_at(_ID3_HEADER_BYTES, start)
    if len(head) < _ID3_HEADER_BYTES or head[:3] != b"ID3":
        raise ValueError("its ID3 tag is damaged")
    version, flags = head[3], head[5]
    if version not in (3, 4):
        raise ValueError(f"its tag is ID3v2.{version}, which cannot be written")
    if flags & 0x10 and version == 4:
        raise ValueError("its ID3 tag has a footer")
    tag_end = start + _ID3_HEADER_BYTES + _synchsafe(head[6:])
    if tag_end > end:
        raise ValueError("its ID3 tag claims more bytes than there are")
    body = read_at(tag_end - start - _ID3_HEADER_BYTES, start + _ID3_HEADER_BYTES)
    if flags & 0x80 and version == 3:
        body = body.replace(b"\xff\x00", b"\xff")
    if flags & 0x40:
        length = int.from_bytes(body[:4], "big") + 4 if version == 3 else _synchsafe(body[:4])
        body = body[length:]
    yield "ID3 version", bytes([version])
    names = sorted(name for name in _frames(body, version) if name != frame.encode())
    yield "ID3 frames", b"".join(names)
    return tag_end


def _frames(body: bytes, version: int) -> Iterator[bytes]:
    """Names of the frames of an ID3v2.3 or 2.4 tag, none of which is compressed."""
    plain, packed = version == 3, 0x80 if version == 3 else 0x08
    position = 0
    while position + 10 <= len(body) and body[position]:
        size = body[position + 4 : position + 8]
        if body[position + 9] & packed:
            raise ValueError("a frame of its ID3 tag is compressed, and would be written unpacked")
        if not plain and not _follows(body, position + 10 + _synchsafe(size)):
            plain = True  # some programs wrote ordinary numbers into ID3v2.4
        length = int.from_bytes(size, "big") if plain else _synchsafe(size)
        name, end = body[position : position + 4], position + 10 + length
        if not _is_empty(name, body[position + 10 : end]):
            yield name
        position = end


def _is_empty(name: bytes, content: bytes) -> bool:
    """Whether a frame holds nothing, or only says how and in what language it says nothing."""
    if name in _IN_A_LANGUAGE:
        content = content[4:]
    elif name[:1] in (b"T", b"W") or name == b"IPLS":
        content = content[1:]
    return not content.strip(b"\0\xff\xfe")


def _follows(body: bytes, position: int) -> bool:
    """Whether a frame, padding or the end is at this place."""
    name = body[position : position + 4]
    return position <= len(body) and (not name.strip(b"\0") or (len(name) == 4 and name.isalnum()))


def _synchsafe(data: bytes) -> int:
    value = 0
    for byte in data:
        value = value << 7 | byte & 0x7F
    return value


def comment_parts(block: bytes, key: str) -> Iterator[Part]:
    """Vendor and comments of a Vorbis comment block but those of `key`, as they are stored.

    Raises
    ------
    ValueError : the block ends too early
    """
    position = 0

    def field() -> bytes:
        nonlocal position
        number = int.from_bytes(block[position : position + 4], "little")
        begin, position = position + 4, position + 4 + number
        if position > len(block):
            raise ValueError("its Vorbis comments are damaged")
        return block[begin:position]

    vendor = field()
    n_comments = int.from_bytes(block[position : position + 4], "little")
    position += 4
    prefix = f"{key}=".lower().encode()
    yield "comments", vendor
    for _ in range(n_comments):
        comment = field()
        if not comment.lower().startswith(prefix):
            yield "comments", comment
