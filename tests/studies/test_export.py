"""A study's results as a folder to commit: small, the same tables, legible where it lies."""

import csv
import gzip
import itertools
import re
import shlex
from xml.etree import ElementTree

import pytest

from tsresformer.cli import run as command_line
from tsresformer.compare import Side
from tsresformer.errors import ManifestError, StudyError
from tsresformer.studies.export import PX_PER_POINT, _command, _escaped, export_results
from tsresformer.studies.plan import load_study
from tsresformer.studies.results import Results
from tsresformer.studies.runner import run_study
from tsresformer.studies.tables import write_tables

KNN = "knn = { 'classical.model' = 'knn', 'classical.neighbours' = 3 }\n"
TWO = f"{KNN}wide = {{ 'classical.model' = 'knn' }}\n"


@pytest.fixture
def results(noisy, study_file, tmp_path):
    """A study of two classical models, one cell of which fails."""
    path = study_file(
        "protocols = ['official', 'slice']\n[reference]\nmodel = 'knn'\n[axes.model]\n" + TWO
    )
    study = load_study(path, ["train.dev_fraction=0.3"])
    outcome = run_study(study, noisy / "m.csv", noisy / "store", tmp_path / "r", n_workers=1)
    write_tables(outcome.results)
    return outcome.results


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}


def test_the_copy_has_the_same_tables_and_no_more_than_a_reader_wants(results, tmp_path):
    out = export_results(results, tmp_path / "docs" / "quick")
    kept = files(out)
    for name in ("results.csv", "table.md", "table.tex", "study.json"):
        assert kept[name] == (results.folder / name).read_bytes()
    tops = {name.partition("/")[0] for name in kept}
    assert tops == {
        *("README.md", "cells", "plots", "predictions", "report.html"),
        *("results.csv", "study.json", "table.md", "table.tex"),
    }
    packed = kept["predictions/model-knn--official--seed-0.csv.gz"]
    rows = list(csv.DictReader(gzip.decompress(packed).decode().splitlines()))
    whole = results.predictions("model-knn--official--seed-0")
    assert len(rows) == len(whole) == 15
    for row, exact in zip(rows, whole, strict=True):
        assert {k: v for k, v in row.items() if k[:2] != "p_"} == {
            k: v for k, v in exact.items() if k[:2] != "p_"
        }
        assert re.fullmatch(r"[01]\.\d{3}", row["p_a"])
        assert float(row["p_a"]) == pytest.approx(float(exact["p_a"]), abs=5e-4)
    # Twice the same bytes: a second export changes nothing in a repository.
    assert files(export_results(results, tmp_path / "again")) == kept


def test_the_copy_is_a_results_folder_itself(results, tmp_path, capsys, monkeypatch):
    out = export_results(results, tmp_path / "copy")
    assert command_line(["study", "show", str(out)]) == 0
    assert "wide" in capsys.readouterr().out
    cells = [str(out / f"cells/model-{name}--official--seed-0.json") for name in ("knn", "wide")]
    there = [str(results.folder / f"cells/{cell.rpartition('/')[2]}") for cell in cells]
    assert Side.read(cells[0]).answers.keys() == Side.read(there[0]).answers.keys()
    said = []
    for pair in (cells, there):
        assert command_line(["compare", *pair]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    monkeypatch.chdir(out / "cells")
    bare = [cell.rpartition("/")[2] for cell in cells]
    assert command_line(["compare", *bare]) == 0
    assert capsys.readouterr().out == said[0]
    packed = out / "predictions" / "model-knn--official--seed-0.csv.gz"
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(StudyError, match=r"seed-0\.csv: damaged \(model-knn.*delete the cell's"):
        Results.open(out).predictions("model-knn--official--seed-0")
    packed.unlink()
    with pytest.raises(ManifestError, match=r"model-knn--official--seed-0\.csv is missing"):
        Side.read(cells[0])


def test_a_study_goes_on_from_a_copy(noisy, results, tmp_path):
    out = export_results(results, tmp_path / "copy")
    name = "model-wide--official--seed-0"
    Results.open(out).cell_path(name).unlink()
    (out / "predictions" / f"{name}.csv.gz").unlink()
    study = load_study(tmp_path / "quick.toml", ["train.dev_fraction=0.3"])
    trained = []
    outcome = run_study(
        study, noisy / "m.csv", noisy / "store", out, resume=True, say=trained.append, n_workers=1
    )
    assert [line.partition(":")[0] for line in trained if "official" in line] == [name]
    whole, again = results.cell(name), outcome.results.cell(name)
    assert again["metrics"] == whole["metrics"]
    for cell in ("model-knn--official--seed-0", name):
        rows, exact = outcome.results.predictions(cell), results.predictions(cell)
        assert [row["predicted"] for row in rows] == [row["predicted"] for row in exact]


def test_the_text_shows_every_picture_and_the_command(results, tmp_path):
    out = export_results(results, tmp_path / "copy")
    text = (out / "README.md").read_text()
    assert text.startswith("# T\n\nQ\n\n```\ntsresformer study run quick.toml --manifest")
    assert "-o RESULTS --set train.dev_fraction=0.3\n" in text
    assert (out / "table.md").read_text() in text
    assert "Failed cells: model-knn--slice--seed-0" in text
    shown = re.findall(r"\]\((plots/[^)]*)\)", text)
    assert sorted(shown) == sorted(f"plots/{p.name}" for p in (out / "plots").iterdir())
    assert "plots/how-much-better-or-worse-than-knn-official.svg" in shown
    for name in shown:
        root = ElementTree.parse(out / name).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "background: #ffffff" in root.attrib["style"]


def test_pictures_have_a_size_of_their_own_with_type_of_one_size(results, tmp_path):
    out = export_results(results, tmp_path / "copy")
    scales, widths = set(), set()
    for path in (out / "plots").iterdir():
        root = ElementTree.parse(path).getroot()
        _, _, *sides = map(float, root.attrib["viewBox"].split())
        for side, name in zip(sides, ("width", "height"), strict=True):
            assert int(root.attrib[name]) == pytest.approx(PX_PER_POINT * side, abs=1)
            scales.add(round(int(root.attrib[name]) / side, 2))
        assert "max-width: 100%; height: auto" in root.attrib["style"]
        widths.add(int(root.attrib["width"]))
    assert max(scales) - min(scales) <= 0.01
    assert len(widths) > 1
    assert max(widths) <= 900  # the column of a README


def test_a_note_of_the_author_is_below_the_question(results, tmp_path):
    note = "Cores were *shared*:\ntimes <b>mean</b> nothing."
    out = export_results(results, tmp_path / "copy", note=note)
    text = (out / "README.md").read_text()
    escaped = r"Cores were \*shared\*: times \<b\>mean\</b\> nothing."
    assert text.startswith(f"# T\n\nQ\n\n{escaped}\n\n```\n")
    page = (out / "report.html").read_text()
    assert "<b>mean" not in page
    assert page.index("<h1>") < page.index("times &lt;b&gt;mean&lt;/b&gt; nothing.")
    assert page.index("nothing.") < page.index('<dl class="facts">')


def test_a_note_stays_with_the_results(results, tmp_path):
    out = export_results(results, tmp_path / "copy", note="Cores were shared.")
    assert command_line(["study", "show", str(out)]) == 0
    assert "Cores were shared." in (out / "report.html").read_text()
    again = export_results(Results.open(out), tmp_path / "again")
    assert (again / "README.md").read_text() == (out / "README.md").read_text()
    other = export_results(Results.open(out), tmp_path / "other", note="On one core.")
    assert "Cores" not in (other / "README.md").read_text()
    plan = {name: value for name, value in results.record.items() if name != "format"}
    assert Results.begin(out, plan, resume=True).note == "Cores were shared."
    assert Results.open(out).note == "Cores were shared."


@pytest.mark.parametrize("text", ["1. Two", "# Two", "- two", "> two", "+ two", "=="])
def test_a_note_begins_no_list_or_heading(text):
    assert re.fullmatch(r"\d?\\.*", _escaped(text))


@pytest.mark.parametrize("name", ["models", "leak_audit"])
def test_the_command_runs_the_very_study(name, tmp_path):
    overrides = ["train.epochs=3", "study.seeds=[2, 0]", 'study.protocols=["official"]']
    if name == "leak_audit":
        overrides = ["study.folds=all", "study.config=paper"]
    record = load_study(name, overrides).record()
    words = shlex.split(_command(Results(tmp_path, record)))
    given = [word for before, word in itertools.pairwise(words) if before == "--set"]
    assert len(given) == len(overrides)
    assert load_study(name, given).record() == record


def test_nothing_is_overwritten(results, tmp_path, capsys):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "thesis.tex").write_text("")
    with pytest.raises(StudyError, match="docs: exists already; delete it or name another"):
        export_results(results, tmp_path / "docs")
    assert [p.name for p in (tmp_path / "docs").iterdir()] == ["thesis.tex"]
    assert command_line(["study", "export", str(tmp_path), "-o", str(tmp_path / "x")]) == 2
    assert "holds no study" in capsys.readouterr().err
    out = tmp_path / "copy"
    assert command_line(["study", "export", str(results.folder), "-o", str(out)]) == 0
    assert "4 of 4 cells are done, 0 remain, 0." in capsys.readouterr().out
    assert not list(tmp_path.glob(".copy*"))
