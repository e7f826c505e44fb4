"""A small synthetic set with a store, and studies of it."""

import numpy as np
import pytest

from studies_of import TINY, toml
from tsresformer.config import FeatureConfig
from tsresformer.datasets import arrays
from tsresformer.splits import split
from tsresformer.store import build_store

FEATURES = FeatureConfig(sample_rate=16000, hop_length=1600, n_fft=2048, n_mels=16)


@pytest.fixture(scope="session")
def noisy(tmp_path_factory):
    """60 tracks of 3 genres, 20 artists; a genre is louder in bands of its own, not always."""
    folder = tmp_path_factory.mktemp("noisy")
    rng = np.random.default_rng(0)
    log_mel = rng.normal(-50, 6, (60, 16, 60)).astype(np.float32)
    rows = ["track_id,genre,split,artist_id"]
    for i in range(60):
        genre = i % 3
        log_mel[i, 5 * genre : 5 * genre + 4] += 8 + 4 * rng.normal()
        part = "validation" if i % 20 >= 15 else "training"
        rows.append(f"t{i:02d},{'abc'[genre]},{part},artist{i % 20}")
    np.save(folder / "x.npy", log_mel)
    (folder / "t.csv").write_text("\n".join(rows))
    manifest = split(arrays.read(folder / "x.npy", folder / "t.csv", FEATURES), "official")
    manifest.write(folder / "m.csv")
    build_store(manifest, FEATURES, folder / "store")
    return folder


@pytest.fixture
def study_file(tmp_path):
    """Write a study of tiny trainings: its TOML is `text` after the common head."""

    def write(text, name="quick", config="ts_resformer"):
        head = f'title = "T"\nquestion = "Q"\nconfig = "{config}"\n'
        path = tmp_path / f"{name}.toml"
        path.write_text(f"{head}{text}\n[settings]\n{toml(TINY)}\n")
        return path

    return write
