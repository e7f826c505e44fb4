"""The servers that the tests of the service talk to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from serving import Process, serving


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
