"""The feature store: what it holds, what it survives, what it refuses."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tsresformer import store as store_module
from tsresformer.audio import load
from tsresformer.config import FeatureConfig
from tsresformer.datasets import arrays, folder
from tsresformer.errors import StoreError
from tsresformer.features import LogMelStream
from tsresformer.manifest import Manifest, Track
from tsresformer.store import FeatureStore, build_store, feature_config

FEATURES = FeatureConfig(sample_rate=16000, n_fft=512, hop_length=256, n_mels=20)


@pytest.fixture(scope="module")
def manifest(tiny_music):
    return folder.read(tiny_music)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(store_module, "TRACKS_PER_SHARD", 7)


def contents(path):
    return {p.name: p.read_bytes() for p in Path(path).iterdir()}


def test_holds_the_log_mels_of_whole_tracks(manifest, tmp_path):
    store = build_store(manifest, FEATURES, tmp_path / "s", n_workers=2)
    assert list(store.tracks) == [t.track_id for t in manifest.tracks]
    for track in (manifest.tracks[0], manifest.tracks[-1]):
        stream = LogMelStream(FEATURES)
        waveform = load(track.path, FEATURES.sample_rate)
        expected = np.concatenate([stream.push(waveform), stream.finish()], axis=1)
        found = store.log_mel(track.track_id)
        assert found.dtype == np.float16
        np.testing.assert_array_equal(found, expected.astype(np.float16))
    store.verify()


def test_the_number_of_workers_changes_no_byte(manifest, tmp_path):
    build_store(manifest, FEATURES, tmp_path / "a", n_workers=1)
    build_store(manifest, FEATURES, tmp_path / "b", n_workers=3)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


BUILD = """
import sys
from tsresformer import store
from tsresformer.config import FeatureConfig
from tsresformer.manifest import Manifest
if __name__ == "__main__":
    store.TRACKS_PER_SHARD = 2
    features = FeatureConfig(sample_rate=16000, n_fft=512, hop_length=256, n_mels=20)
    store.build_store(Manifest.read(sys.argv[1]), features, sys.argv[2], n_workers=1)
"""


def test_killed_and_resumed_it_ends_with_the_same_bytes(manifest, tmp_path):
    manifest.write(tmp_path / "m.csv")
    script = tmp_path / "build.py"
    script.write_text(BUILD)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    command = [sys.executable, str(script), str(tmp_path / "m.csv")]
    subprocess.run([*command, str(whole)], check=True)
    process = subprocess.Popen([*command, str(killed)], start_new_session=True)
    while not (killed / "shard-00001.json").exists():
        assert process.poll() is None
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / "store.json").exists()
    with pytest.raises(StoreError, match="is unfinished; 'tsresformer features"):
        FeatureStore.open(killed)
    first = (killed / "shard-00000.npy").stat().st_mtime_ns
    for name in (".shard-00001.npy.left-over", ".store-begun-00001.json.left-over"):
        (killed / name).write_bytes(b"half")
    subprocess.run([*command, str(killed)], check=True)
    assert (killed / "shard-00000.npy").stat().st_mtime_ns == first
    assert contents(killed) == contents(whole)


@pytest.fixture
def unfinished(manifest, tmp_path):
    """A build that was interrupted in its second shard."""
    n_done = iter(range(10))

    def interrupt(_track):
        if next(n_done, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_store(manifest, FEATURES, tmp_path / "unfinished", on_track=interrupt)
    assert (tmp_path / "unfinished" / "shard-00000.json").exists()
    return tmp_path / "unfinished"


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("shard-00000.npy", lambda b: b[:-1] + bytes([b[-1] ^ 1])),
        ("shard-00000.npy", None),
        ("shard-00000.json", lambda b: b.replace(b'"ok"', b'"no"', 1)),
        ("shard-00000.json", lambda b: b[:-9]),
        ("store-begun-00000.json", lambda b: b[:9]),
    ],
)
def test_a_shard_that_changed_is_computed_anew(manifest, unfinished, tmp_path, name, damage):
    if damage:
        content = (unfinished / name).read_bytes()
        (unfinished / name).write_bytes(damage(content))
        assert (unfinished / name).read_bytes() != content
    else:
        (unfinished / name).unlink()
    build_store(manifest, FEATURES, unfinished)
    build_store(manifest, FEATURES, tmp_path / "whole")
    assert contents(unfinished) == contents(tmp_path / "whole")


def test_a_build_of_an_older_version_goes_on(manifest, unfinished):
    (unfinished / "store-begun-00000.json").unlink()
    before = (unfinished / "shard-00000.npy").stat().st_mtime_ns
    build_store(manifest, FEATURES, unfinished)
    assert (unfinished / "shard-00000.npy").stat().st_mtime_ns == before


def test_a_shard_that_changes_while_others_are_built_is_not_sealed(manifest, tmp_path):
    def damage(_track):
        path = tmp_path / "s" / "shard-00000.npy"
        if path.exists():
            path.write_bytes(path.read_bytes()[:-1] + b"?")

    with pytest.raises(StoreError, match=r"shard-00000.npy: has changed .*; run again"):
        build_store(manifest, FEATURES, tmp_path / "s", on_track=damage)
    assert not (tmp_path / "s" / "store.json").exists()


def test_bytes_stay_bytes(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, (9, 20, 40), dtype=np.uint8)
    np.save(tmp_path / "x.npy", values)
    rows = ["track_id,genre"] + [f"t{i},g{i % 2}" for i in range(9)]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    manifest = arrays.read(tmp_path / "x.npy", tmp_path / "t.csv", FEATURES)
    store = build_store(manifest, feature_config(manifest), tmp_path / "s")
    assert store.log_mel("t8").dtype == np.uint8
    np.testing.assert_array_equal(store.log_mel("t8"), values[8])
    decibels = store.to_decibels(store.log_mel("t3"))
    np.testing.assert_allclose(decibels, -80 + values[3] * (80 / 255), atol=1e-4)


def test_what_cannot_be_used_is_a_row_with_its_reason(tmp_path):
    noise = np.random.default_rng(0).standard_normal(16000 * 3).astype(np.float32) * 0.1
    soundfile.write(tmp_path / "good.wav", noise, 16000)
    soundfile.write(tmp_path / "cut.wav", noise[: 16000 * 1], 16000)
    soundfile.write(tmp_path / "silent.wav", noise * 1e-4, 16000)
    (tmp_path / "text.mp3").write_text("no music\n" * 99)
    names = ["good.wav", "cut.wav", "silent.wav", "text.mp3", "none.wav"]
    tracks = [
        Track(track_id=name, path=str(tmp_path / name), label="g", duration_s=3.0) for name in names
    ]
    tracks.append(dataclasses.replace(tracks[0], track_id="copy", status="duplicate", error="x"))
    store = build_store(Manifest(tuple(tracks)), FEATURES, tmp_path / "s")
    found = {name: (t.status, t.n_frames > 0) for name, t in store.tracks.items()}
    assert found == {
        "good.wav": ("ok", True),
        "cut.wav": ("incomplete", False),
        "silent.wav": ("silent", False),
        "text.mp3": ("undecodable", False),
        "none.wav": ("missing", False),
        "copy": ("duplicate", False),
    }
    assert store.tracks["cut.wav"].error == "1.0 s of 3.0 s"
    assert [t.track_id for t in store.serve(Manifest(tuple(tracks)))] == ["good.wav"]


def test_stores_of_something_else_are_refused(manifest, tmp_path):
    out = tmp_path / "s"
    store = build_store(manifest, FEATURES, out, n_workers=2)
    before = contents(out)
    other = FeatureConfig(sample_rate=16000, n_fft=512, hop_length=256, n_mels=21)
    with pytest.raises(StoreError, match="another feature configuration"):
        build_store(manifest, other, out)
    with pytest.raises(StoreError, match="another manifest"):
        build_store(manifest.replace(manifest.tracks[:3]), FEATURES, out)
    stranger = dataclasses.replace(manifest.tracks[0], path="/elsewhere/other.flac")
    with pytest.raises(StoreError, match="1 tracks are not in it, or come from other files"):
        store.serve(manifest.replace([stranger, *manifest.tracks[1:]]))
    assert contents(out) == before
    occupied = tmp_path / "occupied"
    occupied.mkdir()
    (occupied / "thesis.tex").write_text("x")
    with pytest.raises(StoreError, match=r"holds other files \(thesis.tex"):
        build_store(manifest, FEATURES, occupied)
    with pytest.raises(StoreError, match="holds no feature store"):
        FeatureStore.open(occupied)


def test_a_part_of_the_manifest_is_served(manifest, tmp_path):
    store = build_store(manifest, FEATURES, tmp_path / "s", n_workers=2)
    part = manifest.replace(manifest.tracks[4:9])
    assert store.serve(part) == list(part.tracks)


@pytest.mark.parametrize(
    ("name", "damage", "problem"),
    [
        ("store.json", lambda b: b[:40], "damaged"),
        ("store.json", lambda b: b.replace(b'"format": 2', b'"format": 9'), "format 9"),
        ("store.json", lambda b: b.replace(b'"key"', b'"kex"'), "damaged"),
        ("store.json", lambda b: b.replace(b'"n_mels": 20', b'"n_mels": 24'), "it has changed"),
        (
            "store.json",
            lambda b: _unsealed(b).replace(b'"n_mels": 20', b'"n_mels": 0'),
            "store.json: n_mels",
        ),
        ("store.json", lambda b: b.replace(b'"format": 2', b'"format": 1'), "it has changed"),
        ("shard-00001.json", lambda b: b[:-9], r"shard-00001.json: damaged"),
        ("shard-00002.npy", lambda b: b[:-2] + b"zz", r"shard-00002.npy: damaged"),
        ("shard-00002.npy", lambda b: b[:64], r"shard-00002.npy: damaged"),
    ],
)
def test_damage_is_found(manifest, tmp_path, name, damage, problem):
    out = tmp_path / "s"
    build_store(manifest, FEATURES, out, n_workers=2)
    whole = (out / name).read_bytes()
    assert damage(whole) != whole
    (out / name).write_bytes(damage(whole))
    with pytest.raises(StoreError, match=problem):
        FeatureStore.open(out).verify()


def _unsealed(record: bytes) -> bytes:
    """The record as format 1 had it."""
    text, n = re.subn(rb',\s*"sha256": "\w+"\s*}\s*$', b"}", record)
    assert n == 1
    return text.replace(b'"format": 2', b'"format": 1')


def test_a_store_is_verified_before_it_is_called_done(manifest, tmp_path):
    out = tmp_path / "s"
    store = build_store(manifest, FEATURES, out, n_workers=2)
    (out / "shard-00001.npy").unlink()
    with pytest.raises(StoreError, match=r"shard-00001.npy: damaged or missing"):
        build_store(manifest, FEATURES, out)
    np.save(out / "shard-00001.npy", np.zeros((3, 20), np.float16))
    with pytest.raises(StoreError, match=r"shard-00001.npy: is \(3, 20\), its tracks need"):
        store.log_mel(manifest.tracks[8].track_id)


def test_a_long_track_never_lies_in_memory(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((1, 20, 9), np.float32))
    noise = np.random.default_rng(0).integers(-9999, 9999, 16000 * 60, dtype=np.int16)
    with soundfile.SoundFile(tmp_path / "long.wav", "w", 16000, 1) as file:
        for _ in range(60):
            file.write(noise)
    track = Track(track_id="long", path=str(tmp_path / "long.wav"), label="g")
    tracemalloc.start()
    store = build_store(Manifest((track,)), FEATURES, tmp_path / "s")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    stored = (tmp_path / "s" / "shard-00000.npy").stat().st_size
    assert store.tracks["long"].seconds == 3600
    assert stored > 8e6
    assert peak < stored / 2


def test_two_builds_at_once_do_not_mix(manifest, tmp_path):
    out = tmp_path / "s"
    with (
        store_module._claim(out, store_module._identity(manifest, FEATURES)),
        pytest.raises(StoreError, match="another process is building this store"),
    ):
        build_store(manifest, FEATURES, out)


def test_features_come_from_the_manifest_a_file_or_the_default(manifest, tmp_path):
    assert feature_config(manifest) == FeatureConfig()
    (tmp_path / "f.toml").write_text("sample_rate = 16000\n")
    assert feature_config(manifest, str(tmp_path / "f.toml")).sample_rate == 16000
    np.save(tmp_path / "x.npy", np.zeros((1, 20, 9), np.float32))
    (tmp_path / "t.csv").write_text("track_id,genre\na,b\n")
    made = arrays.read(tmp_path / "x.npy", tmp_path / "t.csv", FEATURES)
    assert feature_config(made) == FEATURES
    with pytest.raises(StoreError, match="were made with other features"):
        feature_config(made, str(tmp_path / "f.toml"))


def test_the_marker_names_what_the_store_is(manifest, tmp_path):
    build_store(manifest, FEATURES, tmp_path / "s", n_workers=2)
    record = json.loads((tmp_path / "s" / "store.json").read_text())
    assert record["key"] == manifest.key()
    assert record["features"]["n_mels"] == 20
    assert len(record["shards"]) == 4
