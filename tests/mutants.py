"""Damaged files: what a disk, a cut transfer or somebody with bad intentions makes of good ones."""

from __future__ import annotations

import random
from collections.abc import Sequence

EXTREMES = (
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x80\0\0\0",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x80",
    b"\x01\0\0\0",
)
HEAD = 600
"""Bytes at the beginning, where headers lie; more than half of the changes fall there."""


def flipped(content: bytes, generator: random.Random) -> bytes:
    """The content with one byte changed."""
    changed = bytearray(content)
    changed[generator.randrange(len(content))] ^= generator.randrange(1, 256)
    return bytes(changed)


def cut(content: bytes, generator: random.Random) -> bytes:
    """The first part of the content, at least a byte short."""
    return content[: generator.randrange(len(content))]


def mutated(content: bytes, others: Sequence[bytes], generator: random.Random) -> bytes:
    """The content with up to four changes.

    Parameters
    ----------
    others : contents that pieces are borrowed from
    """
    changed = bytearray(content)
    for _ in range(generator.choice((1, 1, 2, 4))):
        size = len(changed)
        reach = min(size, HEAD) if generator.random() < 0.6 else size
        at = generator.randrange(max(1, reach))
        length = generator.choice((1, 4, 64, 4096))
        match generator.randrange(7):
            case 0:
                for _ in range(generator.choice((1, 2, 8, 64))):
                    changed[generator.randrange(max(1, reach))] ^= 1 << generator.randrange(8)
            case 1:
                changed[at : at + 4] = generator.choice(EXTREMES)
            case 2:
                del changed[at : at + length]
            case 3:
                changed[at:at] = bytes(changed[at : at + length]) * generator.choice((1, 2, 50))
            case 4:
                changed[at:at] = generator.randbytes(length)
            case 5:
                other = generator.choice(others)
                start = generator.randrange(len(other))
                changed[at : at + length] = other[start : start + length]
            case 6:
                del changed[max(16, generator.randrange(size)) :]
        changed = changed or bytearray(b"\0")
    return bytes(changed)
