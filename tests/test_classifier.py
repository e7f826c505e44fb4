"""The classifier: tracks of any length, silence, failures, threads."""

import dataclasses
import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tsresformer.audio import load
from tsresformer.classifier import Classifier
from tsresformer.config import FeatureConfig, SliceConfig
from tsresformer.errors import AudioError, BundleError
from tsresformer.features import LogMelStream
from tsresformer.files import sha256_json
from tsresformer.manifest import Manifest
from tsresformer.slicing import cut, n_slice_frames, slice_starts
from tsresformer.training.run import Run

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def classifier(tiny_bundle):
    return Classifier.load(tiny_bundle, threads=1)


@pytest.fixture(scope="module")
def tracks(tiny_run):
    """The tracks that the bundle was trained on."""
    seen = set(Run.load(tiny_run / "run").record["training_tracks"])
    return [track for track in Manifest.read(tiny_run / "m.csv").tracks if track.track_id in seen]


def whole_log_mel(path, features):
    stream = LogMelStream(features)
    waveform = load(path, features.sample_rate)
    return np.concatenate([stream.push(waveform), stream.finish()], axis=1)


def test_probabilities_are_the_mean_of_the_slices_logits(classifier, tracks):
    bundle = classifier.bundle
    log_mel = whole_log_mel(tracks[3].path, bundle.features)
    length = n_slice_frames(bundle.slicing, bundle.features)
    starts = slice_starts(log_mel.shape[1], bundle.slicing, bundle.features)
    assert len(starts) == 4
    logits = classifier.run([cut(log_mel, int(s), length) for s in starts])["logits"]
    scaled = np.exp(logits.mean(0) / bundle.temperature)
    prediction = classifier.predict(tracks[3].path)
    np.testing.assert_allclose(
        list(prediction.probabilities.values()), scaled / scaled.sum(), atol=1e-5
    )
    assert prediction.label == bundle.labels[int(logits.mean(0).argmax())]
    assert prediction.status == "ok"
    assert prediction.error is None
    assert prediction.seconds == pytest.approx(4.0, abs=0.05)
    assert prediction.unsure == (max(prediction.probabilities.values()) < bundle.unsure_below)


def test_it_learned_something(classifier, tracks):
    predictions = {p.path: p.label for p in classifier.predict_many([t.path for t in tracks])}
    right = np.mean([predictions[t.path] == t.label for t in tracks])
    assert right > 0.9


def test_worker_processes_change_nothing(classifier, tracks):
    paths = [t.path for t in tracks[:6]]
    alone = {path: classifier.predict(path, timeline=True) for path in paths}
    together = classifier.predict_many(paths, n_workers=2, timeline=True)
    assert {p.path: p for p in together} == alone


def test_the_timeline_does_not_change_the_genres(classifier, tracks):
    plain = classifier.predict(tracks[0].path)
    timed = classifier.predict(tracks[0].path, timeline=True)
    assert plain.timeline == ()
    assert timed.label == plain.label
    for genre, value in plain.probabilities.items():
        assert timed.probabilities[genre] == pytest.approx(value, abs=1e-6)


def test_the_timeline_follows_the_music(classifier, tracks, tmp_path):
    rate = 16000
    right = [t for t in tracks if classifier.predict(t.path).label == t.label]
    parts = {t.label: load(t.path, rate) for t in right}
    waveform = np.concatenate([np.tile(parts[g], 5) for g in ("ambient", "chiptune")])
    soundfile.write(tmp_path / "two.wav", waveform, rate)
    timeline = classifier.predict(tmp_path / "two.wav", timeline=True).timeline
    assert [entry.start_s for entry in timeline] == [0, 5, 10, 15, 20, 25, 30]
    assert all(e.end_s == pytest.approx(e.start_s + 10, abs=0.05) for e in timeline)
    halves = [
        np.mean([e.probabilities["ambient"] for e in half]) for half in (timeline[:3], timeline[4:])
    ]
    assert halves[0] > halves[1] + 0.2


def test_silent_stretches_have_no_genre_and_do_not_count(classifier, tracks, tmp_path):
    music = np.concatenate([load(t.path, 16000) for t in tracks[:2]] * 2)
    silence = np.zeros(16000 * 20, np.float32)
    soundfile.write(tmp_path / "gap.wav", np.concatenate([music, silence]), 16000)
    soundfile.write(tmp_path / "music.wav", music, 16000)
    with_gap = classifier.predict(tmp_path / "gap.wav", timeline=True)
    alone = classifier.predict(tmp_path / "music.wav")
    assert [entry.label is None for entry in with_gap.timeline] == [False] * 4 + [True] * 2
    assert with_gap.timeline[-1].probabilities == {}
    for genre, value in alone.probabilities.items():
        assert with_gap.probabilities[genre] == pytest.approx(value, abs=0.1)
    assert with_gap.label == alone.label


@given(
    st.sampled_from([8000, 16000, 22050, 44100]),
    st.integers(200, 12000),
    st.floats(0.5, 40),
    st.none() | st.floats(0.3, 40),
    st.floats(1, 20000),
)
@example(8000, 384, 12.0, None, 80.0)  # 9 windows of 5 s end at half a frame
@settings(max_examples=60)
def test_every_window_of_the_timeline_has_a_slice(
    classifier, sample_rate, hop_length, slice_s, slice_hop_s, seconds
):
    features = FeatureConfig(sample_rate=sample_rate, hop_length=hop_length, n_mels=2, n_fft=256)
    slicing = SliceConfig(
        slice_s=max(slice_s, 9 / features.frames_per_second), slice_hop_s=slice_hop_s
    )
    n_frames = min(20_000, round(seconds * features.frames_per_second) + 1)
    seconds = n_frames / features.frames_per_second
    starts = np.unique(
        np.concatenate([slice_starts(n_frames, slicing, features, hop) for hop in (None, 5.0)])
    )
    logits = np.zeros((len(starts), 3), np.float32)
    bundle = dataclasses.replace(classifier.bundle, features=features, slicing=slicing)
    every = np.ones(len(starts), dtype=bool)
    scores = SimpleNamespace(
        fine_starts=starts, fine_logits=logits, fine_audible=every, seconds=seconds
    )
    entries = list(Classifier(bundle, None)._timeline(scores))
    assert entries
    assert all(entry.label is not None for entry in entries)
    assert [entry.start_s for entry in entries] == [5.0 * k for k in range(len(entries))]
    assert all(entry.end_s <= round(seconds, 3) for entry in entries)


def test_a_short_track_is_repeated_and_flagged(classifier, tmp_path):
    noise = np.random.default_rng(0).standard_normal(16000).astype(np.float32) * 0.1
    soundfile.write(tmp_path / "short.wav", noise[:8000], 16000)
    ((_, scores),) = classifier.score_many([str(tmp_path / "short.wav")])
    assert scores.repeated
    assert scores.logits.shape == (1, 3)
    assert scores.warning == "shorter than one slice, so it is repeated"
    assert len(classifier.predict(tmp_path / "short.wav", timeline=True).timeline) == 1


def test_silence_has_no_genre(classifier, tmp_path):
    soundfile.write(tmp_path / "silence.wav", np.zeros(48000, np.float32), 16000)
    prediction = classifier.predict(tmp_path / "silence.wav", timeline=True)
    assert (prediction.status, prediction.label, prediction.probabilities) == ("silent", None, {})
    assert prediction.timeline == ()
    assert prediction.error is None


def test_one_bad_file_is_a_row_and_stops_no_other(classifier, tracks, tmp_path):
    (tmp_path / "text.mp3").write_text("not music " * 100)
    paths = [tracks[0].path, str(tmp_path / "text.mp3"), str(tmp_path / "none.mp3"), tracks[1].path]
    rows = {row.path: row for row in classifier.predict_many(paths, n_workers=2)}
    assert [rows[path].status for path in paths] == ["ok", "undecodable", "missing", "ok"]
    assert "text.mp3" not in rows[paths[1]].error
    with pytest.raises(AudioError, match=r"text\.mp3"):
        classifier.predict(tmp_path / "text.mp3")


def test_rows_of_arrays_are_scored_like_audio(classifier, tracks, tmp_path):
    log_mel = whole_log_mel(tracks[2].path, classifier.bundle.features)
    np.save(tmp_path / "x.npy", log_mel[None])
    ((_, from_array),) = classifier.score_many([f"{tmp_path}/x.npy#0"])
    ((_, from_audio),) = classifier.score_many([tracks[2].path])
    np.testing.assert_allclose(from_array.logits, from_audio.logits, atol=1e-4)
    length = n_slice_frames(classifier.bundle.slicing, classifier.bundle.features)
    assert from_audio.attention_time.shape == (4, -(-length // 2))
    assert from_audio.attention_frequency.shape == (4, 16)


def test_one_session_serves_many_threads(classifier, tracks):
    alone = [classifier.predict(t.path) for t in tracks[:4]]
    barrier = threading.Barrier(8)

    def work(i):
        barrier.wait()
        return classifier.predict(tracks[i % 4].path)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == alone * 2


def test_a_device_that_is_not_there_is_refused(tiny_bundle):
    with pytest.raises(BundleError, match="'cuda' is not available here"):
        Classifier.load(tiny_bundle, device="cuda")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"labels": ["a", "b"]}, "logits is .* the record needs 2 on its second axis"),
        ({"features": {"n_mels": 33}}, "log_mel is .* the record needs 33"),
    ],
)
def test_a_graph_that_does_not_fit_its_record_is_refused(tiny_bundle, tmp_path, changes, problem):
    folder = shutil.copytree(tiny_bundle, tmp_path / "odd.bundle")
    record = json.loads((folder / "bundle.json").read_text())
    record |= changes
    record["sha256"] = sha256_json({k: v for k, v in record.items() if k != "sha256"})
    (folder / "bundle.json").write_text(json.dumps(record))
    with pytest.raises(BundleError, match=problem):
        Classifier.load(folder)
