"""How much torture: the environment says it, and the end of the run tells what was done.

`TORTURE` is `fast` (the default run of the tests), `usual` (`make torture`) or `full`
(`make torture-full`); `TORTURE_SCALE` multiplies the counts of the two, `TORTURE_SEED` is what
every random draw derives from.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

LEVELS = ("fast", "usual", "full")


@dataclass
class Torture:
    """Amounts, random draws, and the count of what was done."""

    level: str
    scale: float
    seed: int
    counts: Counter[str] = field(default_factory=Counter)

    def amount(self, fast: int, usual: int, full: int) -> int:
        """How many at this level; the scale changes all levels but the fast one."""
        if self.level == "fast":
            return fast
        return max(1, round(self.scale * (usual if self.level == "usual" else full)))

    def random(self, name: str) -> random.Random:
        """Draws of one test, printed so that a failure can be repeated."""
        print(f"TORTURE_SEED={self.seed}")
        return random.Random(f"{self.seed} {name}")


_TORTURE = Torture(
    os.environ.get("TORTURE") or "fast",
    float(os.environ.get("TORTURE_SCALE") or 1),
    int(os.environ.get("TORTURE_SEED") or 0),
)


def pytest_configure(config: pytest.Config) -> None:
    if _TORTURE.level not in LEVELS:
        raise pytest.UsageError(f"TORTURE={_TORTURE.level}: name one of {', '.join(LEVELS)}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A process of several hands its counts on."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["torture"] = dict(_TORTURE.counts)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    _TORTURE.counts.update(getattr(node, "workeroutput", {}).get("torture", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    torture = _TORTURE
    if torture.counts:
        scale = "" if torture.level == "fast" else f", scale {torture.scale:g}"
        terminalreporter.section(f"torture: {torture.level}{scale}, seed {torture.seed}")
        for what, n in torture.counts.items():
            terminalreporter.write_line(f"{n:8,} {what}")


@pytest.fixture(scope="session")
def torture() -> Torture:
    """How much to do, and where to count what was done."""
    return _TORTURE
