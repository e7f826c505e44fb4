"""The work of a worker's child process: fetch a file if it lies elsewhere, and hear it."""

from __future__ import annotations

from collections.abc import Iterator
from tempfile import TemporaryFile
from typing import IO

from tsresformer.catalogue.places import is_remote, persistent, resolve
from tsresformer.config import FeatureConfig
from tsresformer.errors import AudioError, CatalogueError
from tsresformer.extract import Chunk, log_mel_chunks
from tsresformer.workers import alive

UNREADABLE = "unreadable"
"""Status of a file that the object store, or the network to it, would not give."""

BLOCK_BYTES = 4 * 2**20
"""Fetched with one request."""


def fetched_chunks(
    item: str, config: FeatureConfig, max_seconds: float, max_bytes: int
) -> Iterator[Chunk]:
    """Yield the log-mel of a track that lies here or in an object store.

    What is fetched goes into a file without a name, which the kernel removes with the process,
    however that ends.
    """
    if not is_remote(item):
        yield from log_mel_chunks(item, config, max_seconds)
        return
    with TemporaryFile(prefix="tsresformer-") as copy:
        _fetch(item, copy, max_bytes)
        copy.flush()
        yield from log_mel_chunks(f"/proc/self/fd/{copy.fileno()}", config, max_seconds)


def _fetch(uri: str, copy: IO[bytes], max_bytes: int) -> None:
    def attempt() -> None:
        copy.seek(0)
        copy.truncate()
        filesystem, path = resolve(uri)
        alive()
        with filesystem.open_input_stream(path) as source:
            while block := source.read(BLOCK_BYTES):
                if copy.tell() + len(block) > max_bytes:
                    raise AudioError(
                        uri, f"it has more than {max_bytes:,} bytes", "raise --max-bytes"
                    )
                copy.write(block)
                alive()

    try:
        persistent(attempt, meanwhile=alive)
    except FileNotFoundError:
        raise AudioError(
            uri, "there is no such object", "check the path", status="missing"
        ) from None
    except (OSError, CatalogueError) as error:
        reason = " ".join(str(error).split())
        raise AudioError(
            uri, f"it could not be fetched ({reason})", "run its row again", status=UNREADABLE
        ) from None
