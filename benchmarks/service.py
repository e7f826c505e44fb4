"""Latency and throughput of `tsresformer serve` against `predict` on the same cores.

Starts the service on the loopback, makes 30 s mp3 files from the project's own piece, and prints
a table. Bounded: at most `--requests` requests of each kind and `--seconds` seconds of each.

    python benchmarks/service.py
    taskset -c 1 python benchmarks/service.py --requests 200
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import soundfile

from tsresformer.audio import load
from tsresformer.classifier import Classifier
from tsresformer.workers import n_cores

PIECE = Path(__file__).resolve().parent.parent / "demo" / "piece.ogg"
RATE, CLIP_S = 44100, 30.0
WARM_UP = 20


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=10_000, help="most requests of a kind")
    parser.add_argument("--seconds", type=float, default=900.0, help="longest time of a kind")
    parser.add_argument("--latency-requests", type=int, default=300)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--json", help="write the figures there too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clip = make_clip(Path(folder) / "clip.mp3")
        body = clip.read_bytes()
        print(f"{n_cores()} cores; {CLIP_S:g} s mp3 of {len(body) / 1000:.0f} kB")
        offline = offline_rate(clip, arguments.requests // 10, arguments.seconds)
        with service() as (port, pid):
            request_many(port, body, 1, WARM_UP, 60)
            before = resident_mib(pid)
            alone = request_many(port, body, 1, arguments.latency_requests, arguments.seconds)
            busy = request_many(
                port, body, arguments.clients, arguments.requests, arguments.seconds
            )
            growth = resident_mib(pid) - before
    figures = {
        "p50_ms": 1000 * statistics.median(alone.seconds),
        "p95_ms": 1000 * float(np.quantile(alone.seconds, 0.95)),
        "offline_per_s": offline,
        "clients": arguments.clients,
        "service_per_s": len(busy.seconds) / busy.elapsed_s,
        "requests": len(alone.seconds) + len(busy.seconds),
        "errors": alone.n_errors + busy.n_errors,
        "memory_growth_mib": growth,
    }
    figures["service_to_offline"] = figures["service_per_s"] / offline
    for name, value in figures.items():
        print(
            f"  {name:20} {value:10.3f}" if isinstance(value, float) else f"  {name:20} {value:6}"
        )
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(figures, indent=2) + "\n")


class Load:
    """What a number of clients saw."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.n_errors, self.elapsed_s = 0, 0.0


def request_many(port: int, body: bytes, n_clients: int, most: int, most_s: float) -> Load:
    """Post a file from clients that each keep a connection, until the number or time is up."""
    load, numbers = Load(), itertools.count()
    lock, started = threading.Lock(), time.perf_counter()

    def client(_: int) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=120)) as link:
            while next(numbers) < most and time.perf_counter() - started < most_s:
                begun = time.perf_counter()
                link.request("POST", "/v1/predict", body, {"content-type": "audio/mpeg"})
                answer = link.getresponse()
                answer.read()
                with lock:
                    load.seconds.append(time.perf_counter() - begun)
                    load.n_errors += answer.status != 200

    with ThreadPoolExecutor(n_clients) as threads:
        list(threads.map(client, range(n_clients)))
    load.elapsed_s = time.perf_counter() - started
    return load


def offline_rate(clip: Path, n_files: int, most_s: float) -> float:
    """Files a second of `predict` over as many copies of a clip, decoders started."""
    classifier = Classifier.load("fma-small")
    rows = classifier.predict_many([clip] * (WARM_UP + n_files), n_workers=n_cores())
    for _ in itertools.islice(rows, WARM_UP):
        pass
    started, n_done = time.perf_counter(), 0
    for _ in rows:
        n_done += 1
        if time.perf_counter() - started > most_s:
            break
    elapsed_s = time.perf_counter() - started
    rows.close()  # type: ignore[attr-defined]
    return n_done / elapsed_s


@contextmanager
def service() -> Iterator[tuple[int, int]]:
    """Start the service with its defaults; yield its port and process id."""
    command = [sys.executable, "-m", "tsresformer.cli", "serve", "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    try:
        for line in process.stderr:
            message = json.loads(line)["message"]
            if message.startswith("Uvicorn running on "):
                port = int(message.split(":")[2].split()[0])
                break
        drain = threading.Thread(target=process.stderr.read, daemon=True)
        drain.start()
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(60)


def resident_mib(pid: int) -> float:
    """Resident memory of a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    n_pages = sum(int(Path(f"/proc/{p}/statm").read_text().split()[1]) for p in [pid, *children])
    return n_pages * 4096 / 2**20


def make_clip(path: Path) -> Path:
    """Encode 30 s of the project's piece, repeated, as an mp3 of 128 kbit/s or so."""
    wave = np.resize(load(PIECE, RATE), round(CLIP_S * RATE))
    soundfile.write(path, np.stack([wave, wave], axis=1), RATE, format="MP3")
    return path


if __name__ == "__main__":
    main()
