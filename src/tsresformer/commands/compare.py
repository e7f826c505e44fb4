"""`tsresformer compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tsresformer.commands.common import echo, json_text, output_option, shown, write_text
from tsresformer.errors import EXIT_OK

if TYPE_CHECKING:
    from tsresformer.compare import Comparison

LISTED = 10


@click.command()
@click.argument("reports", nargs=-1, required=True, metavar="REPORT REPORT...")
@click.option("--flips", type=click.IntRange(0), default=LISTED, show_default=True, help="Tracks.")
@output_option("--json", "the comparisons as JSON, with all tracks that flipped")
def compare(reports: tuple[str, ...], flips: int, json: str | None) -> int:
    """Compare models on the same tracks: the first report with each of the others.

    A report is a folder that 'evaluate' wrote, or a cell's JSON of a study. The difference of the
    accuracies has an interval by a bootstrap over artists; with several comparisons its p-values
    are corrected by Holm's method. Listed are the tracks on which one is right and the other
    wrong, most confident first.

    \b
    Examples:
      tsresformer compare report-a/ report-b/
      tsresformer compare results/models/cells/model-ts_resformer--official--seed-0.json \\
          results/models/cells/model-resnet_only--official--seed-0.json --json -
    """
    from tsresformer.compare import Side, holm
    from tsresformer.compare import compare as set_side_by_side

    if len(reports) < 2:
        raise click.UsageError("name two reports or more")
    for path in reports:
        _refuse_study(path)
    first, *others = (Side.read(path) for path in reports)
    comparisons = [set_side_by_side(first, other) for other in others]
    corrected = holm([comparison.difference.p for comparison in comparisons])
    if json:
        values = [
            {**comparison.as_json(), "p_holm": None if p != p else p}
            for comparison, p in zip(comparisons, corrected, strict=True)
        ]
        write_text(json, json_text({"schema": 1, "comparisons": values}))
    if json != "-":
        for comparison, p in zip(comparisons, corrected, strict=True):
            _print(comparison, p, len(comparisons), flips)
    return EXIT_OK


def _refuse_study(path: str) -> None:
    """Say which files of a study can be compared, if `path` is its folder."""
    from tsresformer.errors import StudyError
    from tsresformer.studies.results import RECORD, Results

    if not (Path(path) / RECORD).is_file():
        return
    results = Results.open(path)
    found = [results.cell_path(cell["cell"]) for cell in results.cells() if not cell["error"]]
    which = f"name one of them, {found[0]} say" if found else "none of them is finished yet"
    raise StudyError(
        f"{path}: is the folder of a study, which holds several cells, cells/<name>.json; {which}"
    )


def _print(found: Comparison, p_holm: float, n_comparisons: int, flips: int) -> None:
    from tsresformer.compare import MCNEMAR_WARNING

    one, two, gap = found.one.name, found.two.name, found.difference
    echo(
        f"{one} minus {two}, {found.n_tracks:,} tracks scored by both "
        f"(of {len(found.one.answers):,} and {len(found.two.answers):,})"
    )
    for side in dict.fromkeys((found.one.protocol, found.two.protocol)):
        echo(f"  {side}")
    echo(f"  accuracy {found.accuracies[0]:.1%} and {found.accuracies[1]:.1%}")
    together = f", {p_holm:.2g} of {n_comparisons} comparisons (Holm)" if n_comparisons > 1 else ""
    if gap.p == gap.p:
        echo(
            f"  difference {100 * gap.value:+.1f} points (95 % interval {100 * gap.low:+.1f} to "
            f"{100 * gap.high:+.1f}; bootstrap over {found.n_groups} {found.unit}); p {gap.p:.2g}"
            f"{together}"
        )
    else:
        echo(f"  difference {100 * gap.value:+.1f} points; no interval from one artist")
    echo(
        f"  right alone: {found.n_only_one} and {found.n_only_two} tracks; McNemar exact p "
        f"{found.mcnemar_p:.2g}"
    )
    echo(f"  ({MCNEMAR_WARNING})")
    echo("  recall by genre:")
    width = max(len(shown(label)) for label, *_ in found.per_class)
    for label, n, ours, theirs in found.per_class:
        gap_text = f"{100 * (ours - theirs):+6.1f}"
        echo(f"    {shown(label):{width}}  {ours:6.1%}  {theirs:6.1%}  {gap_text}  of {n}")
    if found.flipped and flips:
        echo(f"  {len(found.flipped)} tracks flipped, most confident first:")
    for track_id in found.flipped[:flips]:
        a, b = found.one.answers[track_id], found.two.answers[track_id]
        echo(f"    {track_id}: {a.label}; {a.predicted} and {b.predicted}")
