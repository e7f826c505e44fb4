"""What the service answers, by real requests on the loopback."""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import json
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from audio_files import tone, write
from serving import GENRE, PIECE, problem, serving
from tsresformer.bundle import Bundle
from tsresformer.classifier import Classifier
from tsresformer.features import mel_edges
from tsresformer.serve.gate import SAFE_HEADERS
from tsresformer.serve.problems import KINDS

ANY_ORIGIN = "https://other.example"


@pytest.fixture(scope="module")
def offline() -> Classifier:
    return Classifier.load("fma-small")


def raw(client: httpx.Client, text: str | bytes) -> bytes:
    """Send bytes as they are, and read until the server closes or falls silent."""
    data = text.encode("latin-1") if isinstance(text, str) else text
    answer = b""
    with socket.create_connection((client.base_url.host, client.base_url.port), 10) as link:
        link.sendall(data)
        link.settimeout(3)
        with contextlib.suppress(TimeoutError):
            while received := link.recv(65536):
                answer += received
    return answer


# Predictions


@pytest.mark.parametrize("timeline", [False, True])
def test_prediction_is_that_of_the_command_line(
    client: httpx.Client, offline: Classifier, piece: bytes, piece_path: Path, timeline: bool
) -> None:
    params = {"top": 3, "timeline": timeline}
    answer = client.post("/v1/predict", params=params, files={"file": ("piece.ogg", piece)})
    expected = offline.predict(piece_path, timeline=timeline).as_json(3)
    assert answer.status_code == 200
    found = answer.json()
    assert len(found["timeline"]) == len(expected["timeline"]) == timeline
    pairs = [(found, expected), *zip(found["timeline"], expected["timeline"], strict=True)]
    for ours, theirs in pairs:
        assert ours.pop("probabilities") == pytest.approx(theirs.pop("probabilities"), abs=1e-4)
    assert found == {**expected, "path": "piece.ogg"}


@pytest.mark.parametrize("kind", ["audio/ogg", "application/octet-stream", "video/webm", None])
def test_raw_body_is_taken_whatever_its_type_says(
    client: httpx.Client, piece: bytes, kind: str | None
) -> None:
    headers = {"content-type": kind} if kind else {}
    answer = client.post("/v1/predict?top=1", content=piece, headers=headers)
    assert answer.status_code == 200
    assert answer.json() == {
        "path": "upload",
        "status": "ok",
        "error": None,
        "label": GENRE,
        "probabilities": {GENRE: pytest.approx(PIECE[GENRE], abs=1e-4)},
        "unsure": PIECE[GENRE] < Bundle.load("fma-small").unsure_below,
        "timeline": [],
    }


def test_batch_has_a_row_for_every_file_in_order(client: httpx.Client, piece: bytes) -> None:
    files = [("file", ("a.ogg", piece)), ("file", ("b.txt", b"words")), ("file", ("c", piece))]
    answer = client.post("/v1/predict/batch?top=1", files=files)
    assert answer.status_code == 200
    found = answer.json()
    assert (found["schema"], found["model"]) == (1, "fma-small")
    rows = [(row["path"], row["status"], row["label"]) for row in found["tracks"]]
    assert rows == [
        ("a.ogg", "ok", GENRE),
        ("b.txt", "undecodable", None),
        ("c", "ok", GENRE),
    ]
    assert found["tracks"][1]["error"].startswith("this is no audio")


def test_silence_is_an_answer(client: httpx.Client, tmp_path: Path) -> None:
    path = write(tmp_path / "quiet.flac", tone(5) * 0)
    for route in ("predict", "analyse"):
        answer = client.post(f"/v1/{route}", content=path.read_bytes())
        assert answer.status_code == 200
        track = answer.json().get("track", answer.json())
        assert (track["status"], track["label"], track["probabilities"]) == ("silent", None, {})


def test_fifty_clients_at_once_get_the_answer_of_one(piece: bytes) -> None:
    with serving(body_s=60.0, body_stall_s=60.0, work_s=120.0) as client:

        def ask(_: int) -> tuple[int, dict[str, Any]]:
            link = http.client.HTTPConnection(client.base_url.host, client.base_url.port, 120)
            with contextlib.closing(link):
                link.request("POST", "/v1/predict", piece)
                answer = link.getresponse()
                return answer.status, json.loads(answer.read())

        with ThreadPoolExecutor(50) as threads:
            answers = list(threads.map(ask, range(50)))
        expected = client.post("/v1/predict", content=piece).json()["probabilities"]
        for status, track in answers:
            assert (status, track["status"]) == (200, "ok")
            assert track["probabilities"] == pytest.approx(expected, abs=1e-4)


# The analysis


def test_analysis_of_a_tone_shows_its_pitch_and_its_loudness(
    client: httpx.Client, offline: Classifier, tmp_path: Path
) -> None:
    path = write(tmp_path / "tone.wav", tone(45, hz=3000, sample_rate=44100, n_channels=1), 44100)
    answer = client.post("/v1/analyse", files={"file": path.open("rb")})
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    assert found["model"] == "fma-small"
    assert found["seconds"] == 45
    assert found["track"]["status"] == "ok"
    assert [w["start_s"] for w in found["track"]["timeline"]] == [0.0, 5.0, 10.0, 15.0]

    wave, mel, attention = found["waveform"], found["log_mel"], found["attention"]
    n_points = len(wave["low"])
    assert n_points == len(wave["high"]) <= 2000
    assert n_points * wave["seconds_per_point"] == pytest.approx(45, abs=wave["seconds_per_point"])
    centre_s = (np.arange(n_points - 1) + 0.5) * wave["seconds_per_point"]
    assert wave["high"][:-1] == pytest.approx(list(0.2 + 0.6 * centre_s / 45), abs=0.01)
    assert wave["low"][:-1] == pytest.approx(list(-0.2 - 0.6 * centre_s / 45), abs=0.01)

    log_mel = np.frombuffer(base64.b64decode(mel["data"]), np.uint8)
    log_mel = log_mel.reshape(mel["n_columns"], mel["n_mels"])
    assert log_mel.max() == 255
    loudest = np.array(mel["mel_hz"])[log_mel.argmax(axis=1)]
    assert mel["mel_hz"] == pytest.approx(list(mel_edges(offline.bundle.features)[1:-1]), abs=0.06)
    assert set(np.abs(loudest - 3000) < 60) == {True}
    assert mel["n_columns"] * mel["seconds_per_column"] == pytest.approx(45, abs=0.3)

    assert len(attention["time"]) == mel["n_columns"]
    assert len(attention["frequency"]) == mel["n_mels"]
    # Slices of 30 s every 10 s: those at 0 and 10 s are full, and nothing covers the last 5 s.
    n_covered = sum(value is not None for value in attention["time"])
    assert n_covered * mel["seconds_per_column"] == pytest.approx(40, abs=0.5)
    assert attention["time"][n_covered:] == [None] * (mel["n_columns"] - n_covered)
    assert all(0 < value < 1 for value in attention["time"][:n_covered] + attention["frequency"])


# Lists, health, counters


def test_models_are_listed_with_their_cards(client: httpx.Client, offline: Classifier) -> None:
    listed = client.get("/v1/models").json()
    bundle = offline.bundle
    assert listed["default"] == "fma-small"
    (model,) = listed["models"]
    assert model["sha256"] == bundle.hash
    assert model["labels"] == list(bundle.labels)
    assert client.get("/v1/models/fma-small").json() == {**model, "card": bundle.card()}


def test_example_can_be_listened_to_in_parts_and_classified(
    client: httpx.Client, piece: bytes
) -> None:
    example, medley = client.get("/v1/examples").json()["examples"]
    with soundfile.SoundFile(io.BytesIO(client.get(medley["url"]).content)) as file:
        assert (file.title, file.frames / file.samplerate) == (medley["title"], medley["seconds"])
    answer = client.get(example["url"])
    assert (answer.content, answer.headers["content-type"]) == (piece, "audio/ogg")
    part = client.get(example["url"], headers={"range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, piece[100:200])


def test_health_and_counters(client: httpx.Client, piece: bytes) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ok"}

    def counted(name: str) -> float:
        found = re.search(rf"^{re.escape(name)} (\S+)$", client.get("/metrics").text, re.M)
        return float(found[1]) if found else 0.0

    good = 'tsresformer_requests_total{method="POST",route="/v1/predict",status="200"}'
    refused = 'tsresformer_files_total{model="fma-small",outcome="not-audio"}'
    runs = 'tsresformer_batch_slices_sum{model="fma-small"}'
    before = [counted(name) for name in (good, refused, runs)]
    client.post("/v1/predict", content=piece)
    client.post("/v1/predict", content=b"words")
    assert [counted(name) for name in (good, refused, runs)] == [one + 1 for one in before]


# Errors


def form(name: str = "file", **headers: str) -> dict[str, Any]:
    return {"files": {name: ("x.txt", b"words")}, "headers": headers}


ERRORS: dict[str, tuple[str, str, dict[str, Any], int, str]] = {
    "no field": ("POST", "/v1/predict", form("other"), 400, "bad-request"),
    "no boundary": (
        "POST",
        "/v1/predict",
        {"content": b"x", "headers": {"content-type": "multipart/form-data"}},
        400,
        "bad-request",
    ),
    "charset": (
        "POST",
        "/v1/predict",
        {
            "content": b'--x\r\ncontent-disposition: form-data; name="file"\r\n\r\na\r\n--x--\r\n',
            "headers": {"content-type": "multipart/form-data; boundary=x; charset=undefined"},
        },
        400,
        "bad-request",
    ),
    "two files": (
        "POST",
        "/v1/predict",
        {"files": [("file", ("a", b"a")), ("file", ("b", b"b"))]},
        400,
        "bad-request",
    ),
    "no url": ("POST", "/v1/predict", {"json": {"uri": "http://x/"}}, 400, "bad-request"),
    "no json": (
        "POST",
        "/v1/analyse",
        {"content": b"{", "headers": {"content-type": "application/json"}},
        400,
        "bad-request",
    ),
    "url of a file": (
        "POST",
        "/v1/predict",
        {"json": {"url": "file:///etc/passwd"}},
        400,
        "bad-request",
    ),
    "host": ("POST", "/v1/predict", {"json": {"url": "http://x/a.mp3"}}, 403, "host-not-allowed"),
    "path": ("GET", "/v2", {}, 404, "not-found"),
    "static path": ("GET", "/static/none.js", {}, 404, "not-found"),
    "model": ("POST", "/v1/predict?model=x", form(), 404, "unknown-model"),
    "model's card": ("GET", "/v1/models/x", {}, 404, "unknown-model"),
    "example": ("GET", "/v1/examples/x", {}, 404, "unknown-example"),
    "method": ("DELETE", "/v1/predict", {}, 405, "method-not-allowed"),
    "type": (
        "POST",
        "/v1/predict",
        {"content": b"x", "headers": {"content-type": "text/plain"}},
        415,
        "unsupported-media-type",
    ),
    "text": ("POST", "/v1/predict", form(), 415, "not-audio"),
    "empty": ("POST", "/v1/predict", {"content": b""}, 422, "undecodable"),
    "top": ("POST", "/v1/predict?top=0", form(), 422, "invalid-parameter"),
    "timeline": ("POST", "/v1/predict?timeline=perhaps", form(), 422, "invalid-parameter"),
    "cut header": ("POST", "/v1/predict", {"content": b"RIFF\4\0\0\0WAVE"}, 422, "undecodable"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_error_is_a_problem_and_the_next_request_succeeds(
    client: httpx.Client, piece: bytes, case: str
) -> None:
    method, path, request, status, kind = ERRORS[case]
    problem(client.request(method, path, **request), status, kind)
    assert client.post("/v1/predict", content=piece).status_code == 200


def test_too_short_audio_is_incomplete(client: httpx.Client, tmp_path: Path) -> None:
    path = write(tmp_path / "short.wav", tone(0.01))
    answer = client.post("/v1/predict", content=path.read_bytes())
    assert "less than one window" in problem(answer, 422, "incomplete")


def test_unexpected_fault_is_a_problem_without_its_cause(
    client: httpx.Client, piece: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_self: object, _slices: object) -> None:
        raise RuntimeError("secret")

    with monkeypatch.context() as patch:
        patch.setattr("tsresformer.classifier.Classifier.run", fail)
        answer = client.post("/v1/predict", content=piece)
    assert "secret" not in problem(answer, 500, "internal")
    assert client.post("/v1/predict", content=piece).status_code == 200


def test_documentation_has_every_kind_of_problem_with_its_status(project_root: Path) -> None:
    text = (project_root / "docs" / "service.md").read_text().partition("### Errors")[2]
    rows = re.findall(r"^\| (`[a-z][a-z`, -]+) \| (\d{3}) \|", text, re.M)
    documented = {
        kind: int(status) for kinds, status in rows for kind in re.findall("[a-z-]+", kinds)
    }
    assert documented == {kind: status for kind, (status, _) in KINDS.items()}


# Headers and names


@pytest.mark.parametrize("path", ["/", "/static/page.css", "/v1/models", "/nothing", "/metrics"])
def test_every_answer_has_the_safe_headers(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers
    assert {name: headers[name] for name in SAFE_HEADERS} == SAFE_HEADERS
    assert headers["cache-control"] in ("no-store", "no-cache")
    assert "server" not in headers
    assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize("given", ["abc-1", "a" * 65, "a b", 'x"y', "é", ""])
def test_request_id_is_the_clients_if_it_is_harmless(client: httpx.Client, given: str) -> None:
    answer = client.get("/healthz", headers={"x-request-id": given.encode("latin-1")})
    found = answer.headers["x-request-id"]
    assert found == given if given == "abc-1" else re.fullmatch("[0-9a-f]{32}", found)


def test_nothing_that_a_client_sends_becomes_a_header(client: httpx.Client) -> None:
    host = client.base_url.netloc.decode()
    for path in ("/v1/models/x%0d%0aevil:1", "/v1/predict?model=%0d%0aevil:1", "/%0d%0aevil:1"):
        answer = raw(client, f"POST {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")
        head = answer.partition(b"\r\n\r\n")[0].lower()
        assert head.startswith(b"http/1.1 4")
        assert b"evil" not in head


@pytest.mark.parametrize(
    "request_text",
    ["NOISE\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nhost: a\r\nb d: e\r\n\r\n"],
)
def test_what_is_no_http_is_answered_and_ended(client: httpx.Client, request_text: str) -> None:
    head, _, body = raw(client, request_text).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/problem+json" in head.lower()
    assert b"bad-request" in body


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../../etc/passwd", "passwd"),
        ("C:\\music\\a.ogg", "a.ogg"),
        ("/", "upload"),
        ("..", "upload"),
        ("a\tb\x7f.ogg", "ab.ogg"),
        ("Gruß\u202egpj.ogg", "Grußgpj.ogg"),
        ("x" * 500, "x" * 200),
        ("X.npy#3", "X.npy#3"),
    ],
)
def test_only_the_harmless_part_of_a_name_comes_back(
    client: httpx.Client, piece: bytes, given: str, shown: str
) -> None:
    boundary = "bound"
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{given}"\r\n\r\n'
    )
    body = head.replace("\\", "\\\\").encode() + piece + f"\r\n--{boundary}--\r\n".encode()
    headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
    answer = client.post("/v1/predict", content=body, headers=headers)
    assert (answer.status_code, answer.json()["path"]) == (200, shown)


@pytest.mark.parametrize(
    "path",
    ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static//etc/passwd"],
)
def test_no_path_leads_out_of_the_pages_folder(client: httpx.Client, path: str) -> None:
    host = client.base_url.netloc.decode()
    answer = raw(client, f"GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 404 ")


# What an operator can switch on


def test_bearer_key_protects_the_api_and_the_counters(piece: bytes) -> None:
    with serving(api_key="s3cret", cors_origins=(ANY_ORIGIN,)) as client:
        for path in ("/v1/models", "/metrics", "/v1/nothing"):
            for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "s3cret"}):
                answer = client.get(path, headers=headers)
                problem(answer, 401, "unauthorised")
                assert answer.headers["www-authenticate"] == "Bearer"
        for path in ("/", "/healthz", "/readyz", "/openapi.json"):
            assert client.get(path).status_code == 200
        key = {"authorization": "Bearer s3cret"}
        assert client.post("/v1/predict", content=piece, headers=key).status_code == 200
        schemes = client.get("/openapi.json").json()["components"]["securitySchemes"]
        assert schemes == {"key": {"type": "http", "scheme": "bearer"}}

        asking = {"origin": ANY_ORIGIN, "access-control-request-method": "POST"}
        preflight = client.options("/v1/predict", headers=asking)
        assert preflight.headers["access-control-allow-origin"] == ANY_ORIGIN
        answer = client.get("/v1/models", headers={**key, "origin": "https://evil.example"})
        assert "access-control-allow-origin" not in answer.headers
