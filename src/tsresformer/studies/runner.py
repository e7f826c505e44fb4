"""Run a study: cell by cell, part by part, within a budget, from where it was left."""

from __future__ import annotations

import dataclasses
import fnmatch
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tsresformer.config import suggestion
from tsresformer.errors import MissingExtraError, StudyError, TsResformerError, require
from tsresformer.files import check_writable, sha256_json, write_sealed
from tsresformer.manifest import Manifest
from tsresformer.report import EvaluationResult
from tsresformer.report.result import percent, span
from tsresformer.splits import Protocol
from tsresformer.store import FeatureStore
from tsresformer.studies import classical, deep
from tsresformer.studies.budget import Clock, duration
from tsresformer.studies.data import Data, Splits, held_out
from tsresformer.studies.plan import Cell, Spec, Study
from tsresformer.studies.results import FORMAT, Results, check_folder, hold, read_record
from tsresformer.studies.scores import Scores, join
from tsresformer.workers import n_cores

CLASSICAL_S = {"svm": 100 / 6000, "knn": 8 / 6000, "boosting": 160 / 6000}
"""Seconds a training track that classical models took on two cores; for estimates only."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """How far a run came; `remaining_s` is None unless its budget ended it."""

    results: Results
    n_cells: int
    n_done: int
    n_failed: int
    remaining_s: float | None

    @property
    def complete(self) -> bool:
        """Whether every cell was run."""
        return self.n_done == self.n_cells


def run_study(
    study: Study,
    manifest: Manifest | str | Path,
    store: FeatureStore | str | Path,
    out: str | Path,
    *,
    resume: bool = False,
    only: Sequence[str] = (),
    budget_s: float | None = None,
    n_workers: int | None = None,
    say: Say = lambda text: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Outcome:
    """Run the cells of a study that are not finished yet.

    Parameters
    ----------
    out : the results folder; holds nothing, or with `resume` this very study
    only : run those cells alone whose name fits one of these patterns, as file names do; folders
        of one study that hold different cells can be copied together
    budget_s : stop before a training that by those measured will not fit
    say, progress : told of each finished cell, and of the trainings that are done

    Raises
    ------
    StudyError : the budget is too small for one training, a pattern of `only` fits no cell, or
        `out` holds something else
    SplitError : the manifest cannot serve a protocol
    """
    manifest = manifest if isinstance(manifest, Manifest) else Manifest.read(manifest)
    store = store if isinstance(store, FeatureStore) else FeatureStore.open(store)
    out = Path(out)
    cells = chosen_cells(study, only)
    check_writable(out, folder=True)
    store.verify()
    data = Data(manifest, store, out / "stores", lambda path: say(f"log-mels into {path}"))
    check_study(study, data)
    record = _record(study, manifest, store)
    check_folder(out, record, resume=resume)
    clock = Clock(budget_s)
    _Runner.check_budget(study, cells, data, out, clock)
    with hold(out):
        results = Results.begin(out, record, resume=resume)
        n_workers = n_workers or n_cores()
        runner = _Runner(study, cells, data, results, clock, n_workers, say, progress)
        return runner.run()


def chosen_cells(study: Study, only: Sequence[str]) -> list[Cell]:
    """The cells whose name fits one of the patterns; all of them without any."""
    names = [cell.name for cell in study.cells]
    for pattern in only:
        if not fnmatch.filter(names, pattern):
            raise StudyError(
                f"study {study.name}: --cells {pattern}: fits no cell{suggestion(pattern, names)}; "
                f"a cell is called {names[0]}, say"
            )
    fits = [any(fnmatch.fnmatchcase(name, pattern) for pattern in only) for name in names]
    return [cell for cell, fit in zip(study.cells, fits, strict=True) if fit or not only]


def n_trainings(study: Study, cells: Iterable[Cell] | None = None) -> int:
    """Trainings that cells of a study take; a network that wins its tuning counts once."""
    cells = study.cells if cells is None else cells
    return sum(_n_trials(study, cell) * len(cell.parts) for cell in cells)


def estimate(study: Study, data: Splits) -> float:
    """Seconds that a whole study will take here, from a few timed steps of each network."""
    per_training: dict[str, float] = {}
    total = 0.0
    for cell in study.cells:
        for protocol in cell.parts:
            spec = _first_spec(study, cell)
            kind = _kind(spec, protocol)
            if kind not in per_training:
                per_training[kind] = _expected_seconds(spec, data, protocol)
            total += per_training[kind] * _n_trials(study, cell)
    return total


def estimate_for(study: Study, manifest: str | Path, store: str | Path) -> float:
    """Seconds that a study will take here on a manifest and its store."""
    data = Data(Manifest.read(manifest), FeatureStore.open(store), Path())
    check_study(study, data)
    return estimate(study, data)


def _n_trials(study: Study, cell: Cell) -> int:
    """Trainings of one part of a cell: the trials of the first seed, one with what they chose.

    Of the first seed a network's best trial is that one; a classical model is fitted again.
    """
    if study.plan.tuning is None or cell.seed != study.plan.seeds[0]:
        return 1
    again = study.spec(cell).classical is not None
    return len(study.plan.tuning.settings(cell.variant)) + again


def _first_spec(study: Study, cell: Cell) -> Spec:
    """What a cell trains first: its first trial, if it is tuned."""
    tuning = study.plan.tuning
    return study.spec(cell, tuning.settings(cell.variant)[0] if tuning else None)


def _kind(spec: Spec, protocol: Protocol) -> str:
    """Hash of what decides how long a training takes: all that it is but its seed and fold."""
    config = spec.config.model_copy(update={"seed": 0})
    return sha256_json([dataclasses.replace(spec, config=config).record(), protocol.name])


def _expected_seconds(spec: Spec, data: Splits, protocol: Protocol) -> float:
    """A guess, before any training of the kind was measured."""
    manifest, features = data.thinned(protocol, spec.data.fraction), data.features(spec.features)
    tracks = manifest.in_split("training")
    if spec.classical is not None:
        return CLASSICAL_S[spec.classical.model] * len(tracks)
    n_frames = data.n_frames(tracks, features)
    return deep.estimated_seconds(spec.config, features, n_frames, len(manifest.vocabulary))


def check_study(study: Study, data: Splits) -> None:
    """Find out before the first training what would stop a later one."""
    specs = [(cell, study.spec(cell)) for cell in study.cells]
    if any(spec.classical is None for _, spec in specs):
        require("pytorch_lightning", "train")
    if any(spec.classical is not None for _, spec in specs):
        require("sklearn", "study")
    for cell, spec in specs:
        data.features(spec.features)
        for protocol in cell.parts:
            data.split(protocol)
        if spec.config.task == "multi":
            raise StudyError(
                f"study {study.name}: a study scores one genre a track, but cell {cell.name} has "
                'task = "multi"; leave it out, or compare reports of such bundles with '
                "'tsresformer compare'"
            )
        if cell.protocol == "slice" and spec.config.slicing.windows == "random":
            raise StudyError(
                f"study {study.name}: the protocol slice assigns fixed slices, but cell "
                f"{cell.name} draws random windows; add --set slicing.windows=fixed"
            )


def _record(study: Study, manifest: Manifest, store: FeatureStore) -> dict[str, Any]:
    from tsresformer import __version__

    rows = [[t.track_id, t.label, t.split, t.group] for t in manifest.tracks if t.usable]
    return {
        **study.record(),
        "manifest_rows": sha256_json(rows),
        "store_key": store.key,
        "cells": [cell.name for cell in study.cells],
        "n_tracks": len(rows),
        "version": __version__,
    }


class _BudgetSpentError(Exception):
    """The next training would not fit."""


class _Runner:
    """The cells of one study, with what they share."""

    def __init__(
        self,
        study: Study,
        cells: Sequence[Cell],
        data: Data,
        results: Results,
        clock: Clock,
        n_workers: int,
        say: Say,
        progress: Callable[[int, int], None],
    ) -> None:
        self._study, self._cells = study, cells
        self._data, self._results, self._clock = data, results, clock
        self._n_workers, self._say, self._progress = n_workers, say, progress
        self._left = {(c.name, part): _n_trials(study, c) for c in cells for part in c.parts}
        self._n_trainings = sum(self._left.values())
        self._work = results.folder / "work"
        self._interrupted = set(self._work.glob("*"))

    @staticmethod
    def check_budget(
        study: Study, cells: Sequence[Cell], data: Data, out: Path, clock: Clock
    ) -> None:
        """Refuse a budget that is too small for one training, before anything is written."""
        for cell in cells:
            if (out / "cells" / f"{cell.name}.json").is_file():
                continue
            spec, protocol = _first_spec(study, cell), cell.parts[0]
            kind, guess = _kind(spec, protocol), partial(_expected_seconds, spec, data, protocol)
            if not clock.fits(kind, guess):
                raise StudyError(
                    f"study {study.name}: the budget is too small for one training, which takes "
                    f"about {duration(clock.expected(kind, guess))} here; give it more, or lower "
                    "train.epochs"
                )
            return

    def run(self) -> Outcome:
        """Run what is not finished; a cell that failed is tried again."""
        stopped = False
        for cell in self._cells:
            known = self._results.cell(cell.name)
            if known is not None and not known["error"]:
                self._count(cell, cell.parts)
                continue
            try:
                self._run_cell(cell)
            except _BudgetSpentError:
                stopped = True
                break
        found = self._results.cells()
        n_failed = sum(1 for cell in found if cell["error"])
        remaining_s = self._remaining_s() if stopped else None
        n_cells = len(self._study.cells)
        outcome = Outcome(self._results, n_cells, len(found), n_failed, remaining_s)
        if outcome.complete and not n_failed:
            self._results.tidy()
        return outcome

    def _run_cell(self, cell: Cell) -> None:
        try:
            parts, facts = self._parts(cell)
            split = held_out(self._data.split(cell.parts[0]))
            result = join(parts, self._data.manifest, name=cell.name, split=split)
        except (MissingExtraError, _BudgetSpentError):
            raise
        except Exception as error:  # whatever goes wrong in a cell is a row, as a bad file is
            expected = isinstance(error, TsResformerError)
            text = str(error) if expected else f"unexpected {type(error).__name__}: {error}"
            self._results.write_failure(cell, " ".join(text.split()))
            self._say(f"{cell.name}: failed: {text}")
            return
        self._results.write_cell(cell, facts, result)
        self._say(f"{cell.name}: {_headline(result)}")

    def _parts(self, cell: Cell) -> tuple[dict[Protocol, Scores], dict[str, Any]]:
        """Scores of all parts, and what their trainings cost together."""
        scores: dict[Protocol, Scores] = {}
        every: list[dict[str, Any]] = []
        for protocol in cell.parts:
            known = self._results.part(cell, protocol)
            if known is None:
                self._run_part(cell, protocol)
                known = self._results.part(cell, protocol)
            assert known is not None
            self._count(cell, [protocol])
            scores[protocol] = known[0]
            every.append(known[1])
        return scores, {
            "train_s": round(sum(facts["train_s"] for facts in every), 1),
            "params": every[0]["params"],
            "macs": every[0]["macs"],
            "parts": every,
        }

    def _run_part(self, cell: Cell, protocol: Protocol) -> None:
        chosen, trained = self._tuned(cell, protocol)
        spec = self._study.spec(cell, chosen)
        if not trained:
            self._stop_if_spent(spec, protocol)
        begun = time.monotonic()
        manifest = self._data.thinned(protocol, spec.data.fraction)
        store = self._data.store_of(spec.features, self._n_workers)
        split = held_out(manifest)
        if spec.classical is not None:
            fold = classical.Fold(spec, manifest, store, split)
            result, facts = classical.score(fold, spec.classical, spec.config.seed, manifest)
            done = None
        else:
            done = deep.train(spec.config, manifest, store, self._work)
            result, facts = deep.score(done, manifest, store, split, self._n_workers)
        facts = {"protocol": str(protocol), "split": split, "chosen": chosen, **facts}
        self._results.write_part(cell, protocol, Scores.of(result), facts)
        if done is not None:
            deep.discard([done])
        if not trained:
            self._measured(spec, protocol, begun, done)

    def _measured(self, spec: Spec, protocol: Protocol, begun: float, folder: Path | None) -> None:
        """Note how long a training took, unless an interruption had left a part of it."""
        if folder not in self._interrupted:
            self._clock.measured(_kind(spec, protocol), time.monotonic() - begun)

    def _stop_if_spent(self, spec: Spec, protocol: Protocol) -> None:
        guess = partial(_expected_seconds, spec, self._data, protocol)
        if not self._clock.fits(_kind(spec, protocol), guess):
            raise _BudgetSpentError

    def _remaining_s(self) -> float:
        """Seconds that the trainings which are left are expected to take."""
        total = 0.0
        for cell in self._cells:
            spec = _first_spec(self._study, cell)
            for protocol in cell.parts:
                n = self._left.get((cell.name, protocol), 0)
                if n:
                    guess = partial(_expected_seconds, spec, self._data, protocol)
                    total += n * self._clock.expected(_kind(spec, protocol), guess)
        return total

    def _tuned(self, cell: Cell, protocol: Protocol) -> tuple[dict[str, Any], bool]:
        """Settings of the best trial on the development fold, and whether it needs but a score."""
        tuning = self._study.plan.tuning
        if tuning is None:
            return {}, False
        path = self._tuning_path(cell, protocol)
        if path.is_file():
            return _chosen(path, self._results.key), False
        first = dataclasses.replace(cell, seed=self._study.plan.seeds[0])
        trials: list[dict[str, Any]] = []
        folders: list[Path] = []
        fold: classical.Fold | None = None
        for settings in tuning.settings(cell.variant):
            spec = self._study.spec(first, settings)
            self._stop_if_spent(spec, protocol)
            begun = time.monotonic()
            manifest = self._data.thinned(protocol, spec.data.fraction)
            store = self._data.store_of(spec.features, self._n_workers)
            if spec.classical is not None:
                fold = classical.Fold(spec, manifest, store, held_out(manifest), like=fold)
                seed = spec.config.seed
                score = classical.development_accuracy(fold, spec.classical, seed)
            else:
                folders.append(deep.train(spec.config, manifest, store, self._work))
                score = deep.development_score(folders[-1])
            trials.append({"settings": settings, "dev_score": score})
            self._measured(spec, protocol, begun, folders[-1] if folders else None)
        best = max(range(len(trials)), key=lambda i: (trials[i]["dev_score"], -i))
        chosen = trials[best]["settings"]
        head = {"format": FORMAT, "study": self._results.key}
        write_sealed(path, {**head, "trials": trials, "chosen": chosen})
        deep.discard(folder for i, folder in enumerate(folders) if i != best)
        return chosen, bool(folders) and cell.seed == first.seed

    def _tuning_path(self, cell: Cell, protocol: Protocol) -> Path:
        name = cell.name.removesuffix(f"--seed-{cell.seed}")
        return self._results.folder / "tuning" / f"{name}.fold-{protocol.fold}.json"

    def _count(self, cell: Cell, done: Iterable[Protocol]) -> None:
        for protocol in done:
            self._left.pop((cell.name, protocol), None)
        self._progress(self._n_trainings - sum(self._left.values()), self._n_trainings)


def _chosen(path: Path, key: str = "") -> dict[str, Any]:
    """The settings that a tuning found before; refuse one of another study than `key`."""
    try:
        return dict(read_record(path, key)["chosen"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{path}: damaged ({error}); delete it and resume the study") from None


def _headline(result: EvaluationResult) -> str:
    accuracy = result.track.overall["accuracy"]
    return (
        f"{percent(accuracy.value)} ({span(accuracy, percent)}) of {result.track.n_items:,} tracks"
    )


def remaining_text(outcome: Outcome) -> Iterator[str]:
    """What is left to do, in words."""
    if outcome.remaining_s is not None:
        yield (
            f"the budget is spent: {outcome.results.progress}, about "
            f"{duration(outcome.remaining_s)} by the trainings so far; the same command with "
            "--resume goes on"
        )
    elif not outcome.complete:
        yield f"{outcome.results.progress}: those that --cells left out"
