"""How fast a catalogue is classified, per worker, and what a worker holds in memory.

    python benchmarks/catalogue.py MUSIC [--workers 1 2] [--engine ray|local] [--tracks N]

MUSIC is a folder of audio files: at least 500, of about 30 s each, for figures that mean something.
First comes the plain loop that everything is compared with: `Classifier.predict` over the files in
one process on one core. Then `tsresformer catalogue run` with each number of workers. Rates are
those between the first and the last part, so that the start of Ray does not count; it is
printed beside them, and where one part holds all files there is no rate. Rates mean something on a
quiet machine only, and with as many cores as workers; the seconds of CPU for a track, of the
workers and their decoders, on any.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tsresformer.audio import looks_like_audio
from tsresformer.classifier import Classifier
from tsresformer.workers import n_cores

MEBIBYTE = 2**20


def main() -> None:
    """Measure, and print one line of JSON for each measurement."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("music", type=Path)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--engine", choices=["ray", "local"], default="ray")
    parser.add_argument("--tracks", type=int, help="take only so many files")
    parser.add_argument("--part-tracks", type=int, default=20)
    options = parser.parse_args()
    found = (p for p in sorted(options.music.rglob("*")) if p.is_file() and looks_like_audio(p))
    files = list(itertools.islice(found, options.tracks))
    print(f"{len(files)} files, {n_cores()} cores", file=sys.stderr)
    plain = plain_loop(files)
    print(json.dumps({"what": "predict loop, one core", **plain}), flush=True)
    rates: dict[int, float] = {}
    for n_workers in options.workers:
        result = catalogue(files, n_workers, options.engine, options.part_tracks)
        if "tracks_per_s" in result:
            rate = rates[n_workers] = result["tracks_per_s"]
            result["per_worker_of_the_loop"] = round(rate / n_workers / plain["tracks_per_s"], 3)
            result["times_the_first"] = round(rate / next(iter(rates.values())), 3)
        what = f"catalogue run, {options.engine}, {n_workers} workers"
        print(json.dumps({"what": what, **result}), flush=True)


def plain_loop(files: list[Path]) -> dict[str, float]:
    """`Classifier.predict`, file after file, on the last core of those allowed."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    classifier = Classifier.load(threads=1)
    classifier.predict(files[0])
    begun, cpu_begun = time.perf_counter(), time.process_time()
    audio_s = sum(classifier.predict(file).seconds for file in files)
    seconds, cpu_s = time.perf_counter() - begun, time.process_time() - cpu_begun
    os.sched_setaffinity(0, before)
    return {
        "tracks_per_s": round(len(files) / seconds, 3),
        "cpu_s_per_track": round(cpu_s / len(files), 4),
        "audio_hours": round(audio_s / 3600, 4),
    }


def catalogue(files: list[Path], n_workers: int, engine: str, part_tracks: int) -> dict[str, float]:
    """`tsresformer catalogue run`: rate between the first and the last part, and memory."""
    with tempfile.TemporaryDirectory() as folder:
        table, out = Path(folder) / "t.csv", Path(folder) / "out"
        rows = "".join(f'{i},"{file.resolve()}"\n' for i, file in enumerate(files))
        table.write_text("track_id,path\n" + rows)
        command = [sys.executable, "-m", "tsresformer.cli", "catalogue", "run"]
        command += ["--input", str(table), "--output", str(out), "--engine", engine]
        command += ["--workers", str(n_workers), "--part-tracks", str(part_tracks), "--json", "-"]
        begun = time.time()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        peaks: dict[str, int] = {}
        cpu_s: dict[int, float] = {}
        watcher = threading.Thread(target=watch, args=(process, peaks, cpu_s))
        watcher.start()
        output, _ = process.communicate()
        watcher.join()
        status = json.loads(output)
        parts = sorted((out / "parts").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        times = [path.stat().st_mtime for path in parts]
        size = sum(path.stat().st_size for path in parts)
    rate = {}
    if times[-1] > times[0]:
        n_between = status["tracks"] - part_tracks
        rate["tracks_per_s"] = round(n_between / (times[-1] - times[0]), 3)
    return {
        **rate,
        "cpu_s_per_track": round(sum(cpu_s.values()) / status["tracks"], 4),
        "tracks": status["tracks"],
        "failed": sum(n for name, n in status["status"].items() if name not in ("ok", "silent")),
        "audio_hours": status["audio_hours"],
        "seconds_until_the_first_part": round(times[0] - begun, 1),
        "output_bytes_per_track": round(size / status["tracks"]),
        "peak_mib_of_a_worker": round(peaks.get("worker", 0) / MEBIBYTE),
        "peak_mib_of_its_decoder": round(peaks.get("decoder", 0) / MEBIBYTE),
    }


def watch(process: subprocess.Popen[str], peaks: dict[str, int], cpu_s: dict[int, float]) -> None:
    """Keep the largest peak of memory of workers and decoders, and what each has computed."""
    while process.poll() is None:
        for pid in descendants(process.pid):
            kind, peak, seconds = look_at(pid)
            if kind:
                peaks[kind] = max(peaks.get(kind, 0), peak)
                cpu_s[pid] = max(cpu_s.get(pid, 0.0), seconds)
        time.sleep(0.2)


def descendants(pid: int) -> Iterator[int]:
    """The process, and all that come from it."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            below = task.read_text().split()
        except OSError:
            continue
        for child in below:
            yield from descendants(int(child))


def look_at(pid: int) -> tuple[str, int, float]:
    """What a process is ("worker", "decoder", "" for neither), peak in bytes, seconds of CPU."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    except OSError:
        return "", 0, 0.0
    peak = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)
    seconds = sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
    if b"tsresformer._child" in command:
        return "decoder", peak, seconds
    if command.startswith(b"ray::MapWorker") or b"local" in command.split(b"\0"):
        return "worker", peak, seconds
    return "", 0, 0.0


if __name__ == "__main__":
    main()
