"""`tsresformer features`."""

from __future__ import annotations

import click

from tsresformer.commands.common import (
    check_engine,
    echo,
    engine_options,
    warn,
    workers_option,
)
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
@engine_options(default="local")
def features(
    manifest: str,
    config: str | None,
    out: str,
    workers: int,
    engine: str,
    address: str | None,
    pin: bool | None,
) -> int:
    """Compute the log-mels of a manifest's tracks, once, into a feature store.

    A build that was stopped, in whatever way, goes on where it was. Tracks that cannot be used
    are listed with their reasons, and the exit code is 1. With --engine ray (extra: cluster), the
    workers are Ray's, here or on a cluster; the store has the same bytes.

    \b
    Examples:
      tsresformer features fma.csv -o store/
      tsresformer features mine.csv --features fma-small -o store/   # as that bundle hears
      tsresformer features /shared/fma.csv -o /shared/store --engine ray --address auto --workers 64
    """
    from tsresformer.manifest import Manifest
    from tsresformer.progress import meter
    from tsresformer.store import build_store, feature_config

    chosen = check_engine(engine, address, pin)
    tracks = Manifest.read(manifest)
    wanted = feature_config(tracks, config)
    with meter("log-mels", len(tracks.tracks)) as bar:
        store = build_store(
            tracks,
            wanted,
            out,
            engine=chosen,
            n_workers=workers,
            address=address,
            pin=not address if pin is None else pin,
            on_track=bar.advance,
        )
    done = [track for track in store.tracks.values() if track.n_frames]
    hours = sum(track.seconds for track in done) / 3600
    echo(f"{out}: log-mels of {len(done)} tracks, {hours:.2f} hours of music")
    failures = store.failures()
    for failure in failures[:10]:
        warn(f"{failure.status}: track {failure.track_id} ({failure.source}): {failure.error}")
    if len(failures) > 10:
        warn(f"... and {len(failures) - 10} more; 'tsresformer info {out} --json -' lists all")
    return EXIT_INPUT if failures else EXIT_OK
