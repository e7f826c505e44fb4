"""The beets plugin in a real beets library."""

import os
import subprocess
import sys

import pytest

from tagged_files import copied, genres

pytestmark = pytest.mark.torch


@pytest.fixture
def beet(tmp_path, tiny_music, tiny_bundle):
    """Runs `beet` with a library of its own; three tracks wait to be imported."""
    for style in ("ambient", "chiptune", "waltz"):
        copied(min((tiny_music / style).rglob("*.flac")), tmp_path / "new", f"{style}.flac")
    home = tmp_path / "home"
    home.mkdir()

    def beet(*arguments, write="yes", **settings):
        settings = {"model": tiny_bundle, "min_confidence": 0, "workers": 1, **settings}
        lines = [
            f"directory: {tmp_path}/library",
            f"library: {home}/library.db",
            "plugins: tsresformer",
            f"import: {{quiet: yes, copy: yes, autotag: no, write: {write}}}",
            "tsresformer:",
            *(f"  {name}: {value}" for name, value in settings.items()),
        ]
        (home / "config.yaml").write_text("\n".join(lines))
        command = [sys.executable, "-m", "beets", *map(str, arguments)]
        environment = os.environ | {"BEETSDIR": str(home)}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert "error loading plugin" not in done.stderr
        return done

    beet.new, beet.library = tmp_path / "new", tmp_path / "library"
    return beet


def in_library(beet):
    lines = beet("ls", "-f", "$path|$genres").stdout.splitlines()
    return {
        os.path.basename(path): tuple(filter(None, text.split("; ")))
        for path, text in (line.split("|") for line in lines)
    }


def in_files(beet):
    return {path.name: genres(path) for path in beet.library.rglob("*.flac")}


def test_import_fills_what_is_empty(beet):
    tagged = {path.name: genres(path) for path in beet.new.iterdir()}
    assert beet("import", beet.new).returncode == 0
    assert sorted(in_library(beet).values()) == sorted(tagged.values())


def test_replace_writes_library_and_files(beet, tmp_path):
    (tmp_path / "genres.toml").write_text(
        "[genres]\n"
        + "".join(f'{x} = ["All", "My {x}"]\n' for x in ("ambient", "chiptune", "waltz"))
    )
    beet("import", beet.new, auto="no")
    before = in_library(beet)
    settings = {"auto": "no", "policy": "replace", "map": tmp_path / "genres.toml"}

    shown = beet("tsresformer", "-p", **settings)
    assert shown.stdout.count("All; My ") == 3
    assert (in_library(beet), in_files(beet)) == (before, in_files(beet))

    assert beet("tsresformer", **settings, write="no").returncode == 0
    after = in_library(beet)
    assert all(values[0] == "All" and values[1].startswith("My ") for values in after.values())
    assert set(in_files(beet).values()) == set(before.values())

    beet("modify", "-y", "-W", "genres=Polka")
    assert beet("tsresformer", **settings).returncode == 0
    assert in_files(beet) == in_library(beet) == after


def test_an_import_does_not_end_for_a_genre(beet):
    done = beet("import", beet.new, policy="replace", model="nowhere")
    assert done.returncode == 0
    assert "tsresformer: nowhere: no such" in done.stderr
    assert len(in_library(beet)) == 3


def test_a_fault_of_the_settings_is_told(beet):
    beet("import", beet.new, auto="no")
    done = beet("tsresformer", model="nowhere", policy="replace")
    assert done.returncode != 0
    assert "nowhere" in done.stderr
