"""The servers that the tests of the service talk to, and the browser for the page."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser

from browsing import DESKTOP, Open, Visit
from serving import SMALL, Process, renamed, serving
from tsresformer.bundle import Bundle
from tsresformer.serve.settings import Settings


@pytest.fixture(scope="session")
def client() -> Iterator[httpx.Client]:
    """A client of a server that all tests share."""
    with serving(queue=200) as client:
        yield client


@pytest.fixture(scope="session")
def piece(piece_path: Path) -> bytes:
    return piece_path.read_bytes()


@pytest.fixture
def process() -> Iterator[Callable[..., Process]]:
    """Start `tsresformer serve` with options."""
    started: list[Process] = []

    def start(*options: str, **env: str) -> Process:
        started.append(Process(*options, **env))
        return started[-1]

    yield start
    for one in started:
        one.end()


CARD = """# doubtful

<script>alert(1)</script>

| metric | value |
|---|---|
| accuracy | 0.5 |
"""


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The shipped model, less sure of itself, and under another name."""
    folder = tmp_path_factory.mktemp("second") / "doubtful.bundle"
    return renamed(Path("fma-small"), "doubtful", 2.0, folder, CARD, unsure_below=0.99)


@pytest.fixture(scope="module")
def server(second: Bundle) -> Iterator[httpx.Client]:
    usual = Settings()
    limits = {name: getattr(usual, name) for name in SMALL if name != "decoders"}
    with serving(models=("fma-small", str(second.path)), **limits) as client:
        yield client


@pytest.fixture(scope="module")
def song(piece_path: Path) -> Path:
    return Path(os.environ.get("TSRESFORMER_TEST_AUDIO") or piece_path)


@pytest.fixture
def visit(chromium: Browser, server: httpx.Client) -> Iterator[Open]:
    """Open the page; at the end, no request went elsewhere and nothing was complained of."""
    visits: list[Visit] = []

    def open_page(
        size: tuple[int, int] = DESKTOP, url: str = str(server.base_url), **options: Any
    ) -> Visit:
        width, height = size
        context = chromium.new_context(viewport={"width": width, "height": height}, **options)
        visit = Visit(context.new_page())
        visits.append(visit)
        context.on("request", lambda request: visit.requested.append(request.url))
        visit.page.on("console", lambda message: visit.complaints.append(message.text))
        visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
        visit.page.goto(url)
        return visit

    yield open_page
    for visit in visits:
        visit.page.context.close()
    for visit in visits:
        hosts = {httpx.URL(url).host for url in visit.requested if not url.startswith("blob:")}
        assert hosts == {"127.0.0.1"}, hosts
        # Chromium reports each status from 400 up; what the page itself does wrong is not among it.
        assert [c for c in visit.complaints if not c.startswith("Failed to load resource")] == []
