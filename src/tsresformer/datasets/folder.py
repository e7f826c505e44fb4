"""A folder of music: the genre is the first folder below it, or each file's genre tag."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal

from tsresformer.audio import looks_like_audio, probe
from tsresformer.config import suggestion
from tsresformer.datasets import require_folder, walk
from tsresformer.errors import AudioError, ManifestError
from tsresformer.labels import fold
from tsresformer.manifest import Manifest, Track, counted, printable
from tsresformer.workers import alive, stream

LabelFrom = Literal["folder", "tag"]

_SAMPLERS = {fold(name) for name in ("Various Artists", "Various", "VA")}


def read(
    root: str | Path,
    label_from: str = "folder",
    *,
    n_workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Manifest:
    """Read every file below a folder that is audio by its content, or is called so.

    The group is the artist from the tags (the album's artist before the track's), else the
    album's folder where it lies deeper than the genre's, else empty. Spellings of an artist
    that differ in case, blanks or punctuation are one group. Files that neither are nor are
    called audio are counted in the notes; audio that cannot be opened keeps a row with its error.

    Parameters
    ----------
    label_from : "folder" (the first folder below `root`) or "tag" (the genre tag)
    n_workers : processes that open the files, since hostile ones can hang or kill their reader
    progress : called with the numbers of files read and of all files

    Raises
    ------
    ManifestError : no such folder, or no audio in it
    """
    if label_from not in ("folder", "tag"):
        raise ManifestError(
            f"--label-from {label_from}: there are folder and tag"
            f"{suggestion(label_from, ('folder', 'tag'))}"
        )
    expected = "audio files" + (" in one folder a genre" if label_from == "folder" else "")
    folder = require_folder(root, expected)
    paths = list(walk(folder))
    found: dict[int, dict[str, str] | AudioError] = {}
    n_done = 0
    with closing(stream(_read_tags, map(str, paths), n_workers=n_workers)) as events:
        for event in events:
            if event.value is not None:
                found[event.index] = event.value
            if event.kind != "chunk":
                n_done += 1
                progress(n_done, len(paths))
    n_others = len(paths) - len(found)
    if not found:
        others = f" (only {counted(n_others, 'other file')})" if n_others else ""
        raise ManifestError(f"{root}: has no audio files{others}; expected {expected}")
    spellings: dict[str, str] = {}
    tracks = [
        _track(path, path.relative_to(folder), folder.name, label_from == "tag", spellings, tags)
        for path, tags in ((paths[i], found[i]) for i in sorted(found))
    ]
    return Manifest(tuple(tracks), notes=tuple(_notes(tracks, n_others, label_from)))


def _read_tags(path: str) -> Iterator[dict[str, str]]:
    """Yield the tags of a file that is audio, or nothing, for a child process."""
    if looks_like_audio(path):
        alive()
        yield {key: printable(text).strip() for key, text in probe(path).tags.items()}


def _track(
    path: Path,
    relative: Path,
    dataset: str,
    from_tag: bool,
    spellings: dict[str, str],
    found: dict[str, str] | AudioError,
) -> Track:
    tags: dict[str, str] = {}
    status = error = ""
    if isinstance(found, AudioError):
        status, error = found.status, found.reason
    else:
        tags = found
    name = printable(relative.as_posix())
    folders = name.split("/")[:-1]
    group = _artist(tags) or ("/".join(folders) if len(folders) > 1 else "")
    return Track(
        track_id=name,
        path=str(path),
        label=tags.get("genre", "") if from_tag else (folders[0] if folders else ""),
        group=spellings.setdefault(fold(group), group),
        artist=tags.get("artist", "") or tags.get("albumartist", ""),
        title=tags.get("title", ""),
        dataset=printable(dataset),
        licence=tags.get("license", ""),
        status=status,
        error=error,
    )


def _artist(tags: dict[str, str]) -> str:
    """The artist that the tags name, or nothing; a sampler's album artist is none."""
    names = (tags.get("albumartist", ""), tags.get("artist", ""))
    return next((name for name in names if name and fold(name) not in _SAMPLERS), "")


def _notes(tracks: list[Track], n_others: int, label_from: str) -> Iterator[str]:
    if n_others:
        yield f"no audio, so left out: {counted(n_others, 'file')}"
    failed = sum(not track.usable for track in tracks)
    if failed:
        yield f"not to be opened, each keeps a row with its error: {counted(failed, 'file')}"
    unlabelled = sum(not track.label for track in tracks)
    if unlabelled:
        reason = "in no genre folder" if label_from == "folder" else "without a genre tag"
        yield f"{reason}, so unused: {counted(unlabelled, 'file')}"
    ungrouped = sum(not track.group for track in tracks)
    if ungrouped:
        yield f"without an artist, each counts as one of its own: {counted(ungrouped, 'file')}"
