"""Repeat the comparisons of the paper on FMA-small, from the two downloads to one page.

Everything lies in one folder: ``fma.csv`` (the import) and ``sources.json`` (of which downloads),
``checked.csv`` (what the check found), ``store/`` (log-mels), ``results/<study>/`` and, last,
``index.html``. Each step goes on where an interruption left it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tsresformer.check import check
from tsresformer.config import FeatureConfig
from tsresformer.datasets import fma
from tsresformer.errors import StudyError
from tsresformer.extract import log_mel_chunks
from tsresformer.files import atomic_write, parse_json, write_json
from tsresformer.manifest import Manifest
from tsresformer.report.page import template
from tsresformer.store import FeatureStore, build_store
from tsresformer.studies.data import Splits
from tsresformer.studies.page import PAGE, write_page
from tsresformer.studies.plan import Study, load_study
from tsresformer.studies.results import Results
from tsresformer.studies.runner import Outcome, check_study, estimate, run_study
from tsresformer.studies.tables import notes, point_rows, write_tables
from tsresformer.workers import n_cores, stream

STUDIES = ("leak_audit", "paper", "slice_duration", "models", "attention", "baselines")
SOURCES, INDEX = "sources.json", "index.html"
TIMED_CLIPS = 4
NETWORK_BYTES = 60e6
"""What one training under way takes on disk, roughly."""


@dataclass(frozen=True)
class Estimate:
    """What repeating everything will take here.

    Attributes
    ----------
    seconds : step or study to seconds
    """

    n_tracks: int
    seconds: dict[str, float]
    disk_bytes: float

    @property
    def total_s(self) -> float:
        """Seconds of all steps."""
        return sum(self.seconds.values())


@dataclass(frozen=True)
class Job:
    """What is to be repeated, and where."""

    audio: Path
    metadata: Path
    out: Path
    studies: tuple[Study, ...]
    n_workers: int
    features: FeatureConfig

    @classmethod
    def of(
        cls,
        audio: str | Path,
        metadata: str | Path,
        out: str | Path,
        *,
        studies: Sequence[str] = STUDIES,
        overrides: Sequence[str] = (),
        n_workers: int | None = None,
    ) -> Job:
        """Resolve the studies, each with the same overrides."""
        loaded = tuple(load_study(name, overrides) for name in studies)
        if len({study.name for study in loaded}) < len(loaded):
            raise StudyError("a study is named twice")
        workers = n_workers or n_cores()
        return cls(Path(audio), Path(metadata), Path(out), loaded, workers, FeatureConfig())

    def manifest(self) -> Manifest:
        """The import, read again if it was made before; refuse one of other downloads."""
        path = self.out / "fma.csv"
        if path.is_file():
            self._check_sources()
            return Manifest.read(path)
        return fma.read(self.audio, self.metadata, "small")

    @property
    def _sources(self) -> dict[str, str]:
        return {"audio": str(self.audio.resolve()), "metadata": str(self.metadata.resolve())}

    def _check_sources(self) -> None:
        """Refuse other downloads than those of the import, if it says of which it is."""
        path = self.out / SOURCES
        try:
            before = dict(parse_json(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError) as error:
            raise StudyError(f"{path}: damaged ({error}); delete it") from None
        for name, source in self._sources.items():
            if before.get(name) != source:
                raise StudyError(
                    f"{self.out}: was begun with --{name} {before.get(name)}, and now it is "
                    f"{source}; name the former, or another folder with -o"
                )

    def estimate(self) -> Estimate:
        """Time a few clips and a few steps of each network; nothing is written."""
        manifest = self.manifest()
        usable = [track for track in manifest.tracks if track.usable]
        clip_s = self._clip_seconds(manifest) / self.n_workers
        seconds = {"check and log-mels": 2 * clip_s * len(usable)}
        splits = Splits(manifest, self.features)
        for study in self.studies:
            check_study(study, splits)
            tested = sum(
                len(splits.split(protocol).tracks) / (5 if cell.protocol != "official" else 10)
                for cell in study.cells
                for protocol in cell.parts
            )
            seconds[study.name] = estimate(study, splits) + clip_s * tested
        n_frames = sum(splits.n_frames(usable, self.features))
        return Estimate(len(usable), seconds, 2 * n_frames * self.features.n_mels + NETWORK_BYTES)

    def _clip_seconds(self, manifest: Manifest) -> float:
        """Processor seconds that one clip takes from the file to the log-mel."""
        times: list[float] = []
        function = partial(_decoding_seconds, features=self.features)
        paths = (track.path for track in manifest.tracks)
        with closing(stream(function, paths, n_workers=1)) as events:
            for event in events:
                if event.kind == "chunk":
                    times.append(event.value)
                    if len(times) > TIMED_CLIPS:
                        break
        if len(times) < 2:
            raise StudyError(f"{self.audio}: holds no two clips that can be decoded")
        return sum(times[1:]) / len(times[1:])  # the first one also loads the decoder

    def prepare(
        self, on_step: Callable[[str], None], progress: Callable[[int, int], None]
    ) -> tuple[Manifest, FeatureStore]:
        """Import, check, and compute log-mels, as far as that is not done yet."""
        checked = self.out / "checked.csv"
        if checked.is_file():
            self._check_sources()
        else:
            on_step("import")
            manifest = self.manifest()
            write_json(self.out / SOURCES, self._sources)
            manifest.write(self.out / "fma.csv")
            on_step(f"check of {len(manifest.tracks):,} tracks")
            found = check(manifest, n_workers=self.n_workers, progress=progress)
            found.manifest.write(checked)
        manifest = Manifest.read(checked)
        bad = [track for track in manifest.tracks if not track.usable]
        on_step(f"{len(manifest.tracks):,} tracks, {len(bad):,} left out by the check")
        done = 0

        def advance(_track: object) -> None:
            nonlocal done
            done += 1
            progress(done, len(manifest.tracks))

        store = build_store(
            manifest,
            self.features,
            self.out / "store",
            n_workers=self.n_workers,
            on_track=advance,
        )
        return manifest, store

    def run(
        self,
        on_step: Callable[[str], None] = lambda text: None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[Outcome]:
        """Do everything that is not done yet, and write the page over all studies."""
        manifest, store = self.prepare(on_step, progress)
        outcomes = []
        for study in self.studies:
            on_step(f"study {study.name}")
            outcome = run_study(
                study,
                manifest,
                store,
                self.out / "results" / study.name,
                resume=True,
                n_workers=self.n_workers,
                say=on_step,
                progress=progress,
            )
            write_page(outcome.results, write_tables(outcome.results))
            outcomes.append(outcome)
            write_index(self.out, [done.results for done in outcomes], manifest)
        return outcomes


def _decoding_seconds(path: str, features: FeatureConfig) -> Iterator[float]:
    """Yield the processor seconds from a file to its log-mel, for a child process."""
    begun = time.process_time()
    for _ in log_mel_chunks(path, features):
        pass
    yield time.process_time() - begun


def write_index(folder: Path, studies: Sequence[Results], manifest: Manifest) -> Path:
    """One page with the table of every study, each with a link to the study's own page."""
    left_out = [track for track in manifest.tracks if not track.usable]
    page = template("reproduce.html.j2").render(
        n_tracks=len(manifest.tracks),
        left_out=left_out,
        studies=[_section(results, folder) for results in studies],
    )
    path = folder / INDEX
    with atomic_write(path) as stream:
        stream.write(page)
    return path


def _section(results: Results, folder: Path) -> dict[str, Any]:
    found = write_tables(results)
    header, rows = point_rows(results, found)
    return {
        "plan": results.plan,
        "name": results.record["name"],
        "href": (results.folder / PAGE).relative_to(folder).as_posix(),
        "header": header,
        "rows": rows,
        "n_names": len(results.plan.axes) + 1,
        "notes": notes(results, found),
    }
