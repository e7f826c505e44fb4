"""What is read from a file, in a child process: hostile tags can hang or kill their reader."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tsresformer.audio import looks_like_audio
from tsresformer.tagging.containers import payload, taggable_format
from tsresformer.tagging.fields import Field, open_tag


@dataclass(frozen=True)
class Known:
    """What was read from a file.

    Parameters
    ----------
    format : what its content says that it is, "" for what neither is nor is called audio
    values : of the field
    audio : hash of its audio, "" if it was not needed yet
    """

    format: str
    values: tuple[str, ...] = ()
    audio: str = ""


def inspect(path: str, field: Field, only_empty: bool) -> Iterator[Known]:
    """Read a file's field, and the hash of its audio if it is to be classified; for a child."""
    if not looks_like_audio(path):
        yield Known("")
        return
    format = taggable_format(path)
    values = open_tag(path, format, field).values()
    audio = "" if only_empty and values else payload(path, field).audio
    yield Known(format, values, audio)
