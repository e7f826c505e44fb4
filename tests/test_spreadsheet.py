"""CSV tables: no cell is a formula, and every cell comes back."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsresformer.commands.common import csv_text
from tsresformer.manifest import Manifest, Track
from tsresformer.spreadsheet import guarded, plain, read_rows, write_rows

FORMULAS = ("=1+1.mp3", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "＝1+1", "'=1")
STARTS = "=+-@\t\r\n＝＋－＠"

cells = st.text(st.sampled_from([*STARTS, "'", "1", ".", "a", ",", ";", '"', " ", "é"]), max_size=8)


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_becomes_text_and_comes_back(text):
    assert guarded(text) == f"'{text}"
    assert plain(guarded(text)) == text


@pytest.mark.parametrize("text", ["-0.5", "+3", "-1e-05", ".5", "a=1", "1-2", "'tis", "", "ok"])
def test_numbers_and_other_text_stay(text):
    assert guarded(text) == plain(text) == text


@given(st.lists(cells, min_size=2, max_size=4))
def test_every_row_comes_back(row):
    stream = io.StringIO(newline="")
    header = [f"=h{i}" for i in range(len(row))]
    write_rows(stream, [header, row])
    stream.seek(0)
    assert read_rows(stream) == [dict(zip(header, row, strict=True))]
    stream.seek(0)
    for cell in (cell for line in csv.reader(stream) for cell in line):
        assert not cell or cell[0] not in STARTS or float(cell)  # or it is a number


@pytest.mark.parametrize("name", ["a;=1+1.mp3", "x\t=2.mp3"])
def test_no_separator_of_libreoffice_begins_another_cell(name):
    text = csv_text(["path", "label"], [[name, "Pop"]])
    assert text == f'path,label\n"{name}",Pop\n'
    assert read_rows(io.StringIO(text, newline="")) == [{"path": name, "label": "Pop"}]


def test_a_row_of_another_width_is_refused():
    with pytest.raises(ValueError, match="zip"):
        read_rows(io.StringIO("a,b\n1\n"))


def test_outputs_guard_names_and_keep_numbers():
    text = csv_text(["path", "p"], [["=1+1.mp3", -0.25], ["a.mp3", None]])
    assert text == "path,p\n'=1+1.mp3,-0.25\na.mp3,\n"


def test_a_manifest_guards_names_and_reads_them_as_they_were(tmp_path):
    values = {"label": "-pop", "title": "@home", "extra": {"x_note": "=A1", "x_gain": "-3.5"}}
    path = str(tmp_path / "=1+1.mp3")
    manifest = Manifest(
        (Track(track_id="+1", path=path, **values), Track(track_id="'=", path="/b", label=""))
    )
    manifest.write(tmp_path / "m.csv")
    lines = (tmp_path / "m.csv").read_text().splitlines()
    assert lines[1] == "+1,'=1+1.mp3,'-pop,,,'@home,'=A1,-3.5"
    assert lines[2].startswith("''=,/b,")
    assert Manifest.read(tmp_path / "m.csv").tracks == manifest.tracks
