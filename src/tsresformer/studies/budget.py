"""Time: what a study may take, what it has taken, and how people say it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from tsresformer.errors import StudyError


class Clock:
    """The budget, and how long a training takes by those that were measured."""

    def __init__(self, budget_s: float | None) -> None:
        self._begun, self._budget_s = time.monotonic(), budget_s
        self._measured: list[float] = []

    def measured(self, seconds: float) -> None:
        """Take note of one training that is done."""
        self._measured.append(seconds)

    def expected(self, guess: Callable[[], float] = lambda: 0.0) -> float:
        """Mean of what was measured, else a guess."""
        if self._measured:
            return sum(self._measured) / len(self._measured)
        return guess()

    def fits(self, guess: Callable[[], float] = lambda: 0.0) -> bool:
        """Whether one more training is expected to end within the budget."""
        if self._budget_s is None:
            return True
        return time.monotonic() - self._begun + self.expected(guess) <= self._budget_s


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
