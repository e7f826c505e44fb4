"""One field of a file's tag, read and written with mutagen.

mutagen reads from the user's file and writes to a copy of it, never to the file itself.
"""

from __future__ import annotations

import abc
import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from tsresformer.errors import AudioError, TsResformerError, require

GENRE = "genre"

_OWN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{1,39}")
_TAKEN = frozenset(
    (
        *("album", "albumartist", "artist", "comment", "composer", "copyright", "cover", "date"),
        *("description", "discnumber", "genres", "isrc", "label", "language", "license", "lyrics"),
        *("organization", "performer", "title", "track", "tracknumber", "year"),
        *("id3", "oggs", "tag"),  # APEv2 forbids them
    )
)
_MP4_OWN = "----:com.apple.iTunes:"


@dataclass(frozen=True)
class Field:
    """The field that genres are written to.

    Parameters
    ----------
    name : ``genre``, or a name of the user's own (``TXXX`` in ID3, a free-form atom in MP4)
    """

    name: str = GENRE

    def __post_init__(self) -> None:
        if not _OWN_NAME.fullmatch(self.name) or self.name.lower() in _TAKEN:
            raise TsResformerError(
                f"--field {self.name}: name genre, or a field of your own of letters, digits, - "
                "and _ that no player uses for something else"
            )

    @property
    def id3(self) -> str:
        """Identifier of the ID3v2 frame."""
        return "TCON" if self.name == GENRE else "TXXX"

    @property
    def id3_key(self) -> str:
        """The frame among others of its identifier."""
        return self.id3 if self.name == GENRE else f"TXXX:{self.name}"

    @property
    def vorbis(self) -> str:
        """Key of the Vorbis comment."""
        return self.name

    @property
    def ape(self) -> str:
        """Key of the APEv2 item."""
        return "Genre" if self.name == GENRE else self.name

    @property
    def mp4(self) -> tuple[bytes, ...]:
        """Names of the MP4 atoms."""
        return (b"\xa9gen", b"gnre") if self.name == GENRE else (b"----",)

    @property
    def mp4_key(self) -> str:
        """The atom among others of its name."""
        return "\xa9gen" if self.name == GENRE else _MP4_OWN + self.name

    @property
    def asf(self) -> str:
        """Name of the ASF attribute."""
        return "WM/Genre" if self.name == GENRE else self.name


class Tag(abc.ABC):
    """A file's tag, in memory.

    Parameters
    ----------
    path : the file
    format : what its content says that it is
    field : the one field that is ever changed
    """

    def __init__(self, path: str, format: str, field: Field) -> None:
        self.path, self.format, self.field = path, format, field
        with self._mutagen("read"):
            self._tags: Any = self._load()

    def values(self) -> tuple[str, ...]:
        """Values of the field, blank ones left out."""
        with self._mutagen("read"):
            return tuple(value.strip() for value in self._get() if value.strip())

    def others(self) -> dict[str, str]:
        """Everything else in the tag, by name."""
        with self._mutagen("read"):
            return dict(self._others())

    def write(self, values: Sequence[str], copy: str) -> None:
        """Put `values` into the field, and save the tag to a copy of the file."""
        with self._mutagen("written"):
            self._set(list(values))
            self._save(copy)

    @abc.abstractmethod
    def _load(self) -> Any: ...

    @abc.abstractmethod
    def _get(self) -> Sequence[str]: ...

    @abc.abstractmethod
    def _set(self, values: list[str]) -> None: ...

    @abc.abstractmethod
    def _others(self) -> Iterator[tuple[str, str]]: ...

    @abc.abstractmethod
    def _save(self, copy: str) -> None: ...

    @contextmanager
    def _mutagen(self, done: str) -> Iterator[None]:
        """Turn whatever mutagen raises, its own errors or not, into one of ours."""
        try:
            yield
        except (AudioError, TsResformerError, MemoryError):
            raise
        except Exception as error:
            # mutagen hides a full disk in an error of its own.
            cause = next((e for e in (error, *error.args) if isinstance(e, OSError)), None)
            if cause and done == "written":
                raise cause from None
            what = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
            raise AudioError(
                self.path,
                f"its tag cannot be {done} ({what})",
                "left as it is",
                status="untaggable",
            ) from None


class _ID3Tag(Tag):
    """MPEG audio, True Audio, WAV and AIFF; the version of the tag stays."""

    _MODULES: ClassVar[Mapping[str, tuple[str, str]]] = {
        "aiff": ("mutagen.aiff", "AIFF"),
        "wav": ("mutagen.wave", "WAVE"),
    }

    def _load(self) -> Any:
        id3 = require("mutagen.id3", "tag")
        self._genre_of_v1 = with_v1 = None
        if self.format in self._MODULES:
            module, name = self._MODULES[self.format]
            file = getattr(require(module, "tag"), name)(self.path, translate=False, load_v1=False)
            if file.tags is None:
                file.add_tags()
            return file.tags
        try:
            with_v1 = id3.ID3(self.path, translate=False)
            self._genre_of_v1 = with_v1.get(self.field.id3_key)
            return id3.ID3(self.path, translate=False, load_v1=False)
        except id3.ID3NoHeaderError:  # an ID3v1 tag that stands alone is copied into the new one
            return with_v1 if with_v1 is not None else id3.ID3()

    def _get(self) -> Sequence[str]:
        frame = self._tags.get(self.field.id3_key, self._genre_of_v1)
        if frame is None:
            return ()
        return [str(value) for value in (frame.genres if self.field.name == GENRE else frame.text)]

    def _set(self, values: list[str]) -> None:
        id3 = require("mutagen.id3", "tag")
        encoding = id3.Encoding.UTF8 if self._version == 4 else id3.Encoding.UTF16
        if self.field.name == GENRE:
            frame = id3.TCON(encoding=encoding, text=values)
        else:
            frame = id3.TXXX(encoding=encoding, desc=self.field.name, text=values)
        self._tags.setall(self.field.id3_key, [frame])

    def _others(self) -> Iterator[tuple[str, str]]:
        for key, frame in self._tags.items():
            if key != self.field.id3_key:
                content = {name: v for name, v in vars(frame).items() if name != "encoding"}
                yield key, repr(sorted(content.items()))
        yield "unknown frames", repr(sorted(map(bytes, self._tags.unknown_frames)))

    def _save(self, copy: str) -> None:
        self._tags.save(copy, v2_version=self._version, v23_sep=None)

    @property
    def _version(self) -> int:
        major, minor = self._tags.version[:2]
        return int(minor) if major == 2 else 4


class _VorbisTag(Tag):
    """FLAC and Ogg."""

    _OGG = (
        ("mutagen.oggvorbis", "OggVorbis"),
        ("mutagen.oggopus", "OggOpus"),
        ("mutagen.oggflac", "OggFLAC"),
        ("mutagen.oggspeex", "OggSpeex"),
    )

    def _load(self) -> Any:
        if self.format == "flac":
            self._file = require("mutagen.flac", "tag").FLAC(self.path)
        else:
            kinds = [getattr(require(module, "tag"), name) for module, name in self._OGG]
            self._file = require("mutagen", "tag").File(self.path, options=kinds)
        if self._file is None:
            raise ValueError("no stream in it has comments")
        if self._file.tags is None:
            self._file.add_tags()
        return self._file.tags

    def _get(self) -> Sequence[str]:
        return list(self._tags.get(self.field.vorbis, ()))

    def _set(self, values: list[str]) -> None:
        self._tags[self.field.vorbis] = values

    def _others(self) -> Iterator[tuple[str, str]]:
        key = self.field.vorbis.lower()
        kept = [(k, v) for k, v in self._tags if k.lower() != key]
        yield "comments", repr(kept)

    def _save(self, copy: str) -> None:
        self._file.save(copy)


class _MP4Tag(Tag):
    def _load(self) -> Any:
        self._file = require("mutagen.mp4", "tag").MP4(self.path)
        if self._file.tags is None:
            self._file.add_tags()
        return self._file.tags

    def _get(self) -> Sequence[str]:
        values = self._tags.get(self.field.mp4_key, ())
        return [v if isinstance(v, str) else bytes(v).decode("utf-8", "replace") for v in values]

    def _set(self, values: list[str]) -> None:
        own = self.field.name != GENRE
        self._tags[self.field.mp4_key] = [v.encode() for v in values] if own else values

    def _others(self) -> Iterator[tuple[str, str]]:
        for key, value in self._tags.items():
            if key != self.field.mp4_key:
                formats = [getattr(v, "imageformat", None) for v in _as_list(value)]
                yield key, repr((value, formats))

    def _save(self, copy: str) -> None:
        self._file.save(copy)


class _APETag(Tag):
    """WavPack, Monkey's Audio and Musepack."""

    def _load(self) -> Any:
        apev2 = require("mutagen.apev2", "tag")
        try:
            return apev2.APEv2(self.path)
        except apev2.APENoHeaderError:
            return apev2.APEv2()

    def _get(self) -> Sequence[str]:
        return list(self._tags.get(self.field.ape, ()))

    def _set(self, values: list[str]) -> None:
        self._tags[self.field.ape] = values

    def _others(self) -> Iterator[tuple[str, str]]:
        for key, value in self._tags.items():
            if key.lower() != self.field.ape.lower():
                yield key, repr((value.kind, value.value))

    def _save(self, copy: str) -> None:
        self._tags.save(copy)


class _ASFTag(Tag):
    def _load(self) -> Any:
        self._file = require("mutagen.asf", "tag").ASF(self.path)
        return self._file.tags

    def _get(self) -> Sequence[str]:
        return [str(value) for value in self._tags.get(self.field.asf, ())]

    def _set(self, values: list[str]) -> None:
        self._tags[self.field.asf] = values

    def _others(self) -> Iterator[tuple[str, str]]:
        kept = [
            (name, value.TYPE, value.language, value.stream, value.value)
            for name, value in self._tags
            if name != self.field.asf
        ]
        yield "attributes", repr(sorted(kept, key=repr))

    def _save(self, copy: str) -> None:
        self._file.save(copy)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


_TAGS: Mapping[str, Callable[[str, str, Field], Tag]] = {
    "aiff": _ID3Tag,
    "ape": _APETag,
    "asf": _ASFTag,
    "flac": _VorbisTag,
    "mp3": _ID3Tag,
    "mp4": _MP4Tag,
    "musepack": _APETag,
    "musepack8": _APETag,
    "ogg": _VorbisTag,
    "tta": _ID3Tag,
    "wav": _ID3Tag,
    "wavpack": _APETag,
}


def open_tag(path: str, format: str, field: Field) -> Tag:
    """Read the tag of a file in a format that `containers.taggable_format` gives.

    Raises
    ------
    AudioError : mutagen cannot read it
    """
    return _TAGS[format](path, format, field)


@functools.cache
def id3v1_genres() -> tuple[str, ...]:
    """Names of the genres that ID3v1 has numbers for, in their order."""
    return tuple(require("mutagen.id3", "tag").TCON.GENRES)
