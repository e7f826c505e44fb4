"""The feature store through Ray: the bytes of the local engine, whoever is killed."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from processes import alive, descendants, ray_workers, wait_for
from tsresformer import cli
from tsresformer import store as store_module
from tsresformer.config import FeatureConfig
from tsresformer.datasets import folder
from tsresformer.store import build_store

pytestmark = pytest.mark.timeout(600)

FEATURES = FeatureConfig(sample_rate=16000, n_fft=512, hop_length=256, n_mels=20)
TOML = "sample_rate = 16000\nn_fft = 512\nhop_length = 256\nn_mels = 20\n"
SHARD_TRACKS = 3
N_SHARDS = 9


def contents(path):
    return {p.name: p.read_bytes() for p in Path(path).iterdir()}


@pytest.fixture
def manifest(tiny_music, tmp_path):
    """24 tracks, one that is no audio, and one that a check has left out."""
    tracks = list(folder.read(tiny_music).tracks)
    (tmp_path / "text.mp3").write_text("no music\n" * 99)
    text = dataclasses.replace(tracks[0], track_id="text", path=str(tmp_path / "text.mp3"))
    copy = dataclasses.replace(tracks[0], track_id="copy", status="duplicate", error="x")
    found = folder.read(tiny_music).replace([*tracks, text, copy])
    found.write(tmp_path / "m.csv")
    return found


@pytest.fixture
def whole(manifest, tmp_path, monkeypatch):
    """What the local engine makes of the manifest."""
    monkeypatch.setattr(store_module, "TRACKS_PER_SHARD", SHARD_TRACKS)
    build_store(manifest, FEATURES, tmp_path / "whole")
    assert len(contents(tmp_path / "whole")) == 2 * N_SHARDS + 2
    return contents(tmp_path / "whole")


@contextlib.contextmanager
def killing_the_first_worker(out, killed):
    """Kill the first worker that has written a shard; `killed` has it and what was there then."""

    def watch():
        while not stopped.is_set() and not (out / "shard-00000.json").exists():
            time.sleep(0.005)
        for pid in ray_workers(os.getpid())[:1]:
            os.kill(pid, signal.SIGKILL)
            killed.append((pid, (out / "store.json").exists()))

    stopped = threading.Event()
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


@pytest.mark.slow  # as the workers of a catalogue
def test_a_killed_worker_is_replaced_and_the_bytes_are_the_same(whole, tmp_path, capfd):
    (tmp_path / "f.toml").write_text(TOML)
    out, killed = tmp_path / "out", []
    command = ["features", str(tmp_path / "m.csv"), "--features", str(tmp_path / "f.toml")]
    command += ["-o", str(out), "--engine", "ray", "--workers", "1"]
    with killing_the_first_worker(out, killed):
        code = cli.run(command)
    assert [finished for _, finished in killed] == [False]
    stdout, stderr = capfd.readouterr()
    assert (code, stdout) == (1, f"{out}: log-mels of 24 tracks, 0.03 hours of music\n")
    assert stderr.splitlines()[0].startswith("undecodable: track text (text.mp3): this is no audio")
    assert stderr.splitlines()[1:] == [stderr.splitlines()[-1]]
    assert contents(out) == whole
    wait_for(lambda: not ray_workers(os.getpid()))


BUILD = f"""
import sys
from tsresformer import store
from tsresformer.config import FeatureConfig
from tsresformer.manifest import Manifest
if __name__ == "__main__":
    store.TRACKS_PER_SHARD = {SHARD_TRACKS}
    features = FeatureConfig(sample_rate=16000, n_fft=512, hop_length=256, n_mels=20)
    store.build_store(Manifest.read(sys.argv[1]), features, sys.argv[2], engine="ray", n_workers=2)
"""


@pytest.mark.slow
def test_a_killed_driver_takes_everything_along_and_can_be_run_again(whole, tmp_path):
    script, out = tmp_path / "build.py", tmp_path / "out"
    script.write_text(BUILD)
    command = [sys.executable, str(script), str(tmp_path / "m.csv"), str(out)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    wait_for(lambda: list(out.glob("shard-*.json")))
    below = list(descendants(process.pid))
    assert ray_workers(process.pid)
    process.kill()
    process.wait()
    wait_for(lambda: not alive(below))
    assert not (out / "store.json").exists()
    finished = {path.name: path.stat().st_mtime_ns for path in out.glob("shard-*.json")}
    assert 0 < len(finished) < N_SHARDS
    (out / ".shard-00004.npy.left-over").write_bytes(b"half")
    subprocess.run(command, check=True)
    assert contents(out) == whole
    assert {name: (out / name).stat().st_mtime_ns for name in finished} == finished


@pytest.mark.parametrize("option", ["--address auto", "--pin", "--no-pin"])
def test_what_is_for_ray_alone_is_refused_without_it(tmp_path, capsys, option):
    code = cli.run(["features", "m.csv", "-o", str(tmp_path / "s"), *option.split()])
    assert (code, capsys.readouterr().err) == (2, f"error: {option}: is for --engine ray\n")
