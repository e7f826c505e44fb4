"""Batches of slices from a feature store.

Every random draw derives from (seed, epoch, repeat, track), so neither the number of threads, nor
the micro-batch, nor an interruption changes what an epoch holds.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from tsresformer.config import Config
from tsresformer.errors import ConfigError, TrainingError
from tsresformer.manifest import Manifest, Track
from tsresformer.slicing import cut, n_slice_frames, slice_starts
from tsresformer.splits import parse_protocol, slice_split
from tsresformer.store import FeatureStore
from tsresformer.training.augment import Draw, draw_augmentation, stack_draws

Item = tuple[int, int, int]
"""Index of a track, first frame of a slice, and which repetition within the epoch it is."""


@dataclass(frozen=True)
class Batch:
    """Slices of one step."""

    log_mel: Tensor  # (B, n_mels, length), decibels or PCEN
    target: Tensor  # (B, n_classes), 0 or 1
    track: Tensor  # (B,), index into the data set's tracks
    draws: dict[str, Tensor]  # augmentation parameters; empty in evaluation

    def to(self, device: torch.device) -> Batch:
        """Move to a device; Lightning calls this."""
        draws = {name: value.to(device) for name, value in self.draws.items()}
        return Batch(self.log_mel.to(device), self.target.to(device), self.track.to(device), draws)


class SliceBatches(IterableDataset[Batch]):
    """The slices of some tracks, in batches.

    Parameters
    ----------
    tracks : tracks that the store has features of
    micro_batch : slices in a batch that is computed at once
    training : draw windows, order and augmentation anew each epoch; otherwise all fixed slices
        in order

    `current_epoch` tells which epoch to draw; it is asked when an iteration begins. `share` is the
    rank of this process and the number of processes: each takes its part of every step.
    """

    def __init__(
        self,
        store: FeatureStore,
        manifest: Manifest,
        tracks: Sequence[Track],
        vocabulary: Sequence[str],
        config: Config,
        *,
        micro_batch: int,
        training: bool,
    ) -> None:
        self.store, self.tracks, self.config = store, list(tracks), config
        self.micro_batch, self.training = micro_batch, training
        self.current_epoch: Callable[[], int] = lambda: 0
        self.share = (0, 1)
        self.length = n_slice_frames(config.slicing, store.features)
        self.targets = targets(tracks, vocabulary, config.task)
        self._slices = self._fixed_slices(manifest)
        self._random = training and config.slicing.windows == "random"
        if self._random and parse_protocol(manifest.protocol).name == "slice":
            raise ConfigError(
                'windows = "random" has no fixed slices that a slice split could assign; '
                'use --set slicing.windows="fixed"'
            )
        n_items = len(self.tracks) if self._random else len(self._slices)
        self._repeats = config.train.n_repeats(n_items)
        self.n_effective = n_items * self._repeats // config.train.batch_size
        if training and not self.n_effective:
            raise TrainingError(
                f"{n_items} training slices do not fill one batch of {config.train.batch_size}; "
                "lower train.batch_size, or use more tracks or shorter slices"
            )

    def __len__(self) -> int:
        return len(self._starts())

    def __iter__(self) -> Iterator[Batch]:
        epoch = self.current_epoch()
        items = self._epoch_items(epoch) if self.training else [(*s, 0) for s in self._slices]
        for start in self._starts():
            yield self._batch(items[start : start + self.micro_batch], epoch)

    def _starts(self) -> range:
        """First items of the batches that fall to this process."""
        rank, n_processes = self.share
        n_items = self.n_effective * self.config.train.batch_size
        if not self.training:
            n_items = len(self._slices)
        return range(rank * self.micro_batch, n_items, n_processes * self.micro_batch)

    def unfilled(self) -> Iterator[tuple[str, str, str]]:
        """What does not fill a slice: track id, "last slice" or "short", and the reason.

        A track's incomplete last slice is left out; a track shorter than one slice is repeated.
        """
        second = self.store.features.frames_per_second
        for track in self.tracks:
            n_frames = self.store.tracks[track.track_id].n_frames
            starts = slice_starts(n_frames, self.config.slicing, self.store.features)
            rest = n_frames - int(starts[-1]) - self.length
            if rest < 0:
                seconds = f"{n_frames / second:.2f} s"
                yield track.track_id, "short", f"{seconds} are repeated to fill a slice"
            elif rest > 0 and not self._random:
                yield track.track_id, "last slice", f"{rest / second:.2f} s do not fill a slice"

    def _fixed_slices(self, manifest: Manifest) -> list[tuple[int, int]]:
        """All (track, start) of fixed cutting that belong to the training split."""
        protocol = parse_protocol(manifest.protocol)
        slices = []
        for i, track in enumerate(self.tracks):
            n_frames = self.store.tracks[track.track_id].n_frames
            starts = slice_starts(n_frames, self.config.slicing, self.store.features)
            for k, start in enumerate(starts):
                if protocol.name == "slice":
                    split = slice_split(protocol.seed, track.track_id, k)
                    if split != "training":
                        continue
                slices.append((i, int(start)))
        return slices

    def _epoch_items(self, epoch: int) -> list[Item]:
        """The slices of an epoch in its order."""
        items: list[Item] = []
        for repeat in range(self._repeats):
            if self._random:
                starts = (self._random_start(i, epoch, repeat) for i in range(len(self.tracks)))
                items += [(i, start, repeat) for i, start in enumerate(starts)]
            else:
                items += [(i, start, repeat) for i, start in self._slices]
        random.Random(f"{self.config.seed} {epoch}").shuffle(items)
        return items

    def _random_start(self, i: int, epoch: int, repeat: int) -> int:
        track_id = self.tracks[i].track_id
        free = self.store.tracks[track_id].n_frames - self.length
        draw = random.Random(f"{self.config.seed} {epoch} {repeat} {track_id} window")
        return draw.randint(0, max(0, free))

    def _batch(self, items: Sequence[Item], epoch: int) -> Batch:
        track = np.array([i for i, *_ in items])
        slices = [
            cut(self.store.log_mel(self.tracks[i].track_id), start, self.length)
            for i, start, _ in items
        ]
        log_mel = self.store.to_decibels(np.stack(slices))
        return Batch(
            torch.from_numpy(log_mel),
            torch.from_numpy(self.targets[track]),
            torch.from_numpy(track),
            self._draws(items, epoch) if self.training else {},
        )

    def _draws(self, items: Sequence[Item], epoch: int) -> dict[str, Tensor]:
        return stack_draws([self._draw(item, epoch) for item in items])

    def _draw(self, item: Item, epoch: int) -> Draw:
        i, start, repeat = item
        name = f"{self.config.seed} {epoch} {repeat} {self.tracks[i].track_id} {start}"
        return draw_augmentation(
            self.config.augment, self.store.features.n_mels, self.length, random.Random(name)
        )


def targets(tracks: Sequence[Track], vocabulary: Sequence[str], task: str) -> np.ndarray:
    """Zeros and ones, shape (n_tracks, n_classes), float32."""
    column = {label: i for i, label in enumerate(vocabulary)}
    out = np.zeros((len(tracks), len(vocabulary)), dtype=np.float32)
    for row, track in zip(out, tracks, strict=True):
        if task == "single" and len(track.labels) != 1:
            raise TrainingError(
                f'track {track.track_id} has the label {track.label!r}; task = "single" needs '
                'exactly one: use --set task="multi", or give it one label'
            )
        unknown = [label for label in track.labels if label not in column]
        if unknown:
            raise TrainingError(
                f"track {track.track_id} has the label {unknown[0]!r}, which is not among "
                f"{', '.join(vocabulary)}"
            )
        row[[column[label] for label in track.labels]] = 1
    return out
