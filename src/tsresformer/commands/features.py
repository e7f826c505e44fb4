"""`tsresformer features`."""

from __future__ import annotations

import click

from tsresformer.commands.common import shown, warn, workers_option
from tsresformer.errors import EXIT_INPUT, EXIT_OK


@click.command()
@click.argument("manifest", type=click.Path())
@click.option(
    "--features",
    "config",
    metavar="TOML|BUNDLE",
    help="FeatureConfig.  [default: the manifest's, else the built-in one]",
)
@click.option("-o", "--out", required=True, type=click.Path(), help="The store, a folder.")
@workers_option
def features(manifest: str, config: str | None, out: str, workers: int) -> int:
    """Compute the log-mels of a manifest's tracks, once, into a feature store.

    A build that was stopped, in whatever way, goes on where it was. Tracks that cannot be used
    are listed with their reasons, and the exit code is 1.

    \b
    Examples:
      tsresformer features fma.csv -o store/
      tsresformer features mine.csv --features fma-small -o store/   # as that bundle hears
    """
    from tsresformer.manifest import Manifest
    from tsresformer.progress import meter
    from tsresformer.store import build_store, feature_config

    tracks = Manifest.read(manifest)
    wanted = feature_config(tracks, config)
    with meter("log-mels", len(tracks.tracks)) as bar:
        store = build_store(tracks, wanted, out, n_workers=workers, on_track=bar.advance)
    done = [track for track in store.tracks.values() if track.n_frames]
    hours = sum(track.seconds for track in done) / 3600
    click.echo(f"{out}: log-mels of {len(done)} tracks, {hours:.2f} hours of music")
    failures = store.failures()
    for failure in failures[:10]:
        warn(f"{failure.status}: track {failure.track_id} ({failure.source}): {failure.error}")
    if len(failures) > 10:
        warn(
            f"... and {len(failures) - 10} more; 'tsresformer info {shown(out)} --json -' lists all"
        )
    return EXIT_INPUT if failures else EXIT_OK
