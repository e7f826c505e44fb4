"""A small set of log-mels that a tiny network learns in seconds, and its configuration."""

import dataclasses

import numpy as np

from tsresformer.config import Config, FeatureConfig, load_config
from tsresformer.datasets import arrays
from tsresformer.splits import split
from tsresformer.store import build_store

FEATURES = FeatureConfig(sample_rate=16000, hop_length=1600, n_fft=2048, n_mels=16)
TINY = [
    "slicing.slice_s=2.0",
    "model.front_channels=2",
    "model.residual_widths=[8, 16]",
    "model.residual_depths=[1, 1]",
    "model.d_model=16",
    "model.n_heads=2",
    "model.n_layers=1",
    "model.d_feedforward=16",
    "train.batch_size=8",
    "train.epochs=4",
    "train.ema_decay=0.8",
    "train.dev_fraction=0.2",
]


def config(*overrides) -> Config:
    return load_config("ts_resformer", [*TINY, *overrides])


def make_bands(folder):
    """Return manifest and store of 48 tracks of 3 genres, each loud in bands of its own."""
    rng = np.random.default_rng(0)
    log_mel = rng.normal(-50, 6, (48, 16, 60)).astype(np.float32)
    rows = ["track_id,genre,split,artist_id"]
    for i in range(48):
        genre = i % 3
        log_mel[i, 5 * genre : 5 * genre + 4] += 25
        part = "test" if i // 12 == 3 else "training"
        rows.append(f"t{i:02d},{'abc'[genre]},{part},artist{i // 12}-{i % 6}")
    np.save(folder / "x.npy", log_mel)
    (folder / "t.csv").write_text("\n".join(rows))
    manifest = split(arrays.read(folder / "x.npy", folder / "t.csv", FEATURES), "official")
    manifest.write(folder / "m.csv")
    manifest = dataclasses.replace(manifest, path=folder / "m.csv")
    return manifest, build_store(manifest, FEATURES, folder / "store")
