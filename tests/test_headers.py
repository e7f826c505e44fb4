"""Header readers: runs of frames, chained streams, claims, and any bytes at all."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from tsresformer._headers import claimed_seconds, find_frames, ogg_links
from tsresformer._sniff import sniff


def test_find_frames_needs_a_run() -> None:
    frame = b"\xff\xfb\x90\x64" + bytes(413)  # 128 kbit/s at 44.1 kHz: 417 bytes
    assert find_frames(frame * 3, whole=True) == ("mp3", 0)
    assert find_frames(bytes(100) + frame * 4, whole=True) == ("mp3", 100)
    assert find_frames(frame, whole=True) == ("mp3", 0)
    assert find_frames(bytes(100) + frame * 2, whole=True) == ("", 0)
    assert find_frames(frame[:4] * 1000, whole=True) == ("", 0)
    adts = b"\xff\xf1\x50\x80\x02\x1f\xfc" + bytes(9)  # 16 bytes
    assert find_frames(b"junk" + adts * 3, whole=True) == ("aac", 4)


def test_ogg_links_start_where_a_stream_begins_after_others() -> None:
    def page(flags: int) -> bytes:
        return b"OggS\0" + bytes([flags]) + bytes(20) + b"\x01\x05hello"

    content = page(2) + page(2) + page(0) + page(4) + page(2) + page(4)
    n = len(page(0))
    assert ogg_links(lambda size, at: content[at : at + size], 0, len(content)) == [
        (0, 4 * n),
        (4 * n, 6 * n),
    ]


@given(
    content=st.binary(max_size=400),
    magic=st.sampled_from(
        [b"RIFF\0\0\0\0WAVE", b"FORM\0\0\0\0AIFF", b".snd", b"\xff\xfb\x90d", b"ID3"]
    ),
)
def test_header_readers_survive_anything(content: bytes, magic: bytes) -> None:
    whole = magic + content

    def read_at(n_bytes: int, offset: int) -> bytes:
        return whole[offset : offset + n_bytes]

    name, start = sniff(read_at, len(whole))
    assert 0 <= start <= len(whole)
    seconds = claimed_seconds(name, start, read_at)
    assert seconds is None or seconds >= 0


def test_claims_of_wav_chunks_in_any_order() -> None:
    fmt = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 2, 44100, 176400, 4, 16)
    wav = (
        b"RIFF\0\0\0\0WAVE" + b"LIST\x03\0\0\0abc\0" + fmt + b"data" + struct.pack("<I", 176400 * 7)
    )
    assert claimed_seconds("wav", 0, lambda n, at: wav[at : at + n]) == 7.0
