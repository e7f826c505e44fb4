"""Folders to read from and to write to, on this machine or in an object store.

A place is named by a path, or by a URI such as ``s3://bucket/prefix``, whose part behind the bucket
is taken as it stands: no character in it needs to be escaped.
"""

from __future__ import annotations

import io
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache, partial
from pathlib import Path
from typing import IO, Any, TypeVar

from tsresformer.cluster import EXTRA
from tsresformer.errors import CatalogueError, require
from tsresformer.files import atomic_write, check_writable, hold_folder

ATTEMPTS = 3
FIRST_PAUSE_S = 0.5
TIMEOUT_S = 8.0

Result = TypeVar("Result")


class Place(ABC):
    """A folder, or a prefix of an object store; names in it are separated by ``/``."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Content of a file; FileNotFoundError if there is none."""

    @abstractmethod
    def open(self, name: str) -> Any:
        """Open a file for random access; close it."""

    @abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Write a file whole or not at all, over whatever was there."""

    @abstractmethod
    def names(self, folder: str) -> set[str]:
        """Names of the files directly in a folder; empty if there is no such folder."""

    @abstractmethod
    def hold(self, busy: Exception) -> AbstractContextManager[None]:
        """Hold the place for this process alone, where that is possible."""


def place(uri: str) -> Place:
    """Open the place that a path or a URI names."""
    if uri.startswith("file:"):
        raise CatalogueError(f"{uri}: name a folder of this machine by its path")
    return _Remote(uri) if is_remote(uri) else _Local(uri)


def is_remote(uri: str) -> bool:
    """Whether something is named by a URI.

    >>> is_remote("s3://bucket/a.mp3"), is_remote("/music/a.mp3")
    (True, False)
    """
    return "://" in uri


class _Local(Place):
    """A folder of this machine, or of a disk that all machines share."""

    def read(self, name: str) -> bytes:
        return (Path(self.uri) / name).read_bytes()

    def open(self, name: str) -> IO[bytes]:
        return open(Path(self.uri) / name, "rb")

    def write(self, name: str, content: bytes) -> None:
        with atomic_write(Path(self.uri) / name, "wb") as stream:
            stream.write(content)

    def names(self, folder: str) -> set[str]:
        path = Path(self.uri) / folder
        return set(os.listdir(path)) if path.is_dir() else set()

    def hold(self, busy: Exception) -> AbstractContextManager[None]:
        check_writable(self.uri, folder=True)
        return hold_folder(self.uri, busy)


class _Remote(Place):
    """A prefix of an object store, through the file systems of pyarrow."""

    def read(self, name: str) -> bytes:
        with self.open(name) as file:
            content: bytes = file.read()
        return content

    def open(self, name: str) -> Any:
        filesystem, path = self._at(name)
        return persistent(lambda: filesystem.open_input_file(path))

    def write(self, name: str, content: bytes) -> None:
        filesystem, path = self._at(name)

        def put() -> None:
            with filesystem.open_output_stream(path) as stream:
                stream.write(content)

        persistent(put)

    def names(self, folder: str) -> set[str]:
        filesystem, path = self._at(folder)
        fs = require("pyarrow.fs", EXTRA)
        selector = fs.FileSelector(path, allow_not_found=True)
        entries = persistent(lambda: filesystem.get_file_info(selector))
        return {entry.base_name for entry in entries if entry.type == fs.FileType.File}

    def hold(self, busy: Exception) -> AbstractContextManager[None]:
        return nullcontext()  # two that write the same parts write the same bytes

    def _at(self, name: str) -> tuple[Any, str]:
        return resolve(f"{self.uri.rstrip('/')}/{name}")


def resolve(uri: str) -> tuple[Any, str]:
    """File system and path in it of a URI."""
    scheme, _, rest = uri.partition("://")
    authority, _, key = rest.partition("/")
    filesystem, base = _filesystem(scheme, authority)
    return filesystem, f"{base.rstrip('/')}/{key}".rstrip("/")


@lru_cache
def _filesystem(scheme: str, authority: str) -> tuple[Any, str]:
    arrow, fs = require("pyarrow", EXTRA), require("pyarrow.fs", EXTRA)
    try:
        if scheme == "s3":
            return _s3(authority), authority
        filesystem, base = fs.FileSystem.from_uri(f"{scheme}://{authority}/")
        return filesystem, base
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise CatalogueError(f"{scheme}://{authority}: cannot be opened: {error}") from None


def _s3(bucket: str) -> Any:
    """Amazon's S3, or what the usual variables of the environment name instead of it.

    A request that hangs ends sooner than a child process that makes no progress is killed.
    """
    fs = require("pyarrow.fs", EXTRA)
    region = _environment("AWS_REGION", "AWS_DEFAULT_REGION")
    endpoint = _environment("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    scheme, _, host = endpoint.rpartition("://")
    return fs.S3FileSystem(
        region=region or (None if endpoint else fs.resolve_s3_region(bucket)),
        scheme=scheme or "https",
        endpoint_override=host or None,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),
        connect_timeout=TIMEOUT_S,
        request_timeout=TIMEOUT_S,
    )


def _environment(*names: str) -> str:
    """Value of the first of these variables that is set, or nothing."""
    return next((os.environ[name] for name in names if os.environ.get(name)), "")


def remote_files(uri: str, depth: int | None = None) -> Iterator[str]:
    """Paths below a prefix of the files there, folder by folder in a fixed order, no hidden ones.

    Parameters
    ----------
    depth : folders to descend; None for all. One folder's entries lie in memory at a time
    """
    fs = require("pyarrow.fs", EXTRA)
    filesystem, root = resolve(uri)
    pending = [(root, 0)]
    while pending:
        folder, level = pending.pop()
        entries = persistent(partial(filesystem.get_file_info, fs.FileSelector(folder)))
        folders = []
        for entry in sorted(entries, key=lambda entry: entry.path):
            if entry.base_name.startswith("."):
                continue
            if entry.type == fs.FileType.File:
                yield entry.path[len(root) :].lstrip("/")
            elif depth is None or level < depth:
                folders.append((entry.path, level + 1))
        pending += reversed(folders)


def persistent(
    action: Callable[[], Result], meanwhile: Callable[[], None] = lambda: None
) -> Result:
    """Try an action up to `ATTEMPTS` times with growing pauses; a missing file is final.

    Parameters
    ----------
    meanwhile : called before each attempt
    """
    for attempt in range(1, ATTEMPTS + 1):
        meanwhile()
        try:
            return action()
        except FileNotFoundError:
            raise
        except OSError:
            if attempt == ATTEMPTS:
                raise
        time.sleep(FIRST_PAUSE_S * 2 ** (attempt - 1))
    raise AssertionError


def parquet_bytes(table: Any, *, row_group_size: int | None = None) -> bytes:
    """Parquet file of a table, the same bytes for the same table."""
    parquet = require("pyarrow.parquet", EXTRA)
    buffer = io.BytesIO()
    parquet.write_table(
        table,
        buffer,
        compression="zstd",
        row_group_size=row_group_size,
        write_page_checksum=True,
    )
    return buffer.getvalue()
