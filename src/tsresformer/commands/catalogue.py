"""`tsresformer catalogue`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from tsresformer.commands.common import (
    check_engine,
    echo,
    engine_options,
    json_text,
    model_option,
    output_option,
    warn,
    warn_of_leak,
    write_text,
)
from tsresformer.errors import EXIT_INPUT, EXIT_INTERRUPTED, EXIT_OK, require
from tsresformer.workers import n_cores

if TYPE_CHECKING:
    from tsresformer.catalogue.job import Job
    from tsresformer.catalogue.run import Status
    from tsresformer.catalogue.worker import PartSummary
    from tsresformer.progress import Meter


@click.group()
def catalogue() -> None:
    """Classify whole catalogues, on one machine or on many.

    \b
    Example:
      tsresformer catalogue run --input ~/Music --output out/
    """


@catalogue.command()
@click.option(
    "--input",
    "source",
    required=True,
    metavar="DIR|GLOB|TABLE",
    help="A folder, a quoted pattern, or a table with track_id and path; s3:// works too.",
)
@click.option("--output", required=True, metavar="DIR", help="Where the parts go; s3:// works too.")
@model_option
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="Workers, of one core each.  [default: one a core of this machine]",
)
@engine_options(default="ray")
@click.option("--part-tracks", type=click.IntRange(1), help="Tracks in a part.  [default: 100]")
@click.option(
    "--max-bytes", type=click.IntRange(1), help="Largest file to fetch.  [default: 2 GiB]"
)
@output_option("--json", "the status as JSON")
def run(
    source: str,
    output: str,
    model: str,
    workers: int | None,
    engine: str,
    address: str | None,
    pin: bool | None,
    part_tracks: int | None,
    max_bytes: int | None,
    json: str | None,
) -> int:
    """Classify a catalogue into Parquet parts.

    The listing of the inputs is frozen first. Run the same command again after whatever
    interruption: finished parts stay, the others are computed, no track is lost or there twice.
    A track that fails is a row with its error, and the exit code is then 1.

    \b
    Examples:
      tsresformer catalogue run --input ~/Music --output out/ --workers 2
      tsresformer catalogue run --input 's3://bucket/**/*.mp3' --output s3://bucket/genres
      tsresformer catalogue run --input tracks.parquet --output /shared/out --address auto
    """
    from tsresformer.bundle import Bundle
    from tsresformer.catalogue.run import run as run_catalogue
    from tsresformer.catalogue.worker import MAX_BYTES, Settings
    from tsresformer.progress import meter

    require("pyarrow", "cluster")
    chosen = check_engine(engine, address)
    warn_of_leak(model, Bundle.load(model).protocol)
    try:
        with meter("listing") as bar:
            pace = _Pace(bar)
            found = run_catalogue(
                source,
                output,
                model,
                engine=chosen,
                n_workers=workers or n_cores(),
                address=address,
                pin=not address if pin is None else pin,
                part_tracks=part_tracks,
                settings=Settings(max_bytes=max_bytes or MAX_BYTES),
                on_start=pace.start,
                on_part=pace.count,
            )
    except KeyboardInterrupt:
        warn("interrupted: the same command again goes on with the first unfinished part")
        return EXIT_INTERRUPTED
    _tell(found, json, pace.words)
    return EXIT_INPUT if found.n_failed else EXIT_OK


@catalogue.command()
@click.argument("output", metavar="DIR")
@output_option("--json", "the status as JSON")
def status(output: str, json: str | None) -> int:
    """Say how far a catalogue run is.

    \b
    Examples:
      tsresformer catalogue status out/
      tsresformer catalogue status s3://bucket/genres --json -
    """
    from tsresformer.catalogue.run import status as read_status

    require("pyarrow", "cluster")
    _tell(read_status(output), json)
    return EXIT_OK


class _Pace:
    """Counts tracks and hours of audio, and shows how fast they go."""

    def __init__(self, bar: Meter) -> None:
        self._bar = bar
        self._n_before = self._n_now = self._n_total = 0
        self._audio_s, self._begun = 0.0, time.monotonic()

    def start(self, job: Job, n_done: int) -> None:
        self._n_before, self._n_total = n_done, job.record.n_tracks
        self._begun = time.monotonic()
        self._bar.reach(n_done, self._n_total, "classifying")

    def count(self, summary: PartSummary) -> None:
        self._n_now += summary.n_tracks
        self._audio_s += summary.audio_s
        n_done = self._n_before + self._n_now
        self._bar.reach(n_done, self._n_total, f"classifying, {self._rates()}")

    def _rates(self) -> str:
        seconds = max(self._seconds, 1e-9)
        hours = self._audio_s / 3600
        return f"{self._n_now / seconds:.1f} tracks/s, {hours / seconds:.3f} h of audio/s"

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._begun

    @property
    def words(self) -> str:
        """What this run did, for people; empty for nothing."""
        if not self._n_now:
            return ""
        return f"now: {self._n_now:,} tracks in {self._seconds:.0f} s, {self._rates()}"


def _tell(found: Status, json: str | None, pace: str = "") -> None:
    """Write the status for machines, and print it for people."""
    if json:
        write_text(json, json_text(found.as_json()))
    if json == "-":
        return
    record = found.job.record
    state = "complete" if found.complete else "unfinished, run the same command again"
    echo(f"{found.job.output.uri}: {state}")
    echo(
        f"  {found.n_done:,} of {record.n_tracks:,} tracks in {found.n_done_parts:,} of "
        f"{record.n_parts:,} parts, {found.audio_s / 3600:.2f} hours of audio"
    )
    echo(f"  model {record.model} ({record.model_sha256[:12]})")
    if found.status:
        counts = ", ".join(f"{name} {n:,}" for name, n in found.status.items())
        echo(f"  status: {counts}")
    if pace:
        echo(f"  {pace}")
