"""Receiving files: within limits of size and time, in flat memory, and leaving nothing behind.

An upload lies in memory while it is small, and then in a temporary file without a name, which
ends with its last descriptor, however the process ends. Decoders open it through /proc.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from tsresformer.serve.fetch import Fetcher
from tsresformer.serve.problems import Problem
from tsresformer.serve.settings import Settings

FIELD = "file"
NO_NAME = "upload"
MAX_NAME_CHARACTERS = 200
MAX_JSON_BYTES = 16 * 1024
FRAMING_BYTES = 64 * 1024
"""What multipart may add to the files."""

SPOOL_BYTES = 2**20
_RAW_TYPES = frozenset({"", "application/octet-stream", "application/ogg"})


@contextlib.asynccontextmanager
async def received(
    request: Request, settings: Settings, fetcher: Fetcher, most_files: int = 1
) -> AsyncIterator[list[UploadFile]]:
    """Receive the files of a request; they end with the block.

    Raises
    ------
    Problem : too large, too slow, or nothing that holds a file
    """
    files: list[UploadFile] = []
    try:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "multipart/form-data":
            files += await _multipart(request, settings, most_files)
        elif kind == "application/json":
            files.append(_empty())
            files[0].filename = await fetcher.fetch(await _url(request, settings), files[0])
        elif kind in _RAW_TYPES or kind.startswith(("audio/", "video/")):
            files.append(_empty())
            async for chunk in body(request, settings, settings.upload_bytes):
                await files[0].write(chunk)
        else:
            raise Problem(
                "unsupported-media-type",
                f"send multipart/form-data with a field {FIELD!r}, the audio itself as audio/* or "
                "application/octet-stream, or JSON with a URL",
            )
        yield files
    finally:
        for file in files:
            await file.close()


def _empty() -> UploadFile:
    return UploadFile(tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES))  # type: ignore[arg-type]


async def _multipart(request: Request, settings: Settings, most: int) -> list[UploadFile]:
    stream = body(request, settings, settings.upload_bytes + FRAMING_BYTES)
    parser = MultiPartParser(
        request.headers, stream, max_files=most, max_fields=16, max_part_size=FRAMING_BYTES
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise Problem("bad-request", error.message.rstrip(".")) from None
    except UnicodeError:  # an unknown charset is read as Latin-1, but some codecs refuse all bytes
        raise Problem("bad-request", "the form cannot be read in the charset it claims") from None
    parts = form.getlist(FIELD)
    files = [part for part in parts if isinstance(part, UploadFile)]
    if not files or len(files) < len(form.multi_items()):
        await form.close()
        what = f"the form needs the field {FIELD!r} with a file, and nothing else"
        raise Problem("bad-request", what)
    return files


async def _url(request: Request, settings: Settings) -> str:
    data = b"".join([chunk async for chunk in body(request, settings, MAX_JSON_BYTES)])
    try:
        url = json.loads(data)["url"]
    except (ValueError, KeyError, TypeError, RecursionError):
        url = None
    if not isinstance(url, str):
        raise Problem("bad-request", 'the JSON must be {"url": "https://..."}')
    return url


async def body(request: Request, settings: Settings, most: int) -> AsyncGenerator[bytes, None]:
    """Yield a request's body as it arrives.

    Raises
    ------
    Problem : it is larger than `most` bytes, as soon as that is known; it pauses or takes too
        long; or it ends early
    """
    claimed = request.headers.get("content-length", "0")
    if claimed.isdecimal() and int(claimed) > most:
        raise _too_large(most)
    n_bytes, end = 0, time.monotonic() + settings.body_s
    while True:
        pause_s = min(settings.body_stall_s, end - time.monotonic())
        try:
            async with asyncio.timeout(max(0.0, pause_s)):
                message = await request.receive()
        except TimeoutError:
            raise Problem("slow-body", "the body did not arrive in time") from None
        if message["type"] == "http.disconnect":
            raise Problem("bad-request", "the connection ended within the body")
        chunk = message.get("body", b"")
        n_bytes += len(chunk)
        if n_bytes > most:
            raise _too_large(most)
        if chunk:
            yield chunk
        if not message.get("more_body"):
            return


def _too_large(most: int) -> Problem:
    return Problem("too-large", f"the body exceeds {most / 2**20:.4g} MiB")


def decoder_path(file: UploadFile) -> str:
    """Path by which a child process of this one can open an upload."""
    descriptor = file.file.fileno()  # moves what is still in memory to the file
    file.file.flush()
    return f"/proc/{os.getpid()}/fd/{descriptor}"


def client_name(file: UploadFile) -> str:
    """Last part of the name that the client gave to its file, fit to be shown."""
    name = (file.filename or "").replace("\\", "/").rpartition("/")[2]
    name = "".join(c for c in name if c.isprintable())[:MAX_NAME_CHARACTERS].strip()
    return name if name.strip(".") else NO_NAME
