"""Time: what a study may take, what it has taken, and how people say it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from statistics import fmean

from tsresformer.errors import StudyError


class Clock:
    """The budget, and how long a training of a kind takes by those that were measured."""

    def __init__(self, budget_s: float | None) -> None:
        self._begun, self._budget_s = time.monotonic(), budget_s
        self._measured: dict[str, list[float]] = {}
        self._guesses: dict[str, float] = {}

    def measured(self, kind: str, seconds: float) -> None:
        """Take note of one training that is done."""
        self._measured.setdefault(kind, []).append(seconds)

    def expected(self, kind: str, guess: Callable[[], float]) -> float:
        """Mean of what was measured of the kind, else its guess, times how far others were off."""
        if kind in self._measured:
            return fmean(self._measured[kind])
        if kind not in self._guesses:
            self._guesses[kind] = guess()
        return self._guesses[kind] * self._ratio()

    def fits(self, kind: str, guess: Callable[[], float]) -> bool:
        """Whether one more training is expected to end within the budget."""
        if self._budget_s is None:
            return True
        return time.monotonic() - self._begun + self.expected(kind, guess) <= self._budget_s

    def _ratio(self) -> float:
        """Measured to guessed seconds of the kinds of which both are known; 1 without any."""
        known = [kind for kind in self._measured if kind in self._guesses]
        guessed = sum(self._guesses[kind] * len(self._measured[kind]) for kind in known)
        return sum(sum(self._measured[kind]) for kind in known) / guessed if guessed else 1.0


def duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> duration(5400), duration(90), duration(20)
    ('1 h 30 min', '2 min', '20 s')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    if not hours:
        return f"{minutes} min"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def parse_duration(text: str) -> float:
    """Seconds of ``90m``, ``2h``, ``1h30m`` or ``45s``.

    >>> parse_duration("1h30m")
    5400.0
    """
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", text)
    if not text or match is None:
        raise StudyError(f"--budget {text}: write it as 90m, 2h, 1h30m or 45s")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds
