"""Classify audio with a bundle, by ONNX Runtime."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from tsresformer.bundle import Bundle
from tsresformer.errors import AudioError, BundleError
from tsresformer.extract import Chunk, log_mel_chunks
from tsresformer.slicing import SliceStream, n_slice_frames, probabilities
from tsresformer.workers import Event, Limits, n_cores, stream

DEFAULT_MODEL = "fma-small"
TIMELINE_HOP_S = 5.0
TIMELINE_WINDOW_S = 10.0
"""Shortest stretch that one entry of the timeline speaks for."""

SILENT_BELOW_DB = 60.0
"""A slice that stays this far under the loudest of its track has no genre. PCEN tells no
loudness: there only a slice of digital silence has none."""

BATCH_SLICES = 4
"""Slices that the network sees at once; more is not faster, and 16 take 55 MiB more memory."""


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """The genres of one stretch of a track."""

    start_s: float
    end_s: float
    label: str | None
    probabilities: dict[str, float]


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a bundle says of one file: a row of `predict`'s JSON.

    `status` is ``ok``, ``silent`` (no genre), or what went wrong, with the reason in `error`.
    `warning` says what was odd about a file that was classified all the same.
    """

    path: str
    status: str
    error: str | None = None
    label: str | None = None
    probabilities: dict[str, float] = field(default_factory=dict)
    unsure: bool | None = None
    timeline: tuple[TimelineEntry, ...] = ()
    seconds: float = 0.0
    warning: str = ""

    def best(self, top: int | None = None) -> dict[str, float]:
        """Return the `top` most probable genres, most probable first; None: all."""
        return _best(self.probabilities, top)

    def as_json(self, top: int | None = None) -> dict[str, Any]:
        """Arrange the prediction as a row of `predict`'s JSON, schema 1."""
        return {
            "path": self.path,
            "status": self.status,
            "error": self.error,
            "label": self.label,
            "probabilities": self.best(top),
            "unsure": self.unsure,
            "timeline": [
                {
                    "start_s": entry.start_s,
                    "end_s": entry.end_s,
                    "label": entry.label,
                    "probabilities": _best(entry.probabilities, top),
                }
                for entry in self.timeline
            ],
        }


def _best(values: dict[str, float], top: int | None) -> dict[str, float]:
    ranked = sorted(values.items(), key=lambda item: -item[1])
    return {label: round(value, 6) for label, value in ranked[:top]}


@dataclass(frozen=True)
class TrackScores:
    """The network's output for a track, slice by slice.

    `starts` are first frames of the slices of the bundle's own slicing, `fine_starts` of those of
    the timeline. A slice is `audible` unless it is `SILENT_BELOW_DB` under the track's loudest.
    """

    logits: NDArray[np.float32]  # (n_slices, n_classes), before temperature
    starts: NDArray[np.int64]  # (n_slices,)
    audible: NDArray[np.bool_]  # (n_slices,)
    fine_logits: NDArray[np.float32]
    fine_starts: NDArray[np.int64]
    fine_audible: NDArray[np.bool_]
    seconds: float
    silent: bool
    repeated: bool
    embedding: NDArray[np.float32]  # (d,), mean over slices
    attention_time: NDArray[np.float32]  # (n_slices, T')
    attention_frequency: NDArray[np.float32]  # (n_slices, M')
    warning: str = ""

    def mean_logits(self, chosen: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
        """Logits of the track (n_classes,): the mean over its audible slices.

        Parameters
        ----------
        chosen : mark the slices to use, shape (n_slices,); None for all. Where none of them is
            audible, all of them count
        """
        chosen = np.ones(len(self.logits), dtype=bool) if chosen is None else chosen
        heard = chosen & self.audible
        mean: NDArray[np.float32] = self.logits[heard if heard.any() else chosen].mean(axis=0)
        return mean


class Classifier:
    """A bundle that is ready to classify; one instance serves many threads.

    Examples
    --------
    >>> classifier = Classifier.load("fma-small")
    >>> classifier.predict("demo/piece.ogg").label
    'Instrumental'
    """

    def __init__(self, bundle: Bundle, session: ort.InferenceSession) -> None:
        self.bundle, self._session = bundle, session

    @classmethod
    def load(
        cls,
        name_or_path: str | Path = DEFAULT_MODEL,
        *,
        threads: int | None = None,
        device: str = "cpu",
    ) -> Self:
        """Open a bundle by path or shipped name.

        Parameters
        ----------
        threads : cores for the network; None takes all that the process may use
        device : ``cpu``, or ``cuda`` with the onnxruntime-gpu package
        """
        bundle = Bundle.load(name_or_path)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or n_cores()
        options.log_severity_level = 3
        # Threads that wait would take the cores from the processes that decode.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
        if providers.get(device) not in ort.get_available_providers():
            raise BundleError(
                f"device {device!r} is not available here; use cpu, or install onnxruntime-gpu"
            )
        try:
            session = ort.InferenceSession(
                bundle.graph.read_bytes(),
                options,
                providers=[providers[device]],
                enable_fallback=0,  # it prints on stdout, and tries the same again
            )
        except Exception as error:  # ONNX Runtime's errors have no common root
            raise BundleError(f"{bundle.graph}: not loadable: {error}") from None
        _check_graph(bundle, session)
        return cls(bundle, session)

    def predict(self, path: str | Path, *, timeline: bool = False) -> Prediction:
        """Classify one file in this process; a file that fails raises AudioError."""
        chunks = log_mel_chunks(str(path), self.bundle.features)
        return self.conclude(str(path), self.score(chunks, timeline=timeline))

    def score(self, chunks: Iterable[Chunk], *, timeline: bool = False) -> TrackScores:
        """Score one track from the chunks of its log-mel, at least one."""
        scorer = _Scorer(self, timeline)
        for chunk in chunks:
            scorer.push(chunk)
        return scorer.finish()

    def predict_many(
        self,
        paths: Iterable[str | Path],
        *,
        n_workers: int = 1,
        timeline: bool = False,
        limits: Limits | None = None,
    ) -> Iterator[Prediction]:
        """Classify files as they are decoded by worker processes; a failure is a row."""
        names: list[str] = []

        def remember() -> Iterator[str]:
            for path in paths:
                names.append(str(path))
                yield names[-1]

        scored = self.score_many(remember(), n_workers=n_workers, timeline=timeline, limits=limits)
        for index, scores in scored:
            if isinstance(scores, AudioError):
                yield Prediction(names[index], scores.status, scores.reason)
            else:
                yield self.conclude(names[index], scores)

    def score_many(
        self,
        items: Iterable[str],
        *,
        n_workers: int = 1,
        timeline: bool = False,
        limits: Limits | None = None,
    ) -> Iterator[tuple[int, TrackScores | AudioError]]:
        """Score audio files and rows of arrays (``X.npy#row``), each with its place in `items`."""
        limits = limits or Limits()
        function = partial(
            log_mel_chunks, config=self.bundle.features, max_seconds=limits.decoded_s
        )
        events = stream(function, items, n_workers=n_workers, limits=limits)
        return self.score_events(events, timeline=timeline)

    def score_events(
        self, events: Iterable[Event], *, timeline: bool = False
    ) -> Iterator[tuple[int, TrackScores | AudioError]]:
        """Score the chunks of log-mel that child processes make, each track with its place."""
        scorers: dict[int, _Scorer] = {}
        for event in events:
            if event.kind == "chunk":
                scorers.setdefault(event.index, _Scorer(self, timeline)).push(event.value)
            elif event.kind == "error":
                scorers.pop(event.index, None)
                yield event.index, event.value
            else:
                yield event.index, scorers.pop(event.index).finish()

    def run(self, slices: Sequence[NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Run the network on slices (n_mels, n_frames) of one length, as a stream yields them."""
        outputs = [output.name for output in self._session.get_outputs()]
        values = self._session.run(outputs, {"log_mel": np.stack(slices)})
        return dict(zip(outputs, values, strict=True))

    def conclude(self, path: str, scores: TrackScores) -> Prediction:
        """Turn scores into genres."""
        if scores.silent:
            return Prediction(path, "silent", seconds=scores.seconds, warning=scores.warning)
        values = self.probabilities(scores.mean_logits())
        label, unsure = self.decide(values)
        return Prediction(
            path,
            "ok",
            label=label,
            probabilities=self._by_genre(values),
            unsure=unsure,
            timeline=tuple(self._timeline(scores)),
            seconds=scores.seconds,
            warning=scores.warning,
        )

    def probabilities(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated probabilities (..., n_classes) of logits."""
        return probabilities(logits, self.bundle.temperature, self.bundle.task)

    def decide(self, values: NDArray[np.float64]) -> tuple[str, bool]:
        """Genre and whether it is unsure; in the task "multi" all genres from 0.5 up, by ``|``."""
        best = int(values.argmax())
        unsure = bool(values[best] < self.bundle.unsure_below)
        if self.bundle.task == "single":
            return self.bundle.labels[best], unsure
        chosen = [label for label, p in zip(self.bundle.labels, values, strict=True) if p >= 0.5]
        return "|".join(chosen) or self.bundle.labels[best], unsure

    def _by_genre(self, values: NDArray[np.float64]) -> dict[str, float]:
        return {
            label: float(value) for label, value in zip(self.bundle.labels, values, strict=True)
        }

    def _timeline(self, scores: TrackScores) -> Iterator[TimelineEntry]:
        """Classify windows of at least `TIMELINE_WINDOW_S` by the slices that lie in them."""
        second = self.bundle.features.frames_per_second
        length = n_slice_frames(self.bundle.slicing, self.bundle.features)
        window = max(length, round(TIMELINE_WINDOW_S * second))
        starts, step = scores.fine_starts, TIMELINE_HOP_S * second
        for k in itertools.count():
            start = round(k * step)  # in this order, as slices are cut: else a half rounds apart
            if not len(starts) or (k and start + window > starts[-1] + length):
                return
            # The slice that starts with the window is one of them, so there is always one.
            inside = (starts >= start) & (starts + length <= start + window)
            heard = inside & scores.fine_audible
            label, likely = None, {}
            if heard.any():
                values = self.probabilities(scores.fine_logits[heard].mean(axis=0))
                (label, _), likely = self.decide(values), self._by_genre(values)
            end_s = min((start + window) / second, scores.seconds)
            yield TimelineEntry(k * TIMELINE_HOP_S, round(end_s, 3), label, likely)


def _check_graph(bundle: Bundle, session: ort.InferenceSession) -> None:
    """Refuse a graph that does not take and give what the record says."""
    shapes = {node.name: node.shape for node in (*session.get_inputs(), *session.get_outputs())}
    for name, size in (("log_mel", bundle.features.n_mels), ("logits", len(bundle.labels))):
        found = shapes.get(name, ())
        if len(found) < 2 or found[1] != size:
            raise BundleError(
                f"{bundle.graph}: {name} is {found or 'missing'}, the record needs {size} on its "
                "second axis; export the bundle again"
            )


class _Scorer:
    """Cut the chunks of one track into slices and run the network on them, batch by batch."""

    def __init__(self, classifier: Classifier, timeline: bool) -> None:
        bundle = classifier.bundle
        self._classifier = classifier
        self._step = bundle.slicing.hop_s * bundle.features.frames_per_second
        hops_s = (bundle.slicing.hop_s, *([TIMELINE_HOP_S] if timeline else []))
        self._slices = SliceStream(bundle.slicing, bundle.features, hops_s)
        self._timeline = timeline
        self._waiting: list[tuple[int, NDArray[np.float32]]] = []
        self._starts: list[int] = []
        self._loudest: list[float] = []  # greatest value of each slice
        self._outputs: list[dict[str, NDArray[np.float32]]] = []
        self._last: Chunk | None = None

    def push(self, chunk: Chunk) -> None:
        self._last = chunk
        for piece in self._slices.push(chunk.log_mel):
            self._take(*piece)

    def finish(self) -> TrackScores:
        assert self._last is not None
        for piece in self._slices.finish():
            self._take(*piece)
        self._flush()
        joined = {
            name: np.concatenate([output[name] for output in self._outputs])
            for name in self._outputs[0]
        }
        starts, loudest = np.array(self._starts), np.array(self._loudest)
        is_pcen = self._classifier.bundle.features.scale == "pcen"
        audible = loudest > (0 if is_pcen else loudest.max() - SILENT_BELOW_DB)
        own = self._own_slices()
        fine = slice(None) if self._timeline else slice(0)
        return TrackScores(
            logits=joined["logits"][own],
            starts=starts[own],
            audible=audible[own],
            fine_logits=joined["logits"][fine],
            fine_starts=starts[fine],
            fine_audible=audible[fine],
            seconds=self._last.seconds,
            silent=self._last.silent,
            repeated=self._slices.repeated,
            embedding=joined["embedding"][own].mean(axis=0),
            attention_time=joined["attention_time"][own],
            attention_frequency=joined["attention_frequency"][own],
            warning=self._warning(),
        )

    def _warning(self) -> str:
        assert self._last is not None
        short = "shorter than one slice, so it is repeated" if self._slices.repeated else ""
        return "; ".join(filter(None, [self._last.warning, short]))

    def _own_slices(self) -> NDArray[np.bool_]:
        """Mark the slices of the bundle's own step among those of the timeline."""
        n_own = int(self._starts[-1] / self._step) + 2
        return np.isin(self._starts, [round(k * self._step) for k in range(n_own)])

    def _take(self, start: int, piece: NDArray[np.float32]) -> None:
        self._waiting.append((start, piece))
        self._loudest.append(float(piece.max()))
        if len(self._waiting) == BATCH_SLICES:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._starts += [start for start, _ in self._waiting]
            self._outputs.append(self._classifier.run([piece for _, piece in self._waiting]))
            self._waiting = []
