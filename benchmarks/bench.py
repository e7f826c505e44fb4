"""What the project's speed is, against peers and limits measured in the same run.

    python benchmarks/bench.py [--full] [--audio FOLDER] [--core N] [-o benchmarks/latest.json]

Everything runs in one thread on one core, and what is compared runs in turn, round after round;
each ratio is the median over the rounds. FOLDER holds audio files of about 30 s; without it, the
project's own piece is encoded as mp3. `--table docs/performance.md` also writes the table and the
plot of the growth beside it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from measure import Row

ROOT = Path(__file__).resolve().parent.parent
PIECE = ROOT / "demo" / "piece.ogg"
BEGIN, END = "<!-- made by make bench -->", "<!-- end -->"
SINGLE_THREADED = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
GROUPS = ("features", "predict", "folder", "network", "training")
CLIP_S = 30
LONG_H = 10


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write, and print the rows as they come."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--full", action="store_true", help="more files and rounds")
    parser.add_argument("--audio", type=Path, help="folder of files of about 30 s")
    parser.add_argument("--core", type=int, help="default: the last one allowed")
    parser.add_argument("--files", type=int, help="default: 8; full: 32")
    parser.add_argument("--rounds", type=int, help="default: 7; full: 21")
    parser.add_argument(
        "--cpu", action="store_true", help="processor time, where other programs run as well"
    )
    parser.add_argument("--only", default="", help="rows whose name or peer holds this text")
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "benchmarks" / "latest.json")
    parser.add_argument("--table", type=Path, help="Markdown file to put the table into")
    options = parser.parse_args(arguments)
    core = max(os.sched_getaffinity(0)) if options.core is None else options.core
    os.sched_setaffinity(0, {core})
    n_files = options.files or (32 if options.full else 8)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        files = given(options.audio, n_files) if options.audio else encoded(home, n_files)
        rows = compare(
            files,
            home,
            options.rounds or (21 if options.full else 7),
            n_copies=10 if options.full else 3,
            only=options.only,
            cpu=options.cpu,
        )
        options.out.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
        if options.table:
            fits = grow(files, options.table.with_name("growth.svg"), 9 if options.full else 5)
            fill_in(options.table, f"{table(rows)}\n{cold(files, home, options.full)}{fits}")


def given(folder: Path, n_files: int) -> list[Path]:
    """Audio files of a folder."""
    from tsresformer.audio import looks_like_audio

    found = (p for p in sorted(folder.rglob("*")) if p.is_file() and looks_like_audio(p))
    return list(itertools.islice(found, n_files)) or sys.exit(f"{folder}: holds no audio")


def encoded(home: Path, n_files: int) -> list[Path]:
    """Different parts of the project's piece as mp3: 30 s, 44.1 kHz, stereo, 256 kbit/s."""
    import numpy as np

    from tsresformer.audio import load

    rate = 44_100
    piece = np.tile(load(PIECE, rate), 2)
    starts = np.linspace(0, len(piece) // 2 - 1, n_files).astype(int)
    folder = home / "music"
    folder.mkdir()
    paths = [folder / f"{i:02d}.mp3" for i in range(n_files)]
    for path, start in zip(paths, starts, strict=True):
        clip = np.resize(piece[start:], CLIP_S * rate)
        encode(path, np.stack([clip, np.roll(clip, 100)]), rate)
    return paths


def encode(path: Path, stereo: object, rate: int) -> None:
    """Write an mp3 by PyAV."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libmp3lame", rate=rate, layout="stereo", bit_rate=256_000)
        frame = av.AudioFrame.from_ndarray(stereo, format="fltp", layout="stereo")  # type: ignore[arg-type]
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        resampler = av.AudioResampler("fltp", "stereo", rate, frame_size=1152)
        for part in (*resampler.resample(frame), *resampler.resample(None), None):
            container.mux(stream.encode(part))


def compare(
    files: Sequence[Path],
    home: Path,
    rounds: int,
    *,
    n_copies: int = 1,
    only: str = "",
    cpu: bool = False,
    groups: Sequence[str] = GROUPS,
) -> list[Row]:
    """Measure all cases."""
    import torch

    from bench_rows import cases
    from measure import measure, processor_time

    torch.set_num_threads(1)
    rows = []
    clock = processor_time if cpu else time.perf_counter
    for case in cases(files, home, groups, n_copies):
        if only in f"{case.name} {case.peer}":
            rows.append(measure(case, rounds, clock))
            print(line(rows[-1]), flush=True)
    return rows


def line(row: Row) -> str:
    """One row of the Markdown table."""
    if row.ratio is None or row.value_s is None or row.peer_s is None or row.spread is None:
        return f"| {row.name} | | {row.peer} | | {row.note} | | {row.bar} |"
    numbers = (f"{1000 * row.value_s:.3g}", f"{1000 * row.peer_s:.3g}", f"{row.ratio:.3g}")
    value, peer, ratio = numbers
    return (
        f"| {row.name} | {value} | {row.peer} | {peer} | **{ratio}** "
        f"| {100 * row.spread:.0f} % | {row.bar} |"
    )


def table(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table, with the machine."""
    models = {
        text.partition(":")[2].strip()
        for text in Path("/proc/cpuinfo").read_text().splitlines()
        if text.startswith("model name")
    }
    head = "| what | ms | against | ms | ratio | spread | bar |\n|---|---|---|---|---|---|---|\n"
    load = os.getloadavg()[0]
    where = f"{', '.join(models)}; one core, one thread; load of the machine {load:.1f} at the end."
    return head + "".join(f"{line(row)}\n" for row in rows) + f"\n{where}\n"


def cold(files: Sequence[Path], home: Path, long: bool) -> str:
    """Seconds and memory of `tsresformer predict`, of a file and, if asked, of one of ten hours."""
    import numpy as np

    from bench_rows import predict_cold

    runs = [predict_cold(file) for file in (*files, *files)[:9]]
    seconds, peak = np.median(runs, axis=0)
    lines = [f"- `tsresformer predict`, a file of 30 s, cold: {seconds:.2f} s, peak {peak:.0f} MiB"]
    if long:
        path = home / "long.mp3"
        with path.open("wb") as stream:
            for k in range(LONG_H * 3600 // CLIP_S):
                stream.write(files[k % len(files)].read_bytes())
        seconds, peak = predict_cold(path)
        speed = LONG_H * 3600 / seconds
        lines.append(
            f"- a file of {LONG_H} hours: {seconds:.0f} s ({speed:.0f} times real time), "
            f"peak {peak:.0f} MiB"
        )
    return "\n".join(lines) + "\n"


def grow(files: Sequence[Path], plot: Path, n_steps: int) -> str:
    """Fit cost = c * size ** power over two decades, and draw it."""
    import matplotlib
    import numpy as np

    from bench_rows import growth

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    lines = []
    for axis, (name, works) in zip(axes, growth(files, n_steps).items(), strict=True):
        sizes, seconds = [], []
        for size, work in works:
            work()
            times = []
            for _ in range(3 if size > works[0][0] * 20 else 9):
                begun = time.perf_counter()
                work()
                times.append(time.perf_counter() - begun)
            sizes.append(size)
            seconds.append(float(np.median(times)))
        power, factor = np.polyfit(np.log(sizes), np.log(seconds), 1)
        axis.loglog(sizes, seconds, "o")
        axis.loglog(sizes, np.exp(factor) * np.array(sizes) ** power, label=f"power {power:.2f}")
        axis.set(xlabel=name, ylabel="seconds")
        axis.legend()
        lines.append(
            f"- {name}: from {sizes[0]:g} to {sizes[-1]:g}, cost grows as size^{power:.2f}"
        )
    figure.savefig(plot)
    return "\n".join(lines) + f"\n\n![cost against size]({plot.name})\n"


def fill_in(path: Path, text: str) -> None:
    """Replace what stands between the marks."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    if not SINGLE_THREADED.items() <= os.environ.items():  # libraries read it when they load
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | SINGLE_THREADED)
    main()
