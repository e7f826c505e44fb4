"""What is compared with what."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch

from bench_peers import (
    SpectrogramTransformer,
    essentia_features,
    librosa_features,
    librosa_log_mel,
    missing,
    student_loop,
)
from measure import Case, Work
from tsresformer.audio import load, open_audio
from tsresformer.bundle import Bundle
from tsresformer.classifier import Classifier
from tsresformer.config import Config, FeatureConfig, load_config
from tsresformer.export import compact_graph, cost, to_onnx
from tsresformer.extract import log_mel_chunks
from tsresformer.features import log_mel
from tsresformer.manifest import Manifest
from tsresformer.models.ts_resformer import TSResformer
from tsresformer.slicing import n_slice_frames
from tsresformer.store import build_store
from tsresformer.training.data import SliceBatches
from tsresformer.training.module import GenreModule

DEFAULT = FeatureConfig()
GEMM_SIZE = 1024
COPY_BYTES = 64 * 2**20


PREDICT = """
import re, resource, sys
from pathlib import Path
from tsresformer.cli import run
code = run(["predict", sys.argv[1]])
assert not code, code
own = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]
print(max(int(own), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
"""
"""Program that runs the command and says the peak of its largest process in KiB.

`wait4` would name the peak of the process that starts it, if that is larger.
"""


def nothing() -> None:
    """Stand in for a peer that is missing."""


def cases(
    files: Sequence[Path], home: Path, groups: Collection[str], n_copies: int
) -> Iterator[Case]:
    """All comparisons, each prepared when its turn comes.

    Parameters
    ----------
    files : audio of about 30 s each
    home : an empty folder for what has to be prepared
    groups : which of them
    n_copies : how often a folder holds each file
    """
    makers = {
        "features": lambda: _features(files),
        "predict": lambda: _predict(files),
        "folder": lambda: _folder(files, home, n_copies),
        "network": _network,
        "training": lambda: _training(files, home),
    }
    for name, make in makers.items():
        if name in groups:
            yield from make()


def decode(files: Sequence[Path], sample_rate: int | None = None) -> None:
    """Decode to the end, by our own decoder, and keep nothing."""
    for file in files:
        with open_audio(file, sample_rate) as stream:
            for _ in stream:
                pass


def _features(files: Sequence[Path]) -> Iterator[Case]:
    waveform = load(files[0], DEFAULT.sample_rate)
    source = np.empty(COPY_BYTES // 4, dtype=np.float32)
    target = np.ones_like(source)
    # A log-mel has to read each frame once, however it is computed.
    n_bytes = 4 * DEFAULT.n_fft * (1 + len(waveform) // DEFAULT.hop_length)
    yield Case(
        "log-mel of 30 s at 22,050 Hz",
        "librosa melspectrogram + power_to_db",
        lambda: log_mel(waveform, DEFAULT),
        lambda: librosa_log_mel(waveform, DEFAULT),
        bar="at most 0.5",
        missing=missing("librosa"),
    )
    yield Case(
        "log-mel of 30 s at 22,050 Hz",
        "limit: copy its frames in memory once",
        lambda: log_mel(waveform, DEFAULT),
        lambda: np.copyto(target, source),
        scale=n_bytes / COPY_BYTES,
    )

    def ours() -> None:
        for file in files:
            for _ in log_mel_chunks(str(file), DEFAULT):
                pass

    shared = {"ours": ours, "units": len(files)}
    name = "features (default), a file"
    yield Case(
        name,
        "limit: bare decode",
        theirs=lambda: decode(files),
        bar="at most 2; goal 1.6",
        **shared,  # type: ignore[arg-type]
    )
    yield Case(
        name,
        "librosa load + melspectrogram",
        theirs=lambda: librosa_features(files, DEFAULT),
        missing=missing("librosa"),
        **shared,  # type: ignore[arg-type]
    )
    absent = missing("essentia")
    yield Case(
        name,
        "essentia MonoLoader + MelBands",
        theirs=nothing if absent else essentia_features(files, DEFAULT),
        missing=absent,
        **shared,  # type: ignore[arg-type]
    )
    yield Case(
        "bare decode by libsndfile or FFmpeg, as chosen",
        "limit: bare decode by FFmpeg alone",
        lambda: decode(files),
        lambda: _decode_by_ffmpeg(files),
        units=len(files),
    )


def _decode_by_ffmpeg(files: Sequence[Path]) -> None:
    import av

    for file in files:
        with av.open(str(file)) as container:
            for frame in container.decode(audio=0):
                frame.to_ndarray()


def _predict(files: Sequence[Path]) -> Iterator[Case]:
    classifier = Classifier.load(threads=1)

    def ours() -> None:
        for file in files:
            classifier.predict(file)

    name = "predict (fma-small), a file"
    yield Case(
        name,
        "limit: bare decode",
        ours,
        lambda: decode(files),
        "at most 1.4; goal 1.2",
        len(files),
    )
    yield Case(
        "predict cold, one file, start of Python included",
        "python: import librosa, load the file",
        lambda: _python("from tsresformer.cli import main; main()", "predict", str(files[0])),
        lambda: _python("import sys, librosa; librosa.load(sys.argv[1])", str(files[0])),
        missing=missing("librosa"),
    )
    absent = missing("transformers") or missing("librosa")
    if absent:
        peer = "Audio Spectrogram Transformer: load, extract, network"
        yield Case(name, peer, nothing, nothing, missing=absent)
        return
    transformer = SpectrogramTransformer()
    few = files[:2]
    waveform = load(few[0], transformer.SAMPLE_RATE)
    inputs = transformer.extract(waveform)
    features = classifier.bundle.features
    length = n_slice_frames(classifier.bundle.slicing, features)
    n_slices = len(_scored(classifier, few[0]))
    slices = [np.full((features.n_mels, length), -40, dtype=np.float32)] * n_slices
    own = load(few[0], features.sample_rate)
    yield Case(
        name,
        "Audio Spectrogram Transformer: load, extract, network",
        lambda: [classifier.predict(file) for file in few],
        lambda: transformer.pipeline(few),
        bar="at most 0.2",
        units=len(few),
        rounds=5,
    )
    yield Case(
        "log-mel for fma-small, a file",
        "Audio Spectrogram Transformer: extractor",
        lambda: log_mel(own, features),
        lambda: transformer.extract(waveform),
        rounds=9,
    )
    yield Case(
        "network of fma-small, all slices of a file",
        "Audio Spectrogram Transformer: network",
        lambda: classifier.run(slices),
        lambda: transformer.score(inputs),
        rounds=5,
    )


def _folder(files: Sequence[Path], home: Path, n_copies: int) -> Iterator[Case]:
    """What takes a folder, with its child processes and their start."""
    many = [file for _ in range(n_copies) for file in files]
    classifier = Classifier.load(threads=1)
    yield Case(
        f"predict_many, {len(many)} files, one child process, a file",
        "limit: bare decode",
        lambda: list(classifier.predict_many(many)),
        lambda: decode(many),
        "at most 1.4; goal 1.2",
        len(many),
        rounds=5,
    )
    manifest = _manifest(many, home / "folder.csv")
    stores = (home / f"store-{i}" for i in itertools.count())

    def build(n_workers: int) -> None:
        with every_core():
            build_store(manifest, DEFAULT, next(stores), n_workers=n_workers)

    yield Case(
        f"features of {len(many)} files, two workers on two cores",
        "one worker",
        lambda: build(2),
        lambda: build(1),
        "at most 0.54",
        len(many),
        rounds=5,
        threads=2,
    )


@contextmanager
def every_core() -> Iterator[None]:
    """Lift the limit to one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _scored(classifier: Classifier, file: Path) -> np.ndarray:
    scores = dict(classifier.score_many([str(file)]))[0]
    if isinstance(scores, Exception):
        raise scores
    return scores.logits


def _python(code: str, *arguments: str) -> None:
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", code, *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)


def _network() -> Iterator[Case]:
    bundle = Bundle.load("fma-small")
    # Of random weights, on which speed does not depend: the bundle may be older than the network.
    network = TSResformer(bundle.model, bundle.features, len(bundle.labels)).eval()
    n_mels, length = bundle.features.n_mels, n_slice_frames(bundle.slicing, bundle.features)
    graph = to_onnx(network, n_mels, length)
    session, compact = _session(graph), _session(compact_graph(graph))
    for batch in (1, 32):
        x = np.random.default_rng(0).normal(-40, 15, (batch, n_mels, length)).astype(np.float32)
        tensor = torch.from_numpy(x)
        yield Case(
            f"network in ONNX Runtime, batch {batch}",
            "the same in eager PyTorch",
            lambda x=x: session.run(None, {"log_mel": x}),  # type: ignore[misc]
            lambda tensor=tensor: _eager(network, tensor),  # type: ignore[misc]
            bar="below 1; goal 0.5",
        )
        yield Case(
            f"network of a compact bundle, batch {batch}",
            "network of a full bundle",
            lambda x=x: compact.run(None, {"log_mel": x}),  # type: ignore[misc]
            lambda x=x: session.run(None, {"log_mel": x}),  # type: ignore[misc]
            bar="at most 1",
        )


def _session(graph: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _eager(network: TSResformer, x: torch.Tensor) -> None:
    with torch.inference_mode():
        network(x)


def _training(files: Sequence[Path], home: Path) -> Iterator[Case]:
    bundle = Bundle.load("fma-small")
    batch_size = max(2, len(files) // 2 * 2)
    config = load_config("fma_small", [f"train.batch_size={batch_size}", "train.epoch_slices=1"])
    epoch, network = _epoch(files, config, bundle.features, home)
    length = n_slice_frames(config.slicing, bundle.features)
    yield Case(
        f"training, an epoch of {batch_size} slices from a feature store",
        "plain PyTorch loop, librosa in a DataLoader",
        epoch,
        student_loop(files, config, bundle.features, length, len(bundle.labels)),
        bar="at most 0.33; goal 0.17",
        rounds=5,
        missing=missing("librosa"),
    )
    a = torch.randn(GEMM_SIZE, GEMM_SIZE)
    # Backward passes take about twice the multiply-adds of forward ones.
    needed = 3 * batch_size * cost(network, bundle.features.n_mels, length)["multiply_adds"]
    yield Case(
        f"training, a step of {batch_size} slices",
        "limit: its multiply-adds at the speed of GEMM",
        epoch,
        lambda: torch.mm(a, a),
        bar="reported; goal 2.2",
        scale=needed / GEMM_SIZE**3,
    )


def _epoch(
    files: Sequence[Path], config: Config, features: FeatureConfig, home: Path
) -> tuple[Work, TSResformer]:
    """Prepare what `tsresformer train` does in an epoch: batches, augmentation, loss, optimiser."""
    manifest = _manifest(files, home / "m.csv")
    store = build_store(manifest, features, home / "store")
    batches = SliceBatches(
        store,
        manifest,
        manifest.tracks[: config.train.batch_size],
        ["a", "b"],
        config,
        micro_batch=config.train.batch_size,
        training=True,
    )
    network = TSResformer(config.model, features, 2).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    module = GenreModule(
        network, config, n_steps=1000, class_weights=torch.ones(2), development=batches
    )
    module.log = nothing_logged  # type: ignore[method-assign]
    optimiser = module.configure_optimizers()["optimizer"]

    def run() -> None:
        module.train()
        for step, batch in enumerate(batches):
            loss = module.training_step(batch, step)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), config.train.clip_norm)
            optimiser.step()

    return run, network


def _manifest(files: Sequence[Path], path: Path) -> Manifest:
    rows = "".join(f'{i},"{file.resolve()}",a,training\n' for i, file in enumerate(files))
    path.write_text("track_id,path,label,split\n" + rows)
    return Manifest.read(path)


def nothing_logged(*_: object, **__: object) -> None:
    """Stand in for the trainer's log."""


def growth(files: Sequence[Path], n_steps: int) -> dict[str, list[tuple[float, Work]]]:
    """Work of growing size, over two decades: seconds of one track, and number of tracks."""
    waveform = load(files[0], DEFAULT.sample_rate)
    sizes = np.geomspace(1, 100, n_steps)
    classifier = Classifier.load(threads=1)

    def of_seconds(seconds: float) -> Work:
        piece = np.resize(waveform, round(seconds * DEFAULT.sample_rate))
        return lambda: log_mel(piece, DEFAULT)

    def of_tracks(n_tracks: int) -> Work:
        paths = [files[i % len(files)] for i in range(n_tracks)]
        return lambda: [classifier.predict(path) for path in paths]

    return {
        "log-mel, seconds of a track": [(6 * n, of_seconds(6 * n)) for n in sizes],
        "predict, tracks": [(float(n), of_tracks(n)) for n in sorted({round(n) for n in sizes})],
    }


def predict_cold(file: Path) -> tuple[float, float]:
    """Run `tsresformer predict` in a process of its own.

    Returns
    -------
    seconds, mebibytes : from the start of Python to its end; the peak of the largest process
    """
    begun = time.perf_counter()
    process = subprocess.run(
        [sys.executable, "-c", PREDICT, str(file)], stdout=subprocess.PIPE, text=True, check=True
    )
    seconds = time.perf_counter() - begun
    return seconds, int(process.stdout.split()[-1]) / 1024
