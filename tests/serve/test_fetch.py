"""Files from URLs: only what the operator allowed, wherever names and redirects lead."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from serving import GENRE, problem, serving
from tsresformer.serve import fetch


class Host(http.server.BaseHTTPRequestHandler):
    """Another host, and what it was asked."""

    piece = b""
    asked: list[tuple[str, str]]

    def do_GET(self) -> None:
        type(self).asked.append((self.path, self.headers["host"]))
        port = self.server.server_address[1]
        status, headers, body = {
            "/music/piece.ogg": (200, {}, self.piece),
            "/moved": (302, {"location": "/music/piece.ogg"}, b""),
            "/loop": (302, {"location": "/loop"}, b""),
            "/inside": (302, {"location": f"http://localhost:{port}/secret"}, b""),
            "/other-port": (302, {"location": "http://127.0.0.1:1/secret"}, b""),
            "/to-a-file": (302, {"location": "file:///etc/passwd"}, b""),
            "/packed": (200, {"content-encoding": "gzip"}, b"\x1f\x8b"),
            "/large": (200, {}, bytes(5 * 2**20)),
        }.get(self.path, (404, {}, b""))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def host(piece: bytes) -> Iterator[int]:
    """The port of another host on this machine."""
    Host.piece, Host.asked = piece, []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Host) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def fetching(host: int) -> Iterator[httpx.Client]:
    allowed = (f"127.0.0.1:{host}", f"music.example:{host}", f"localhost:{host}")
    with serving(fetch_hosts=allowed) as client:
        yield client


def predict(client: httpx.Client, url: str) -> httpx.Response:
    return client.post("/v1/predict", json={"url": url})


@pytest.mark.parametrize("path", ["/music/piece.ogg", "/moved"])
def test_allowed_url_is_classified(fetching: httpx.Client, host: int, path: str) -> None:
    answer = predict(fetching, f"http://127.0.0.1:{host}{path}")
    assert answer.status_code == 200
    assert (answer.json()["label"], answer.json()["path"]) == (GENRE, "piece.ogg")


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("/none", 502, "fetch-failed"),
        ("/loop", 502, "fetch-failed"),
        ("/packed", 502, "fetch-failed"),
        ("/large", 413, "too-large"),
        ("/inside", 403, "host-not-allowed"),
        ("/other-port", 403, "host-not-allowed"),
        ("/to-a-file", 400, "bad-request"),
    ],
)
def test_what_goes_wrong_is_a_problem(
    fetching: httpx.Client, host: int, path: str, status: int, kind: str
) -> None:
    Host.asked.clear()
    problem(predict(fetching, f"http://127.0.0.1:{host}{path}"), status, kind)
    assert {asked for asked, _ in Host.asked} == {path}


@pytest.mark.parametrize("place", ["/\\ud800", "/x?\\udfff", "/x#\\ud800"])
def test_half_a_character_makes_no_url(
    fetching: httpx.Client, host: int, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    Host.asked.clear()
    content = f'{{"url": "http://127.0.0.1:{host}{place}"}}'
    headers = {"content-type": "application/json"}
    answer = fetching.post("/v1/predict", content=content, headers=headers)
    assert problem(answer, 400, "bad-request") == "the URL is malformed"
    assert not Host.asked
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/x",
        "http://127.0.0.1/x",
        "http://2130706433:{port}/x",
        "http://0x7f.1:{port}/x",
        "http://[::ffff:127.0.0.1]:{port}/x",
        "http://music.example@127.0.0.2:{port}/x",
        "http://169.254.169.254/latest/meta-data",
        "https://127.0.0.1:{port}@evil.example/x",
    ],
)
def test_url_that_only_resembles_an_allowed_one_reaches_nothing(
    fetching: httpx.Client, host: int, url: str
) -> None:
    Host.asked.clear()
    answer = predict(fetching, url.format(port=host))
    assert answer.status_code in (400, 403)
    assert not Host.asked


def test_allowed_name_that_leads_inside_is_refused(fetching: httpx.Client, host: int) -> None:
    Host.asked.clear()
    problem(predict(fetching, f"http://localhost:{host}/x"), 403, "host-not-allowed")
    assert not Host.asked


def test_name_is_resolved_once_and_the_checked_address_is_used(
    fetching: httpx.Client, host: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = socket.getaddrinfo

    def rebinding(name: Any, *rest: Any, **options: Any) -> Any:
        if name in ("music.example", b"music.example"):
            asked.append("music.example")
            name = "127.0.0.1" if len(asked) == 1 else "127.0.0.2"
        return real(name, *rest, **options)

    Host.asked.clear()
    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setattr(fetch, "is_public", lambda addresses: addresses == ["127.0.0.1"])
    answer = predict(fetching, f"http://music.example:{host}/music/piece.ogg")
    assert answer.status_code == 200, answer.text
    assert asked == ["music.example"]
    assert Host.asked == [("/music/piece.ogg", f"music.example:{host}")]


@pytest.mark.parametrize(
    ("addresses", "public"),
    [
        (["93.184.215.14"], True),
        (["2606:2800:21f:cb07:6820:80da:af6b:8b2c"], True),
        ([], False),
        (["93.184.215.14", "10.0.0.1"], False),
        (["127.0.0.1"], False),
        (["169.254.169.254"], False),
        (["192.168.1.1"], False),
        (["100.64.0.1"], False),
        (["0.0.0.0"], False),
        (["224.0.0.1"], False),
        (["::1"], False),
        (["fe80::1%eth0"], False),
        (["fd00::1"], False),
        (["::ffff:10.0.0.1"], False),
        (["2002:7f00:1::"], False),
        (["64:ff9b::7f00:1"], False),
    ],
)
def test_which_addresses_are_public(addresses: list[str], public: bool) -> None:
    assert fetch.is_public(addresses) is public
