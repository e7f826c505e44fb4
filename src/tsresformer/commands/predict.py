"""`tsresformer predict`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tsresformer.commands.common import (
    csv_text,
    echo,
    json_text,
    model_option,
    output_options,
    shown,
    warn,
    warn_of_leak,
    workers_option,
    write_parquet,
    write_text,
)
from tsresformer.errors import (
    EXIT_INPUT,
    EXIT_INTERRUPTED,
    EXIT_OK,
    TsResformerError,
    require,
)

LEVELS = "▁▂▃▄▅▆▇█"
"""Probabilities by eighths, one character for each step of the timeline."""

if TYPE_CHECKING:
    from tsresformer.bundle import Bundle
    from tsresformer.classifier import Prediction, TimelineEntry


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path())
@click.option("--top", type=click.IntRange(1), help="Genres to show.  [default: 3; files: all]")
@model_option
@click.option("--timeline", is_flag=True, help="Add the genres of each stretch of the track.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@workers_option
@output_options
def predict(
    paths: Sequence[str],
    top: int | None,
    model: str,
    timeline: bool,
    device: str,
    workers: int,
    json: str | None,
    csv: str | None,
    parquet: str | None,
) -> int:
    """Classify audio files, and all audio inside folders.

    A file named here always gets a row; inside folders, what neither is nor is called audio is
    only counted.
    The exit code is 1 if some file could not be classified.

    \b
    Examples:
      tsresformer predict song.mp3 album/ --top 3
      tsresformer predict album/ --json genres.json
      tsresformer predict song.mp3 --timeline
    """
    from tsresformer.classifier import Classifier
    from tsresformer.progress import meter

    if parquet:
        require("pyarrow", "parquet")
    files, n_others = _collect(paths)
    if not files:
        raise TsResformerError(f"{', '.join(map(shown, paths))}: holds no audio to classify")
    classifier = Classifier.load(model, device=device)
    warn_of_leak(model, classifier.bundle.protocol)
    rows: list[Prediction] = []
    interrupted = False
    try:
        with meter("classifying", len(files)) as bar:
            for prediction in classifier.predict_many(
                files, n_workers=min(workers, len(files)), timeline=timeline
            ):
                rows.append(prediction)
                bar.advance()
                if prediction.error or prediction.warning:
                    note = prediction.error or f"warning: {prediction.warning}"
                    bar.say(f"{prediction.path}: {note}")
    except KeyboardInterrupt:
        interrupted = True
        warn(f"interrupted: {len(rows)} of {len(files)} files are classified and written")
    order = {path: i for i, path in enumerate(files)}
    rows.sort(key=lambda row: order[row.path])
    if n_others:
        warn(f"{n_others} files inside the folders are no audio")
    try:
        _write(rows, classifier.bundle, top, json=json, csv=csv, parquet=parquet)
    finally:  # hours of work must not be lost with a disk that is full
        if "-" not in (json, csv, parquet):
            _show(rows, top or 3)
    if interrupted:
        return EXIT_INTERRUPTED
    return EXIT_INPUT if any(row.error for row in rows) else EXIT_OK


def _collect(paths: Sequence[str]) -> tuple[list[str], int]:
    """Files to classify, each once, and the number of others inside folders."""
    from tsresformer.datasets import walk

    files: dict[str, str] = {}  # by absolute path, as the user spelt them
    named = {os.path.abspath(path) for path in paths if not os.path.isdir(path)}
    for path in paths:
        for file in map(str, walk(Path(path))) if os.path.isdir(path) else [path]:
            files.setdefault(os.path.abspath(file), file)
    others = _others([file for absolute, file in files.items() if absolute not in named])
    return [file for file in files.values() if file not in others], len(others)


def _others(files: Sequence[str]) -> set[str]:
    """Those of the files that are no audio; what FFmpeg has to open for that, a child opens.

    A file that ends the child is none of them: its row will say what is wrong with it.
    """
    from tsresformer.audio import audio_by_ffmpeg, audio_by_head
    from tsresformer.workers import stream

    known = {file: audio_by_head(file) for file in files}
    unknown = [file for file, is_audio in known.items() if is_audio is None]
    with closing(stream(audio_by_ffmpeg, unknown, n_workers=1)) as events:
        known.update((event.item, event.value) for event in events if event.kind == "chunk")
    return {file for file, is_audio in known.items() if is_audio is False}


def _write(
    rows: Sequence[Prediction],
    bundle: Bundle,
    top: int | None,
    *,
    json: str | None,
    csv: str | None,
    parquet: str | None,
) -> None:
    if json:
        tracks = [row.as_json(top) for row in rows]
        write_text(json, json_text({"schema": 1, "model": bundle.name, "tracks": tracks}))
    if not (csv or parquet):
        return
    from tsresformer.manifest import printable

    header = ["path", "status", "error", "label", "unsure"]
    header += [f"p_{label}" for label in bundle.labels]
    table = []
    for row in rows:
        likely = row.best(top)
        genres = [likely.get(label) for label in bundle.labels]
        table.append([printable(row.path), row.status, row.error, row.label, row.unsure, *genres])
    if csv:
        write_text(csv, csv_text(header, table))
    if parquet:
        write_parquet(parquet, header, table)


def _show(rows: Sequence[Prediction], top: int) -> None:
    """Print what people read: the genres of each file, and the timeline under them."""
    for row in rows:
        echo(row.path)
        if row.status != "ok":
            echo(f"  {row.status}" + (f": {row.error}" if row.error else ""))
            continue
        genres = ", ".join(f"{genre} {p:.0%}" for genre, p in row.best(top).items())
        echo(f"  {genres}" + ("  (unsure)" if row.unsure else ""))
        for line in _stretches(row.timeline):
            echo(f"    {line}")
    sys.stdout.flush()


def _stretches(timeline: Sequence[TimelineEntry]) -> Iterator[str]:
    """Neighbours of one genre in a line; the windows overlap, the lines do not."""
    stretches = [list(group) for _, group in groupby(timeline, key=lambda entry: entry.label)]
    ends = [entries[0].start_s for entries in stretches[1:]] + [e.end_s for e in timeline[-1:]]
    for entries, end_s in zip(stretches, ends, strict=True):
        span = f"{_clock(entries[0].start_s)}-{_clock(end_s)}"
        if entries[0].label is None:
            yield f"{span}  silent"
            continue
        values = [max(entry.probabilities.values()) for entry in entries]
        curve = "".join(LEVELS[min(7, int(8 * value))] for value in values)
        yield f"{span}  {entries[0].label}  {min(values):.0%}-{max(values):.0%}  {curve}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes:d}:{rest:02d}"
