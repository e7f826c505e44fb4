"""What all tests share: one thread a process, the project's piece of music, a tiny set of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

import tiny

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Before NumPy or torch is imported: the tests share few cores, and tiny arrays gain no speed from
# threads. Child processes inherit it.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("RAY_worker_niceness", "0")  # where the machine is shared, they would starve
os.environ["MPLBACKEND"] = "Agg"

# Whatever a machine is busy with beside them makes examples slow, and files of one test are enough.
settings.register_profile(
    "project",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("project")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The folder that holds pyproject.toml."""
    return ROOT


@pytest.fixture(scope="session")
def piece_path() -> Path:
    """The project's own piece of music: Ogg Vorbis, 44.1 kHz, stereo, 27.5 s."""
    return ROOT / "demo" / "piece.ogg"


@pytest.fixture(scope="session")
def tiny_music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 24 short tracks: 3 styles, 4 artists a style, 2 tracks an artist, 4 s each.

    Laid out as `style/artist - album/title.flac`, with tags. Shared by all tests: read only.
    """
    from compose import compose_set

    folder = tmp_path_factory.mktemp("tiny_music")
    for _ in compose_set(
        folder, styles=("ambient", "chiptune", "waltz"), n_artists=4, n_tracks=2, seconds=4.0
    ):
        pass
    return folder


@pytest.fixture(scope="session")
def tiny_run(tiny_music: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `m.csv`, `store/` and a finished `run/` over `tiny_music`: read only."""
    from tsresformer.config import FeatureConfig, load_config
    from tsresformer.datasets import folder
    from tsresformer.splits import split
    from tsresformer.store import build_store
    from tsresformer.training.fit import fit

    home = tmp_path_factory.mktemp("tiny_run")
    manifest = split(folder.read(tiny_music), "artist-kfold", n_folds=4)
    manifest.write(home / "m.csv")
    features = FeatureConfig(**tiny.FEATURES)
    build_store(manifest, features, home / "store", n_workers=2)
    config = load_config("ts_resformer", [*tiny.SETTINGS, "train.epochs=40"])
    fit(config, home / "m.csv", home / "store", home / "run", progress=False)
    return home


@pytest.fixture(scope="session")
def tiny_bundle(tiny_run: Path) -> Path:
    """The bundle of `tiny_run`: read only, three genres."""
    from tsresformer.export import export

    return export(tiny_run / "run", tiny_run / "tiny.bundle").path


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's browser. Playwright's loop ends with the module: other tests have their own."""
    from playwright.sync_api import expect, sync_playwright

    path = shutil.which("chromium")
    if path is None:
        stop = pytest.fail if os.environ.get("TSRESFORMER_REQUIRE_BROWSER") else pytest.skip
        stop("needs Chromium; on Debian: apt-get install chromium")
    options = ["--mute-audio", "--use-fake-device-for-media-stream"]
    if os.geteuid() == 0:
        options.append("--no-sandbox")
    expect.set_options(timeout=30_000)  # cores may be busy
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=options)
        yield browser
        browser.close()


@pytest.fixture
def no_decoder_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no decoder open a file in this process; in its children it may."""

    def refuse(*_: object) -> None:
        raise AssertionError("a decoder opened a file in the parent process")

    for name in ("open_pyav", "open_soundfile"):
        monkeypatch.setattr(f"tsresformer._source.SourceFile.{name}", refuse)


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command in this process: exit code, stdout, stderr."""
    from tsresformer import cli

    def run(*arguments: object) -> tuple[int, str, str]:
        code = cli.run([str(a) for a in arguments])
        out, err = capfd.readouterr()
        return code, out, err

    return run
