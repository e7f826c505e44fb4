import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_files import PYAV_CODECS, SOUNDFILE_SUBTYPES, write
from audio_files import tone as pure_tone
from miniature import SAMPLE_RATE, FmaTrack, fma_tracks, music, write_audio, write_fma
from tsresformer import check as module
from tsresformer._sniff import DEMUXERS, SUFFIXES
from tsresformer.check import (
    SAME_AUDIO,
    CheckReport,
    Finding,
    Inspection,
    check,
    fingerprint,
    inspect_audio,
    same_audio,
)
from tsresformer.config import FeatureConfig
from tsresformer.datasets import arrays, fma
from tsresformer.errors import AudioError
from tsresformer.features import log_mel
from tsresformer.files import sha256_file
from tsresformer.manifest import Manifest, Track, canonical_features
from tsresformer.workers import Event

COARSE = FeatureConfig(n_fft=2048, hop_length=2048, n_mels=32)


def coarse(waveform: np.ndarray) -> np.ndarray:
    found = fingerprint(log_mel(waveform, COARSE), COARSE.top_db)
    assert found is not None
    return found


def tone(hz: float, seconds: float) -> np.ndarray:
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (0.3 * np.sin(2 * np.pi * hz * t)).astype(np.float32)


def make_faulty(root: Path) -> Manifest:
    """One row for each thing that can be wrong, and rows that look like one but are not."""
    files = {
        "original": write_audio(root / "original.wav", music(1, 8)),
        "lossless": root / "lossless.flac",
        "reencoded": write_audio(root / "reencoded.mp3", music(1, 8)),
        "fine": write_audio(root / "fine.ogg", music(2, 8)),
        "silent": write_audio(root / "silent.wav", np.zeros(8 * SAMPLE_RATE, np.float32)),
        "silent2": write_audio(root / "silent2.wav", np.zeros(8 * SAMPLE_RATE, np.float32)),
        "faint": write_audio(root / "faint.wav", 0.01 * music(3, 8)),
        "cut": write_audio(root / "cut.wav", music(4, 6.9)),
        "nearly_whole": write_audio(root / "nearly_whole.wav", music(5, 7.1)),
        "tone": write_audio(root / "tone.wav", tone(440, 8)),
        "tone2": write_audio(root / "tone2.wav", tone(880, 8)),
        "text": root / "text.mp3",
        "gone": root / "gone.wav",
    }
    samples, _ = soundfile.read(files["original"], dtype="int16")
    soundfile.write(files["lossless"], samples, SAMPLE_RATE)
    files["text"].write_text("these are only words\n" * 500)
    common = {"label": "Rock", "split": "training", "duration_s": 8.0}
    rows = {
        name: Track(track_id=name, path=str(path), group=f"g-{name}", **common)
        for name, path in files.items()
    }
    for name, changes in {
        "reencoded": {"label": "Pop"},
        "fine": {"label": "Rokc", "group": ""},
        "faint": {"label": "Rock "},
        "tone": {"label": "", "group": "both", "artist": "Theremin"},
        "tone2": {"group": "both", "artist": "Theremin", "split": "test"},
    }.items():
        rows[name] = dataclasses.replace(rows[name], **changes)
    filler = [
        Track(track_id=f"row{i}", path=f"{root}/X.npy#{i}", label="Rock", group=f"g{i}")
        for i in range(12)
    ]
    values = np.random.default_rng(0).integers(0, 256, (12, 32, 64), dtype=np.uint8)
    np.save(root / "X.npy", values)
    return Manifest((*rows.values(), *filler))


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return make_faulty(tmp_path_factory.mktemp("faulty"))


@pytest.fixture(scope="module")
def report(faulty: Manifest) -> CheckReport:
    return check(faulty, n_workers=2)


def row(report: CheckReport, name: str) -> Track:
    return next(track for track in report.manifest.tracks if track.track_id == name)


@pytest.mark.parametrize(
    ("name", "status", "error"),
    [
        ("original", "ok", ""),
        ("lossless", "duplicate", "the same audio as original"),
        (
            "reencoded",
            "duplicate",
            "nearly the same audio as original, which is labelled 'Rock' and not 'Pop'",
        ),
        ("fine", "ok", ""),
        ("silent", "silent", "nothing is louder than -60 dBFS"),
        ("silent2", "silent", "nothing is louder than -60 dBFS"),
        ("faint", "ok", ""),
        ("cut", "incomplete", "6.9 s of 8.0 s"),
        ("nearly_whole", "ok", ""),
        ("tone", "ok", ""),
        ("tone2", "ok", ""),
        ("gone", "missing", "no such file"),
        ("row3", "ok", ""),
    ],
)
def test_every_row_gets_its_status(report: CheckReport, name: str, status: str, error: str) -> None:
    assert (row(report, name).status, row(report, name).error) == (status, error)


def test_what_does_not_decode_says_why(report: CheckReport) -> None:
    assert row(report, "text").status == "undecodable"
    assert row(report, "text").error


def test_all_faulty_rows_are_findings(report: CheckReport) -> None:
    assert report.counts() == {
        "undecodable": 1,
        "missing": 1,
        "silent": 2,
        "incomplete": 1,
        "duplicate": 2,
        "label": 2,
        "unlabelled": 1,
        "group": 1,
        "ungrouped": 1,
    }
    assert {f.kind for f in report.findings if not f.fault} == {"unlabelled", "ungrouped"}
    assert len(report.faults) == len(report.findings) - 2
    duplicate = next(f for f in report.findings if f.track_ids == ("reencoded", "original"))
    assert duplicate.message.endswith("reencoded.mp3: " + row(report, "reencoded").error)


def test_labels_groups_and_blanks_are_called_out(report: CheckReport) -> None:
    by_kind = {kind: [f for f in report.findings if f.kind == kind] for kind in report.counts()}
    assert [(f.message, f.track_ids) for f in by_kind["label"]] == [
        ("label 'Rock ' (1 track) is probably 'Rock' (21 tracks)", ("faint",)),
        ("label 'Rokc' (1 track) is probably 'Rock' (21 tracks)", ("fine",)),
    ]
    (group,) = by_kind["group"]
    assert "1 artist is on both sides of the split (both (Theremin): 1 test, 1 training)" in (
        group.message
    )
    assert group.track_ids == ("tone", "tone2")
    assert by_kind["ungrouped"][0].track_ids == ("fine",)
    assert by_kind["unlabelled"][0].track_ids == ("tone",)


def test_files_are_hashed_and_the_rest_of_the_row_is_kept(
    faulty: Manifest, report: CheckReport
) -> None:
    for before, after in zip(faulty.tracks, report.manifest.tracks, strict=True):
        changed = dataclasses.replace(after, status="", error="", sha256="")
        assert changed == before
        if after.status not in ("missing", "undecodable") and "#" not in after.path:
            assert after.sha256 == sha256_file(after.path)


def test_checking_again_after_a_repair_clears_the_row(
    faulty: Manifest, report: CheckReport, tmp_path: Path
) -> None:
    repaired = write_audio(tmp_path / "gone.wav", music(9, 8))
    gone = dataclasses.replace(row(report, "gone"), path=str(repaired))
    again = check(Manifest((gone,)), n_workers=1).manifest.tracks[0]
    assert (again.status, again.error, again.sha256) == ("ok", "", sha256_file(repaired))


def test_progress_counts_every_row(tmp_path: Path) -> None:
    np.save(tmp_path / "X.npy", np.random.default_rng(1).random((3, 8, 40)))
    rows = tuple(Track(track_id=str(i), path=f"{tmp_path}/X.npy#{i}", label="A") for i in range(3))
    seen: list[tuple[int, int]] = []
    check(Manifest(rows), n_workers=1, progress=lambda *counts: seen.append(counts))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_the_releases_known_faults_are_found_by_content(tmp_path: Path) -> None:
    tracks = [
        *fma_tracks(1, ("Folk", "Rock")),
        FmaTrack(98565, "Folk", audio="short"),
        FmaTrack(99134, "Rock", audio="empty"),
        FmaTrack(107535, "Rock", audio="silent"),
        FmaTrack(108925, "Rock", audio="missing"),
    ]
    release = write_fma(tmp_path, tracks)
    copy = release.audio / "000" / "000002.mp3"
    (release.audio / "098").mkdir(exist_ok=True)
    report = check(fma.read(release.audio, release.metadata), n_workers=1)
    assert {track.track_id: track.status for track in report.manifest.tracks} == {
        "2": "ok",
        "5": "ok",
        "98565": "incomplete",
        "99134": "undecodable",
        "107535": "silent",
        "108925": "missing",
    }
    assert row(report, "2").sha256 == sha256_file(copy)


def test_rows_of_arrays_are_compared_as_they_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, (8, 64, 96), dtype=np.uint8)
    values[2] = 0
    values[3] = 255
    values[5] = values[0]
    values[6] = np.clip(values[1] + rng.normal(0, 12, values[1].shape), 0, 255)
    values[7] = np.minimum(values[1], 200)
    np.save(tmp_path / "X.npy", values)
    table = "track_id,genre,artist_id\n" + "".join(f"{i},A{i % 2},{i}\n" for i in range(8))
    (tmp_path / "t.csv").write_text(table)
    features = FeatureConfig(n_mels=64)
    report = check(arrays.read(tmp_path / "X.npy", tmp_path / "t.csv", features), n_workers=1)
    assert [track.status for track in report.manifest.tracks] == [
        *("ok", "ok", "silent", "silent", "ok", "duplicate", "duplicate", "duplicate"),
    ]
    assert row(report, "2").error == "all values are equal"
    assert row(report, "5").error == ("the same audio as 0, which is labelled 'A0' and not 'A1'")
    assert row(report, "6").error.startswith("nearly the same audio as 1, ")


def test_rows_that_are_not_there_or_no_numbers_are_faults(tmp_path: Path) -> None:
    values = np.zeros((2, 4, 40))
    values[1, 0, 0] = np.inf
    np.save(tmp_path / "X.npy", values)
    paths = [f"{tmp_path}/X.npy#1", f"{tmp_path}/X.npy#2", f"{tmp_path}/none.npy#0"]
    rows = tuple(Track(track_id=path, path=path, label="A", group="g") for path in paths)
    report = check(Manifest(rows), n_workers=1)
    assert [t.status for t in report.manifest.tracks] == ["undecodable", "undecodable", "missing"]
    assert "not finite" in report.manifest.tracks[0].error


def test_a_group_on_both_sides_is_no_fault_where_the_protocol_allows_it() -> None:
    rows = tuple(
        Track(track_id=s, path="/none", label="A", group="g", split=s, status="ok", protocol=p)
        for s, p in (("training", "track seed=0"), ("test", "track seed=0"))
    )
    (finding,) = module._group_findings(Manifest(rows))
    assert (finding.kind, finding.fault) == ("group", False)


def test_the_workers_are_closed_when_the_caller_gives_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_audio(tmp_path / "a.wav", music(1, 1))
    closed = []

    def endless(*_args: object, **_settings: object) -> Iterator[object]:
        try:
            while True:
                yield Event(index=0, item="a", kind="error", value=AudioError("a", "bad"))
        finally:
            closed.append(True)

    def give_up(*_counts: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "stream", endless)
    with pytest.raises(KeyboardInterrupt):
        check(
            Manifest((Track(track_id="a", path=str(path), label="A"),)),
            n_workers=1,
            progress=give_up,
        )
    assert closed == [True]


@pytest.mark.parametrize(
    "change",
    [
        lambda x: 0.1 * x,
        lambda x: x[SAMPLE_RATE // 10 :],
        lambda x: np.clip(3 * x, -1, 1),
        lambda x: x + np.random.default_rng(0).normal(0, 1e-3, x.size).astype(np.float32),
    ],
    ids=["quieter", "begins later", "overdriven", "noise"],
)
def test_fingerprints_survive_what_copies_go_through(change) -> None:
    waveform = music(11, 30)
    assert float(coarse(waveform) @ coarse(change(waveform))) > SAME_AUDIO


def test_fingerprints_of_different_tracks_differ() -> None:
    prints = np.stack([coarse(music(seed, 20)) for seed in range(6)])
    similarity = prints @ prints.T
    np.testing.assert_allclose(np.diag(similarity), 1, atol=1e-5)
    assert (similarity - np.eye(6)).max() < 0.5


def test_a_fingerprint_is_the_doubly_centred_mean_over_cells() -> None:
    rng = np.random.default_rng(0)
    cells = rng.normal(-30, 5, (32, 32)).astype(np.float32)
    expected = cells - cells.mean(0) - cells.mean(1)[:, None] + cells.mean()
    framed = np.pad(cells, ((0, 0), (1, 1)), constant_values=-70)  # the outer cells do not count
    found = fingerprint(np.repeat(np.repeat(framed, 3, axis=1), 4, axis=0), top_db=80)
    assert found is not None and found.shape == (1024,) and found.dtype == np.float32
    np.testing.assert_allclose(
        found.reshape(32, 32), expected / np.linalg.norm(expected), atol=1e-5
    )


def test_what_lies_below_top_db_does_not_count() -> None:
    values = np.random.default_rng(0).uniform(-70, 0, (32, 64)).astype(np.float32)
    values[3, 4] = 0
    quiet = values < -60
    shallow, deep = np.where(quiet, -61, values), np.where(quiet, -200, values)
    one, other = fingerprint(shallow, 60), fingerprint(deep, 60)
    assert one is not None and other is not None
    np.testing.assert_array_equal(one, other)


def test_what_says_nothing_has_no_fingerprint() -> None:
    assert fingerprint(np.zeros((32, 33), np.float32), 80) is None
    assert fingerprint(np.zeros((32, 64), np.float32), 80) is None
    loudness = np.linspace(-60, 0, 64)[None] + np.linspace(0, -20, 32)[:, None]
    assert fingerprint(loudness.astype(np.float32), 80) is None


@pytest.mark.parametrize("seconds", [3.6, 20.0])
def test_a_steady_tone_has_no_fingerprint(seconds: float) -> None:
    assert fingerprint(log_mel(tone(440, seconds), COARSE), COARSE.top_db) is None


def inspection(seed: int, seconds: float = 30.0, noise: float = 0.0) -> Inspection:
    rng = np.random.default_rng(seed)
    values = rng.normal(-30, 8, (32, 34)) + noise * np.random.default_rng(99).normal(size=(32, 34))
    found = fingerprint(values.astype(np.float32), 80)
    return Inspection(seconds, False, "", f"{seed} {noise}", found)


def test_copies_are_counted_from_the_first_in_the_manifest() -> None:
    found = same_audio(
        {
            0: inspection(1),
            2: inspection(2),
            3: inspection(1, noise=2),
            5: inspection(1),
            6: inspection(1, noise=2),
            8: inspection(3),
        }
    )
    assert found == {
        3: (0, "nearly the same"),
        5: (0, "the same"),
        6: (0, "nearly the same"),
    }


def test_tracks_of_different_length_are_not_the_same() -> None:
    near = {0: inspection(1, 30.0), 1: inspection(1, 30.9, noise=1)}
    far = {0: inspection(1, 30.0), 1: inspection(1, 31.1, noise=1)}
    long = {0: inspection(1, 600.0), 1: inspection(1, 605.0, noise=1)}
    assert (len(same_audio(near)), len(same_audio(far)), len(same_audio(long))) == (1, 0, 1)


def test_an_inspection_of_a_file(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.wav", music(1, 4))
    shutil.copy(path, tmp_path / "b.wav")
    (first,), (second,) = inspect_audio(str(path), 60), inspect_audio(str(tmp_path / "b.wav"), 60)
    assert first.seconds == pytest.approx(4, abs=1e-3) and not first.silent
    assert first.sha256 == sha256_file(path)
    assert (first.samples_hash, first.sha256) == (second.samples_hash, second.sha256)
    with pytest.raises(AudioError):
        list(inspect_audio(str(path), 1.0))


def test_a_file_of_less_than_a_window_is_inspected(tmp_path: Path) -> None:
    (found,) = inspect_audio(str(write_audio(tmp_path / "a.wav", tone(440, 0.01))), 60)
    assert found.seconds == pytest.approx(0.01, abs=1e-3)
    assert found.fingerprint is None


def oddities(path: Path) -> tuple[str, ...]:
    (found,) = inspect_audio(str(path), 60)
    return found.oddities


@pytest.mark.parametrize(
    "suffix",
    [
        *("txt", "bin", "au", "caf", "aifc", "m4b", "mka"),
        *("mp2", "mpc", "ape", "w64", "webm", "wv", "WAV"),
    ],
)
def test_audio_that_is_not_what_its_suffix_says_is_told(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a.{suffix}", pure_tone(0.2), kind="flac")
    assert oddities(path) == (f"is named .{suffix.lower()}, and is flac",)


@pytest.mark.parametrize("kind", [*SOUNDFILE_SUBTYPES, *PYAV_CODECS])
def test_a_suffix_that_fits_or_none_is_not_told(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / f"a.{kind}", pure_tone(0.2))
    assert oddities(path) == oddities(shutil.copy(path, tmp_path / "a")) == ()


@pytest.mark.parametrize("suffix", ["wav", "mka"])
def test_channels_are_judged_before_they_are_mixed(tmp_path: Path, suffix: str) -> None:
    quiet, noise = 0.2 * np.random.default_rng(0).uniform(-1, 1, (2, 44100))
    peaks, loud = quiet.copy(), noise.copy()
    peaks[::40] = np.resize([1.0, -1.0], len(peaks[::40]))
    loud[:18522] = np.resize([1.0, -1.0], 18522)
    found = {}
    for name, channels in {
        "fine": (quiet, noise),
        "peaks": (peaks, noise),
        "one": (quiet, loud),
        "opposed": (quiet + 0.31, noise - 0.3),
    }.items():
        path = tmp_path / f"{name}.{suffix}"
        write(path, np.stack(channels, axis=1).astype(np.float32), 44100)
        found[name] = oddities(path)
    assert found == {
        "fine": (),
        "peaks": ("is clipped: 2.5% of the samples are at full scale in channel 1",),
        "one": ("is clipped: 42.0% of the samples are at full scale in channel 2",),
        "opposed": ("has an offset of +0.31 of full scale in channel 1",),
    }


def test_every_format_has_its_suffixes() -> None:
    assert SUFFIXES.keys() == DEMUXERS.keys()


def test_features_of_a_row_give_its_scale() -> None:
    text = canonical_features(FeatureConfig(top_db=60))
    assert module._features(text).top_db == 60
    assert module._features("") == FeatureConfig()


def test_findings_are_faults_unless_they_say_otherwise() -> None:
    assert Finding("label", "text").fault


def test_of_two_copies_the_one_that_is_scored_stays(tmp_path):
    tracks = []
    for i, split in enumerate(("training", "validation", "training")):
        write_audio(tmp_path / f"{i}.wav", music(seed=4, seconds=3.0))
        path = str(tmp_path / f"{i}.wav")
        tracks.append(Track(track_id=str(i), path=path, label="Rock", split=split))
    report = check(Manifest(tuple(tracks)), n_workers=1)
    assert [track.status for track in report.manifest.tracks] == ["duplicate", "ok", "duplicate"]
    expected = "the same audio as 1, which is in the split 'validation' and not 'training'"
    assert report.manifest.tracks[0].error == expected
