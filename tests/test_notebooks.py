"""The notebooks run, and show what is stored in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "docs" / "notebooks").glob("*.ipynb"))
NUMBER = re.compile(r"-?\d+(?:\.(\d+))?")


def shown(cell: Any) -> list[tuple[str, str]]:
    """What a cell printed, and the kinds of its pictures."""
    values: list[tuple[str, str]] = []
    for output in cell.get("outputs", ()):
        if output.output_type == "stream":
            before = values.pop()[1] if values and values[-1][0] == output.name else ""
            values.append((output.name, before + output.text))
        else:
            assert output.output_type in ("display_data", "execute_result"), output
            kinds = sorted(set(output.data) - {"text/plain"})
            values.append((" ".join(kinds), "" if kinds else output.data["text/plain"]))
    return values


def alike(one: str, other: str) -> bool:
    """Whether two texts differ at most by the last shown digit of their numbers."""
    if NUMBER.sub("#", one) != NUMBER.sub("#", other):
        return False
    pairs = zip(NUMBER.finditer(one), NUMBER.finditer(other), strict=True)
    return all(
        abs(float(a[0]) - float(b[0])) < 1.5 * 10.0 ** -len(a[1] or "")
        and len(a[1] or "") == len(b[1] or "")
        for a, b in pairs
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_shows_what_is_stored(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MPLBACKEND")  # the kernel has its own, which shows the pictures
    stored = nbformat.read(path, as_version=4)
    fresh = nbformat.read(path, as_version=4)
    NotebookClient(fresh, timeout=240, resources={"metadata": {"path": str(path.parent)}}).execute()
    for number, (before, after) in enumerate(zip(stored.cells, fresh.cells, strict=True)):
        was, now = shown(before), shown(after)
        assert [kind for kind, _ in was] == [kind for kind, _ in now], f"cell {number}"
        assert "stderr" not in dict(now), f"cell {number}: {now}"
        for (_, text), (_, found) in zip(was, now, strict=True):
            assert alike(text, found), f"cell {number} now prints\n{found}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_with_its_pictures_and_no_timestamps(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    kinds = [kind for cell in notebook.cells for kind, _ in shown(cell)]
    assert kinds.count("image/png") >= 4
    assert all("execution" not in cell.metadata for cell in notebook.cells)
    assert path.stat().st_size < 500_000


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Folk 40%, Pop 3%", "Folk 41%, Pop 3%", True),
        ("Folk 40%", "Folk 42%", False),
        ("0.31", "0.32", True),
        ("0.31", "0.33", False),
        ("Folk 40%", "Rock 40%", False),
    ],
)
def test_numbers_may_differ_by_their_last_digit(one: str, other: str, same: bool) -> None:
    assert alike(one, other) is same
