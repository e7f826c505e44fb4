"""`tsresformer info` and `tsresformer doctor`."""

from __future__ import annotations

import math
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from tsresformer.commands.common import (
    echo,
    json_text,
    output_option,
    warn_of_leak,
    write_text,
)
from tsresformer.errors import EXIT_OK, EXIT_USAGE, TsResformerError
from tsresformer.workers import n_cores

EXTRAS = {
    "report": ("matplotlib", "jinja2"),
    "parquet": ("pyarrow",),
    "cluster": ("pyarrow", "ray"),
    "study": ("scikit-learn",),
    "tag": ("mutagen", "watchfiles"),
    "serve": ("fastapi", "uvicorn", "python-multipart", "prometheus-client", "httpx"),
    "train": ("torch", "pytorch-lightning", "tensorboard", "onnx", "onnxscript", "safetensors"),
}


@click.command()
@click.argument("thing", metavar="BUNDLE|STORE|MANIFEST|RUN")
@output_option("--json", "all that is known as JSON")
def info(thing: str, json: str | None) -> int:
    """Say what a bundle, a feature store, a manifest or a run is.

    \b
    Examples:
      tsresformer info fma-small
      tsresformer info store/
    """
    known, lines = _describe(thing)
    if json:
        write_text(json, json_text({"schema": 1, **known}))
    if json != "-":
        echo(*lines)
    return EXIT_OK


def _describe(thing: str) -> tuple[dict[str, Any], list[str]]:
    from tsresformer.bundle import RECORD, shipped_bundles
    from tsresformer.store import BEGUN, MARKER

    path = Path(thing)
    if thing in shipped_bundles() or (path / RECORD).is_file():
        return _bundle(thing)
    if (path / MARKER).is_file() or (path / BEGUN).is_file():
        return _store(thing)
    if (path / "run.json").is_file():
        return _run(thing)
    if path.is_file():
        return _manifest(thing)
    raise TsResformerError(
        f"{thing}: no bundle, feature store, manifest or run (shipped bundles: "
        f"{', '.join(shipped_bundles())})"
    )


def _bundle(thing: str) -> tuple[dict[str, Any], list[str]]:
    from tsresformer.bundle import Bundle

    bundle = Bundle.load(thing)
    warn_of_leak(thing, bundle.protocol)
    lines = [f"bundle {bundle.path}", "", *bundle.card().splitlines()]
    return {"kind": "bundle", **bundle.record}, lines


def _store(thing: str) -> tuple[dict[str, Any], list[str]]:
    from dataclasses import asdict

    from tsresformer.config import resolved
    from tsresformer.store import FeatureStore

    store = FeatureStore.open(thing)
    store.verify()
    features = resolved(store.features)
    tracks = list(store.tracks.values())
    done = [track for track in tracks if track.n_frames]
    lines = [
        f"feature store {thing}",
        f"  tracks: {len(done)} of {len(tracks)}, "
        f"{sum(t.seconds for t in done) / 3600:.2f} hours, all hashes agree",
        "  features: " + ", ".join(f"{key} {value}" for key, value in features.items()),
        *(f"  {t.status}: track {t.track_id}: {t.error}" for t in store.failures()),
    ]
    known = {"kind": "store", "key": store.key, "features": features}
    return {**known, "tracks": [asdict(track) for track in tracks]}, lines


def _run(thing: str) -> tuple[dict[str, Any], list[str]]:
    from tsresformer.training.run import Run

    run = Run.load(thing)
    warn_of_leak(thing, run.record["protocol"])
    history = run.history()
    state = "finished" if run.finished else "unfinished: 'tsresformer train ... --resume' goes on"
    lines = [f"run {thing}, {state}", f"  protocol: {run.record['protocol']}"]
    lines += [f"  labels: {', '.join(run.record['labels'])}", "  epoch  train_loss  dev_score"]
    for row in history:
        score = row.get("dev_score", math.nan)  # a refit has none
        lines.append(f"  {int(row['epoch']) + 1:5}  {row['train_loss']:10.4f}  {score:9.4f}")
    known = {"kind": "run", **run.record, "history": history}
    return {**known, "result": run.result if run.finished else None}, lines


def _manifest(thing: str) -> tuple[dict[str, Any], list[str]]:
    from tsresformer.manifest import Manifest
    from tsresformer.splits import parse_protocol

    manifest = Manifest.read(thing)
    warn_of_leak(thing, manifest.protocol)
    counts = manifest.counts()
    title = parse_protocol(manifest.protocol).title
    lines = [f"manifest {thing}: {len(manifest.tracks)} tracks", f"  protocol: {title}"]
    for column, values in counts.items():
        entries = ", ".join(f"{name or '(none)'} {n}" for name, n in values.items())
        lines.append(f"  {column}: {entries}")
    known = {"kind": "manifest", "n_tracks": len(manifest.tracks), "protocol": manifest.protocol}
    return {**known, "counts": counts, "key": manifest.key()}, lines


@click.command()
def doctor() -> int:
    """Check this installation: packages, extras, decoders, the shipped models.

    \b
    Example:
      tsresformer doctor
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    echo(f"tsresformer {metadata.version('ts-resformer')}, Python {platform.python_version()}")
    echo(f"{platform.platform()}, {n_cores()} cores, {memory:.0f} GiB of memory")
    light = ("numpy", "onnxruntime", "soundfile", "soxr", "av", "pydantic")
    echo("packages: " + ", ".join(f"{name} {_version(name)}" for name in light))
    for extra, packages in EXTRAS.items():
        missing = [name for name in packages if not _version(name)]
        state = f"missing: pip install 'ts-resformer[{extra}]'" if missing else "installed"
        echo(f"extra {extra}: {state}")
    return _check_decoders() or _check_models()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _check_decoders() -> int:
    import av
    import soundfile

    formats = ", ".join(sorted(soundfile.available_formats()))
    echo(f"soundfile: {soundfile.__libsndfile_version__}: {formats}")
    echo(f"PyAV {av.__version__}: m4a, aac, wma, webm, mp4 and what soundfile refuses")
    return EXIT_OK


def _check_models() -> int:
    """Load every shipped bundle and run it once."""
    import numpy as np

    from tsresformer.bundle import shipped_bundles
    from tsresformer.classifier import Classifier
    from tsresformer.slicing import n_slice_frames

    for name in shipped_bundles():
        try:
            classifier = Classifier.load(name)
        except TsResformerError as error:
            echo(f"model {name}: BROKEN: {error}")
            return EXIT_USAGE
        bundle = classifier.bundle
        n_frames = n_slice_frames(bundle.slicing, bundle.features)
        quiet = np.zeros((bundle.features.n_mels, n_frames), dtype=np.float32)
        classifier.run([quiet])
        echo(f"model {name}: {len(bundle.labels)} genres, works")
    return EXIT_OK
