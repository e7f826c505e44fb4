"""What the tests of the service run in decoding processes: it must be importable there."""

from __future__ import annotations

from collections.abc import Iterator

import worker_functions
from tsresformer.extract import Chunk
from tsresformer.serve.pictures import Job, Picture, decode

POISON = b"POISON "
"""A file that begins so is no audio: what follows is for `worker_functions.act`."""


def poisonable(job: Job) -> Iterator[Chunk | Picture]:
    """Decode, or do to this process what a file says that exploits its decoder."""
    with open(job.path, "rb") as stream:
        head = stream.read(64)
    if head.startswith(POISON):
        for _ in worker_functions.act(head.removeprefix(POISON).decode()):
            pass
    yield from decode(job)
