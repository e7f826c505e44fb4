"""Mutated files of every format: audio or an error of ours, within the limits, nothing else."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import hostile
import tiny
from audio_files import PYAV_CODECS, SOUNDFILE_SUBTYPES, tone, write, write_pyav
from miniature import FmaTrack, write_fma
from mutants import mutated
from studies_of import WITHOUT_A_NETWORK
from tagged_files import FORMATS, fill, journals, make, piece
from tsresformer.bundle import Bundle
from tsresformer.errors import BundleError, ChildDiedError, StalledError
from tsresformer.manifest import Manifest, Track
from tsresformer.workers import stream

pytestmark = pytest.mark.timeout(36_000)

BATCH = 500
MORE_CODECS = {
    "ac3": ("ac3", "ac3"),
    "alac": ("mp4", "alac"),
    "eac3": ("eac3", "eac3"),
    "mp2": ("mp2", "mp2"),
    "tta": ("tta", "tta"),
    "wv": ("wv", "wavpack"),
}


@pytest.fixture(scope="module")
def originals(piece_path, tmp_path_factory) -> dict[str, bytes]:
    """Half a second of audio in every format, and with every kind of tag."""
    folder = tmp_path_factory.mktemp("originals")
    samples = tone(0.5)
    for kind in (*SOUNDFILE_SUBTYPES, *PYAV_CODECS):
        write(folder / f"plain.{kind}", samples, kind=kind)
    for kind, codec in MORE_CODECS.items():
        write_pyav(folder / f"plain.{kind}", samples, 48000, *codec)
    music, rate = piece(piece_path, 0.5)
    for name in FORMATS:
        if name != "mpc" or shutil.which("mpcenc"):
            make(folder, name, music, rate)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def mutants(
    originals: dict[str, bytes], n: int, generator: random.Random, folder: Path
) -> Iterator[list[str]]:
    """Batches of mutated files; each batch is removed when the next is asked for."""
    names, contents = list(originals), list(originals.values())
    for start in range(0, n, BATCH):
        paths = []
        for i in range(start, min(n, start + BATCH)):
            name = names[i % len(names)]
            path = folder / f"{i:06d}-{name}"
            path.write_bytes(mutated(originals[name], contents, generator))
            paths.append(path)
        yield list(map(str, paths))
        for path in paths:
            path.unlink()


def test_mutated_audio(originals, torture, tmp_path):
    n, generator = torture.amount(150, 10_000, 200_000), torture.random("audio")
    found: Counter[str] = Counter()
    for paths in mutants(originals, n, generator, tmp_path):
        events = stream(hostile.decode, paths, n_workers=2, limits=hostile.LIMITS)
        ended = {event.item: event for event in events if event.kind != "chunk"}
        assert sorted(ended) == sorted(paths)
        for path, event in ended.items():
            error = event.value
            assert not (error and "decoding it failed" in str(error)), (error, keep(path))
            kind = "decoded" if error is None else "refused"
            if isinstance(error, StalledError):
                kind = "stopped at a limit"
            elif isinstance(error, ChildDiedError):
                kind = "ended a decoding process"
                keep(path)
            found[kind] += 1
    assert found.total() == n
    assert found["decoded"] > n // 10
    assert found["refused"] > n // 100
    for kind, number in found.items():
        torture.counts[f"mutants of {len(originals)} audio files: {kind}"] += number


def test_mutated_tags_are_written_or_left_alone(originals, torture, tmp_path):
    """What a child could read, the process itself writes: there nothing may hang or end it."""
    n, generator = torture.amount(120, 5000, 50_000), torture.random("tags")
    found: Counter[str] = Counter()
    for paths in mutants(originals, n, generator, tmp_path):
        done = dict.fromkeys(paths, "refused by the child")
        for event in stream(hostile.retag, paths, n_workers=2, limits=hostile.LIMITS):
            error = event.value if event.kind == "error" else None
            assert not (error and "decoding it failed" in str(error)), (error, keep(event.item))
            assert not (error and done[event.item] == "read"), (error, keep(event.item))
            if event.kind == "chunk":
                done[event.item] = event.value
        found.update(done.values())
        assert not list(tmp_path.glob(".tsresformer-*"))
    assert found.keys() == {"refused by the child", "left alone", "written"}
    assert found["written"] > n // 10
    for kind, number in found.items():
        torture.counts[f"mutants of {len(originals)} audio files: tags {kind}"] += number


@pytest.mark.skipif(not os.environ.get("TORTURE_AUDIO"), reason="TORTURE_AUDIO names no folder")
def test_audio_of_yours(torture):
    """All files below the folder that TORTURE_AUDIO names, as they are."""
    paths = [str(p) for p in sorted(Path(os.environ["TORTURE_AUDIO"]).rglob("*")) if p.is_file()]
    for event in stream(hostile.decode, paths, n_workers=2, limits=hostile.LIMITS):
        if event.kind != "chunk":
            assert not (event.value and "decoding it failed" in str(event.value)), event.value
            kind = type(event.value).__name__ if event.value else "decoded"
            torture.counts[f"files of TORTURE_AUDIO: {kind}"] += 1


def keep(path: str) -> str:
    """Keep a file that a test failed on; where it is now."""
    kept = Path("torture-out")
    kept.mkdir(exist_ok=True)
    return shutil.copy(path, kept / Path(path).name)


PYTHON = ("/proc/", "/sys/", "/usr/", sys.prefix, sys.base_prefix)
RESOURCE_FORKS = ("._", ".AppleDouble/", "/..namedfork/rsrc")
"""What libsndfile looks for, here, when it knows no format: old Macintosh files have two parts."""

BEGIN, MARK = "/torture-begins", "/torture-decodes"
WATCHED = f"""
import sys
sys.path[:0] = {sys.path!r}
import hostile

def decode(path):
    try:
        list(hostile.decode(path))
    except Exception:
        pass

def mark(path):
    try:
        open(path)
    except OSError:
        pass

for path in sys.argv[1:]:  # whatever is imported is imported now
    decode(path)
mark({BEGIN!r})
for path in sys.stdin.read().splitlines():
    mark({MARK!r} + path)
    decode(path)
"""
LISTS = (
    "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n",
    "ffconcat version 1.0\nfile '{}'\n",
    '<?xml version="1.0"?><MPD><BaseURL>{}</BaseURL></MPD>',
    "[playlist]\nFile1={}\n",
    "v=0\nc=IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\na={}\n",
)


@pytest.mark.skipif(not shutil.which("strace"), reason="no strace here")
def test_nothing_else_is_opened(originals, torture, tmp_path):
    """By the kernel's own account; among the files are lists that name others, and a network."""
    decoy = tmp_path / "decoy.wav"
    whole = [tmp_path / name for name in originals]
    for path, content in zip(whole, originals.values(), strict=True):
        path.write_bytes(content)
    decoy.write_bytes(originals["plain.wav"])
    paths = []
    for i, text in enumerate(LISTS):
        for j, name in enumerate((decoy, "http://127.0.0.1:9/a.wav", f"file://{decoy}")):
            paths.append(str(tmp_path / f"list{i}{j}.mp3"))
            Path(paths[-1]).write_text(text.format(name))
    n = torture.amount(40, 400, 4000)
    log, checked = tmp_path / "log", 0
    for batch in mutants(originals, n, torture.random("strace"), tmp_path):
        batch = [*paths, *batch]
        trace = ["strace", "-f", "-qq", "-s", "4096", "-e", "trace=%network,open,openat,execve"]
        program = [sys.executable, "-c", WATCHED, *map(str, whole)]
        subprocess.run(
            [*trace, "-o", str(log), *program], input="\n".join(batch), text=True, check=True
        )
        checked += check_trace(log.read_text(errors="replace").rpartition(BEGIN)[2], batch)
    torture.counts["hostile files decoded under strace"] += checked


def check_trace(trace: str, paths: list[str]) -> int:
    """Check that each file was opened, and nothing but that file; how many were."""
    current, seen = "", set()
    for line in trace.splitlines():
        found = re.search(r'open(?:at)?\((?:AT_FDCWD, )?"([^"]*)"', line)
        assert found or not re.search(r"\b(socket|connect|bind|execve)\(", line), line
        if found and found[1].startswith(MARK):
            current = found[1].removeprefix(MARK)
        elif found and found[1] == current:
            seen.add(current)
        elif found:
            assert found[1].startswith(PYTHON) or found[1] in RESOURCE_FORKS, line
    assert seen == set(paths)
    return len(paths)


# Files of ours


@pytest.fixture(scope="module")
def texts(piece_path, tiny_bundle, tmp_path_factory) -> dict[str, bytes]:
    """A file of each kind that people write, move about, or are sent."""
    from tsresformer.config import load_config, resolved

    folder = tmp_path_factory.mktemp("texts")
    tracks = [
        Track(track_id=f"t{i}", path=f"/music/{i}.mp3", label="Rock|Folk", duration_s=30.0 + i)
        for i in range(20)
    ]
    odd = Track(track_id="=1+1", path="/music/=cmd|x.mp3", label='a "b", c', title="\r\n\0'")
    for name in ("m.csv", "m.parquet"):
        Manifest((*tracks, odd)).write(folder / name)
    lines = []
    for section, values in resolved(load_config("ts_resformer")).items():
        if isinstance(values, dict):
            shown = {k: json.dumps(v) for k, v in values.items() if v is not None}
            lines += [f"[{section}]", *(f"{k} = {v}" for k, v in shown.items())]
    (folder / "c.toml").write_text("\n".join(lines))
    (folder / "c.features").write_text("".join(f"{k} = {v}\n" for k, v in tiny.FEATURES.items()))
    np.save(folder / "x.npy", np.zeros((3, 4, 5), np.float32))
    (folder / "study.toml").write_text(WITHOUT_A_NETWORK)
    (folder / "map.toml").write_text('[genres]\nRock = ["Rock", "Pop/Rock"]\nFolk = ""\n')
    for name in ("input.csv", "input.parquet"):
        shutil.copy(folder / f"m{Path(name).suffix}", folder / name)
    songs = [FmaTrack(i, "Rock", genres=(12, 25), audio="missing") for i in range(2, 12)]
    fma = write_fma(folder / "fma", songs)
    for name in ("tracks.csv", "genres.csv"):
        shutil.copy(fma.metadata / name, folder / name)
    library = folder / "music" / "library"
    fill(library, piece_path, 3)
    tag = [sys.executable, "-m", "tsresformer.cli", "tag", str(library), "--model", tiny_bundle]
    tag += ["--policy", "replace", "--min-confidence", "0"]
    subprocess.run(tag, check=True, capture_output=True)
    shutil.copy(journals(library)[0], folder / "j.jsonl")
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


@pytest.mark.torch
def test_mutated_files_of_ours(texts, torture, tmp_path):
    n, generator = torture.amount(300, 12_000, 120_000), torture.random("texts")
    found: Counter[str] = Counter()
    for paths in mutants(texts, n, generator, tmp_path):
        for event in stream(hostile.read, paths, n_workers=2, limits=hostile.LIMITS):
            assert event.kind != "error", (str(event.value), keep(event.item))
            if event.kind == "chunk":
                kind, reason = event.value
                assert kind == "read" or Path(event.item).stem in reason, reason
                found[kind] += 1
    assert found.total() == n
    assert min(found.values()) > n // 20
    for kind, number in found.items():
        torture.counts[f"mutants of {len(texts)} files of ours: {kind}"] += number


@pytest.mark.torch
def test_mutated_records_of_bundles(tiny_bundle, torture, tmp_path):
    copy = shutil.copytree(tiny_bundle, tmp_path / "x.bundle")
    content = (copy / "bundle.json").read_bytes()
    generator = torture.random("bundles")
    for _ in range(n := torture.amount(60, 3000, 30_000)):
        changed = mutated(content, [content], generator)
        (copy / "bundle.json").write_bytes(changed)
        if json_of(changed) == json_of(content):
            continue
        with pytest.raises(BundleError, match=r"x\.bundle"):
            Bundle.load(copy)
    torture.counts["mutants of a bundle's record"] += n


def json_of(content: bytes) -> object:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None
