"""The documentation site: whole, in step with the code, and nothing of it from another host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

import tsresformer
from browsing import DESKTOP, TELEPHONE
from tsresformer.cli import COMMANDS
from tsresformer.config import Config, FeatureConfig, ModelConfig, Section, shipped_configs

FETCHED = {"script": "src", "img": "src", "iframe": "src", "audio": "src", "source": "src"}


@pytest.fixture(scope="module")
def site(project_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make site` builds it."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=project_root, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return out


class Addresses(HTMLParser):
    """Gathers what a page fetches when it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag in FETCHED and FETCHED[tag] in values:
            self.found.append(values[FETCHED[tag]])
        if tag == "link" and values.get("rel") != "canonical":
            self.found.append(values["href"])
        self.found += re.findall(r"url\((.*?)\)", values.get("style", ""))


def pages(site: Path) -> list[Path]:
    found = sorted(path for path in site.rglob("*.html") if path.name != "404.html")
    assert len(found) > 20
    return found


def test_pages_fetch_nothing_from_another_host(site: Path) -> None:
    for page in pages(site):
        parser = Addresses()
        parser.feed(page.read_text("utf-8"))
        assert parser.found
        for address in parser.found:
            parts = urlsplit(address)
            if parts.scheme == "data":
                continue
            assert not (parts.scheme or parts.netloc), f"{page.name}: {address}"
            assert (page.parent / parts.path).resolve().is_file(), f"{page.name}: {address}"
    for style in site.rglob("*.css"):
        text = style.read_text("utf-8")
        assert "@import" not in text
        assert not re.search(r"url\([\"']?(https?:)?//", text), style.name


def test_reference_has_every_command_key_and_public_name(site: Path) -> None:
    commands = (site / "commands.html").read_text("utf-8")
    for name in COMMANDS:
        assert f'id="tsresformer-{name}"' in commands
    assert "Usage: tsresformer data import fma [OPTIONS]" in commands
    configuration = (site / "configuration.html").read_text("utf-8")
    for name, field in Config.model_fields.items():
        kind = field.annotation
        keys = kind.model_fields if isinstance(kind, type) and issubclass(kind, Section) else None
        for key in [f"{name}.{key}" for key in keys] if keys else [name]:
            assert f"<code>{key}</code>" in configuration, key
    for key in (*FeatureConfig.model_fields, *shipped_configs()):
        assert key in configuration
    python = (site / "python.html").read_text("utf-8")
    for name in (*tsresformer.__all__, "log_mel", "build_store", "AudioError"):
        if name != "__version__":
            assert re.search(rf'id="tsresformer[\w.]*\.{name}"', python), name


def test_every_key_of_the_configuration_says_what_it_is() -> None:
    sections = [f.annotation for f in Config.model_fields.values()]
    kinds = [kind for kind in sections if isinstance(kind, type) and issubclass(kind, Section)]
    assert len(kinds) == 4
    for section in (*kinds, FeatureConfig):
        silent = [name for name, field in section.model_fields.items() if not field.description]
        assert silent == [], section.__name__


@pytest.mark.torch
def test_figure_has_the_shapes_of_the_shipped_network(project_root: Path) -> None:
    import torch

    from tsresformer.bundle import Bundle
    from tsresformer.models.ts_resformer import TSResformer

    bundle = Bundle.load("fma-small")
    config = ModelConfig(**bundle.record["model"])
    network = TSResformer(config, bundle.features, len(bundle.labels)).eval()
    with torch.no_grad():
        front = network.front(torch.zeros(1, 128, 128))
        assert network.left and network.right
        x, shapes = front.features, [front.features.shape]
        for block in network.left.blocks:
            x = block(x)
            shapes.append(x.shape)
        shapes.append(network.right.mix(front.features).shape)
        shapes.append((1, front.features.shape[-1] // config.token_stride, config.d_model))
        vectors = [network.left.n_out, network.right.n_out, network.head.in_features]
    figure = (project_root / "docs" / "images" / "network.svg").read_text("utf-8")
    for shape in shapes:
        assert f">{' × '.join(map(str, shape[1:]))}<" in figure
    for size in vectors:
        assert f">{size}<" in figure
    moments, bands = front.time.shape[1], front.frequency.shape[1]
    assert f"attention to {moments} moments" in figure
    assert f"attention to {bands} bands" in figure
    assert f"{config.n_layers} encoder layers" in figure
    assert f"{config.n_heads} heads, feed-forward {config.d_feedforward}" in figure


@pytest.fixture
def opened(chromium: Browser) -> Iterator[Page]:
    """A window; at the end, no request left this machine and nothing was complained of."""
    context = chromium.new_context()
    requested: list[str] = []
    complaints: list[str] = []
    context.on("request", lambda request: requested.append(request.url))
    page = context.new_page()
    page.set_default_navigation_timeout(120_000)  # cores may be busy
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    yield page
    context.close()
    assert {urlsplit(url).scheme for url in requested} <= {"file", "data", "blob", "about"}
    assert complaints == []


@pytest.mark.browser
@pytest.mark.parametrize(
    ("size", "scheme"),
    [pytest.param(DESKTOP, "light", marks=pytest.mark.slow), (TELEPHONE, "dark")],
)
def test_every_page_opens_as_a_file_and_fits(
    site: Path, opened: Page, size: tuple[int, int], scheme: str
) -> None:
    width, height = size
    opened.set_viewport_size({"width": width, "height": height})
    opened.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    for path in pages(site):
        opened.goto(path.as_uri())
        expect(opened.locator("article h1").first).to_be_visible()
        assert opened.evaluate("document.scrollingElement.scrollWidth") <= width, path.name
        broken = "[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
        assert opened.evaluate(broken) == [], path.name


@pytest.mark.browser
def test_search_works_without_a_server(site: Path, opened: Page) -> None:
    opened.set_viewport_size({"width": 1280, "height": 900})
    opened.goto((site / "index.html").as_uri())
    opened.locator("[data-md-component=search-query]").click()
    opened.keyboard.type("temperature")
    result = opened.locator(".md-search-result__link", has_text="What the probabilities mean")
    expect(result.first).to_be_visible()
    result.first.click()
    expect(opened).to_have_url(re.compile(r"probabilities\.html"))
