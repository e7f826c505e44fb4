"""Train a network: from a manifest and a store to a run folder.

A run folder holds ``run.json`` (the resolved configuration and what it was applied to),
``last.ckpt`` and ``best.ckpt`` (tensors and plain types), ``metrics.csv``, TensorBoard events,
and, once training is complete, ``result.json``.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import TensorBoardLogger
from torch.utils.data import DataLoader

from tsresformer.bundle import Bundle
from tsresformer.config import Config, load_config, resolved
from tsresformer.errors import ConfigError, TrainingError
from tsresformer.files import DISK_FULL
from tsresformer.manifest import Manifest, Track
from tsresformer.models.baselines import Network, build_network
from tsresformer.splits import OWN_SPLIT, check_groups, development_fold, parse_protocol
from tsresformer.store import FeatureStore
from tsresformer.training.callbacks import AtomicCheckpoints, Epochs, ProgressBar, averaging
from tsresformer.training.data import SliceBatches
from tsresformer.training.memory import keep_freed_memory, micro_batch
from tsresformer.training.module import GenreModule
from tsresformer.training.processes import Processes
from tsresformer.training.run import (
    RECIPE,
    Run,
    hold,
    read_checkpoint,
    rows_key,
    without_heard,
)
from tsresformer.training.teachers import check_teachers, n_learned, soft_targets
from tsresformer.workers import n_threads

STATISTICS_TRACKS = 512
"""Training tracks whose slices give the mean of each band and the overall deviation."""


def fit(
    config: Config | str | Path,
    manifest: Manifest | str | Path,
    store: FeatureStore | str | Path,
    out: str | Path,
    *,
    resume: bool = False,
    init: str | Path | None = None,
    teachers: Sequence[str | Path] = (),
    refit: str | Path | None = None,
    devices: int = 1,
    nodes: int = 1,
    progress: bool = True,
    say: Callable[[str], None] = lambda text: None,
) -> Run:
    """Train on a manifest's training split; select on a development fold cut out of it.

    Or train a settled recipe once more, on the whole training split: then there is nothing to
    select on, the last epoch is kept, and calibration is that of the recipe's own model.

    Parameters
    ----------
    config : a Config, a TOML file, or the name of a shipped one
    out : the run folder; holds no finished epoch unless `resume`
    resume : go on after the last finished epoch
    init : a bundle whose weights to start from; its model replaces the configuration's
    teachers : bundles whose view of the training tracks softens their labels
    refit : a bundle that `config`, `init` and `teachers` gave on this training split
    devices : processes on each machine (GPUs, where there are any); each runs the calling program
        again and takes its part of every batch
    nodes : machines, which share the run folder; each is given NODE_RANK and MASTER_ADDR, or is
        started by torchrun
    say : told what a reader of the run's numbers must know

    Raises
    ------
    ConfigError, ManifestError, StoreError, BundleError, TrainingError
    """
    config = config if isinstance(config, Config) else load_config(config)
    manifest = manifest if isinstance(manifest, Manifest) else Manifest.read(manifest)
    store = store if isinstance(store, FeatureStore) else FeatureStore.open(store)
    store.verify()
    initial = Bundle.load(init) if init is not None else None
    if initial is not None:
        config = _adopt(config, initial, store)
    check_groups(manifest)
    recipe = Bundle.load(refit) if refit is not None else None
    plan = _plan(config, manifest, store, initial, [Bundle.load(name) for name in teachers], recipe)
    processes = Processes(devices, nodes)
    torch.set_num_threads(max(1, n_threads() // devices))
    keep_freed_memory()
    pl.seed_everything(config.seed % 2**32, verbose=False)
    network = build_network(config.model, store.features, len(plan.vocabulary))
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    size = processes.share_of(config.train.batch_size)
    if not size:
        size = micro_batch(network, plan.training)
    record = {**plan.record, "micro_batch": size}
    if processes.rank:  # the first process keeps the run folder
        run = Run(Path(out), record)
        _soften(plan, manifest, progress=False)
        _train(run, plan, network, initial, processes, progress=False)
        return run
    with hold(out):
        run = Run.begin(out, record, resume=resume)
        if not run.finished:
            at_once = run.record["micro_batch"] * processes.count
            for text in _cautions(plan, initial, at_once):
                say(text)
            run.write_left_out(plan.left_out)
            _soften(plan, manifest, progress=progress)
            _train(run, plan, network, initial, processes, progress=progress)
            run.finish()
    return run


def _train(
    run: Run,
    plan: _Plan,
    network: Network,
    initial: Bundle | None,
    processes: Processes,
    *,
    progress: bool,
) -> None:
    """Train to the end, from the last finished epoch if there is one."""
    config = plan.training.config
    if run.last.is_file():
        read_checkpoint(run.last)  # Lightning's own errors name neither file nor remedy
    _standardise(network, plan.training)
    if initial is not None:
        _load_weights(network, initial, plan.vocabulary)
    plan.training.micro_batch = run.record["micro_batch"]
    plan.training.share = (processes.rank, processes.count)
    module = GenreModule(
        network,
        config,
        n_steps=config.train.epochs * plan.training.n_effective,
        class_weights=_class_weights(plan.training.targets, config),
        development=plan.development,
    )
    trainer = _trainer(run, plan.training, processes, progress=progress)
    development = DataLoader(plan.development, batch_size=None) if plan.development else None
    plan.training.current_epoch = lambda: trainer.current_epoch
    checkpoint = run.last if run.last.is_file() else None
    handler = signal.getsignal(signal.SIGINT)
    try:
        with _one_report_of_a_full_disk():
            trainer.fit(
                module,
                DataLoader(plan.training, batch_size=None),
                development,
                ckpt_path=checkpoint,
                weights_only=True,
            )
    except SystemExit:  # Lightning's answer to Ctrl-C
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from None


@contextlib.contextmanager
def _one_report_of_a_full_disk() -> Iterator[None]:
    """TensorBoard's writing thread hands its error on to us, and would print it as well."""
    before = threading.excepthook

    def told(thread: threading.ExceptHookArgs) -> None:
        error = thread.exc_value
        if not (isinstance(error, OSError) and error.errno in DISK_FULL):
            before(thread)

    threading.excepthook = told
    try:
        yield
    finally:
        threading.excepthook = before


@dataclass(frozen=True)
class _Plan:
    """What a run trains on."""

    vocabulary: tuple[str, ...]
    training: SliceBatches
    development: SliceBatches | None
    record: dict[str, Any]
    left_out: list[tuple[str, str, str]]
    teachers: Sequence[Bundle]


def _plan(
    config: Config,
    manifest: Manifest,
    store: FeatureStore,
    initial: Bundle | None,
    teachers: Sequence[Bundle],
    recipe: Bundle | None = None,
) -> _Plan:
    usable = {track.track_id for track in store.serve(manifest)}
    candidates = [t for t in manifest.in_split("training") if t.track_id in usable]
    if not candidates:
        raise TrainingError(
            f"{manifest.path}: no usable track in the training split; "
            "'tsresformer data split' assigns splits"
        )
    vocabulary = tuple(sorted({label for track in candidates for label in track.labels}))
    kept, held_out = development_fold(candidates, config.train.dev_fraction, config.train.dev_seed)
    if not kept or not held_out:
        raise TrainingError(
            f"{manifest.path}: too few artists to hold a development fold out of the training "
            "split; give the tracks their artists (column group), or use more of them"
        )

    check_teachers(teachers, store, vocabulary, config.task, held_out)
    if recipe is not None:
        kept, held_out = candidates, []

    def batches(tracks: Sequence[Track], training: bool) -> SliceBatches:
        size = config.train.batch_size
        return SliceBatches(
            store, manifest, tracks, vocabulary, config, micro_batch=size, training=training
        )

    record = {
        "config": resolved(config),
        "features": resolved(store.features),
        "labels": list(vocabulary),
        "protocol": str(parse_protocol(manifest.protocol)),
        "manifest_key": manifest.key(),
        "rows_key": rows_key(manifest),
        "store": str(store.folder.resolve()),
        "store_key": store.key,
        "manifest": str(manifest.path.resolve()) if manifest.path else None,
        "datasets": sorted({t.dataset for t in candidates if t.dataset}),
        "licences": sorted({t.licence for t in candidates if t.licence}),
        "init": _origin(initial) if initial else None,
        "teachers": [_origin(teacher) for teacher in teachers],
        "refit": _calibration_of(recipe) if recipe else None,
        "training_tracks": [t.track_id for t in kept],
        "development_tracks": [t.track_id for t in held_out],
    }
    if recipe is not None:
        _check_recipe(recipe, record)
    training = batches(kept, True)
    left_out = [*_left_out(manifest, store), *training.unfilled()]
    development = batches(held_out, False) if held_out else None
    return _Plan(vocabulary, training, development, record, left_out, teachers)


def _calibration_of(recipe: Bundle) -> dict[str, Any]:
    """What a refit takes over from the model that was held to a development fold."""
    return {
        "name": recipe.name,
        "sha256": recipe.hash,
        "temperature": recipe.temperature,
        "unsure_below": recipe.unsure_below,
        "development": recipe.record["metrics"]["development"],
    }


def _check_recipe(recipe: Bundle, record: dict[str, Any]) -> None:
    """Refuse to refit with anything but what the bundle was trained with."""
    was, now = (
        {
            **without_heard(known),
            "config": resolved(Config(**known["config"])),  # a key of today may have been unknown
        }
        for known in (recipe.record["training"], record)
    )
    changed = [name for key, name in RECIPE.items() if was.get(key) != now[key]]
    if changed:
        raise TrainingError(
            f"{recipe.path}: was trained with other things than are given now: "
            f"{', '.join(changed)}; a refit repeats its recipe"
        )


def _cautions(plan: _Plan, initial: Bundle | None, at_once: int) -> Iterator[str]:
    """What a reader of the run's numbers must know; `at_once` slices are computed together."""
    batch_size = plan.training.config.train.batch_size
    if at_once < batch_size:
        yield (
            f"memory is short: a batch of {batch_size} slices is computed by {at_once}, and the "
            "batch norms see no more at once; with more free memory the same seed gives other "
            "numbers"
        )
    held_out = plan.development.tracks if plan.development else []
    known = n_learned(initial, held_out) if initial else 0
    if initial and known:
        yield (
            f"{initial.path}: has learned from {known:,} of the {len(held_out):,} tracks of the "
            "development fold, so its score will be too high; start from a bundle that was trained "
            "with the same manifest, train.dev_fraction and train.dev_seed"
        )


def _soften(plan: _Plan, manifest: Manifest, *, progress: bool) -> None:
    """Mix what the teachers say into the targets of the training tracks."""
    if plan.teachers:
        training, weight = plan.training, plan.training.config.train.teacher_weight
        soft = soft_targets(plan.teachers, training, manifest, progress=progress)
        training.targets = (1 - weight) * training.targets + weight * soft


def _left_out(manifest: Manifest, store: FeatureStore) -> Iterator[tuple[str, str, str]]:
    """Rows that cannot be learned from: track id, status and reason.

    A split that is made after the check leaves unusable rows without one, so those that are not
    known to validate or test are listed too.
    """
    for track in manifest.tracks:
        split = track.split or track.extra.get(OWN_SPLIT, "")
        if not track.usable and split in ("training", ""):
            yield track.track_id, track.status, track.error
        elif track.usable and split == "training":
            stored = store.tracks[track.track_id]
            if not track.labels:
                yield track.track_id, "unlabelled", "the row has no label"
            elif not stored.n_frames:
                yield track.track_id, stored.status, stored.error


def _origin(bundle: Bundle) -> dict[str, Any]:
    """A bundle that a network is made from, with all data and tracks that it has learned from."""
    training = bundle.record["training"]
    sources = (training, training.get("init") or {})
    return {
        "name": bundle.name,
        "sha256": bundle.hash,
        **{
            key: sorted({name for source in sources for name in source.get(key, ())})
            for key in ("datasets", "licences")
        },
        "heard": training.get("heard", []),
    }


def _adopt(config: Config, bundle: Bundle, store: FeatureStore) -> Config:
    """Take the bundle's model, whose weights are to be refined."""
    if bundle.features != store.features:
        raise ConfigError(
            f"{bundle.name} was trained on other features than the store holds; build a store "
            f"with 'tsresformer features MANIFEST --features {bundle.path} -o STORE'"
        )
    return config.model_copy(update={"model": bundle.model})


def _load_weights(network: Network, bundle: Bundle, vocabulary: Sequence[str]) -> None:
    """Start from a bundle's weights; keep a new head when the genres differ."""
    weights = bundle.weights()
    if tuple(vocabulary) != bundle.labels:
        weights = {name: value for name, value in weights.items() if not name.startswith("head.")}
    missing, unexpected = network.load_state_dict(weights, strict=False)
    if unexpected or any(not name.startswith("head.") for name in missing):
        raise ConfigError(f"{bundle.name}: its weights do not fit its model; the bundle is damaged")


def _standardise(network: Network, training: SliceBatches) -> None:
    """Set each band's mean and the overall deviation from training slices."""
    step = max(1, len(training.tracks) // STATISTICS_TRACKS)
    n_mels = training.store.features.n_mels
    total, squares = (torch.zeros(n_mels, dtype=torch.float64) for _ in range(2))
    count = 0
    for index in range(0, len(training.tracks), step):
        track = training.tracks[index]
        frames = training.store.to_decibels(training.store.log_mel(track.track_id))
        x = network.normalise.reference(torch.from_numpy(frames[None, :, : training.length]))[0]
        total += x.sum(1)
        squares += (x**2).sum(1)
        count += x.shape[1]
    mean = total / count
    deviation = (squares / count - mean**2).clamp(min=0).mean().sqrt()
    network.normalise.standardise(mean, deviation)


def _class_weights(targets: np.ndarray, config: Config) -> torch.Tensor:
    """Weights of the classes: equal, or inverse to how often each occurs, of mean 1."""
    if not config.train.class_weights:
        return torch.ones(targets.shape[1])
    weights = 1 / np.maximum(targets.sum(0), 1)
    return torch.from_numpy((weights / weights.mean()).astype(np.float32))


def _trainer(
    run: Run, training: SliceBatches, processes: Processes, *, progress: bool
) -> pl.Trainer:
    config = training.config
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    callbacks: list[Callback] = [
        *averaging(config, training.n_effective),
        Epochs(run, config.train.patience),
    ]
    if progress:
        callbacks.append(ProgressBar(config.train.epochs))
    return pl.Trainer(
        accelerator="auto",
        devices=processes.devices,
        num_nodes=processes.nodes,
        strategy="ddp" if processes.count > 1 else "auto",
        max_epochs=config.train.epochs,
        accumulate_grad_batches=config.train.batch_size // (training.micro_batch * processes.count),
        gradient_clip_val=config.train.clip_norm,
        callbacks=callbacks,
        logger=TensorBoardLogger(run.folder, name="", version="tensorboard"),
        plugins=[AtomicCheckpoints()],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=10**9,
        use_distributed_sampler=False,
    )
