"""`tsresformer tag` and `tsresformer watch`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from tsresformer.commands.common import (
    Command,
    echo,
    json_text,
    model_option,
    output_option,
    shown,
    warn,
    warn_of_leak,
    workers_option,
    write_text,
)
from tsresformer.errors import EXIT_INPUT, EXIT_INTERRUPTED, EXIT_OK, require
from tsresformer.files import check_writable
from tsresformer.tagging import POLICIES

if TYPE_CHECKING:
    from tsresformer.classifier import Classifier
    from tsresformer.tagging.library import Library
    from tsresformer.tagging.plan import Options, Row

HEADER = ("file", "genre now", "proposed", "confidence", "becomes", "")


def tagging_options(command: Command) -> Command:
    """Options that `tag` and `watch` share."""
    for option in (
        click.option("--keep-times", is_flag=True, help="Keep the files' times of modification."),
        click.option(
            "--break-links",
            is_flag=True,
            help="Tag files with further hard links, which keep the old content.",
        ),
        click.option(
            "--map",
            "genre_map",
            metavar="TOML",
            type=click.Path(),
            help="Other names for the model's genres: a table [genres].",
        ),
        click.option(
            "--field",
            default="genre",
            show_default=True,
            metavar="NAME",
            help="The field to write: genre, or one of your own.",
        ),
        click.option(
            "--policy",
            type=click.Choice(POLICIES),
            default="fill",
            show_default=True,
            help="Fill empty fields only, replace what they hold, or append to it.",
        ),
        click.option(
            "--min-confidence",
            type=click.FloatRange(0, 1),
            help="Write genres from this probability up.  [default: the model's own threshold]",
        ),
        model_option,
        workers_option,
    ):
        command = option(command)
    return command


@click.command()
@click.argument("library", required=False, type=click.Path())
@click.option("--dry-run", is_flag=True, help="Show what would be written, and write nothing.")
@click.option("--undo", metavar="JOURNAL", type=click.Path(), help="Undo what a run has written.")
@click.option(
    "--playlists",
    metavar="DIR",
    type=click.Path(),
    help="Write an M3U8 playlist a genre into a folder of this library's own.",
)
@output_option("--json", "JSON")
@tagging_options
def tag(
    library: str | None,
    dry_run: bool,
    undo: str | None,
    playlists: str | None,
    json: str | None,
    **settings: Any,
) -> int:
    """Write genres into the tags of a folder of music.

    Only the genre field changes. Each file is replaced by a checked copy, and a journal in
    LIBRARY/.tsresformer remembers how to make it exactly what it was. Predictions are kept
    there too, in a dry run as well, so that nothing is decoded twice. The exit code is 1 if
    some file could not be used.

    \b
    Examples:
      tsresformer tag ~/Music --dry-run
      tsresformer tag ~/Music --policy append --min-confidence 0.6
      tsresformer tag --undo ~/Music/.tsresformer/journal-20260102T030405Z.jsonl
    """
    if (library is None) == (undo is None):
        raise click.UsageError("name the folder of your music, or a journal with --undo")
    if undo:
        return _undo(undo, json, break_links=settings["break_links"])
    assert library is not None
    from tsresformer.tagging.library import Library
    from tsresformer.tagging.playlists import write_playlists

    if playlists:
        check_writable(playlists, folder=True)
    classifier, options = _prepare(dry_run=dry_run, **settings)
    rows: list[Row] = []
    problems: list[str] = []
    interrupted, failure = False, None
    held = Library(library, options, n_workers=settings["workers"])
    try:
        with held:
            interrupted = _collect(held, classifier, rows)
            if playlists and not (dry_run or interrupted):
                tracks = [(row.path, row.after) for row in rows if row.after]
                problems = list(write_playlists(Path(playlists), tracks))
    except Exception as error:
        if not rows:
            raise
        failure = error  # once it is told what was written before, and how to undo it
    for problem in problems:
        warn(problem)
    journal = str(held.journal) if held.journal else None
    about = {"model": classifier.bundle.name, "dry_run": dry_run, "journal": journal}
    _tell(rows, about, json, root=library)
    if held.n_others:
        warn(f"{held.n_others} files in {library} are no audio")
    if failure:
        raise failure
    if interrupted:
        warn("interrupted: run the same command again to go on")
        return EXIT_INTERRUPTED
    return EXIT_INPUT if problems or any(row.error for row in rows) else EXIT_OK


@click.command()
@click.argument("library", type=click.Path())
@click.option(
    "--settle",
    type=click.FloatRange(0.1, 3600),
    default=3.0,
    show_default=True,
    help="Seconds for which a file must not grow before it is read.",
)
@tagging_options
def watch(library: str, settle: float, **settings: Any) -> int:
    """Tag what is in a folder, and what arrives in it, until Ctrl-C.

    The exit code is 1 if some file could not be used.

    \b
    Example:
      tsresformer watch ~/Music/incoming --min-confidence 0.6
    """
    from tsresformer.tagging.library import Library
    from tsresformer.tagging.watching import watch as watch_library

    require("watchfiles", "tag")
    classifier, options = _prepare(dry_run=False, **settings)
    counts: Counter[str] = Counter()
    failed = False
    with Library(library, options, n_workers=settings["workers"]) as held:
        warn(f"watching {library}; Ctrl-C ends it")
        try:
            for row in watch_library(held, classifier, settle_s=settle):
                if row.status != "kept":
                    counts[row.status] += 1
                    echo("  ".join(filter(None, _cells(row, library))))
                if row.error:
                    warn(f"{row.path}: {row.error}")
                    failed = True
        except KeyboardInterrupt:
            pass
        finally:
            echo(_summary(counts))
            if held.journal:
                echo(f"to undo: tsresformer tag --undo {quote(str(held.journal))}")
    return EXIT_INPUT if failed else EXIT_OK


def _collect(held: Library, classifier: Classifier, rows: list[Row]) -> bool:
    """Tag a library and gather its rows; whether it was interrupted."""
    from tsresformer.progress import meter

    try:
        with meter("reading tags") as bar:
            for row in held.tag(
                classifier, progress=lambda what, n, total: bar.reach(n, total, what)
            ):
                rows.append(row)
                if row.error:
                    bar.say(f"{row.path}: {row.error}")
    except KeyboardInterrupt:
        return True
    finally:
        rows.sort(key=lambda row: row.path)
    return False


def _prepare(
    *,
    dry_run: bool,
    model: str,
    min_confidence: float | None,
    policy: Any,
    field: str,
    genre_map: str | None,
    break_links: bool,
    keep_times: bool,
    workers: int,
) -> tuple[Classifier, Options]:
    from tsresformer.classifier import Classifier
    from tsresformer.tagging.fields import Field
    from tsresformer.tagging.plan import Options, read_map
    from tsresformer.tagging.rewrite import Manner

    require("mutagen", "tag")
    name = Field(field)
    classifier = Classifier.load(model)
    warn_of_leak(model, classifier.bundle.protocol)
    return classifier, Options(
        field=name,
        policy=policy,
        min_confidence=min_confidence,
        genres=read_map(genre_map, classifier.bundle) if genre_map else {},
        manner=Manner(break_links=break_links, keep_times=keep_times),
        dry_run=dry_run,
    )


def _undo(journal: str, json: str | None, *, break_links: bool) -> int:
    from tsresformer.progress import meter
    from tsresformer.tagging.library import undo
    from tsresformer.tagging.rewrite import Manner

    rows: list[Row] = []
    with meter("undoing") as bar:
        for row in undo(Path(journal), Manner(break_links=break_links)):
            rows.append(row)
            bar.advance()
            if row.error:
                bar.say(f"{row.path}: {row.error}")
    root = os.path.dirname(os.path.dirname(os.path.realpath(journal)))
    _tell(rows, {"journal": journal}, json, root=root)
    return EXIT_INPUT if any(row.error for row in rows) else EXIT_OK


def _tell(rows: Sequence[Row], about: dict[str, object], json: str | None, *, root: str) -> None:
    """Write the rows as JSON, and show people those that are not as they were."""
    try:
        if json:
            files = [row.as_json() for row in rows]
            write_text(json, json_text({"schema": 1, **about, "files": files}))
    finally:  # a disk without room for the one does not hide the other
        if json != "-":
            _show(rows, about, root)


def _show(rows: Sequence[Row], about: dict[str, object], root: str) -> None:
    table = [_cells(row, root) for row in rows if row.status not in ("kept", "unchanged")]
    for line in _columns([HEADER, *table] if table else []):
        echo(line)
    echo(_summary(Counter(row.status for row in rows)))
    if about.get("dry_run") is False and about["journal"]:
        echo(f"to undo: tsresformer tag --undo {quote(str(about['journal']))}")


def _summary(counts: Counter[str]) -> str:
    return ", ".join(f"{status} {n:,}" for status, n in counts.most_common()) or "no music"


def _cells(row: Row, root: str) -> tuple[str, ...]:
    """One line of the table."""
    path = row.path
    for folder in (os.path.realpath(root), os.path.abspath(root)):
        if path.startswith(folder + os.sep):
            path = path[len(folder) + 1 :]
            break
    becomes = row.after if row.after != row.before else ()
    genres = ["; ".join(values) or "-" for values in (row.before, row.proposed, becomes)]
    confidence = "-" if row.confidence is None else f"{row.confidence:.0%}"
    cells = (path, genres[0], genres[1], confidence, genres[2], row.status)
    return tuple(shown(cell) for cell in cells)


def _columns(table: Sequence[Sequence[str]]) -> Iterable[str]:
    """Lines of a table whose columns stand one under another."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        line = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        yield line.rstrip()
