"""Music files with rich tags in every format, a classifier that needs no model, and checks."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import mutagen
import soundfile
from mutagen import apev2, asf, flac, id3, mp4

from audio_files import write, write_pyav
from tsresformer.classifier import Prediction
from tsresformer.tagging.containers import taggable_format
from tsresformer.tagging.fields import Field, open_tag

LABELS = ("Electronic", "Folk", "Rock")
FORMATS = (
    "mp3-2.3",
    "mp3-2.4",
    "mp3-v1",
    "mp3-2.3-v1",
    "mp3-2.4-ape-v1",
    "mp3-bare",
    "flac",
    "ogg",
    "opus",
    "oga",
    "m4a",
    "m4a-bare",
    "wma",
    "wav",
    "wav-2.3",
    "aiff",
    "wv",
    "wv-v1",
    "mpc",
    "tta",
)
"""Suffix, then what is particular of the tag; ``bare`` has none."""

SHORT_KINDS = ("mp3-2.3", "mp3-2.4", "mp3-2.3-v1", "flac", "ogg", "opus", "m4a", "wv", "wav")

PICTURE = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 200 + b"\xff\xd9"
_EXTRA_CODECS = {"wv": ("wv", "wavpack"), "tta": ("tta", "tta")}


def piece(path: Path, seconds: float = 3.0, start: float = 8.0) -> tuple[Any, int]:
    """Some seconds of a piece of music: samples (n, 2) and their rate."""
    rate = soundfile.info(path).samplerate
    begin = round(start * rate)
    samples, rate = soundfile.read(
        path, round(seconds * rate), begin, dtype="float32", always_2d=True
    )
    return samples, rate


def make(folder: Path, name: str, samples: Any, rate: int) -> Path:
    """Encode samples and give the file the tag that `name`, of `FORMATS`, says."""
    suffix, *particulars = name.split("-")
    path = folder / f"{name}.{suffix}"
    if suffix == "mpc":
        wav = write(folder / "source.wav", samples, rate)
        command = ["mpcenc", "--silent", "--overwrite", str(wav), str(path)]
        subprocess.run(command, check=True, capture_output=True)
        wav.unlink()
    elif suffix in _EXTRA_CODECS:
        write_pyav(path, samples, rate, *_EXTRA_CODECS[suffix])
    elif suffix == "opus":
        write_pyav(path, samples, 48000, "ogg", "libopus")
    else:
        write(path, samples, rate)
    if "bare" not in particulars:
        _TAGGERS[suffix](path, particulars)
    return path


def _frames(version: int) -> Iterator[id3.Frame]:
    encoding = id3.Encoding.UTF16 if version == 3 else id3.Encoding.UTF8
    yield id3.TIT2(encoding=encoding, text="Überraschung 音楽")
    yield id3.TPE1(encoding=encoding, text=["One", "Two"])
    yield id3.TALB(encoding=0, text="Album")
    yield id3.TCON(encoding=0, text="Old Genre")
    yield id3.TXXX(encoding=0, desc="replaygain_track_gain", text="-3.2 dB")
    yield id3.UFID(owner="http://musicbrainz.org", data=b"f" * 36)
    yield id3.COMM(encoding=encoding, lang="eng", desc="", text="first\nsecond")
    yield id3.USLT(encoding=encoding, lang="deu", desc="", text="la la")
    yield id3.POPM(email="me@example.org", rating=196, count=7)
    yield id3.PRIV(owner="someone", data=bytes(range(256)))
    yield id3.APIC(encoding=0, mime="image/jpeg", type=3, desc="cover", data=PICTURE)
    if version == 3:
        yield id3.TYER(encoding=0, text="1999")
        yield id3.IPLS(encoding=0, people=[["producer", "Three"]])
    else:
        yield id3.TDRC(encoding=0, text="1999-02-03")
        yield id3.TIPL(encoding=0, people=[["producer", "Three"]])


def _id3(path: Path, particulars: list[str]) -> None:
    version = 3 if "2.3" in particulars else 4
    if "ape" in particulars:
        _ape(path, [])
    if "v1" in particulars:
        _append_id3v1(path)
    if particulars == ["v1"]:
        return
    tags = id3.ID3()
    for frame in _frames(version):
        tags.add(frame)
    if path.suffix in (".wav", ".aiff"):
        file = mutagen.File(path)
        file.add_tags()
        for frame in _frames(version):
            file.tags.add(frame)
        file.tags.save(path, v2_version=version, v23_sep=None)
        return
    tail = path.read_bytes()[-128:] if "v1" in particulars else b""
    tags.save(path, v1=1, v2_version=version, v23_sep=None)
    if tail:  # mutagen has made it from the frames
        path.write_bytes(path.read_bytes()[:-128] + tail)


def _append_id3v1(path: Path) -> None:
    fields = (b"Old title", 30), (b"Artist of old", 30), (b"Album", 30), (b"1987", 4), (b"Hi", 30)
    text = b"".join(value.ljust(length, b"\0") for value, length in fields)
    with open(path, "ab") as stream:
        stream.write(b"TAG" + text + bytes([8]))  # Jazz


def _vorbis(path: Path, _particulars: list[str]) -> None:
    file = mutagen.File(path)
    file["TITLE"], file["Artist"] = "Überraschung 音楽", ["One", "Two"]
    file["GENRE"], file["replaygain_track_gain"] = "Old Genre", "-3.2 dB"
    if path.suffix == ".flac":
        picture = flac.Picture()
        picture.data, picture.mime, picture.type = PICTURE, "image/jpeg", 3
        file.add_picture(picture)
    else:
        file["metadata_block_picture"] = "QUJD" * 20_000
    file.save()


def _mp4(path: Path, _particulars: list[str]) -> None:
    file = mp4.MP4(path)
    file["\xa9nam"], file["\xa9ART"], file["\xa9gen"] = "Überraschung", ["One", "Two"], "Old Genre"
    file["trkn"], file["cpil"], file["tmpo"] = [(3, 9)], True, [120]
    file["covr"] = [mp4.MP4Cover(PICTURE, mp4.MP4Cover.FORMAT_JPEG)]
    file["----:com.apple.iTunes:MOOD"] = [mp4.MP4FreeForm(b"calm")]
    file.save()


def _ape(path: Path, particulars: list[str]) -> None:
    tags = apev2.APEv2()
    tags["Title"], tags["Artist"], tags["genre"] = "Überraschung", ["One", "Two"], "Old Genre"
    tags["Cover Art (Front)"] = apev2.APEValue(b"cover.jpg\0" + PICTURE, apev2.BINARY)
    tags.save(path)
    if "v1" in particulars:
        _append_id3v1(path)


def _asf(path: Path, _particulars: list[str]) -> None:
    file = asf.ASF(path)
    file["Title"], file["WM/Genre"], file["Author"] = "Überraschung", "Old Genre", ["One", "Two"]
    file["WM/Picture"] = [asf.ASFByteArrayAttribute(b"\x03" + bytes(4) + PICTURE)]
    file["IsVBR"] = [asf.ASFBoolAttribute(True)]
    file.save()


_TAGGERS = {
    "aiff": _id3,
    "flac": _vorbis,
    "m4a": _mp4,
    "mp3": _id3,
    "mpc": _ape,
    "oga": _vorbis,
    "ogg": _vorbis,
    "opus": _vorbis,
    "tta": _id3,
    "wav": _id3,
    "wma": _asf,
    "wv": _ape,
}


def packets(path: Path) -> str:
    """Hash of the encoded audio as FFmpeg's demuxer finds it."""
    digest = hashlib.sha256()
    # FFmpeg takes an ID3v1 tag behind WavPack for a damaged block.
    with av.open(str(path)) as container, contextlib.suppress(av.error.InvalidDataError):
        for packet in container.demux(audio=0):
            digest.update(bytes(packet))
    return digest.hexdigest()


def genres(path: Path, field: str = "genre") -> tuple[str, ...]:
    """Values of a field."""
    return open_tag(str(path), taggable_format(str(path)), Field(field)).values()


def hashes(folder: Path) -> dict[str, str]:
    """Hash of each file below a folder that is not hidden."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(p.startswith(".") for p in path.relative_to(folder).parts)
    }


class StubClassifier:
    """Says what it is told of each file, by name; Rock of the others.

    Attributes
    ----------
    asked : names of the files that it was asked of
    """

    def __init__(self, said: Mapping[str, Prediction | dict[str, float]] | None = None) -> None:
        self.said, self.asked = dict(said or {}), []
        self.bundle = SimpleNamespace(name="stub", hash="0" * 64, labels=LABELS, unsure_below=0.5)

    def predict_many(
        self, paths: Iterable[str | Path], *, n_workers: int = 1
    ) -> Iterator[Prediction]:
        for path in map(str, paths):
            self.asked.append(Path(path).name)
            said = self.said.get(Path(path).name, {"Rock": 0.9, "Folk": 0.1})
            if isinstance(said, Prediction):
                yield said
            else:
                label = max(said, key=said.__getitem__)
                yield Prediction(path, "ok", label=label, probabilities=dict(said))


def copied(source: Path, folder: Path, *names: str) -> list[Path]:
    """Copies of a file under several names."""
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, path)
    return paths


def fill(folder: Path, piece_path: Path, n_files: int) -> None:
    """Short encodes in nine kinds, in folders of 50."""
    originals = folder.parent / "originals"
    originals.mkdir(parents=True)
    samples, rate = piece(piece_path, 0.3)
    sources = [make(originals, kind, samples, rate) for kind in SHORT_KINDS]
    for i in range(n_files):
        source = sources[i % len(sources)]
        copied(source, folder, f"{i // 50}/{i:04}{source.suffix}")


def journals(library: Path) -> list[Path]:
    """The newest first: of those of one second, the one with the highest number."""
    paths = (library / ".tsresformer").glob("journal-*.jsonl")
    return sorted(paths, key=lambda p: [int(n) for n in re.findall(r"\d+", p.name)], reverse=True)


def leftovers(library: Path) -> list[Path]:
    return list(library.rglob(".tsresformer-*.tmp"))
