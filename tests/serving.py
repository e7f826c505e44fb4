"""A real server on the loopback, in a thread of this process or in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

import serve_functions
from tsresformer.bundle import Bundle, write_bundle
from tsresformer.serve.server import Server
from tsresformer.serve.service import Service
from tsresformer.serve.settings import Settings

GOLDEN = Path(__file__).parent / "golden" / "piece.json"
PIECE = json.loads(GOLDEN.read_text("utf-8"))["fma-small"]
"""What fma-small says of the project's piece, and GENRE which genre that is."""
GENRE = next(iter(PIECE))

SMALL = {
    "decoders": 2,
    "decoded_s": 60.0,
    "upload_mib": 4,
    "stall_s": 1.0,
    "memory_mib": 1536,
    "work_s": 20.0,
    "header_s": 1.0,
    "body_stall_s": 1.0,
    "body_s": 3.0,
}
"""Limits that tests run into quickly."""

Serving = Callable[..., contextlib.AbstractContextManager[httpx.Client]]


@contextlib.contextmanager
def serving(**values: Any) -> Iterator[httpx.Client]:
    """Serve in a thread, with decoders that `serve_functions.POISON` kills; yield a client."""
    service = Service(Settings(port=0, **(SMALL | values)), serve_functions.poisonable)
    server = Server(service, None)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        end = time.monotonic() + 60
        while not server.started:
            assert thread.is_alive() and time.monotonic() < end, "the server did not start"
            time.sleep(0.01)
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as client:
            client.server = server  # type: ignore[attr-defined]
            yield client
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


class Process:
    """`tsresformer serve` as a process."""

    def __init__(self, *options: str, **env: str) -> None:
        command = [sys.executable, "-m", "tsresformer.cli", "serve", "--port", "0", *options]
        self._process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env={**os.environ, **env}
        )
        self.pid, self.lines = self._process.pid, []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        start = "Uvicorn running on http://127.0.0.1:"
        self.port = int(self.wait_for(start).removeprefix(start).partition(" ")[0])

    def _read(self) -> None:
        assert self._process.stderr
        for line in self._process.stderr:
            self.lines.append(line)

    @property
    def records(self) -> list[dict[str, Any]]:
        """The log so far."""
        return [json.loads(line) for line in list(self.lines)]

    def wait_for(self, message: str) -> str:
        """Wait for a message in the log that begins so."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            for record in self.records:
                if record["message"].startswith(message):
                    return str(record["message"])
            assert self._process.poll() is None, self.lines
            time.sleep(0.02)
        raise AssertionError(f"{message!r} is not in {self.lines}")

    def end(self, timeout_s: float = 30) -> int:
        """Send SIGTERM and wait."""
        self._process.terminate()
        status = self._process.wait(timeout_s)
        self._reader.join(10)
        return status


def renamed(
    source: Path, name: str, temperature: float, out: Path, card: str = "# a card\n", **more: Any
) -> Bundle:
    """A bundle of the same weights under another name, with more changes to its record."""
    bundle = Bundle.load(source)
    record = {k: v for k, v in bundle.record.items() if k not in ("format", "files", "sha256")}
    record |= {"name": name, "temperature": temperature, **more}
    graph, weights = (
        (bundle.path / file).read_bytes() for file in ("model.onnx", "model.safetensors")
    )
    return write_bundle(out, record, graph, weights, card)


def problem(answer: httpx.Response, status: int, kind: str) -> str:
    """Check that an answer is a problem of some kind, and return its detail."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    value = answer.json()
    assert (answer.status_code, value["type"]) == (status, f"urn:ts-resformer:problem:{kind}")
    assert value.keys() == {"type", "title", "status", "detail", "request_id"}
    assert value["status"] == status
    assert value["title"] and value["detail"]
    assert value["request_id"] == answer.headers["x-request-id"]
    return str(value["detail"])
