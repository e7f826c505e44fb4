"""`tsresformer reproduce`: everything, from a data set's download to the last table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tsresformer.commands.common import echo, json_text, output_option, warn, workers_option
from tsresformer.commands.common import write_text as write
from tsresformer.errors import EXIT_INPUT, EXIT_INTERRUPTED, EXIT_OK, require

if TYPE_CHECKING:
    from tsresformer.reproduce import Estimate

folder = click.Path(exists=True, file_okay=False)


@click.group()
def reproduce() -> None:
    """Repeat all comparisons on a data set, from its download to the last table.

    \b
    Example:
      tsresformer reproduce fma-small --audio fma_small --metadata fma_metadata -o fma/ --estimate
    """


@reproduce.command("fma-small")
@click.option("--audio", required=True, type=folder, help="The unpacked fma_small.")
@click.option("--metadata", required=True, type=folder, help="The unpacked fma_metadata.")
@click.option("-o", "--out", required=True, type=click.Path(), help="Everything, a folder.")
@click.option("--estimate", "only_estimate", is_flag=True, help="Say what it takes, and stop.")
@click.option(
    "--study",
    "studies",
    multiple=True,
    metavar="NAME|TOML",
    help="Only these.  [default: leak_audit, paper, slice_duration, models, attention, baselines]",
)
@click.option("--set", "overrides", multiple=True, metavar="a.b=v", help="For all studies.")
@output_option("--json", "the estimate as JSON")
@workers_option
def fma_small(
    audio: str,
    metadata: str,
    out: str,
    only_estimate: bool,
    studies: tuple[str, ...],
    overrides: tuple[str, ...],
    json: str | None,
    workers: int,
) -> int:
    """Import, check, log-mels, studies and one page over all, from the two unpacked downloads.

    It begins with an estimate of time and disk on this machine. It can be stopped at any time; the
    same command goes on where it was.

    \b
    Examples:
      tsresformer reproduce fma-small --audio fma_small --metadata fma_metadata -o fma/ --estimate
      tsresformer reproduce fma-small --audio fma_small --metadata fma_metadata -o fma/ \\
          --study leak_audit --study models
    """
    require("pytorch_lightning", "study")
    require("sklearn", "study")
    from tsresformer.files import check_writable
    from tsresformer.progress import meter
    from tsresformer.reproduce import INDEX, STUDIES, Job

    check_writable(out, folder=True)
    job = Job.of(
        audio,
        metadata,
        out,
        studies=studies or STUDIES,
        overrides=overrides,
        n_workers=workers,
    )
    likely = job.estimate()
    if json:
        values = {"schema": 1, "n_tracks": likely.n_tracks, "disk_bytes": round(likely.disk_bytes)}
        write(
            json, json_text({**values, "seconds": {k: round(v) for k, v in likely.seconds.items()}})
        )
    if json != "-":
        _print(likely)
    if only_estimate:
        return EXIT_OK
    try:
        with meter("reproduce") as bar:
            outcomes = job.run(bar.say, bar.reach)
    except KeyboardInterrupt:
        warn("interrupted: the same command goes on where it was")
        return EXIT_INTERRUPTED
    n_failed = sum(outcome.n_failed for outcome in outcomes)
    if n_failed:
        warn(f"{n_failed} cells failed; each is listed with its reason")
    echo(f"{out}/{INDEX}: {len(outcomes)} studies")
    return EXIT_INPUT if n_failed else EXIT_OK


def _print(likely: Estimate) -> None:
    from tsresformer.studies.budget import duration

    echo(f"{likely.n_tracks:,} tracks; on this machine about")
    for name, seconds in likely.seconds.items():
        echo(f"  {name}: {duration(seconds)}")
    echo(f"  together: {duration(likely.total_s)}, and {likely.disk_bytes / 1e9:.1f} GB of disk")
