"""`tsresformer study`: list, run, show and export studies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tsresformer.commands.common import (
    echo,
    json_text,
    output_option,
    print_table,
    warn,
    workers_option,
    write_text,
)
from tsresformer.errors import EXIT_INPUT, EXIT_INTERRUPTED, EXIT_OK

if TYPE_CHECKING:
    from tsresformer.studies.plan import Study
    from tsresformer.studies.runner import Outcome

manifest_option = click.option("--manifest", required=True, type=click.Path(), help="The tracks.")
store_option = click.option(
    "--store", required=True, type=click.Path(), help="From 'tsresformer features'."
)


@click.group()
def study() -> None:
    """Compare models, features and protocols: one command a comparison.

    \b
    Example:
      tsresformer study run leak_audit --manifest fma.csv --store store/ -o results/leak_audit
    """


@study.command("list")
@click.option("--manifest", type=click.Path(), help="With --store: say what each costs here.")
@click.option("--store", type=click.Path(), help="From 'tsresformer features'.")
@click.option("--toml", metavar="NAME", help="Print the file of this study instead, to change it.")
@output_option("--json", "the list as JSON")
def list_(manifest: str | None, store: str | None, toml: str | None, json: str | None) -> int:
    """List the studies that ship, what each answers, and how many trainings it takes.

    With --manifest and --store a few steps of each network are timed, and the list says about how
    long each study takes on this machine.

    \b
    Examples:
      tsresformer study list --manifest fma.csv --store store/
      tsresformer study list --toml baselines > mine.toml
    """
    from tsresformer.studies.budget import duration
    from tsresformer.studies.plan import load_study, shipped_studies, shipped_toml
    from tsresformer.studies.runner import n_trainings

    if toml is not None:
        if manifest or store or json:
            raise click.UsageError("--toml goes with no other option")
        write_text("-", shipped_toml(toml))
        return EXIT_OK
    if bool(manifest) != bool(store):
        raise click.UsageError("--manifest and --store go together")
    rows = []
    for name in shipped_studies():
        found = load_study(name)
        cost, problem = None, ""
        if manifest and store:
            cost, problem = _cost(found, manifest, store)
        rows.append(
            {
                "name": name,
                "title": found.plan.title,
                "question": found.plan.question,
                "cells": len(found.cells),
                "trainings": n_trainings(found),
                "seconds": cost and round(cost),
                "problem": problem,
            }
        )
    if json:
        write_text(json, json_text({"schema": 1, "studies": rows}))
    if json != "-":
        for row in rows:
            likely = (
                f", about {duration(float(str(row['seconds'])))} here" if row["seconds"] else ""
            )
            echo(f"{row['name']}: {row['title']}")
            echo(f"  {row['question']}")
            echo(f"  {row['cells']} cells, {row['trainings']} trainings{likely}")
            if row["problem"]:
                echo(f"  not on this manifest: {row['problem']}")
    return EXIT_OK


def _cost(found: Study, manifest: str, store: str) -> tuple[float | None, str]:
    """Seconds that a study takes here, or why it cannot be run."""
    from tsresformer.errors import TsResformerError
    from tsresformer.studies.runner import estimate_for

    try:
        return estimate_for(found, manifest, store), ""
    except TsResformerError as error:
        return None, str(error)


@study.command()
@click.argument("study", metavar="NAME|TOML")
@manifest_option
@store_option
@click.option("-o", "--out", required=True, type=click.Path(), help="The results, a new folder.")
@click.option("--resume", is_flag=True, help="Go on with what is not finished.")
@click.option("--cells", multiple=True, metavar="PATTERN", help="Only cells so named: '*-svm-*'.")
@click.option("--budget", metavar="TIME", help="Stop before this is exceeded: 90m, 2h, 1h30m.")
@click.option("--set", "overrides", multiple=True, metavar="a.b=v", help="Change one setting.")
@workers_option
def run(
    study: str,
    manifest: str,
    store: str,
    out: str,
    resume: bool,
    cells: tuple[str, ...],
    budget: str | None,
    overrides: tuple[str, ...],
    workers: int,
) -> int:
    """Run a study that ships, or one of your own: a grid of trainings, each scored.

    It can be stopped at any time, also by --budget; the same command with --resume goes on. A cell
    that fails is a row with its error, and the exit code is 1. --set changes the configuration
    that all cells share, and with study.seeds, study.folds, study.protocols or study.axes the
    study itself. --cells spreads one study over machines: each runs its cells in a folder of its
    own, and the folders copied into one are the study.

    \b
    Examples:
      tsresformer study run models --manifest fma.csv --store store/ -o results/models
      tsresformer study run models --manifest fma.csv --store store/ -o results/models \\
          --resume --budget 90m
      tsresformer study run attention --manifest fma.csv --store store/ -o results/quick \\
          --set train.epochs=3 --set 'study.seeds=[0]'
      tsresformer study run baselines --manifest fma.csv --store store/ -o results/part \\
          --cells '*-vgg-*' --cells '*-svm-*'
    """
    from tsresformer.progress import meter
    from tsresformer.studies.budget import parse_duration
    from tsresformer.studies.plan import load_study
    from tsresformer.studies.results import RECORD, Results
    from tsresformer.studies.runner import run_study
    from tsresformer.studies.tables import write_tables

    found = load_study(study, overrides)
    budget_s = parse_duration(budget) if budget else None
    try:
        with meter(f"study {found.name}") as bar:
            outcome = run_study(
                found,
                manifest,
                store,
                out,
                resume=resume,
                only=cells,
                budget_s=budget_s,
                n_workers=workers,
                say=bar.say,
                progress=bar.reach,
            )
    except KeyboardInterrupt:
        progress = Results.open(out).progress if (Path(out) / RECORD).is_file() else "nothing yet"
        warn(f"interrupted: {progress}; the same command with --resume goes on where it was")
        return EXIT_INTERRUPTED
    write_tables(outcome.results)
    return _conclude(outcome, out)


def _conclude(outcome: Outcome, out: str) -> int:
    """Say how far a run came."""
    from tsresformer.studies.runner import remaining_text

    echo(f"{out}: {outcome.n_done} of {outcome.n_cells} cells")
    for text in remaining_text(outcome):
        warn(text)
    for cell in outcome.results.cells():
        if cell["error"]:
            warn(f"failed: {cell['cell']}: {cell['error']}")
    echo(f"next: tsresformer study show {out}")
    return EXIT_INPUT if outcome.n_failed else EXIT_OK


@study.command()
@click.argument("folder", metavar="RESULTS", type=click.Path())
@output_option("--json", "all cells and comparisons as JSON")
def show(folder: str, json: str | None) -> int:
    """Print a study's table, and draw its page: results.csv, table.md, table.tex, report.html.

    A study that is still being run, or was stopped, can be shown too.

    \b
    Example:
      tsresformer study show results/leak_audit
    """
    from tsresformer.errors import require
    from tsresformer.studies.page import write_page
    from tsresformer.studies.results import Results
    from tsresformer.studies.tables import as_json, notes, point_rows, write_tables

    require("matplotlib", "report")
    results = Results.open(folder)
    found = write_tables(results)
    page = write_page(results, found)
    if json:
        write_text(json, json_text(as_json(results, found)))
    if json == "-":
        return EXIT_OK
    echo(results.plan.title, results.plan.question)
    print_table(*point_rows(results, found), n_names=len(results.plan.axes) + 1)
    for note in notes(results, found):
        echo(note)
    for cell in results.cells():
        if cell["error"]:
            warn(f"failed: {cell['cell']}: {cell['error']}")
    echo(f"report: {page}")
    return EXIT_OK


@study.command()
@click.argument("folder", metavar="RESULTS", type=click.Path())
@click.option("-o", "--out", required=True, type=click.Path(), help="The copy, a new folder.")
@click.option(
    "--note",
    metavar="TEXT",
    default="",
    help="A sentence of yours below the question; it stays with the results.",
)
def export(folder: str, out: str, note: str) -> int:
    """Copy a study's results into a folder that is fit to be committed.

    It has every cell, its predictions (rounded, packed), the tables and the page, each picture as
    a file, and a README.md that shows them; no checkpoints. 'study show' and 'compare' read it.

    \b
    Example:
      tsresformer study export results/leak_audit -o docs/results/leak_audit
    """
    from tsresformer.errors import require
    from tsresformer.studies.export import README, export_results
    from tsresformer.studies.results import Results

    require("matplotlib", "report")
    results = Results.open(folder)
    path = export_results(results, out, note=note)
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    echo(f"{out}: {results.progress}, {size / 1e6:.1f} MB; begin with {README}")
    return EXIT_OK
