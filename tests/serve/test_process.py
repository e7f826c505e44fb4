"""`tsresformer serve` as a process: its signals, its logs, its memory, its end."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import httpx

from processes import wait_for
from serving import GENRE, Process, renamed
from tsresformer.bundle import Bundle

Start = Callable[..., Process]


class Asking(threading.Thread):
    """A client that asks one question after another until it is told to stop."""

    def __init__(self, port: int, piece: bytes, model: str) -> None:
        super().__init__()
        self._port, self._piece, self._model = port, piece, model
        self._enough = threading.Event()
        self.statuses: list[int] = []

    def run(self) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{self._port}", timeout=60) as client:
            while not self._enough.is_set():
                answer = client.post(f"/v1/predict?model={self._model}", content=self._piece)
                self.statuses.append(answer.status_code)

    def wait_for_answer(self) -> None:
        """Wait until a question that was asked from now on has its answer."""
        answers = len(self.statuses) + 2  # the first may have been asked before
        wait_for(lambda: len(self.statuses) >= answers or not self.is_alive())
        assert self.is_alive(), "a request was dropped"

    def end(self) -> list[int]:
        self._enough.set()
        self.join(60)
        return self.statuses


def test_sighup_swaps_bundles_without_dropping_a_request(
    process: Start, piece: bytes, tmp_path: Path
) -> None:
    first = renamed(Path("fma-small"), "mine", 0.5, tmp_path / "first")
    second = renamed(Path("fma-small"), "mine", 3.0, tmp_path / "second")
    link = tmp_path / "current"
    link.symlink_to("first")
    server = process("--model", "fma-small", "--model", str(link), "--decoders", "1")
    asking = Asking(server.port, piece, "mine")
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as client:

        def confidence() -> float:
            answer = client.post("/v1/predict?model=mine&top=1", content=piece)
            return float(answer.json()["probabilities"][GENRE])

        sure = confidence()
        asking.start()
        asking.wait_for_answer()
        link.unlink()
        link.symlink_to("second")
        os.kill(server.pid, signal.SIGHUP)
        server.wait_for("bundles swapped")
        listed = {m["name"]: m["sha256"] for m in client.get("/v1/models").json()["models"]}
        assert listed["mine"] == second.hash != first.hash
        assert confidence() < sure - 0.2
        asking.wait_for_answer()

        (tmp_path / "second" / "model.onnx").write_bytes(b"damaged")
        os.kill(server.pid, signal.SIGHUP)
        assert "damaged" in server.wait_for("the bundles were not swapped")
        assert client.get("/readyz").status_code == 200
        asking.wait_for_answer()
        assert set(asking.end()) == {200}
        metrics = client.get("/metrics").text
    assert f'tsresformer_model{{model="mine",sha256="{second.hash}"}} 1.0' in metrics
    assert first.hash not in metrics
    assert 'tsresformer_reloads_total{result="failed"} 1.0' in metrics


def refuses(port: int) -> bool:
    """Whether nobody listens any more."""
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_sigterm_finishes_what_runs(process: Start, piece: bytes) -> None:
    server = process("--decoders", "1", "--body-stall-s", "60")
    host = f"127.0.0.1:{server.port}"
    with socket.create_connection(("127.0.0.1", server.port), 60) as link:
        head = f"POST /v1/predict HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(piece)}\r\n\r\n"
        link.sendall(head.encode() + piece[:-1])
        inside = "tsresformer_requests_inside 1.0"
        wait_for(lambda: inside in httpx.get(f"http://{host}/metrics").text)
        os.kill(server.pid, signal.SIGTERM)
        wait_for(lambda: refuses(server.port))
        link.sendall(piece[-1:])
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while received := link.recv(65536):
                answer += received
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert f'"label":"{GENRE}"'.encode() in answer
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
    assert server.end() in (0, -signal.SIGTERM)
    assert not children.exists()


def test_three_gigabytes_are_refused_in_flat_memory(process: Start, piece: bytes) -> None:
    server = process("--decoders", "1")
    url = f"http://127.0.0.1:{server.port}/v1/predict"
    assert httpx.post(url, content=piece, timeout=60).status_code == 200

    def resident_mib() -> float:
        return int(Path(f"/proc/{server.pid}/statm").read_text().split()[1]) * 4096 / 2**20

    before, n_sent, peak, chunk = resident_mib(), 0, 0.0, bytes(2**20)
    with socket.create_connection(("127.0.0.1", server.port), 20) as link:
        head = f"POST /v1/predict HTTP/1.1\r\nhost: 127.0.0.1:{server.port}\r\n"
        link.sendall(head.encode() + b"transfer-encoding: chunked\r\n\r\n")
        link.settimeout(0.5)
        with contextlib.suppress(OSError):
            while n_sent < 3072:
                link.sendall(b"100000\r\n" + chunk + b"\r\n")
                n_sent += 1
                peak = max(peak, resident_mib())
                link.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    if link.recv(1, socket.MSG_PEEK):
                        break
                link.settimeout(5)
        link.settimeout(10)
        answer = link.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert 100 <= n_sent < 200
    assert peak - before < 30
    assert httpx.post(url, content=piece, timeout=60).status_code == 200


def test_log_is_json_with_ids_and_without_content(process: Start, piece: bytes) -> None:
    server = process("--decoders", "1", TSRESFORMER_SERVE_QUEUE="3")
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as client:
        files = {"file": ("private-name.ogg", piece)}
        good = client.post("/v1/predict?top=2", files=files, headers={"x-request-id": "id-1"})
        bad = client.post("/v1/predict", files={"file": ("private-name.txt", b"private words")})
    server.end()
    first, second = [r for r in server.records if r["message"] == "request"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["time"])
    assert (first["request_id"], good.headers["x-request-id"]) == ("id-1", "id-1")
    assert second["request_id"] == bad.json()["request_id"]
    assert (first["method"], first["route"], first["status"]) == ("POST", "/v1/predict", 200)
    assert first["received_bytes"] > len(piece)
    assert (second["status"], second["problem"]) == (415, "not-audio")
    assert "private" not in "".join(server.lines)


def test_bundle_that_cannot_be_served_is_one_sentence(tmp_path: Path) -> None:
    shutil.copytree(Bundle.load("fma-small").path, tmp_path / "twin")
    busy = socket.create_server(("127.0.0.1", 0))
    taken = busy.getsockname()[1]
    for options, words in (
        (["--model", str(tmp_path / "none")], "no such bundle"),
        (["--model", "fma-small", "--model", str(tmp_path / "twin")], "is served already"),
        (["--port", "70000"], "port = 70000"),
        (["--port", str(taken)], "cannot listen there"),
        (["--api-key-file", str(tmp_path / "none")], "the bearer key cannot be read"),
    ):
        command = [sys.executable, "-m", "tsresformer.cli", "serve", *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        last = done.stderr.splitlines()[-1]
        assert done.returncode == 2, done.stderr
        assert last.startswith("error: ") and words in last
        assert "Traceback" not in done.stderr
    busy.close()
