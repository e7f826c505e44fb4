"""The bundles that are served, which can be replaced while requests run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from tsresformer.errors import BundleError
from tsresformer.serve.batching import BatchingClassifier
from tsresformer.serve.problems import Problem


class Shelf:
    """Classifiers by the names of their bundles.

    A request keeps the classifier that it took, so a swap disturbs none.

    Parameters
    ----------
    sources : shipped names, or folders of bundles; they are read again by `load`
    threads : cores for the network; None is all
    on_run : called with a bundle's name and the slices of each run of its network
    """

    def __init__(
        self, sources: Sequence[str], threads: int | None, on_run: Callable[[str, int], object]
    ) -> None:
        self._sources, self._threads, self._on_run = tuple(sources), threads, on_run
        self._classifiers: dict[str, BatchingClassifier] = {}

    def load(self) -> None:
        """Read every bundle, and serve them once all of them are sound.

        Raises
        ------
        BundleError : one cannot be loaded, or two have one name; what is served stays as it is
        """
        loaded: dict[str, BatchingClassifier] = {}
        for source in self._sources:
            classifier = BatchingClassifier.load(source, threads=self._threads)
            name = classifier.bundle.name
            if name in loaded:
                raise BundleError(f"{source}: a bundle named {name} is served already; rename one")
            classifier.on_run = partial(self._on_run, name)
            loaded[name] = classifier
        self._classifiers = loaded

    def __iter__(self) -> Iterator[BatchingClassifier]:
        return iter(list(self._classifiers.values()))

    def get(self, name: str | None) -> BatchingClassifier:
        """Return a classifier by name; None: the first.

        Raises
        ------
        Problem : there is none of that name
        """
        classifiers = self._classifiers
        if name is None:
            return next(iter(classifiers.values()))
        if name not in classifiers:
            raise Problem("unknown-model", f"no such model; there is {', '.join(classifiers)}")
        return classifiers[name]
