"""A copy of a study's results that is fit to be committed: small, and legible where it lies.

It is a results folder itself, which `study show` and `compare` read: every cell, its predictions
rounded and packed, the tables and the page; besides, each picture as a file, and a ``README.md``
with all of it.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tsresformer.config import resolved
from tsresformer.errors import StudyError
from tsresformer.files import check_writable, fsync_folder, sha256_file, write_sealed
from tsresformer.report.pictures import Picture
from tsresformer.spreadsheet import write_rows
from tsresformer.studies.page import draw, write_page
from tsresformer.studies.plan import OVERRIDABLE, load_study, shipped_studies
from tsresformer.studies.results import RECORD, Results, noted
from tsresformer.studies.tables import Point, markdown, write_tables

README, PLOTS = "README.md", "plots"
DIGITS = 3
"""Decimals of a probability."""

CELL_DIGITS = 6
"""Decimals of the numbers of a cell, as many as ``results.csv`` has."""


PX_PER_POINT = 1.6
"""Size of a picture by itself, the same for all, so that their type is of one size."""


def export_results(results: Results, out: str | Path, *, note: str = "") -> Path:
    """Copy what a reader wants of a study into a new folder.

    Parameters
    ----------
    note : a sentence of the author's, shown below the question; empty keeps the one that is there

    Raises
    ------
    StudyError : `out` exists, or a file of the results is damaged
    """
    out = Path(out)
    check_writable(out, folder=True)
    if out.exists():
        raise StudyError(f"{out}: exists already; delete it or name another")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary:
        folder = Path(temporary) / "results"
        copy = _copy(results, folder, note or results.note)
        found = write_tables(copy)
        drawn = draw(copy, found)
        write_page(copy, found, drawn)
        _write_readme(copy, found, drawn)
        fsync_folder(folder)
        folder.rename(out)
    fsync_folder(out.parent)
    return out


def _copy(results: Results, folder: Path, note: str) -> Results:
    """Copy record, cells, predictions and trials, and put the note into the record."""
    folder.mkdir()
    copy = Results(folder, noted(results.record, note))
    write_sealed(folder / RECORD, copy.record)
    for cell in results.cells():
        rounded = _rounded(cell)
        if not cell["error"]:
            packed = Path(f"{copy.predictions_path(cell['cell'])}.gz")
            packed.parent.mkdir(exist_ok=True)
            packed.write_bytes(_packed(results.predictions(cell["cell"])))
            rounded["predictions_sha256"] = sha256_file(packed)
        write_sealed(copy.cell_path(cell["cell"]), rounded)
    if (results.folder / "tuning").is_dir():
        shutil.copytree(results.folder / "tuning", folder / "tuning")
    return copy


def _packed(rows: Sequence[Mapping[str, str]]) -> bytes:
    """Predictions with rounded probabilities, gzip, the same bytes each time."""
    stream = io.StringIO(newline="")
    write_rows(stream, [list(rows[0]), *([_short(k, v) for k, v in row.items()] for row in rows)])
    return gzip.compress(stream.getvalue().encode(), mtime=0)


def _short(column: str, cell: str) -> str:
    return f"{float(cell):.{DIGITS}f}" if column.startswith("p_") and cell else cell


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, CELL_DIGITS)
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return value


def _write_readme(results: Results, found: Sequence[Point], drawn: Sequence[Picture]) -> None:
    """Write the pictures as files, and the text that shows them."""
    plots = results.folder / PLOTS
    plots.mkdir()
    for name, picture in zip(_names(drawn), drawn, strict=True):
        (plots / name).write_text(_standalone(picture.svg), encoding="utf-8")
    text = "\n".join(_readme(results, found, drawn))
    (results.folder / README).write_text(text + "\n", encoding="utf-8")


def _readme(results: Results, found: Sequence[Point], drawn: Sequence[Picture]) -> Iterator[str]:
    plan = results.plan
    yield from (f"# {plan.title}", "", plan.question, "")
    yield from (_escaped(results.note), "") if results.note else ()
    yield from ("```", _command(results), "```", "")
    if found:
        yield markdown(results, found)
    for name, picture in zip(_names(drawn), drawn, strict=True):
        yield from (f"## {picture.heading}", "", f"![{picture.heading}]({PLOTS}/{name})", "")
        yield from (picture.caption, "")
    yield (
        "`results.csv` has a row for each cell, `cells/` what is known of it, `predictions/` its "
        "tracks, `report.html` all of this as one page. `tsresformer study show` and `tsresformer "
        "compare` read this folder; `tsresformer study export` wrote it, with ts-resformer "
        f"{results.record['version']} behind the numbers."
    )


def _command(results: Results) -> str:
    """The command that runs the study again; of a study of one's own, the file is the reader's."""
    name = str(results.record["name"])
    shipped = name in shipped_studies()
    overrides = list(results.record["overrides"])
    if shipped:
        ran, ships = resolved(results.plan), resolved(load_study(name).plan)
        overrides += [  # JSON is TOML for all of these
            f"study.{key}={json.dumps(ran[key])}" for key in OVERRIDABLE if ran[key] != ships[key]
        ]
    words = ["tsresformer", "study", "run", name if shipped else f"{name}.toml"]
    words += ["--manifest", "MANIFEST", "--store", "STORE", "-o", "RESULTS"]
    words += [word for text in overrides for word in ("--set", text)]
    return shlex.join(words)


def _names(drawn: Sequence[Picture]) -> list[str]:
    """File names of the pictures, after their headings."""
    return [re.sub(r"\W+", "-", picture.heading.lower()).strip("-") + ".svg" for picture in drawn]


def _escaped(text: str) -> str:
    r"""A text as one paragraph of Markdown that means nothing else.

    >>> print(_escaped("1. <b> of *two*_"))
    1\. \<b\> of \*two\*\_
    """
    text = re.sub(r"[\\`*_{}\[\]<>|~$&]", r"\\\g<0>", " ".join(text.split()))
    return re.sub(r"^(\d*)([-+#=.)])", r"\1\\\2", text)


def _standalone(svg: str) -> str:
    """A picture of the page with paper, ink and a size of its own."""
    found = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert found
    width, height = (round(PX_PER_POINT * float(side)) for side in found.groups())
    style = (
        "background: #ffffff; color: #1a1a1a; font-family: 'DejaVu Sans', sans-serif; "
        "max-width: 100%; height: auto"
    )
    size = f'width="{width}" height="{height}"'
    return svg.replace("<svg ", f'<svg {size} style="{style}" ', 1) + "\n"
