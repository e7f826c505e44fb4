"""`tsresformer data`: import, check and split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tsresformer.commands.common import (
    echo,
    json_text,
    output_option,
    warn,
    workers_option,
    writable,
    write_text,
)
from tsresformer.errors import EXIT_INPUT, EXIT_OK

if TYPE_CHECKING:
    from tsresformer.manifest import Manifest

folder = click.Path(exists=True, file_okay=False)
file = click.Path(exists=True, dir_okay=False)
out_option = click.option(
    "-o", "--out", required=True, type=click.Path(), callback=writable, help="The manifest."
)


@click.group()
def data() -> None:
    """Make manifests of data sets, check them, and split them.

    \b
    Example:
      tsresformer data import folder my_music/ -o mine.csv
    """


@data.group("import")
def import_() -> None:
    """Make a manifest, one row a track, from a data set.

    \b
    Example:
      tsresformer data import fma --audio fma_small --metadata fma_metadata -o fma.csv
    """


@import_.command()
@click.option("--audio", required=True, type=folder, help="fma_small, fma_medium, ...")
@click.option("--metadata", required=True, type=folder, help="The unpacked fma_metadata.")
@click.option(
    "--subset",
    type=click.Choice(["small", "medium", "large", "full"]),
    default="small",
    show_default=True,
)
@click.option("--multi", is_flag=True, help="Label with all top-level genres of a track.")
@out_option
def fma(audio: str, metadata: str, subset: str, multi: bool, out: str) -> int:
    """Import FMA from the folders of its release.

    \b
    Example:
      tsresformer data import fma --audio fma_small --metadata fma_metadata -o fma.csv
    """
    from tsresformer.datasets import fma as adapter

    return _finish(adapter.read(audio, metadata, subset, multi=multi), out)


@import_.command()
@click.option("--audio", required=True, type=folder, help="genres_original, or a folder above.")
@click.option("--fault-filtered", type=file, help="A fault-filtered list: track, genre, split.")
@out_option
def gtzan(audio: str, fault_filtered: str | None, out: str) -> int:
    """Import GTZAN.

    \b
    Example:
      tsresformer data import gtzan --audio genres_original -o gtzan.csv
    """
    from tsresformer.datasets import gtzan as adapter

    return _finish(adapter.read(audio, fault_filtered), out)


@import_.command("folder")
@click.argument("root", type=click.Path())
@click.option(
    "--label-from",
    type=click.Choice(["folder", "tag"]),
    default="folder",
    show_default=True,
    help="The first folder below ROOT, or the genre tag.",
)
@workers_option
@out_option
def folder_(root: str, label_from: str, workers: int, out: str) -> int:
    """Import your own music; the artist is the tag's, else the album folder.

    Audio that cannot be opened, and what is only called audio, keeps a row with its error.

    \b
    Example:
      tsresformer data import folder my_music/ --label-from tag -o mine.csv
    """
    from tsresformer.datasets import folder as adapter
    from tsresformer.progress import meter

    with meter("reading tags") as bar:
        manifest = adapter.read(root, label_from, n_workers=workers, progress=bar.reach)
    return _finish(manifest, out)


@import_.command()
@click.option("--log-mel", required=True, type=file, help=".npy, (tracks, n_mels, n_frames).")
@click.option("--table", required=True, type=file, help="CSV in the array's order.")
@click.option("--features", required=True, type=file, help="TOML: how the log-mels were made.")
@out_option
def arrays(log_mel: str, table: str, features: str, out: str) -> int:
    """Import log-mels that somebody computed already.

    The table needs the columns track_id and genre; split, artist_id, artist and title are used
    if present, and others are kept.

    \b
    Example:
      tsresformer data import arrays --log-mel X.npy --table tracks.csv \\
          --features features.toml -o coarse.csv
    """
    from tsresformer.config import load_features
    from tsresformer.datasets import arrays as adapter

    return _finish(adapter.read(log_mel, table, load_features(features)), out)


@data.command()
@click.argument("manifest", type=click.Path())
@click.option(
    "-o",
    "--out",
    type=click.Path(),
    callback=writable,
    help="Write the manifest with what was found.",
)
@output_option("--json", "the findings as JSON")
@workers_option
def check(manifest: str, out: str | None, json: str | None, workers: int) -> int:
    """Decode every track and report what is wrong.

    Found are: missing, undecodable, damaged, incomplete, silent and duplicate audio, likely slips
    in labels, and groups (artists) on both sides of a split. The exit code is 1 if something is,
    which ends a chain of commands with &&. With -o, missing, undecodable, incomplete, silent and
    duplicate tracks are marked, and later steps leave them out.

    Told of besides are audio with a channel that is clipped or has an offset, and audio that is
    not what its suffix says. Duplicates in another codec are found from 3.1 s on.

    \b
    Example:
      tsresformer data check fma.csv -o fma-checked.csv
    """
    from tsresformer.check import check as inspect
    from tsresformer.manifest import Manifest
    from tsresformer.progress import meter

    tracks = Manifest.read(manifest)
    with meter("checking") as bar:
        report = inspect(tracks, n_workers=workers, progress=bar.reach)
    if out:
        report.manifest.write(out)
    if json:
        findings = [
            {"kind": f.kind, "fault": f.fault, "tracks": f.track_ids, "message": f.message}
            for f in report.findings
        ]
        write_text(json, json_text({"schema": 1, "manifest": manifest, "findings": findings}))
    if json != "-":
        for finding in report.findings:
            echo(f"{finding.kind:12} {finding.message}")
        echo(f"{len(tracks.tracks)} tracks checked, {len(report.faults)} faults")
    return EXIT_INPUT if report.faults else EXIT_OK


@data.command()
@click.argument("manifest", type=click.Path())
@click.option(
    "--protocol",
    required=True,
    type=click.Choice(["official", "artist-kfold", "track", "slice"]),
    help="official and artist-kfold are honest; track and slice leak, to measure by how much.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--folds", type=click.IntRange(2), default=5, show_default=True)
@click.option("--fold", type=click.IntRange(0), default=0, show_default=True, help="The test fold.")
@click.option(
    "-o",
    "--out",
    type=click.Path(),
    callback=writable,
    help="By default MANIFEST itself is rewritten.",
)
def split(manifest: str, protocol: str, seed: int, folds: int, fold: int, out: str | None) -> int:
    """Assign every track to training, validation or test.

    \b
    Example:
      tsresformer data split mine.csv --protocol artist-kfold --seed 0
    """
    from tsresformer.manifest import Manifest, listed
    from tsresformer.splits import count_ungrouped, parse_protocol
    from tsresformer.splits import split as assign

    result = assign(Manifest.read(manifest), protocol, seed=seed, n_folds=folds, fold=fold)
    result.write(out or manifest)
    echo(parse_protocol(result.protocol).title)
    _summarise(result, ("split",))
    if ungrouped := count_ungrouped(result.tracks):
        warn(f"{ungrouped} tracks have no group; each counts as an artist of its own")
    learned = {label for track in result.in_split("training") for label in track.labels}
    if unheard := [label for label in result.vocabulary if label not in learned]:
        warn(
            f"no track to learn from has the label {listed(unheard)}: join it to another, or "
            "leave it empty"
        )
    return EXIT_OK


def _finish(manifest: Manifest, out: str) -> int:
    """Write an imported manifest and say what is in it."""
    manifest.write(out)
    echo(f"{out}: {len(manifest.tracks)} tracks")
    _summarise(manifest, ("label", "split", "status", "group"))
    for note in manifest.notes:
        warn(f"note: {note}")
    failed = [track for track in manifest.tracks if not track.usable]
    for track in failed[:5]:
        reason = f": {track.error}" if track.error else ""
        warn(f"{track.status}: {track.path}{reason}")
    if len(failed) > 5:
        warn(f"... and {len(failed) - 5} more rows with a status in {Path(out).name}")
    return EXIT_INPUT if failed else EXIT_OK


def _summarise(manifest: Manifest, columns: tuple[str, ...]) -> None:
    counts = manifest.counts()
    for column in columns:
        entries = ", ".join(f"{name or '(none)'} {n}" for name, n in counts[column].items())
        echo(f"  {column}: {entries}")
