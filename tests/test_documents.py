"""Every block of code in the README and in docs/ runs, in a folder furnished as they expect it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from compose import compose_set, make_artist, render_track
from documents import MUSIC, PARSERS, ROOT, Block, Runner, blocks, commands, compare
from tsresformer.config import FeatureConfig
from tsresformer.datasets import folder
from tsresformer.splits import split
from tsresformer.store import build_store
from tsresformer.studies.plan import load_study

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
)
BLOCKS = {page: list(blocks(ROOT / page, page)) for page in PAGES}
RUNNABLE = ("sh", "python", *PARSERS)
WHOLE_SONGS = "docs/training.md"


def with_blocks(kind: str) -> list[str]:
    """Pages that have a block to run of some kind."""
    return [page for page in PAGES if any(is_run(b) and b.kind == kind for b in BLOCKS[page])]


def is_run(block: Block) -> bool:
    return block.kind != "not run" and block.language in RUNNABLE


@pytest.fixture
def furnished(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder with music, a manifest, a store and bundles under the names of the documents."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("HOME", str(home))
    for name in ("demo", "benchmarks", "src", "tests", "README.md"):
        (home / name).symlink_to(ROOT / name)
    (home / "album").mkdir()
    (home / "Music" / "incoming").mkdir(parents=True)
    artist = make_artist("funk", 0)
    for number, names in enumerate(
        (("song.mp3", "Music/one.mp3"), ("album/a.mp3", "Music/two.mp3"))
    ):
        song = render_track(artist, number, 12.0)
        for name in names:
            soundfile.write(home / name, song, 22050)
    page = request.node.callspec.params["page"]
    code = "".join(block.code for block in BLOCKS[page])
    if "my_music" in code or " m.csv" in code or "mine.csv" in code:
        furnish_music(home, page == WHOLE_SONGS, with_store="-o store/" not in code)
    if "evaluate a.bundle" in code:
        bundle = request.getfixturevalue("tiny_bundle")
        for name in ("a.bundle", "b.bundle"):
            shutil.copytree(bundle, home / name)
    return home


def furnish_music(home: Path, whole_songs: bool, with_store: bool) -> None:
    """Compose `my_music/`, and make `mine.csv`, `m.csv`, and `store/` unless the page does."""
    paths = list(compose_set(home / "my_music", seconds=4.0, **MUSIC))
    for path in paths if whole_songs else []:
        waveform, rate = soundfile.read(path)
        soundfile.write(path, np.tile(waveform, 8), rate)
    (home / "demo-out").mkdir()
    (home / "demo-out" / "my_music").symlink_to(home / "my_music")
    manifest = split(folder.read(home / "my_music"), "artist-kfold")
    for name in ("mine.csv", "m.csv"):
        manifest.write(home / name)
    if with_store:
        build_store(manifest, FeatureConfig(), home / "store")


def run_page(page: str, slow: bool, capfd: pytest.CaptureFixture[str]) -> int:
    """Run the blocks of a page, in order, and return how many; `slow` includes the slow ones."""
    n_run = 0
    with Runner(capfd.readouterr) as runner:
        for block, before in zip(BLOCKS[page], [None, *BLOCKS[page]], strict=False):
            shows_output = block.kind == "output" and before is not None and is_run(before)
            if (block.kind == "slow" and not slow) or not (is_run(block) or shows_output):
                continue
            runner.run(block)
            n_run += 1
    return n_run


@pytest.mark.torch
@pytest.mark.parametrize("page", [p for p in PAGES if any(map(is_run, BLOCKS[p]))])
def test_page(page: str, furnished: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run_page(page, False, capfd)


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", with_blocks("slow"))
def test_page_with_slow_blocks(
    page: str, furnished: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_page(page, True, capfd) > 0


def test_the_study_in_the_documents_is_one(tmp_path: Path) -> None:
    (block,) = [b for b in BLOCKS["docs/studies.md"] if b.language == "toml"]
    path = tmp_path / "depth.toml"
    path.write_text(block.code, "utf-8")
    study = load_study(path)
    layers, branches, seeds = 4, 2, 3
    assert len(study.cells) == layers * branches * seeds


def test_the_options_for_beets_are_those_of_the_plugin(monkeypatch, tmp_path: Path) -> None:
    from beetsplug.tsresformer import TsResformerPlugin

    (block,) = [b for b in BLOCKS["docs/tagging.md"] if b.language == "yaml"]
    shown = yaml.safe_load(block.code)
    assert shown.pop("plugins") == "tsresformer"
    monkeypatch.setenv("BEETSDIR", str(tmp_path))
    assert shown["tsresformer"].keys() == set(TsResformerPlugin().config.keys())


def test_every_block_has_a_language_that_is_run_or_none() -> None:
    unknown = [
        block.where
        for page in PAGES
        for block in BLOCKS[page]
        if block.language not in ("", *RUNNABLE)
    ]
    assert unknown == []


def test_what_is_left_out_has_a_reason() -> None:
    left_out = [b for page in PAGES for b in BLOCKS[page] if b.kind in ("not run", "slow")]
    assert left_out
    for block in left_out:
        assert len(block.about.split()) > 2, block.where
        assert block.language in RUNNABLE, f"{block.where}: nothing to leave out"


def test_a_block_knows_the_comment_before_it(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(
        "<!-- file: a.toml -->\n```toml\nb = 1\n```\n\ntext\n\n- ```sh\n  ls \\\n    -l\n  ```\n"
    )
    first, second = blocks(path, "page.md")
    assert first == Block("page.md", 2, "toml", "b = 1\n", "file", "a.toml")
    assert (second.line, second.language, second.kind) == (8, "sh", "")
    assert [" ".join(c.split()) for c in commands(second.code)] == ["ls -l"]


@pytest.mark.parametrize(
    ("shown", "fits"),
    [
        ("a 0.1234567\nb\n", True),
        ("a 0.12341\nb\n", True),
        ("a 0.12371\nb\n", False),
        ("a 0.1234\nb\n", False),
        ("a 0.12341\n...\n", True),
        ("a\nb\n", False),
        ("...\nc\n", False),
    ],
)
def test_output_is_compared(shown: str, fits: bool) -> None:
    block = Block("page.md", 1, "", shown, "output")
    if fits:
        compare("a 0.1234567\nb\n", block)
    else:
        with pytest.raises(AssertionError, match=r"page\.md:1"):
            compare("a 0.1234567\nb\n", block)


def test_a_failing_command_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with Runner(capfd.readouterr) as runner:
        for line in ("tsresformer predict /nowhere.mp3", "false", "pip install '.[nothing]'"):
            with pytest.raises(AssertionError, match=r"page\.md:7"):
                runner.run(Block("page.md", 7, "sh", line))
    assert os.getcwd() != str(tmp_path)
