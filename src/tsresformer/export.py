"""From a training run to a bundle: export, check parity, calibrate, write the card."""

from __future__ import annotations

import io
import itertools
import logging
import math
import platform
import warnings
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from safetensors.torch import save
from torch.utils.flop_counter import FlopCounterMode

from tsresformer.bundle import Bundle, bundle_record, track_mark, write_bundle
from tsresformer.card import model_card
from tsresformer.errors import BundleError, TrainingError
from tsresformer.manifest import Manifest
from tsresformer.metrics import accuracy, fit_temperature, nll, unsure_threshold
from tsresformer.models.baselines import Network, build_network
from tsresformer.models.ts_resformer import Output
from tsresformer.slicing import n_slice_frames, probabilities
from tsresformer.store import FeatureStore
from tsresformer.training.data import SliceBatches
from tsresformer.training.run import Run, rows_key, without_heard
from tsresformer.training.teachers import BATCH_SLICES, track_logits

PARITY = 1e-4
"""Largest difference allowed between PyTorch and ONNX Runtime, in any output."""

COMPACT_PARITY = 0.05
"""Largest difference that weights stored in half precision may make, in any output."""

COMPACT_FROM = 1024
"""Values in a matrix or filter from which on it is stored in half precision; others are few."""

TARGET_PRECISION = 0.8
"""Predictions under the unsure threshold are left out until this share of the rest is right."""


def export(
    run: Run | str | Path,
    out: str | Path,
    *,
    name: str | None = None,
    manifest: Manifest | None = None,
    store: FeatureStore | None = None,
    compact: bool = False,
    on_step: Callable[[str], None] = lambda step: None,
) -> Bundle:
    """Turn the best epoch of a run into a bundle.

    Parameters
    ----------
    name : what outputs call the model; the folder's name by default
    manifest, store : what the run was trained on, if they have moved since
    compact : store the weights in half precision; the calibration is that of the rounded weights

    Raises
    ------
    BundleError : the exported network differs from the trained one, `out` exists, `manifest` has
        other labels, splits or groups, or `store` other features
    TrainingError : the run is damaged or has no finished epoch
    """
    run = run if isinstance(run, Run) else Run.load(run)
    out = Path(out)
    manifest = manifest or Manifest.read(run.record["manifest"])
    store = store or FeatureStore.open(run.record["store"])
    store.verify()
    if rows_key(manifest) != run.record["rows_key"]:
        raise BundleError(
            f"{manifest.path}: its tracks, labels, splits or groups are not those that "
            f"{run.folder} was trained with; name that manifest with --manifest"
        )
    if store.features != run.features:
        raise BundleError(
            f"{store.folder}: holds other features than {run.folder} was trained on; name the "
            "store of that training with --store"
        )
    network = _network(run)
    on_step("exporting the network to ONNX")
    graph = to_onnx(network, run.features.n_mels, n_slice_frames(run.config.slicing, run.features))
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    if compact:
        on_step("rounding the weights to half precision")
        graph = compact_graph(graph)
        lengths = [n_slice_frames(run.config.slicing, run.features)]
        _check_parity(network, graph, run.features.n_mels, lengths, COMPACT_PARITY)
        weights = {name: _compact_tensor(value) for name, value in weights.items()}
    refit = run.record.get("refit")
    if refit:
        calibration = {key: refit[key] for key in ("temperature", "unsure_below")}
        calibration |= refit["development"]
    else:
        on_step("calibrating on the development fold")
        calibration = calibrate(graph, run, manifest, store)
    record = bundle_record(
        name=name or out.name.removesuffix(".bundle"),
        task=run.config.task,
        labels=tuple(run.record["labels"]),
        features=run.features,
        slicing=run.config.slicing,
        model=run.config.model,
        temperature=calibration.pop("temperature"),
        unsure_below=calibration.pop("unsure_below"),
        training={
            **{k: v for k, v in without_heard(run.record).items() if k not in _LOCAL},
            "n_training_tracks": len(run.record["training_tracks"]),
            "heard": _heard(run, manifest),
            "calibrated_on": _marks(manifest, run.record["development_tracks"]),
            "result": run.result if run.finished else None,
            "history": [
                {name: round(v, 4) for name, v in epoch.items() if name != "seconds"}
                for epoch in run.history()
            ],
        },
        metrics={"development": calibration},
        cost=cost(network, run.features.n_mels, n_slice_frames(run.config.slicing, run.features)),
        versions={
            "python": platform.python_version(),
            **{p: version(p) for p in ("ts-resformer", "torch", "onnx", "onnxruntime")},
        },
    )
    return write_bundle(out, record, graph, save(weights), model_card(record))


def _network(run: Run) -> Network:
    """The network of the run's best epoch."""
    network = build_network(run.config.model, run.features, len(run.record["labels"]))
    try:
        network.load_state_dict(run.weights())
    except RuntimeError:
        raise TrainingError(
            f"{run.best}: its weights do not fit run.json; train again in a new folder"
        ) from None
    return network.eval()


# Paths of this machine, and lists that make no sense without its manifest.
_LOCAL = ("manifest", "store", "training_tracks", "development_tracks", "format")


def _heard(run: Run, manifest: Manifest) -> list[str]:
    """Marks of the tracks that weights, epoch or calibration were fitted to.

    Those of the teachers and of the bundle that the run started from are among them.
    """
    own = _marks(manifest, [*run.record["training_tracks"], *run.record["development_tracks"]])
    others = [run.record["init"] or {}, *run.record["teachers"]]
    return sorted({*own, *(mark for other in others for mark in other.get("heard", ()))})


def _marks(manifest: Manifest, track_ids: Iterable[str]) -> list[str]:
    known = set(track_ids)
    return sorted(track_mark(t.track_id, t.group) for t in manifest.tracks if t.track_id in known)


def to_onnx(network: Network, n_mels: int, n_frames: int) -> bytes:
    """Export with dynamic batch and frames, and compare with the network on several shapes.

    Raises
    ------
    BundleError : an output differs by more than `PARITY`
    """
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    batch, frames = torch.export.Dim("batch"), torch.export.Dim("n_frames", min=8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (torch.randn(2, n_mels, max(n_frames, 16)),),
            input_names=["log_mel"],
            output_names=list(Output._fields),
            dynamic_shapes={"log_mel": {0: batch, 2: frames}},
            dynamo=True,
            optimize=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _forget_source(model.graph)
    buffer = io.BytesIO()
    onnx.save_model(model, buffer)
    graph = buffer.getvalue()
    _check_parity(network, graph, n_mels, sorted({8, 31, n_frames, n_frames + 1}))
    return graph


def _forget_source(graph: onnx.GraphProto) -> None:
    """Remove the exporter's notes on the source code, which name the folders of this machine."""
    parts = (graph.node, graph.value_info, graph.input, graph.output, graph.initializer)
    for item in (graph, *itertools.chain.from_iterable(parts)):
        del item.metadata_props[:]


def compact_graph(graph: bytes) -> bytes:
    """Store the large weights of a graph in half precision, each with a cast back behind it.

    ONNX Runtime does the casts when it loads the graph, so that it computes as before.
    """
    model = onnx.load_model_from_string(graph)
    casts = []
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if not _is_large(values.dtype == np.float32, values.shape, float(np.abs(values).max())):
            continue
        name = tensor.name
        stored = onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}.half")
        tensor.CopyFrom(stored)
        casts.append(
            onnx.helper.make_node("Cast", [stored.name], [name], to=onnx.TensorProto.FLOAT)
        )
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    compact: bytes = model.SerializeToString()
    return compact


def _compact_tensor(value: torch.Tensor) -> torch.Tensor:
    large = _is_large(value.dtype == torch.float32, value.shape, float(value.abs().max()))
    return value.half() if large else value


def _is_large(is_float: bool, shape: Sequence[int], largest: float) -> bool:
    """Whether a tensor is worth half precision, and fits into its range."""
    fits = largest <= float(np.finfo(np.float16).max)
    return is_float and fits and len(shape) > 1 and math.prod(shape) >= COMPACT_FROM


def _check_parity(
    network: Network, graph: bytes, n_mels: int, lengths: list[int], limit: float = PARITY
) -> None:
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    for n_frames in lengths:
        for batch in (1, 3):
            x = torch.randn(batch, n_mels, n_frames, generator=generator)
            log_mel = x * network.normalise.scale + network.normalise.mean
            with torch.no_grad():
                expected = network(log_mel)
            found = session.run(list(Output._fields), {"log_mel": log_mel.numpy()})
            for name, ours, theirs in zip(Output._fields, expected, found, strict=True):
                worst = float(np.abs(ours.numpy() - theirs).max())
                if not worst <= limit:
                    raise BundleError(
                        f"the exported network differs from the trained one: {name} by "
                        f"{worst:.2g} at {batch} x {n_frames} frames (allowed {limit:g})"
                    )


def calibrate(graph: bytes, run: Run, manifest: Manifest, store: FeatureStore) -> dict[str, Any]:
    """Fit temperature and unsure threshold on the run's development fold.

    Returns
    -------
    values : temperature, unsure_below, n_tracks, accuracy, nll, nll_uncalibrated, coverage
    """
    logits, truth = _development_logits(graph, run, manifest, store)
    labels = truth.argmax(1) if run.config.task == "single" else truth.astype(bool)
    temperature = fit_temperature(logits, labels)
    likely = probabilities(logits, temperature, run.config.task)
    threshold = unsure_threshold(labels, likely, TARGET_PRECISION)
    return {
        "temperature": round(temperature, 6),
        "unsure_below": round(threshold, 6),
        "n_tracks": len(labels),
        "accuracy": float(accuracy(labels, likely)),
        "nll": float(nll(labels, likely)),
        "nll_uncalibrated": float(nll(labels, probabilities(logits, 1.0, run.config.task))),
        "coverage": float((likely.max(1) >= threshold).mean()),
    }


def _development_logits(
    graph: bytes, run: Run, manifest: Manifest, store: FeatureStore
) -> tuple[np.ndarray, np.ndarray]:
    """Mean logits and targets of the development tracks, from the exported network."""
    wanted = set(run.record["development_tracks"])
    tracks = [track for track in store.serve(manifest) if track.track_id in wanted]
    if len(tracks) != len(wanted):
        raise BundleError(
            f"{run.folder}: {len(wanted) - len(tracks)} of its development tracks are not in "
            f"{manifest.path}; name the manifest and the store that it was trained with"
        )
    batches = SliceBatches(
        store,
        manifest,
        tracks,
        run.record["labels"],
        run.config,
        micro_batch=BATCH_SLICES,
        training=False,
    )
    logits, scored = track_logits(graph, batches)
    return logits[scored], batches.targets[scored]


def cost(network: Network, n_mels: int, n_frames: int) -> dict[str, int]:
    """Parameters, and multiply-adds of one slice."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, n_mels, n_frames))
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "multiply_adds": counter.get_total_flops() // 2,
        "n_frames": n_frames,
    }
