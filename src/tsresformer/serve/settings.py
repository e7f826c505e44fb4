"""What an operator can set, each with its default: the options of `tsresformer serve`.

This module imports little, because the command line builds its options from it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from typing import Any

from tsresformer.errors import ConfigError

PREFIX = "TSRESFORMER_SERVE_"
"""An option --some-name is also the environment variable TSRESFORMER_SERVE_SOME_NAME."""

MAX_KEY_CHARACTERS = 1024


def _set(default: Any, text: str, least: float | None = None, *, flag: str = "") -> Any:
    """A setting: its help text, its least value, and its option where the name is another."""
    return field(default=default, metadata={"help": text, "least": least, "flag": flag})


@dataclass(frozen=True)
class Settings:
    """How the service listens, what it serves, and what a request may take.

    Raises
    ------
    ConfigError : a value is out of range
    """

    host: str = _set("127.0.0.1", "Address to listen on.")
    port: int = _set(8000, "Port to listen on; 0 takes a free one.", 0)
    models: tuple[str, ...] = _set(
        ("fma-small",), "A shipped bundle, or the folder of one; repeat for several.", flag="model"
    )
    decoders: int = _set(0, "Decoding processes; 0 is one a core.", 0)
    threads: int = _set(0, "Cores for the network; 0 is all.", 0)
    queue: int = _set(64, "Requests that are received or worked on at once; past it: 503.", 1)
    upload_mib: int = _set(100, "Largest upload, MiB.", 1)
    batch_files: int = _set(16, "Most files in one batch.", 1)
    decoded_s: float = _set(1200.0, "Most seconds of audio that are decoded.", 1)
    stall_s: float = _set(20.0, "Seconds without progress after which a decoder is ended.", 0.1)
    memory_mib: int = _set(2048, "Address space of a decoder, MiB; 0 for no limit.", 0)
    work_s: float = _set(60.0, "Seconds that a request may wait and be worked on.", 0.1)
    header_s: float = _set(10.0, "Seconds in which a request's headers must arrive.", 0.1)
    body_stall_s: float = _set(10.0, "Longest pause within a request's body, seconds.", 0.1)
    body_s: float = _set(120.0, "Seconds in which a request's body must arrive.", 0.1)
    keep_alive_s: int = _set(30, "Seconds that an idle connection is kept.", 0)
    shutdown_s: int = _set(60, "Seconds that running requests get at shutdown.", 0)
    fetch_hosts: tuple[str, ...] = _set(
        (), "Host that {'url': ...} may name, HOST or HOST:PORT; repeat.", flag="fetch-host"
    )
    cors_origins: tuple[str, ...] = _set(
        (), "Origin whose pages may call the API; repeat.", flag="cors-origin"
    )
    api_key_file: str = _set(
        "", f"File with the bearer key that clients must send; or {PREFIX}API_KEY."
    )
    api_key: str = field(default="", repr=False, metadata={"hidden": True})

    def __post_init__(self) -> None:
        for one in fields(self):
            least = one.metadata.get("least")
            value = getattr(self, one.name)
            if least is not None and not least <= value < float("inf"):
                raise ConfigError(f"{one.name} = {value:g}: must be {least:g} or more")
        if self.port > 65535:
            raise ConfigError(f"port = {self.port}: there is none above 65535")
        if not self.models:
            raise ConfigError("models: name at least one bundle")
        key = self.api_key
        if key and not (key.isascii() and key.isprintable() and len(key) <= MAX_KEY_CHARACTERS):
            raise ConfigError(f"api_key: use up to {MAX_KEY_CHARACTERS} printable ASCII characters")

    @property
    def upload_bytes(self) -> int:
        """Largest upload in bytes."""
        return self.upload_mib * 2**20


def key_from(path: str) -> str:
    """Read the bearer key: from a file, else from the environment; "" for none.

    Raises
    ------
    ConfigError : the file cannot be read, or is empty
    """
    if not path:
        return os.environ.get(f"{PREFIX}API_KEY", "").strip()
    try:
        with open(path, encoding="ascii") as stream:
            key = stream.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the bearer key cannot be read ({error})") from None
    if not key:
        raise ConfigError(f"{path}: holds no bearer key")
    return key
