"""A library: the folder that is tagged, with its lock, its cache and its journals."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol, Self

from tsresformer.classifier import Prediction
from tsresformer.errors import AudioError, TsResformerError, require
from tsresformer.files import check_writable, hold_folder
from tsresformer.tagging.cache import Cache
from tsresformer.tagging.finder import Found, find
from tsresformer.tagging.journal import Journal, read_journal
from tsresformer.tagging.plan import Model, Options, Row, decide, needs_model
from tsresformer.tagging.reading import Known, inspect
from tsresformer.tagging.rewrite import Manner, restore, rewrite
from tsresformer.workers import Limits, stream

FOLDER = ".tsresformer"
"""Of a library, for the lock, the cache and the journals."""

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much is done, and of how much."""


class Genres(Protocol):
    """What tagging asks of a classifier."""

    @property
    def bundle(self) -> Model:
        """The model."""

    def predict_many(
        self, paths: Iterable[str | Path], *, n_workers: int = 1
    ) -> Iterator[Prediction]:
        """Classify files, in any order; a failure is a row."""


@dataclass(frozen=True)
class _File:
    """A file and what was read from it when it had this status."""

    found: Found
    status: os.stat_result
    known: Known

    def check_unchanged(self) -> None:
        """Raise an AudioError if the file has changed since."""
        # Not the time of change: a file whose other hard link was just broken has a new one.
        then, now = (
            (status.st_ino, status.st_size, status.st_mtime_ns)
            for status in (self.status, os.stat(self.found.real))
        )
        if now != then:
            raise AudioError(
                self.found.path, "it changed while it was classified", "run again", status="changed"
            )


class Library:
    """A library that this process holds alone; use it as a context.

    Parameters
    ----------
    root : the folder
    options : how it is tagged
    n_workers : processes that read tags and decode audio

    Raises
    ------
    TsResformerError : it is no folder, may not be written, or another process holds it
    """

    def __init__(self, root: str | Path, options: Options, *, n_workers: int = 1) -> None:
        if not os.path.isdir(root):
            raise TsResformerError(f"{root}: no such folder; name the folder of your music")
        require("mutagen", "tag")
        self.root = Path(os.path.realpath(root))
        self.options, self._n_workers = options, n_workers
        self.n_others = 0
        """Files that are no audio, in the last call of `tag`."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = self._hold(stack)
            self._cache = stack.enter_context(closing(Cache(folder and folder / "cache.sqlite")))
            about = {"library": str(self.root), "field": self.options.field.name}
            self._journal = stack.enter_context(closing(Journal(folder or self.root, about)))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _hold(self, stack: ExitStack) -> Path | None:
        """The library's own folder, locked; None for a dry run where nothing can be written."""
        try:
            stack.enter_context(hold_library(self.root))
        except TsResformerError:
            if self.options.dry_run and not os.access(self.root, os.W_OK):
                return None
            raise
        return self.root / FOLDER

    @property
    def journal(self) -> Path | None:
        """The journal of this run, once something is changed."""
        return self._journal.path

    def tag(
        self,
        classifier: Genres,
        places: list[str] | None = None,
        *,
        progress: Progress = lambda what, done, total: None,
    ) -> Iterator[Row]:
        """Tag the library, or some files and folders of it, and tell of each file as it is done.

        What is no audio is counted, not told of.
        """
        self.n_others = 0
        asked: dict[str, _File] = {}
        for file in self._read(places, progress):
            if isinstance(file, Row):
                yield file
            elif not file.known.format:
                self.n_others += 1
            elif not self._to_classify(file.known):
                values = file.known.values
                yield Row(file.found.path, "kept", values, after=values)
            else:
                said = self._cache.prediction(
                    file.found.real, file.known.audio, classifier.bundle.hash
                )
                if said:
                    with _to_the_end():
                        yield self._conclude(file, said, classifier.bundle)
                else:
                    asked[file.found.real] = file
        if not asked:
            return
        n_workers = min(self._n_workers, len(asked))
        for done, said in enumerate(classifier.predict_many(list(asked), n_workers=n_workers), 1):
            file = asked[said.path]
            self._cache.remember_prediction(file.known.audio, classifier.bundle.hash, said)
            with _to_the_end():
                yield self._conclude(file, said, classifier.bundle)
            progress("classifying", done, len(asked))

    def _read(self, places: list[str] | None, progress: Progress) -> Iterator[_File | Row]:
        """Files with what their tags hold, from the cache where they have not changed."""
        unread: list[tuple[Found, os.stat_result]] = []
        for found in find(self.root, places, clean=not self.options.dry_run):
            if found.error:
                yield _failed(found, found.error)
                continue
            try:
                status = os.stat(found.real)
            except OSError:
                error = AudioError(found.path, "it vanished", "check it", status="missing")
                yield _failed(found, error)
                continue
            known = self._cache.known(found.real, self.options.field.name, status)
            # Another policy may have done without the hash of the audio.
            if known and (known.audio or not self._to_classify(known)):
                yield _File(found, status, known)
            else:
                unread.append((found, status))
        yield from self._read_anew(unread, progress)

    def _to_classify(self, known: Known) -> bool:
        return bool(known.format) and needs_model(known.values, self.options)

    def _read_anew(
        self, unread: Sequence[tuple[Found, os.stat_result]], progress: Progress
    ) -> Iterator[_File | Row]:
        function = partial(
            inspect, field=self.options.field, only_empty=self.options.policy == "fill"
        )
        names = [found.real for found, _ in unread]
        n_workers = min(self._n_workers, len(names))
        done = 0
        with closing(stream(function, names, n_workers=n_workers, limits=Limits())) as events:
            for event in events:
                found, status = unread[event.index]
                if event.kind == "chunk":
                    self._cache.remember(found.real, self.options.field.name, status, event.value)
                    yield _File(found, status, event.value)
                    continue
                if event.kind == "error":
                    yield _failed(found, event.value)
                done += 1
                progress("reading tags", done, len(names))

    def _conclude(self, file: _File, said: Prediction, model: Model) -> Row:
        """Decide on a file, and write its tag if that is the decision."""
        real, known, options = file.found.real, file.known, self.options
        row = decide(file.found.path, known.values, said, options, model)
        if row.status != "to write" or options.dry_run:
            return row
        try:
            file.check_unchanged()
            written = rewrite(
                self.root,
                real,
                known.format,
                options.field,
                row.after,
                self._journal,
                options.manner,
                known,
            )
            new = Known(known.format, row.after, written.audio)
            self._cache.remember(real, options.field.name, os.stat(real), new)
        except FileNotFoundError:
            error = AudioError(real, "it vanished", "run again if it comes back", status="missing")
            return _undone(row, error)
        except AudioError as error:
            if error.status == "changed":
                self._cache.forget(real, options.field.name)
            return _undone(row, error)
        return replace(row, status="written")


@contextlib.contextmanager
def _to_the_end() -> Iterator[None]:
    """Let Ctrl-C wait until a file is changed and its row has been taken, so that none is lost."""
    handler = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()
    if not main or not callable(handler):
        yield
        return
    pressed = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: pressed.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if pressed.is_set():
            handler(signal.SIGINT, None)


@contextlib.contextmanager
def hold_library(root: Path) -> Iterator[None]:
    """Hold a library for this process alone."""
    check_writable(root / FOLDER, folder=True)
    busy = TsResformerError(f"{root}: another process is tagging this library; wait for it")
    with hold_folder(root / FOLDER, busy):
        yield


def undo(path: Path, manner: Manner) -> Iterator[Row]:
    """Undo what a journal tells of, the last change first.

    Raises
    ------
    TsResformerError : it is no journal in a library's folder, or is damaged
    """
    path = Path(os.path.realpath(path))
    changes = list(read_journal(path))
    if path.parent.name != FOLDER:
        raise TsResformerError(
            f"{path}: lies in no folder {FOLDER} of a library; name a journal where it was written"
        )
    root = path.parent.parent
    with hold_library(root):
        for _ in find(root):  # removes what a killed run left
            pass
        for change in reversed(changes):
            row = Row(str(root / change.path), "", before=change.after, after=change.before)
            with _to_the_end():
                try:
                    row = replace(row, status=restore(root, change, manner))
                except AudioError as error:
                    row = _undone(row, error)
                yield row


def _failed(found: Found, error: AudioError) -> Row:
    return Row(found.path, error.status, error=error.reason)


def _undone(row: Row, error: AudioError) -> Row:
    return replace(row, status=error.status, after=row.before, error=error.reason)
