"""Hostile clients and hostile files: each costs itself an error, and nobody else anything."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

from audio_files import tone, wav_header, write
from processes import descriptors
from serve_functions import POISON
from serving import GENRE, problem, serving

MEBIBYTE = 2**20


def open_files() -> int:
    """Files without a name that this process, the server, has open."""
    links = descriptors().elements()
    return sum(link.endswith("(deleted)") and "/tmp" in link for link in links)


@pytest.fixture(autouse=True)
def nobody_else_is_affected(client: httpx.Client, piece: bytes) -> Iterator[None]:
    """After each test an ordinary request succeeds, and no temporary file is left."""
    n_before = open_files()
    yield
    answer = client.post("/v1/predict", content=piece)
    assert (answer.status_code, answer.json()["label"]) == (200, GENRE)
    assert open_files() == n_before


def link_to(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port), timeout=20)


def head_of(client: httpx.Client, *lines: str) -> bytes:
    host = client.base_url.netloc.decode()
    return "\r\n".join([f"POST /v1/predict HTTP/1.1\r\nhost: {host}", *lines, "\r\n"]).encode()


def read_all(link: socket.socket) -> bytes:
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        while received := link.recv(65536):
            answer += received
    return answer


# Uploads


def test_announced_size_is_refused_before_the_body(client: httpx.Client) -> None:
    with link_to(client) as link:
        link.sendall(head_of(client, f"content-length: {3 * 2**30}", "expect: 100-continue"))
        answer = read_all(link)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"too-large" in answer


@pytest.mark.parametrize("kind", ["application/octet-stream", "multipart/form-data; boundary=b"])
def test_endless_chunks_are_refused_at_the_limit(client: httpx.Client, kind: str) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    chunk = b"%x\r\n" % MEBIBYTE + bytes(MEBIBYTE) + b"\r\n"
    n_sent, started = 0, time.monotonic()
    with link_to(client) as link:
        link.sendall(head_of(client, "transfer-encoding: chunked", f"content-type: {kind}"))
        link.sendall(b"%x\r\n" % len(part) + part + b"\r\n")
        link.settimeout(5)
        with contextlib.suppress(OSError):  # the server reads no more
            while n_sent < 3072:
                link.sendall(chunk)
                n_sent += 1
                link.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    if link.recv(1, socket.MSG_PEEK):
                        break
                link.settimeout(5)
        link.settimeout(10)
        answer = read_all(link)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert n_sent < 64
    assert time.monotonic() - started < 10


def test_upload_of_exactly_the_limit_is_taken(client: httpx.Client) -> None:
    n_bytes = 4 * MEBIBYTE
    body = wav_header(n_bytes=n_bytes - 44, sample_rate=44100) + os.urandom(n_bytes - 44)
    assert client.post("/v1/predict", content=body).status_code == 200
    problem(client.post("/v1/predict", content=body + b"x"), 413, "too-large")


@pytest.mark.parametrize("pause_s", [0.4, 10.0])
def test_slow_body_is_ended_in_bounded_time(client: httpx.Client, pause_s: float) -> None:
    """Both a body that stops and one that never stops to drip."""
    started = time.monotonic()
    with link_to(client) as link:
        link.sendall(head_of(client, "content-length: 1000"))
        with contextlib.suppress(OSError):
            while time.monotonic() - started < 8:
                link.sendall(b"x")
                link.settimeout(pause_s)
                with contextlib.suppress(TimeoutError):
                    if link.recv(1, socket.MSG_PEEK):
                        break
        link.settimeout(10)
        answer = read_all(link)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"slow-body" in answer
    assert time.monotonic() - started < 7


@pytest.mark.parametrize("text", ["", "POST /v1/pre", "GET / HTTP/1.1\r\nhost: a\r\nx: "])
def test_slow_headers_are_dropped_and_hold_up_nobody(
    client: httpx.Client, piece: bytes, text: str
) -> None:
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        links = [stack.enter_context(link_to(client)) for _ in range(30)]
        for link in links:
            link.sendall(text.encode())
        assert client.post("/v1/predict", content=piece).status_code == 200
        if text:
            time.sleep(0.5)
            links[0].sendall(b"y")  # a drip prolongs nothing
        assert [link.recv(100) for link in links] == [b""] * 30
        assert 0.9 < time.monotonic() - started < 4


def test_headers_of_a_second_request_have_a_deadline_too(client: httpx.Client) -> None:
    host = client.base_url.netloc.decode()
    with link_to(client) as link:
        link.sendall(f"GET /healthz HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
        answer = b""
        while not answer.endswith(b'{"status":"ok"}'):
            answer += link.recv(65536)
        started = time.monotonic()
        link.sendall(b"GET /healthz HTTP/1.1\r\n")
        assert link.recv(100) == b""
        assert 0.9 < time.monotonic() - started < 4


def test_endless_headers_are_refused(client: httpx.Client) -> None:
    with link_to(client) as link:
        with contextlib.suppress(OSError):
            link.sendall(head_of(client, "x: " + "y" * 2**20))
        assert read_all(link)[:13] in (b"HTTP/1.1 400 ", b"")


def test_client_that_leaves_frees_its_decoder(client: httpx.Client, piece: bytes) -> None:
    body = POISON + b"work 150"
    with contextlib.ExitStack() as stack:
        for _ in range(2):  # as many as there are decoders
            link = stack.enter_context(link_to(client))
            link.sendall(head_of(client, f"content-length: {len(body)}") + body)
        time.sleep(0.7)
    started = time.monotonic()
    assert client.post("/v1/predict", content=piece).status_code == 200
    assert time.monotonic() - started < 5


def test_full_queue_turns_away_at_once() -> None:
    with serving(queue=1, work_s=3.0) as client:
        body = POISON + b"work 150"
        with ThreadPoolExecutor(1) as threads:
            first = threads.submit(client.post, "/v1/predict", content=body)
            time.sleep(0.7)
            started = time.monotonic()
            answer = client.post("/v1/predict", content=body)
            problem(answer, 503, "busy")
            assert int(answer.headers["retry-after"]) > 0
            assert time.monotonic() - started < 1.5  # in line, it would wait for 2.3 s
            assert client.get("/healthz").status_code == 200
            problem(first.result(), 504, "timeout")


# Files


@pytest.mark.parametrize(
    ("action", "status", "kind", "words"),
    [
        ("segfault", 422, "undecodable", "crashed (signal 11)"),
        ("signal SIGABRT", 422, "undecodable", "crashed (signal 6)"),
        ("hold-the-gil 60", 504, "timeout", "no progress for 1 s"),
        ("sleep 60", 504, "timeout", "no progress for 1 s"),
        ("allocate 8000000000", 422, "undecodable", "needs more than 1.5 GiB"),
        ("exit 3", 422, "undecodable", "exit status 3"),
        ("raise ValueError", 422, "undecodable", "ValueError: no good"),
    ],
)
def test_file_that_kills_its_decoder_costs_itself_an_error(
    client: httpx.Client, action: str, status: int, kind: str, words: str
) -> None:
    started = time.monotonic()
    answer = client.post("/v1/predict", content=POISON + action.encode())
    assert words in problem(answer, status, kind)
    assert time.monotonic() - started < 8


def test_poison_beside_ordinary_requests_disturbs_none(client: httpx.Client, piece: bytes) -> None:
    bodies = [piece, POISON + b"segfault", piece, POISON + b"exit 1"] * 3
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda body: client.post("/v1/predict", content=body), bodies))
    assert [answer.status_code for answer in answers] == [200, 422] * 6


def test_zip_bomb_is_no_audio(client: httpx.Client) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as bomb:
        bomb.writestr("../../song.wav", bytes(64 * MEBIBYTE))
    assert len(archive.getvalue()) < MEBIBYTE
    problem(client.post("/v1/predict", content=archive.getvalue()), 415, "not-audio")


@pytest.fixture(scope="module")
def ten_hours(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Silence of ten hours in a few megabytes."""
    path = tmp_path_factory.mktemp("long") / "silence.flac"
    minute = np.zeros(60 * 2000, np.int16)
    with soundfile.SoundFile(path, "w", 2000, 1, "PCM_16", format="FLAC") as sound:
        for _ in range(600):
            sound.write(minute)
    return path.read_bytes()


def test_ten_hours_of_silence_end_at_the_limit(client: httpx.Client, ten_hours: bytes) -> None:
    assert len(ten_hours) < 4 * MEBIBYTE
    started = time.monotonic()
    answer = client.post("/v1/analyse", content=ten_hours)
    assert "longer than 60 s" in problem(answer, 413, "too-long")
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("first", ["zip", "html", "flac"])
def test_polyglot_is_what_its_beginning_says(
    client: httpx.Client, tmp_path: Path, first: str
) -> None:
    flac = write(tmp_path / "a.flac", tone(3)).read_bytes()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as stream:
        stream.writestr("a.flac", flac)
    html = b"<!doctype html><script>alert(1)</script>"
    body = {
        "zip": archive.getvalue() + flac,
        "html": html + flac,
        "flac": flac + archive.getvalue() + html,
    }[first]
    answer = client.post("/v1/predict", files={"file": ("a.html", body, "text/html")})
    if first == "flac":
        assert answer.status_code == 200
    else:
        problem(answer, 415, "not-audio")
    assert "html" not in answer.headers["content-type"]


def test_playlist_opens_no_other_file(client: httpx.Client, piece_path: Path) -> None:
    for body in (
        f"#EXTM3U\n#EXTINF:10,\n{piece_path}\n",
        f"ffconcat version 1.0\nfile {piece_path}\n",
    ):
        problem(client.post("/v1/predict", content=body.encode()), 415, "not-audio")


def test_header_that_claims_gigabytes_costs_no_memory(client: httpx.Client) -> None:
    body = wav_header(n_bytes=0xFFFFFFF0, n_channels=2, sample_rate=44100) + bytes(400_000)
    answer = client.post("/v1/predict", content=body)
    assert (answer.status_code, answer.json()["status"]) == (200, "silent")


def test_many_slow_clients_leave_room_for_a_quick_one(client: httpx.Client, piece: bytes) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            link = stack.enter_context(link_to(client))
            link.sendall(head_of(client, "content-length: 1000") + b"x")
        started = time.monotonic()
        assert client.post("/v1/predict", content=piece).status_code == 200
        assert time.monotonic() - started < 5
    assert threading.active_count() < 50
