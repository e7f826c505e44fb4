"""What an audio file is, by its content."""

from __future__ import annotations

from tsresformer._headers import ReadAt, find_frames

HEAD_BYTES = 128 * 1024

SOUNDFILE_FORMATS = frozenset({"wav", "w64", "flac", "ogg", "mp3", "aiff", "au", "caf"})
"""Formats that libsndfile decodes; FFmpeg decodes all."""

DEMUXERS = {
    "aac": "aac",
    "ac3": "ac3",
    "aiff": "aiff",
    "amr": "amr",
    "ape": "ape",
    "asf": "asf",
    "au": "au",
    "caf": "caf",
    "dff": "iff",
    "dsf": "dsf",
    "eac3": "eac3",
    "flac": "flac",
    "matroska": "matroska",
    "mp3": "mp3",
    "mp4": "mov",
    "musepack": "mpc",
    "musepack8": "mpc8",
    "ogg": "ogg",
    "realmedia": "rm",
    "tak": "tak",
    "tta": "tta",
    "w64": "w64",
    "wav": "wav",
    "wavpack": "wv",
}
"""FFmpeg's demuxer for each format; none of them opens a second file."""

SUFFIXES = {
    "aac": (".aac", ".adts"),
    "ac3": (".ac3",),
    "aiff": (".aif", ".aifc", ".aiff"),
    "amr": (".amr",),
    "ape": (".ape",),
    "asf": (".asf", ".wma", ".wmv"),
    "au": (".au", ".snd"),
    "caf": (".caf",),
    "dff": (".dff",),
    "dsf": (".dsf",),
    "eac3": (".eac3", ".ec3"),
    "flac": (".flac",),
    "matroska": (".mka", ".mkv", ".weba", ".webm"),
    "mp3": (".mp1", ".mp2", ".mp3", ".mpga"),
    "mp4": (".3gp", ".m4a", ".m4b", ".m4p", ".m4r", ".m4v", ".mov", ".mp4"),
    "musepack": (".mp+", ".mpc"),
    "musepack8": (".mpc",),
    "ogg": (".oga", ".ogg", ".ogv", ".ogx", ".opus", ".spx"),
    "realmedia": (".ra", ".rm"),
    "tak": (".tak",),
    "tta": (".tta",),
    "w64": (".w64",),
    "wav": (".bwf", ".rf64", ".wav", ".wave"),
    "wavpack": (".wv",),
}
"""What files of each format are called."""

AUDIO_SUFFIXES = frozenset[str]().union(*SUFFIXES.values()) - {
    *(".3gp", ".asf", ".m4v", ".mkv", ".mov", ".mp4", ".ogv", ".rm", ".webm", ".wmv")
}
"""Those that call a file audio; films have the others too."""

BEHIND_ID3 = frozenset({"aac", "aiff", "flac", "mp3", "tta", "wav"})
"""Formats that may follow an ID3v2 tag; others are no such file."""

CONTAINERS = frozenset({"asf", "matroska", "mp4", "ogg", "realmedia"})
"""Formats that may hold pictures only."""

_MAGIC = (
    (0, b"fLaC", "flac"),
    (0, b"OggS", "ogg"),
    (0, b".snd", "au"),
    (0, b"caff", "caf"),
    (0, b"riff\x2e\x91\xcf\x11", "w64"),
    (0, b"\x1a\x45\xdf\xa3", "matroska"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (0, b"MAC ", "ape"),
    (0, b"wvpk", "wavpack"),
    (0, b"TTA1", "tta"),
    (0, b"tBaK", "tak"),
    (0, b"MP+", "musepack"),
    (0, b"MPCK", "musepack8"),
    (0, b"#!AMR", "amr"),
    (0, b"DSD ", "dsf"),
    (0, b"FRM8", "dff"),
    (0, b".RMF", "realmedia"),
)
_RIFF = (b"RIFF", b"RIFX", b"RF64", b"BW64")
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"pnot")
_STILL_PICTURES = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis", b"jxl ")
_FOREIGN = (
    (0, b"\x89PNG", "a picture"),
    (0, b"\xff\xd8\xff", "a picture"),
    (0, b"GIF8", "a picture"),
    (8, b"WEBP", "a picture"),
    (0, b"PK\x03\x04", "an archive"),
    (0, b"\x1f\x8b", "an archive"),
    (0, b"7z\xbc\xaf", "an archive"),
    (0, b"Rar!", "an archive"),
    (257, b"ustar", "an archive"),
    (8, b"AVI ", "a video"),
    (0, b"FLV\x01", "a video"),
    (0, b"\x00\x00\x01\xba", "a video"),
    (0, b"\x00\x00\x01\xb3", "a video"),
    (0, b"%PDF", "a PDF document"),
    (0, b"\x7fELF", "a program"),
    (0, b"#EXTM3U", "a playlist"),
)
_MAX_TAGS = 64


def sniff(read_at: ReadAt, size: int) -> tuple[str, int]:
    """Name the format of a file of `size` bytes.

    Returns
    -------
    format : a key of `DEMUXERS`, or "" for whatever is no known audio format
    start : offset of the format's first byte, behind tags and garbage
    """
    start, tagged = _skip_id3(read_at, size)
    head = read_at(HEAD_BYTES, start)
    name, offset = _by_magic(head), 0
    if tagged and name not in BEHIND_ID3:
        name = ""
    if not name and not _foreign(head):
        name, offset = find_frames(head, whole=start + len(head) >= size)
    return (name or "mp3" if tagged else name), start + offset


def describe(head: bytes) -> str:
    """Say what the first bytes of a file that is no audio look like."""
    foreign = _foreign(head)
    if foreign:
        return f"it looks like {foreign}"
    if not head.strip(b"\0"):
        return "it starts with zeros only"
    text = head[:512].decode("utf-8", "ignore")
    printable = len(text) > 0.9 * len(head[:512]) and all(
        c.isprintable() or c.isspace() for c in text
    )
    return "it looks like text" if printable else "its first bytes are of no known format"


def _foreign(head: bytes) -> str:
    """What else a file is, by the magic bytes of formats that are no audio."""
    for offset, magic, what in _FOREIGN:
        if head.startswith(magic, offset):
            return what
    return ""


def _skip_id3(read_at: ReadAt, size: int) -> tuple[int, bool]:
    """Offset behind the ID3v2 tags at the start of a file, and whether there is one."""
    start = 0
    for _ in range(_MAX_TAGS):
        head = read_at(10, start)
        if len(head) < 10 or head[:3] != b"ID3":
            break
        length = 0
        for byte in head[6:]:
            length = length << 7 | byte & 0x7F
        end = start + 10 + length + (10 if head[5] & 0x10 else 0)
        if end >= size:
            return start + 10, True
        start = end
    return start, start > 0


def _by_magic(head: bytes) -> str:
    for offset, magic, name in _MAGIC:
        if head.startswith(magic, offset):
            return name
    if head[:4] in _RIFF and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if head[4:8] in _MP4_BOXES and head[8:12] not in _STILL_PICTURES:
        return "mp4"
    if head[:2] == b"\x0b\x77" and len(head) > 5:
        return "eac3" if head[5] >> 3 > 10 else "ac3"
    return ""
