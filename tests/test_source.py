"""What is refused before a decoder sees it, odd names, and playlists that must open nothing."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import av
import pytest

from audio_files import tone, wav_header, write
from tsresformer._pyav import PyavDecoder
from tsresformer.audio import load, looks_like_audio, probe
from tsresformer.errors import AudioError


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two seconds of 440 Hz, 48 kHz, stereo."""
    folder = tmp_path_factory.mktemp("tones")
    return {kind: write(folder / f"tone.{kind}", tone(2.0)) for kind in ("wav", "m4a")}


def test_files_that_are_refused_before_they_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.wav")
    (tmp_path / "loop.mp3").symlink_to(tmp_path / "loop.mp3")
    (tmp_path / "gone.mp3").symlink_to(tmp_path / "nothing.mp3")
    (tmp_path / "empty.mp3").touch()
    (tmp_path / "text.mp3").write_text("words, not music\n" * 50)
    with open(tmp_path / "sparse.wav", "wb") as stream:
        stream.write(wav_header(n_bytes=0xFFFFFFFE))
        stream.truncate(8 * 2**30)
    for name, problem, status in (
        ("fifo.wav", "no regular file", "undecodable"),
        ("/dev/zero", "no regular file", "undecodable"),
        (".", "it is a folder", "undecodable"),
        ("loop.mp3", "leads back to itself", "undecodable"),
        ("gone.mp3", "no such file", "missing"),
        ("text.mp3/x", "no such file", "missing"),
        ("a\0b", "no such file", "missing"),
        ("x" * 300, "name is too long", "undecodable"),
        ("empty.mp3", "is empty", "undecodable"),
        ("text.mp3", "looks like text", "undecodable"),
        ("sparse.wav", "holes", "undecodable"),
    ):
        with pytest.raises(AudioError, match=problem) as caught:
            load(tmp_path / name)
        assert caught.value.status == status
        assert looks_like_audio(tmp_path / name) == name.endswith((".mp3", ".wav"))


@pytest.mark.parametrize(
    "name",
    [
        "http:x.mp3",
        "file:x.wav",
        "concat:a|b.mp3",
        "-.mp3",
        "new\nline.mp3",
        "bad\udcff.mp3",
        "%d.wav",
    ],
)
def test_odd_names_are_plain_files(
    tones: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for kind in ("wav", "m4a"):
        Path(name).write_bytes(tones[kind].read_bytes())
        assert len(load(name)) == pytest.approx(96000, abs=3000)


def test_playlists_open_nothing(tones: dict[str, Path], tmp_path: Path) -> None:
    visits: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)

        def listen() -> None:
            while True:
                connection, _ = server.accept()
                with connection:
                    visits.append(connection.recv(100))
                    if visits[-1] == b"end":
                        return

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        (tmp_path / "good.wav").write_bytes(tones["wav"].read_bytes())
        for text in (
            f"#EXTM3U\n#EXTINF:10,\nhttp://{address}/a.mp3\n#EXT-X-ENDLIST\n",
            f"#EXTM3U\n#EXTINF:10,\n{tmp_path}/good.wav\n",
            "ffconcat version 1.0\nfile 'good.wav'\n",
            f"v=0\no=- 0 0 IN IP4 {address}\ns=x\nt=0 0\nm=audio 9 RTP/AVP 0\n",
            f"<?xml version='1.0'?><MPD><BaseURL>http://{address}/x</BaseURL></MPD>",
        ):
            path = tmp_path / "list.mp3"
            path.write_text(text)
            for attempt in (load, probe):
                with pytest.raises(AudioError, match="this is no audio"):
                    attempt(path)
        with socket.create_connection(server.getsockname()) as connection:
            connection.send(b"end")
        thread.join(10)
    assert visits == [b"end"]


def test_the_whitelists_hold_even_for_a_demuxer_that_opens_files(
    tones: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tone.wav").write_bytes(tones["wav"].read_bytes())
    path = tmp_path / "list.mp3"
    path.write_text("ffconcat version 1.0\nfile 'tone.wav'\n")
    with open(path, "rb") as stream, av.open(stream, format="concat") as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) == 96000
    with open(path, "rb") as stream, pytest.raises(AudioError):
        PyavDecoder(str(path), stream.fileno(), "concat", (0, path.stat().st_size))
