"""Progress bars on stderr; nothing where stderr is no terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from tsresformer.terminal import shown


class Meter:
    """One progress bar; `advance` is cheap to call often."""

    def __init__(self, progress: Progress, description: str, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task(description, total=total)

    def advance(self, *_ignored: object) -> None:
        """Count one more."""
        self._progress.advance(self._task)

    def reach(self, done: int, total: int | None = None, description: str | None = None) -> None:
        """Say how much is done, and of how much and what if that has changed."""
        self._progress.update(self._task, completed=done, total=total, description=description)

    def say(self, message: str) -> None:
        """Print a line above the bar."""
        console = self._progress.console
        console.print(shown(message), markup=False, emoji=False, highlight=False, soft_wrap=True)


@contextmanager
def meter(description: str, total: int | None = None, *, show: bool = True) -> Iterator[Meter]:
    """Show a bar while the block runs."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    hidden = not (show and console.is_terminal)
    with Progress(*columns, console=console, disable=hidden) as progress:
        yield Meter(progress, description, total)
