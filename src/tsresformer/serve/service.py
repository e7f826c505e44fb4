"""From an upload to its prediction: decoders, networks and the queue before them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.datastructures import UploadFile

from tsresformer.classifier import Prediction, TrackScores
from tsresformer.errors import AudioError, TsResformerError
from tsresformer.extract import Chunk
from tsresformer.serve.batching import BatchingClassifier
from tsresformer.serve.decoding import Deadline, Decoders
from tsresformer.serve.logs import LOGGER
from tsresformer.serve.metrics import Metrics
from tsresformer.serve.pictures import Job, Picture, decode
from tsresformer.serve.problems import Problem, problem_of
from tsresformer.serve.settings import Settings
from tsresformer.serve.shelf import Shelf
from tsresformer.serve.uploads import client_name, decoder_path
from tsresformer.workers import Limits, n_cores

THREADS_PER_DECODER = 2
"""While one file is in the network, its decoder works on the next."""

GRACE_S = 2.0
"""What a thread gets beyond its request's time to notice that it is over."""

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Outcome:
    """What was found out about one file; `picture` where it was asked for."""

    prediction: Prediction
    scores: TrackScores
    picture: Picture | None


class Service:
    """Everything behind the routes; `start` before the first request, `stop` after the last.

    Attributes
    ----------
    ready : whether bundles and decoders can work

    Parameters
    ----------
    decode : runs in the decoding processes; importable from a module
    """

    def __init__(
        self,
        settings: Settings,
        decode: Callable[[Job], Iterable[Chunk | Picture]] = decode,
    ) -> None:
        self.settings, self.metrics, self._decode = settings, Metrics(), decode
        self.shelf = Shelf(settings.models, settings.threads or None, self._count_run)
        self.ready = False
        self._n_inside = 0
        self._reloading = asyncio.Lock()
        n_decoders = settings.decoders or n_cores()
        self._threads = ThreadPoolExecutor(THREADS_PER_DECODER * n_decoders, "request")
        self._n_decoders = n_decoders
        self._decoders: Decoders[Job, Chunk | Picture] | None = None

    def _count_run(self, model: str, n_slices: int) -> None:
        self.metrics.slices.labels(model).observe(n_slices)

    def start(self) -> None:
        """Load the bundles and start the decoders.

        Raises
        ------
        TsResformerError : a bundle cannot be loaded, or no decoder starts
        """
        limits = Limits(
            memory_bytes=self.settings.memory_mib * 2**20,
            stall_s=self.settings.stall_s,
            decoded_s=self.settings.decoded_s,
        )
        self._decoders = Decoders(
            self._decode, self._n_decoders, limits, self.metrics.decoders_lost.inc
        )
        self.shelf.load()
        self._decoders.warm()
        self.metrics.serve_models(classifier.bundle for classifier in self.shelf)
        self.ready = True

    def stop(self) -> None:
        """End the decoders; nothing runs any more."""
        self.ready = False
        if self._decoders:
            self._decoders.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def reload(self) -> None:
        """Read the bundles again and swap them; on an error, those that are served stay."""
        log = logging.getLogger(LOGGER)
        async with self._reloading:
            try:
                await asyncio.to_thread(self.shelf.load)
            except (TsResformerError, OSError) as error:
                self.metrics.reloads.labels("failed").inc()
                log.error("the bundles were not swapped: %s", error)
                return
            self.metrics.reloads.labels("swapped").inc()
            self.metrics.serve_models(classifier.bundle for classifier in self.shelf)
            names = {c.bundle.name: c.bundle.hash for c in self.shelf}
            log.info("bundles swapped", extra={"fields": {"models": names}})

    @contextlib.contextmanager
    def admitted(self) -> Iterator[None]:
        """Let a request in, or turn it away at once.

        Raises
        ------
        Problem : as many as the queue holds are inside
        """
        if self._n_inside >= self.settings.queue:
            raise Problem("busy", "too many requests at once; come again soon")
        self._n_inside += 1
        self.metrics.inside.set(self._n_inside)
        try:
            yield
        finally:
            self._n_inside -= 1
            self.metrics.inside.set(self._n_inside)

    async def classify(
        self,
        file: UploadFile,
        classifier: BatchingClassifier,
        gone: asyncio.Future[None],
        *,
        timeline: bool,
        draw: bool = False,
    ) -> Outcome:
        """Classify one file.

        Parameters
        ----------
        gone : done once nobody waits for the answer any more
        draw : whether to prepare a picture

        Raises
        ------
        Problem : the file could not be used, or it took too long
        """
        path, name = decoder_path(file), client_name(file)
        job = Job(path, classifier.bundle.features, self.settings.decoded_s, draw)
        deadline = Deadline(self.settings.work_s)

        def work() -> Outcome:
            self.metrics.waiting.dec()
            return self._work(job, name, classifier, deadline, timeline)

        try:
            outcome = await self._in_thread(work, deadline, gone)
        except AudioError as error:
            problem = problem_of(error)
            self.metrics.files.labels(classifier.bundle.name, problem.kind).inc()
            raise problem from None
        self.metrics.files.labels(classifier.bundle.name, outcome.prediction.status).inc()
        self.metrics.audio_seconds.inc(outcome.scores.seconds)
        return outcome

    async def _in_thread(
        self, work: Callable[[], Answer], deadline: Deadline, gone: asyncio.Future[None]
    ) -> Answer:
        """Run in a thread, until it is done, its time is over, or nobody waits any more."""
        submitted = self._threads.submit(work)
        self.metrics.waiting.inc()
        running = asyncio.wrap_future(submitted)
        try:
            waited: set[asyncio.Future[Any]] = {running, gone}
            await asyncio.wait(
                waited,
                timeout=deadline.left_s + GRACE_S,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if running.done():
                return running.result()
            if gone.done():
                raise Problem("bad-request", "the connection ended before the answer")
            raise Problem("timeout", "the request took too long; send a shorter piece")
        finally:
            deadline.cancel()
            if submitted.cancel():
                self.metrics.waiting.dec()
            elif not running.done():  # the file must stay open until its decoder leaves it
                with contextlib.suppress(Exception):
                    await running

    def _work(
        self,
        job: Job,
        name: str,
        classifier: BatchingClassifier,
        deadline: Deadline,
        timeline: bool,
    ) -> Outcome:
        """Decode and score, in a thread."""
        assert self._decoders is not None
        picture: list[Picture] = []

        def chunks(messages: Iterator[Chunk | Picture]) -> Iterator[Chunk]:
            for message in messages:
                if isinstance(message, Picture):
                    picture.append(message)
                else:
                    yield message

        with contextlib.closing(self._decoders.run(job, deadline)) as messages:
            scores = classifier.score(chunks(messages), timeline=timeline)
        prediction = classifier.conclude(name, scores)
        return Outcome(prediction, scores, picture[0] if picture else None)
