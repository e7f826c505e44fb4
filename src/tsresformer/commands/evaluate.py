"""`tsresformer evaluate`."""

from __future__ import annotations

import click

from tsresformer.commands.common import workers_option
from tsresformer.errors import EXIT_INPUT, EXIT_OK, require


@click.command()
@click.argument("bundle")
@click.argument("manifest", type=click.Path())
@click.option(
    "--split",
    type=click.Choice(["training", "validation", "test"]),
    default="test",
    show_default=True,
)
@click.option("-o", "--out", required=True, type=click.Path(), help="The report, a folder.")
@workers_option
def evaluate(bundle: str, manifest: str, split: str, out: str, workers: int) -> int:
    """Score a bundle on a split and write a report for people and machines.

    \b
    Example:
      tsresformer evaluate my.bundle fma.csv --split test -o report/
    """
    require("matplotlib", "report")
    from tsresformer.evaluation import evaluate as score
    from tsresformer.progress import meter

    with meter("scoring") as bar:
        result = score(
            bundle, manifest, split=split, out=out, n_workers=workers, progress=bar.reach
        )
    click.echo(result.sentence())
    click.echo(f"report: {out}/index.html")
    return EXIT_INPUT if result.n_failed else EXIT_OK
