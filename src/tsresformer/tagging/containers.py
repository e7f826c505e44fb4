"""What of a music file is not the tag: found by walking its container, without a tag library.

`payload` gives a hash of the encoded audio, and hashes of everything else that must stay when
one field of the tag changes. Both are compared before and after a change, so this module shares no
code with the library that makes the change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from tsresformer._headers import ReadAt
from tsresformer._source import SourceFile
from tsresformer.errors import AudioError
from tsresformer.tagging._asf import asf_parts
from tsresformer.tagging._mp4 import mp4_parts
from tsresformer.tagging._ogg import ogg_parts
from tsresformer.tagging._parts import Part, comment_parts, id3_parts
from tsresformer.workers import alive

ID3V1_BYTES = 128
APE_FOOTER_BYTES = 32

_APE_MAGIC = b"APETAGEX"
_BLOCK_BYTES = 2**20
_FLAC_COMMENT, _FLAC_PADDING = 4, 1


class Names(Protocol):
    """What a field is called in each kind of tag."""

    @property
    def id3(self) -> str:
        """Identifier of the ID3v2 frame."""

    @property
    def vorbis(self) -> str:
        """Key of the Vorbis comment."""

    @property
    def ape(self) -> str:
        """Key of the APEv2 item."""

    @property
    def mp4(self) -> tuple[bytes, ...]:
        """Names of the MP4 atoms."""


Walk = Callable[[ReadAt, int, int, Names], Iterable[Part]]
"""`walk(read_at, start, size, names)`, as `sniff` found start and size."""


@dataclass(frozen=True)
class Payload:
    """Hashes of a file's parts.

    Parameters
    ----------
    audio : of the encoded audio
    rest : of each other part that a change of the field must leave as it is, by name
    """

    audio: str
    rest: Mapping[str, str]

    def difference(self, after: Payload) -> str:
        """Name what another payload lacks or has changed; "" if it keeps everything."""
        if after.audio != self.audio:
            return "audio"
        return next((name for name in self.rest if after.rest.get(name) != self.rest[name]), "")


def payload(path: str, names: Names) -> Payload:
    """Hash the parts of a file that are not the named field.

    Raises
    ------
    AudioError : no audio, a kind of file that has no tag we write, or one whose parts do not
        add up
    """
    with SourceFile(path) as source:
        _check(path, source.format)
        try:
            walk = _WALKS[source.format]
            return _hashed(source, walk(source.read_at, source.start, source.size, names))
        except ValueError as error:
            raise AudioError(path, str(error), "left as it is", status="untaggable") from None


def taggable_format(path: str) -> str:
    """Name a file's format, by its content.

    Raises
    ------
    AudioError : it is no audio, or of a format whose tags are not written
    """
    with SourceFile(path) as source:
        _check(path, source.format)
        return source.format


def _check(path: str, format: str) -> None:
    if format not in _WALKS:
        raise AudioError(
            path,
            f"{format} files carry no tag that can be written safely",
            "convert it, for example to FLAC",
            status="untaggable",
        )


def _hashed(source: SourceFile, parts: Iterable[Part]) -> Payload:
    hashes: dict[str, hashlib._Hash] = {}
    for name, piece in parts:
        digest = hashes.setdefault(name, hashlib.sha256())
        if isinstance(piece, bytes):
            digest.update(len(piece).to_bytes(8, "little") + piece)
            continue
        start, end = piece
        digest.update((end - start).to_bytes(8, "little"))
        for position in range(start, end, _BLOCK_BYTES):
            digest.update(source.read_at(min(_BLOCK_BYTES, end - position), position))
            alive()
    found = {name: digest.hexdigest() for name, digest in hashes.items()}
    if "audio" not in found:
        raise ValueError("it holds no audio")
    return Payload(found.pop("audio"), found)


def _headed(read_at: ReadAt, _start: int, size: int, names: Names) -> Iterator[Part]:
    """A stream of frames behind an ID3v2 tag (MPEG audio, True Audio)."""
    end = yield from _before_id3v1(read_at, size)
    begin = 0
    if read_at(3, 0) == b"ID3":
        begin = yield from id3_parts(read_at, 0, size, names.id3)
    yield "audio", (begin, end)


def _tailed(read_at: ReadAt, _start: int, size: int, names: Names) -> Iterator[Part]:
    """A stream with an APEv2 tag behind it (WavPack, Monkey's Audio, Musepack)."""
    if read_at(8, 0) == _APE_MAGIC:
        raise ValueError("its APEv2 tag stands before the audio")
    end = yield from _before_id3v1(read_at, size)
    footer = read_at(APE_FOOTER_BYTES, max(0, end - APE_FOOTER_BYTES))
    if footer[:8] == _APE_MAGIC:
        length = int.from_bytes(footer[12:16], "little")
        if not APE_FOOTER_BYTES <= length < end:
            raise ValueError("its APEv2 tag is damaged")
        items = read_at(length, end - length)[:-APE_FOOTER_BYTES]
        has_header = footer[23] & 0x80
        end -= length + (APE_FOOTER_BYTES if has_header else 0)
        if end <= 0 or (has_header and read_at(8, end) != _APE_MAGIC):
            raise ValueError("its APEv2 tag is damaged")
        yield "items", b"\0".join(sorted(_ape_keys(items, names.ape)))
    yield "audio", (0, end)


def _ape_keys(items: bytes, left_out: str) -> Iterator[bytes]:
    position = 0
    while position + 8 < len(items):
        length = int.from_bytes(items[position : position + 4], "little")
        end = items.find(b"\0", position + 8)
        if end < 0 or end + 1 + length > len(items):
            raise ValueError("its APEv2 tag is damaged")
        key = items[position + 8 : end]
        if key.lower() != left_out.lower().encode():
            yield key
        position = end + 1 + length


def _before_id3v1(read_at: ReadAt, size: int) -> Generator[Part, None, int]:
    """The ID3v1 tag at the end but for its genre byte; returns where it starts."""
    tag = id3v1(read_at, size)
    if tag:
        yield "ID3v1", tag[:-1]
    return size - len(tag)


def id3v1(read_at: ReadAt, size: int) -> bytes:
    """The 128 bytes of an ID3v1 tag at the end of a file of `size` bytes, or none."""
    extra = _APE_MAGIC.index(b"TAG")  # an APEv2 tag of 131 bytes has these letters there as well
    tag = read_at(ID3V1_BYTES + extra, max(0, size - ID3V1_BYTES - extra))
    if len(tag) < ID3V1_BYTES or tag[-ID3V1_BYTES:][:3] != b"TAG":
        return b""
    return b"" if tag.startswith(_APE_MAGIC) else tag[-ID3V1_BYTES:]


def _flac(read_at: ReadAt, start: int, size: int, names: Names) -> Iterator[Part]:
    yield "head", (0, start)
    position, last = start + 4, False
    while not last:
        head = read_at(4, position)
        begin, end = position + 4, position + 4 + int.from_bytes(head[1:], "big")
        if len(head) < 4 or end > size:
            raise ValueError("its metadata blocks do not end")
        last, kind = bool(head[0] & 0x80), head[0] & 0x7F
        if kind == _FLAC_COMMENT:
            yield from comment_parts(read_at(end - begin, begin), names.vorbis)
        elif kind != _FLAC_PADDING:
            yield "blocks", bytes([kind])
            yield "blocks", (begin, end)
        position = end
    yield "audio", (position, size)


def _chunked(
    order: Literal["little", "big"], field_chunks: tuple[bytes, ...], audio: bytes
) -> Walk:
    """Walk over the chunks of RIFF ("little") or IFF ("big")."""

    def walk(read_at: ReadAt, start: int, size: int, names: Names) -> Iterator[Part]:
        magic = read_at(12, start)
        if start or magic[:4] not in (b"RIFF", b"FORM"):
            raise ValueError("only plain RIFF WAV files carry an ID3 tag")
        outer = start + 8 + int.from_bytes(magic[4:8], order)
        if outer > size:
            raise ValueError("its header claims more bytes than there are")
        position = start + 12
        while position + 8 <= outer:
            head = read_at(8, position)
            begin = position + 8
            end = begin + int.from_bytes(head[4:], order)
            if end > outer:
                raise ValueError("a chunk of it claims more bytes than there are")
            if head[:4] in field_chunks:
                yield from id3_parts(read_at, begin, end, names.id3)
            else:
                yield "chunks", head[:4]
                yield ("audio" if head[:4] == audio else "chunks"), (begin, end)
            position = end + (end - begin) % 2
        if outer + outer % 2 < size:
            yield "behind the chunks", (outer + outer % 2, size)

    return walk


_WALKS: Mapping[str, Walk] = {
    "aiff": _chunked("big", (b"ID3 ", b"id3 "), b"SSND"),
    "ape": _tailed,
    "asf": lambda read_at, _start, size, _names: asf_parts(read_at, size),
    "flac": _flac,
    "mp3": _headed,
    "mp4": lambda read_at, _start, size, names: mp4_parts(read_at, size, names.mp4),
    "musepack": _tailed,
    "musepack8": _tailed,
    "ogg": lambda read_at, start, size, names: ogg_parts(read_at, start, size, names.vorbis),
    "tta": _headed,
    "wav": _chunked("little", (b"id3 ", b"ID3 "), b"data"),
    "wavpack": _tailed,
}
