"""The package as its users get it: public names, a light install, a quick start."""

from __future__ import annotations

import doctest
import importlib
import itertools
import json
import os
import resource
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import tsresformer

SOURCE = Path(tsresformer.__file__).parent
MEGABYTE = 10**6
LIGHT_INSTALL_LIMIT = 350 * MEGABYTE
HELP_LIMIT_S = 0.5
# The parts that need the train or the serve extra; the command line reads the service's settings.
HEAVY = ("tsresformer.export", "tsresformer.models", "tsresformer.serve", "tsresformer.training")
NOT_IN_THE_LIGHT_INSTALL = {
    "fastapi",
    "httpx",
    "jinja2",
    "librosa",
    "lightning",
    "matplotlib",
    "mutagen",
    "onnx",
    "onnxscript",
    "pandas",
    "prometheus_client",
    "pyarrow",
    "pytorch_lightning",
    "ray",
    "safetensors",
    "scipy",
    "sklearn",
    "starlette",
    "tomli_w",
    "torch",
    "uvicorn",
    "watchfiles",
}


def python(code: str) -> str:
    """Standard output of some code in a fresh process."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def console_script(folder: Path) -> Path:
    return folder / "tsresformer"


def light_modules() -> list[str]:
    """Names of all modules of the package that must work without the extras."""
    home = Path(tsresformer.__file__).parent
    names = []
    for path in sorted(home.rglob("*.py")):
        parts = path.relative_to(home.parent).with_suffix("").parts
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return [n for n in names if not any(n == h or n.startswith(f"{h}.") for h in HEAVY)]


def imported(stderr: str) -> set[str]:
    """Top-level names in what PYTHONPROFILEIMPORTTIME writes."""
    lines = [line for line in stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


# Public names


@pytest.mark.parametrize("name", ["Classifier", "Config", "Manifest", "Prediction", "evaluate"])
def test_public_name_is_the_one_of_its_module(name: str) -> None:
    home = {"Config": "config", "Manifest": "manifest", "evaluate": "evaluation"}
    module = f"tsresformer.{home.get(name, 'classifier')}"
    code = f"from {module} import {name} as direct; import tsresformer as t; "
    assert python(code + f"print(t.{name} is direct, callable(direct))") == "True True"


@pytest.mark.torch
def test_fit_is_the_one_of_training() -> None:
    code = "from tsresformer.training.fit import fit as direct; from tsresformer import fit; "
    assert python(code + "print(fit is direct, callable(fit))") == "True True"


def test_names_are_listed_before_they_are_loaded() -> None:
    code = "import sys, tsresformer as t; names = set(dir(t)); "
    code += "print(set(t.__all__) <= names, 'numpy' in sys.modules, 'pydantic' in sys.modules)"
    assert python(code) == "True False False"


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'tsresformer' has no attribute 'Klassifier'"):
        _ = tsresformer.Klassifier


def test_version_is_that_of_the_distribution() -> None:
    assert metadata.version("ts-resformer") == tsresformer.__version__


# Dependencies


def test_every_requirement_is_pinned_within_its_bounds(project_root: Path) -> None:
    project = tomllib.loads((project_root / "pyproject.toml").read_text())["project"]
    lines = (project_root / "constraints.txt").read_text().splitlines()
    pins = {}
    for line in lines:
        if not line.startswith("#"):
            name, _, version = line.partition("==")
            pins[canonicalize_name(name)] = version
    extras = itertools.chain(*project["optional-dependencies"].values())
    wanted = [Requirement(r) for r in [*project["dependencies"], *extras]]
    wanted = [r for r in wanted if r.name != "ts-resformer"]
    assert len(wanted) > 20
    for requirement in wanted:
        version = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), (str(requirement), version)
        assert requirement.specifier, f"{requirement.name} has no lower bound"
    assert not [version for version in pins.values() if "+" in version]


def test_light_modules_import_nothing_of_the_extras() -> None:
    modules = light_modules()
    assert {"tsresformer", "tsresformer.cli", "tsresformer.classifier"} <= set(modules)
    code = f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name)\n"
    code += "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = set(python(code).split())
    assert "numpy" in loaded
    assert not loaded & NOT_IN_THE_LIGHT_INSTALL


# The command line


def test_help_is_quick() -> None:
    command = [console_script(Path(sys.executable).parent), "--help"]
    times = []  # of the processor: others may keep the program waiting
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert done.returncode == 0, done.stderr
        assert "predict" in done.stdout
    assert min(times) < HELP_LIMIT_S, times
    env = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    names = imported(subprocess.run(command, capture_output=True, text=True, env=env).stderr)
    assert "click" in names
    assert not names & {"numpy", "pydantic"}


def test_predict_imports_no_torch_even_where_it_is_installed(piece_path: Path) -> None:
    command = [console_script(Path(sys.executable).parent), "predict", piece_path, "--json", "-"]
    env = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    names = imported(done.stderr)
    assert "onnxruntime" in names
    assert not names & NOT_IN_THE_LIGHT_INSTALL


# The wheel


def build(project_root: Path, folder: Path, *options: str) -> Path:
    """The wheel that `python -m build` makes, without options from a source archive."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, *options]
    done = subprocess.run([*command, project_root], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def wheel(project_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(project_root, tmp_path_factory.mktemp("wheel"), "--wheel")


def test_wheel_of_the_source_archive_has_the_same_bytes(
    wheel: Path, project_root: Path, tmp_path: Path
) -> None:
    again = build(project_root, tmp_path)
    assert again.name == wheel.name
    assert again.read_bytes() == wheel.read_bytes()
    (source,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"tests/stored/0.1.0/said.json", "THIRD_PARTY.md", "requirements.lock"} <= names


def test_wheel_holds_the_package_its_data_and_nothing_else(wheel: Path, piece_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        example = archive.read("tsresformer/serve/music/piece.ogg")
    version = tsresformer.__version__
    assert wheel.name == f"ts_resformer-{version}-py3-none-any.whl"
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"beetsplug", "tsresformer", f"ts_resformer-{version}.dist-info"}
    # beetsplug is a name space that plugins share, so it has no file of its own.
    assert [n for n in names if n.startswith("beetsplug/")] == ["beetsplug/tsresformer.py"]
    assert "tsresformer/py.typed" in names
    assert "tsresformer/configs/ts_resformer.toml" in names
    assert [name for name in names if name.startswith("tsresformer/bundles/fma-small.bundle")]
    assert [name for name in names if name.endswith("/licenses/LICENSE")]
    assert "tsresformer/serve/page/index.html" in names
    assert example == piece_path.read_bytes()


@pytest.mark.timeout(900)
def test_wheel_classifies_in_a_clean_environment(
    wheel: Path, project_root: Path, piece_path: Path, tmp_path: Path
) -> None:
    home = tmp_path / "clean"
    venv.create(home, with_pip=True)
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}

    def run(*command: object) -> subprocess.CompletedProcess[str]:
        words = [str(word) for word in command]
        return subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, env=env)

    pip = (home / "bin" / "python", "-m", "pip", "install", "--quiet")
    done = run(*pip, "--constraint", project_root / "constraints.txt", wheel)
    assert done.returncode == 0, done.stderr

    env["PYTHONPROFILEIMPORTTIME"] = "1"
    done = run(console_script(home / "bin"), "predict", piece_path, "--json", "-")
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout)
    (track,) = result["tracks"]
    assert (result["schema"], track["error"]) == (1, None)
    assert track["label"] in track["probabilities"]
    assert sum(track["probabilities"].values()) == pytest.approx(1, abs=1e-3)
    names = imported(done.stderr)
    assert {"onnxruntime", "tsresformer"} <= names
    assert "torch" not in names
    del env["PYTHONPROFILEIMPORTTIME"]

    assert "No module named 'torch'" in run(home / "bin" / "python", "-c", "import torch").stderr

    (packages,) = home.glob("lib/python3*/site-packages")
    size = sum(path.stat().st_size for path in packages.rglob("*") if path.is_file())
    assert size < LIGHT_INSTALL_LIMIT, f"{size / MEGABYTE:.0f} MB"


EXAMPLES = [path for path in sorted(SOURCE.rglob("*.py")) if ">>>" in path.read_text()]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_examples_in_docstrings_give_what_they_say(
    path: Path, project_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project_root)
    name = ".".join(("tsresformer", *path.relative_to(SOURCE).with_suffix("").parts))
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted > 0
    assert found.failed == 0
