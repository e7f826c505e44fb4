"""The manifest and store that a study is run on, split and thinned as a cell asks."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tsresformer.config import FeatureConfig, resolved
from tsresformer.errors import SplitError, StudyError
from tsresformer.files import sha256_json
from tsresformer.manifest import Manifest, Track
from tsresformer.splits import Protocol, has_own_split, split
from tsresformer.store import FeatureStore, build_store

CLIP_S = 30.0


class Splits:
    """A manifest under every protocol that a study asks for, each made once.

    Parameters
    ----------
    base : the features that a study changes, or keeps
    """

    def __init__(self, manifest: Manifest, base: FeatureConfig) -> None:
        self.manifest, self.base = manifest, base
        self.split = cache(self._split)

    def n_frames(self, tracks: Iterable[Track], features: FeatureConfig) -> list[int]:
        """Length of each track, by what its data set promises; 30 s where it promises nothing."""
        seconds = [track.duration_s or CLIP_S for track in tracks]
        return [round(s * features.frames_per_second) for s in seconds]

    def _split(self, protocol: Protocol) -> Manifest:
        """The manifest under a protocol; refuse one that it cannot serve."""
        name = protocol.name
        source = self.manifest.path or "the manifest"
        if name == "artist-kfold" and not any(t.group for t in self.manifest.tracks if t.usable):
            raise SplitError(
                f"{source}: no track has a group, so artist-kfold would not keep artists apart; "
                "fill in the column group, or run the study with --set "
                "'study.protocols=[\"track\"]'"
            )
        if name == "official" and not has_own_split(self.manifest):
            raise SplitError(
                f"{source}: the data set has no split of its own; run the study with --set "
                "'study.protocols=[\"artist-kfold\"]'"
            )
        result = split(
            self.manifest,
            name,
            seed=protocol.seed,
            n_folds=protocol.n_folds,
            fold=protocol.fold,
        )
        if not result.in_split("training"):
            raise SplitError(f"{source}: has no training track under the protocol {name}")
        held_out(result)
        return result

    def thinned(self, protocol: Protocol, fraction: float) -> Manifest:
        """The split manifest with a part of its training tracks, label by label.

        Parts are nested: a smaller one lies in a larger one.
        """
        whole = self.split(protocol)
        if fraction == 1:
            return whole
        by_label: dict[str, list[Track]] = defaultdict(list)
        for track in whole.in_split("training"):
            by_label[track.label].append(track)
        kept = {
            track.track_id
            for tracks in by_label.values()
            for track in sorted(tracks, key=_draw)[: math.ceil(fraction * len(tracks))]
        }
        return whole.replace(
            dataclasses.replace(t, split="")
            if t.split == "training" and t.track_id not in kept
            else t
            for t in whole.tracks
        )

    def features(self, changes: Mapping[str, Any]) -> FeatureConfig:
        """The store's features with some of them changed."""
        if changes and self.manifest.features is not None:
            raise StudyError(
                f"{self.manifest.path}: holds log-mels that were computed already, so a study "
                "cannot compute others; run it on a manifest of audio files"
            )
        return FeatureConfig(**{**resolved(self.base), **changes})


class Data(Splits):
    """A manifest and its store.

    Parameters
    ----------
    stores : folder for stores of other features, which a study of features builds
    on_store : called when such a store is about to be built, with its path
    """

    def __init__(
        self,
        manifest: Manifest,
        store: FeatureStore,
        stores: Path,
        on_store: Callable[[Path], None] = lambda path: None,
    ) -> None:
        super().__init__(manifest, store.features)
        self.store, self._stores, self._on_store = store, stores, on_store
        store.serve(manifest)  # refuses a store of another manifest

    def n_frames(self, tracks: Iterable[Track], features: FeatureConfig) -> list[int]:
        """Length of each track that has features, by the store."""
        faster = features.frames_per_second / self.base.frames_per_second
        stored = [self.store.tracks[track.track_id].n_frames for track in tracks]
        return [round(n * faster) for n in stored if n]

    def store_of(self, changes: Mapping[str, Any], n_workers: int) -> FeatureStore:
        """The store of some features, built if need be."""
        features = self.features(changes)
        if features == self.store.features:
            return self.store
        path = self._stores / sha256_json(resolved(features))[:16]
        self._on_store(path)
        return build_store(self.manifest, features, path, n_workers=n_workers)


def held_out(manifest: Manifest) -> str:
    """The split that a study scores: test, or validation where a data set comes without test."""
    if manifest.protocol.startswith("slice"):
        return "test"
    for name in ("test", "validation"):
        if manifest.in_split(name):
            return name
    raise SplitError(
        f"{manifest.path or 'the manifest'}: the protocol {manifest.protocol} leaves no usable, "
        "labelled track to test on"
    )


def _draw(track: Track) -> str:
    return hashlib.sha256(f"fraction {track.track_id}".encode()).hexdigest()
