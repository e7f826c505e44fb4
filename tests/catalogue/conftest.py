"""A small catalogue, what it must give, and an object store on this machine."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catalogue_outputs import N_TRACKS, PART_TRACKS
from tsresformer.catalogue import places
from tsresformer.catalogue.run import run


@pytest.fixture(scope="session")
def music(tiny_music: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders with 59 tracks, a text that calls itself mp3, and a cover."""
    folder = tmp_path_factory.mktemp("catalogue") / "music"
    sources = sorted(tiny_music.rglob("*.flac"))
    for i in range(N_TRACKS - 1):
        place = folder / f"album {i % 4}"
        place.mkdir(parents=True, exist_ok=True)
        os.link(sources[i % len(sources)], place / f"{i:03d}.flac")
    (folder / "album 0" / "text.mp3").write_text("no music\n" * 200)
    (folder / "album 0" / "cover.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(500))
    return folder


@pytest.fixture(scope="session")
def expected(music: Path, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of an undisturbed run over `music`: read only."""
    out = tmp_path_factory.mktemp("expected") / "out"
    run(str(music), str(out), str(tiny_bundle), engine="local", part_tracks=PART_TRACKS)
    return out


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket "music" of an object store on this machine; a boto3 client of it."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    # What it stores outlives it: another file's tests may have filled the bucket.
    urllib.request.urlopen(f"http://{host}:{port}/moto-api/reset", data=b"").close()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="music")
    places._filesystem.cache_clear()
    yield client
    places._filesystem.cache_clear()
    server.stop()
