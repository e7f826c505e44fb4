"""A browser window on the page of the service."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

DESKTOP, TELEPHONE = (1280, 900), (360, 740)
TEXT = ("notes.txt", "text/plain", b"These are notes, not music.\n" * 40)


@dataclass
class Visit:
    """One browser window on the page, and what it asked for and complained of."""

    page: Page
    requested: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def upload(self, file: Path | tuple[str, str, bytes]) -> dict[str, Any]:
        """Give a file to the page's own input, and return what the service answered."""
        if isinstance(file, tuple):
            name, kind, data = file
            payload: Any = {"name": name, "mimeType": kind, "buffer": data}
        else:
            payload = file
        with self.page.expect_response("**/v1/analyse?*") as answer:
            self.page.set_input_files("#file", payload)
        expect(self.page.locator("#busy")).to_be_hidden()
        return dict(answer.value.json())

    def shows(self, analysis: dict[str, Any]) -> None:
        """Check that the page shows this result."""
        track = analysis["track"]
        mark = "?" if track["unsure"] else ""
        expect(self.page.locator("#verdict")).to_have_text(f"{track['label'] or 'Silence'}{mark}")
        expect(self.page.locator("#verdict")).to_be_visible()

    def until(self, expression: str) -> None:
        """Wait for an expression; the page's own policy lets no script be made there."""
        end = time.monotonic() + 30
        while not self.page.evaluate(expression):
            assert time.monotonic() < end, expression
            self.page.wait_for_timeout(30)

    def value(self) -> str:
        """Position as it is told to assistive technology."""
        return str(self.page.get_attribute("#stage", "aria-valuetext"))

    def position(self) -> int:
        return int(self.page.get_attribute("#stage", "aria-valuenow") or -1)


Open = Callable[..., Visit]


def percent(share: float) -> str:
    return f"{int(100 * share + 0.5)}\N{NO-BREAK SPACE}%"


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
