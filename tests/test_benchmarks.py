"""The benchmarks work; how fast anything is, they say and no test does."""

import itertools
import json

import pytest

import bench
import bench_rows
from measure import Case, measure
from tsresformer.audio import probe

pytestmark = pytest.mark.torch


def test_a_ratio_is_the_median_over_rounds_without_the_first():
    taken = iter([50, 1, *(2, 1), *(4, 1), *(6, 2)])  # seconds of ours and theirs in turn
    ticks = itertools.chain.from_iterable((0, seconds) for seconds in taken)
    case = Case("a", "b", lambda: None, lambda: None, units=2, scale=0.5)
    row = measure(case, 3, lambda: next(ticks))
    assert (row.value_s, row.peer_s, row.ratio) == (2.0, 0.25, 6.0)
    assert row.spread == pytest.approx(2 / 6)


def test_every_group_gives_rows_and_a_missing_peer_is_named(tmp_path, monkeypatch, capsys):
    absent = {name: f"{name} is not installed" for name in ("essentia", "transformers")}
    monkeypatch.setattr(bench_rows, "missing", lambda name: absent.get(name, ""))
    files = bench.encoded(tmp_path, 2)
    assert [probe(file).format for file in files] == ["mp3", "mp3"]
    assert all(abs(probe(file).duration_s - bench.CLIP_S) < 0.1 for file in files)
    rows = bench.compare(files, tmp_path, 1)
    out = tmp_path / "t.md"
    out.write_text(f"before\n{bench.BEGIN}\nold\n{bench.END}\nafter\n")
    bench.fill_in(out, bench.table(rows))
    text = out.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "\nold\n" not in text
    by_peer = {row.peer: row for row in rows}
    assert by_peer["essentia MonoLoader + MelBands"].note == "essentia is not installed"
    assert "essentia is not installed" in text
    timed = [row for row in rows if not row.note]
    assert len(timed) == len(rows) - 2 == 15
    assert all(row.ratio == pytest.approx(row.value_s / row.peer_s, rel=0.01) for row in timed)
    json.dumps([row.ratio for row in rows], allow_nan=False)
