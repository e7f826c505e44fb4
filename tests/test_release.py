"""What goes with a release: locks, licences, the workflow, promises about formats."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from av._core import library_meta
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from third_party import EXTRAS, Package, complaints, licence_of


def pins(path: Path) -> dict[str, tuple[str, int]]:
    """Version, and number of hashes, of each package of a lock or of the constraints."""
    found: dict[str, tuple[str, int]] = {}
    name = version = ""
    for line in path.read_text().splitlines():
        if pinned := re.match(r"([\w.-]+)==([^ ]+)", line):
            name, version = canonicalize_name(pinned[1]), pinned[2]
            found[name] = version, 0
        found |= {name: (version, found[name][1] + 1)} if "--hash=sha256:" in line else {}
    return found


def required(project_root: Path, *extras: str) -> set[str]:
    project = tomllib.loads((project_root / "pyproject.toml").read_text())["project"]
    texts = [*project["dependencies"]]
    texts += [text for extra in extras for text in project["optional-dependencies"][extra]]
    return {canonicalize_name(Requirement(text).name) for text in texts} - {"ts-resformer"}


@pytest.mark.parametrize(
    ("lock", "extras"), [("requirements.lock", EXTRAS), ("deploy/requirements.lock", ("serve",))]
)
def test_the_lock_has_the_pinned_versions_with_hashes(
    project_root: Path, lock: str, extras: tuple[str, ...]
) -> None:
    locked, pinned = pins(project_root / lock), pins(project_root / "constraints.txt")
    assert required(project_root, *extras) - {"torch"} <= locked.keys()
    assert "torch" not in locked
    for name, (version, n_hashes) in locked.items():
        assert version == pinned[name][0], name
        assert n_hashes, name


def test_the_list_of_licences_is_of_what_is_locked(project_root: Path) -> None:
    rows = re.findall(
        r"^\| (\S+) \|.*\| ([\w, ]+) \|$", (project_root / "THIRD_PARTY.md").read_text(), re.M
    )
    listed = {canonicalize_name(name): needed for name, needed in rows if name != "package"}
    assert listed.keys() == pins(project_root / "requirements.lock").keys() | {"torch"}
    assert {listed[name] for name in required(project_root)} == {"required"}
    assert listed["mutagen"] == "tag"


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ({"license_expression": "MIT OR Apache-2.0", "license": "see"}, "MIT OR Apache-2.0"),
        ({"license": "mit"}, "MIT"),
        (
            {"license": "text", "classifier": ["License :: OSI Approved :: BSD License"]},
            "BSD-3-Clause",
        ),
    ],
)
def test_licences_are_read_from_metadata(fields: dict[str, Any], licence: str) -> None:
    assert licence_of("some", fields) == licence


def test_a_package_without_a_licence_is_not_passed_over() -> None:
    with pytest.raises(LookupError, match="some: its metadata name no licence"):
        licence_of("some", {"license": "ask us"})


@pytest.mark.parametrize(
    ("name", "licence", "needed_by", "problem"),
    [
        ("some", "BSD-3-Clause AND (MIT OR LGPL-2.1-or-later)", "required", None),
        ("some", "GPL-3.0-only", "required", "some (required) is under GPL-3.0-only"),
        ("some", "AGPL-3.0-or-later", "serve", "some (serve) is under AGPL-3.0-or-later"),
        ("mutagen", "GPL-2.0-or-later", "tag", None),
        ("mutagen", "GPL-2.0-or-later", "required", "mutagen (required) is under GPL-2.0-or-later"),
        ("mutagen", "GPL-3.0-only", "tag", "mutagen (tag) is under GPL-3.0-only"),
    ],
)
def test_copyleft_is_complained_of(
    name: str, licence: str, needed_by: str, problem: str | None
) -> None:
    found = complaints({name: Package(name, licence, {needed_by})})
    assert found == ([problem] if problem else [])


def test_ffmpeg_of_the_wheel_is_what_the_list_says() -> None:
    assert {library["license"] for library in library_meta.values()} == {"LGPL version 3 or later"}


def test_the_workflow_tests_every_python_that_is_promised(project_root: Path) -> None:
    project = tomllib.loads((project_root / "pyproject.toml").read_text())["project"]
    prefix = "Programming Language :: Python :: 3."
    promised = [c.rpartition(" ")[2] for c in project["classifiers"] if c.startswith(prefix)]
    text = (project_root / ".github" / "workflows" / "ci.yml").read_text()
    jobs = yaml.safe_load(text)["jobs"]
    matrix = jobs["wheel"]["strategy"]["matrix"]
    assert matrix == {"python": promised, "resolution": ["lowest-direct", "highest"]}
    makefile = (project_root / "Makefile").read_text()
    for target in re.findall(r"make ([\w-]+)", text):
        assert f"\n{target}:" in makefile
    for script in re.findall(r"bash (\S+)", text):
        assert (project_root / script).is_file()


@pytest.mark.parametrize(
    ("file", "module"),
    [
        ("bundle", "bundle"),
        ("feature store", "store"),
        ("study", "studies.results"),
        ("catalogue", "catalogue.job"),
        ("journal of a library", "tagging.journal"),
        pytest.param("training run", "training.run", marks=pytest.mark.torch),
    ],
)
def test_the_promise_names_the_number_of_the_format(
    project_root: Path, file: str, module: str
) -> None:
    number = importlib.import_module(f"tsresformer.{module}").FORMAT
    text = (project_root / "docs" / "compatibility.md").read_text()
    assert f"| {file} | `format` {number} |" in text
