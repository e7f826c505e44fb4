from pathlib import Path

import numpy as np
import pytest

from tsresformer.config import FeatureConfig
from tsresformer.datasets import arrays
from tsresformer.errors import AudioError, ManifestError

FEATURES = FeatureConfig(sample_rate=44100, hop_length=10336, n_mels=4)


def saved(
    tmp_path: Path, values: np.ndarray, table: str = "track_id,genre\n1,Pop\n2,Rock\n"
) -> Path:
    np.save(tmp_path / "X.npy", values)
    (tmp_path / "t.csv").write_text(table)
    return tmp_path / "X.npy"


def test_rows_follow_the_array_and_carry_the_features(tmp_path: Path) -> None:
    table = "mood,artist_id,genre,track_id,x_year\ncalm,7,Pop,b,\n,,Rock,a,1999\n"
    path = saved(tmp_path, np.zeros((2, 4, 5), np.uint8), table)
    manifest = arrays.read(path, tmp_path / "t.csv", FEATURES)
    first, second = manifest.tracks
    assert (first.track_id, first.path, first.label) == ("b", f"{path}#0", "Pop")
    assert (first.group, dict(first.extra)) == ("7", {"x_mood": "calm"})
    assert (second.path, second.group, dict(second.extra)) == (f"{path}#1", "", {"x_year": "1999"})
    assert manifest.features == FEATURES
    assert manifest.protocol == ""
    assert manifest.notes == ("without an artist, each counts as one of its own: 1 track",)
    assert arrays.is_row(first.path) and not arrays.is_row(str(path))
    assert arrays.row_dtype(path) == np.uint8


@pytest.mark.parametrize(
    ("values", "table", "message"),
    [
        (np.zeros((3, 4, 5), np.uint8), None, "has 2 rows, .*X.npy 3; rows must follow the array"),
        (np.zeros((1, 4, 5), np.uint8), None, "has 2 rows, .*X.npy 1;"),
        (np.zeros((2, 3, 5), np.uint8), None, "3 mel bands, the features say n_mels = 4"),
        (np.zeros((2, 4), np.uint8), None, r"has shape \(2, 4\), expected \(n_tracks"),
        (np.zeros((2, 4, 5), np.int16), None, "holds int16, expected uint8 or float"),
        (np.full((2, 4, 5), None), None, r"not a readable \.npy array"),
        (np.zeros((2, 4, 5), np.uint8), "track_id,gerne\n1,Pop\n2,Rock\n", "did you mean 'gerne'"),
        (np.zeros((2, 4, 5), np.uint8), "track_id,genre\n1,Pop\n1,Rock\n", "more than once: 1"),
        (np.zeros((2, 4, 5), np.uint8), "track_id,genre\n1,Pop\n,Rock\n", "line 3: track_id is"),
        (
            np.zeros((2, 4, 5), np.uint8),
            "track_id,genre,split\n1,Pop,train\n2,Rock,\n",
            "line 2: split 'train' is none of training, validation, test or empty",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, values: np.ndarray, table: str | None, message: str
) -> None:
    path = saved(tmp_path, values, table) if table else saved(tmp_path, values)
    with pytest.raises(ManifestError, match=message):
        arrays.read(path, tmp_path / "t.csv", FEATURES)


def test_what_is_no_array_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("track_id,genre\n")
    for name in ("X.npz", "none.npy"):
        with pytest.raises(ManifestError, match=name.replace(".", r"\.")):
            arrays.read(tmp_path / name, tmp_path / "t.csv", FEATURES)
    np.savez(tmp_path / "Y.npz", np.zeros(3))
    (tmp_path / "Y.npz").rename(tmp_path / "Y.npy")
    with pytest.raises(ManifestError, match=r"Y\.npy: not a readable"):
        arrays.read(tmp_path / "Y.npy", tmp_path / "t.csv", FEATURES)


def test_bytes_are_decibels_below_255(tmp_path: Path) -> None:
    values = np.zeros((2, 4, 5), np.uint8)
    values[1, :, 0] = (0, 51, 102, 255)
    path = saved(tmp_path, values)
    log_mel = arrays.read_row(f"{path}#1", FeatureConfig())
    assert log_mel.shape == (4, 5) and log_mel.dtype == np.float32
    np.testing.assert_allclose(log_mel[:, 0], [-80, -64, -48, 0], atol=1e-5)
    np.testing.assert_allclose(
        arrays.read_row(f"{path}#1", FeatureConfig(top_db=60))[:, 0], [-60, -48, -36, 0], atol=1e-5
    )


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_floats_are_decibels_already(tmp_path: Path, kind: type[np.floating]) -> None:
    values = np.linspace(-80, 0, 40).reshape(2, 4, 5).astype(kind)
    path = saved(tmp_path, np.asfortranarray(values))
    log_mel = arrays.read_row(f"{path}#1", FeatureConfig())
    assert log_mel.dtype == np.float32
    np.testing.assert_array_equal(log_mel, values[1].astype(np.float32))


def test_rows_with_values_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    values = np.zeros((2, 4, 5), np.float32)
    values[1, 0, 0] = np.nan
    path = saved(tmp_path, values)
    assert arrays.read_row(f"{path}#0", FeatureConfig()).max() == 0
    with pytest.raises(AudioError, match=r"X\.npy#1: holds values that are not finite"):
        arrays.read_row(f"{path}#1", FeatureConfig())
