"""`tsresformer evaluate` and `tsresformer publish`."""

from __future__ import annotations

from pathlib import Path

import click

from tsresformer.commands.common import echo, warn, workers_option
from tsresformer.errors import EXIT_INPUT, EXIT_OK, TsResformerError, require
from tsresformer.files import check_writable, hold_folder


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
@click.option(
    "--look-at", multiple=True, metavar="TRACK", help="Show what the attention does with this one."
)
@workers_option
def evaluate(
    bundle: str, manifest: str, split: str, out: str, look_at: tuple[str, ...], workers: int
) -> int:
    """Score a bundle on a split and write a report for people and machines.

    \b
    Examples:
      tsresformer evaluate my.bundle fma.csv --split test -o report/
      tsresformer evaluate my.bundle fma.csv -o report/ --look-at 140 --look-at 1482
    """
    require("matplotlib", "report")
    from tsresformer.classifier import Classifier
    from tsresformer.evaluation import evaluate as score
    from tsresformer.manifest import Manifest
    from tsresformer.progress import meter
    from tsresformer.report.result import warnings_of

    check_writable(out, folder=True)
    rows, classifier = Manifest.read(manifest), Classifier.load(bundle)
    busy = TsResformerError(f"{out}: another process is writing a report there; wait for it")
    with hold_folder(out, busy), meter("scoring") as bar:
        result = score(
            classifier,
            rows,
            split=split,
            out=out,
            n_workers=workers,
            look_at=look_at,
            progress=bar.reach,
        )
    for kind, text in warnings_of(result):
        warn(f"{'warning' if kind == 'leak' else kind}: {text}")
    echo(result.sentence())
    echo(f"report: {Path(out) / 'index.html'}")
    return EXIT_INPUT if result.n_failed else EXIT_OK


@click.command()
@click.argument("bundle")
@click.option(
    "--report", required=True, type=click.Path(), help="What 'evaluate' wrote for this bundle."
)
@click.option("--notes", type=click.Path(), help="Markdown to add to the card.")
@click.option("-o", "--out", required=True, type=click.Path(), help="The bundle, a new folder.")
def publish(bundle: str, report: str, notes: str | None, out: str) -> int:
    """Put an evaluation, and notes, into a bundle's model card.

    The weights stay as they are; the report must be of this very bundle.

    \b
    Example:
      tsresformer publish my.bundle --report report/ --notes notes.md -o final.bundle
    """
    from tsresformer.bundle import CARD
    from tsresformer.card import publish as write

    try:
        text = Path(notes).read_text(encoding="utf-8") if notes else None
    except UnicodeDecodeError:
        raise TsResformerError(f"{notes}: is not UTF-8; save the file as UTF-8") from None
    made = write(bundle, report, out, notes=text)
    echo(f"{out}: {made.name}, card {made.path / CARD}")
    return EXIT_OK
