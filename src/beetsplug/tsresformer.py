"""Genres by ts-resformer for beets: `beet tsresformer`, and on import.

beets keeps the genres, and writes them into the files when its own setting `import.write` says so.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from beets import ui
from beets.exceptions import UserError
from beets.plugins import BeetsPlugin

from tsresformer.classifier import DEFAULT_MODEL, Classifier
from tsresformer.errors import TsResformerError
from tsresformer.tagging import POLICIES
from tsresformer.tagging.plan import Options, decide, needs_model, read_map
from tsresformer.workers import n_cores

if TYPE_CHECKING:
    from beets.importer import ImportSession, ImportTask
    from beets.library import Item, Library


class TsResformerPlugin(BeetsPlugin):
    """Classifies the items of a library, or of an import."""

    def __init__(self) -> None:
        super().__init__()
        self.config.add(
            {
                "auto": True,
                "map": None,
                "min_confidence": None,
                "model": DEFAULT_MODEL,
                "policy": "fill",
                "workers": n_cores(),
            }
        )
        if self.config["auto"].get(bool):
            self.import_stages = [self.imported]

    def commands(self) -> Sequence[ui.Subcommand]:
        """Give beets the command `beet tsresformer [QUERY]`."""
        command = ui.Subcommand("tsresformer", help="tell genres from the audio")
        command.parser.add_option(
            "-p", "--pretend", action="store_true", help="show genres, and keep none"
        )
        command.parser.add_option(
            "-w", "--write", action="store_true", default=None, help="write genres into the files"
        )
        command.parser.add_option(
            "-W", "--nowrite", action="store_false", dest="write", help="write nothing into files"
        )
        command.func = self.command
        return [command]

    def command(self, lib: Library, opts: Any, args: list[str]) -> None:
        """Classify what a query finds."""
        try:
            for item in self._classified(lib.items(args), pretend=opts.pretend):
                item.store()
                if ui.should_write(opts.write):
                    item.try_write()
        except TsResformerError as error:
            raise UserError(f"tsresformer: {error}") from None

    def imported(self, _session: ImportSession, task: ImportTask) -> None:
        """Classify what is imported; the importer writes the files, if that is its setting."""
        try:
            for item in self._classified(task.imported_items(), pretend=False):
                item.store()
        except TsResformerError as error:  # an import is not to end for a genre
            self._log.error("{}", error)

    @cached_property
    def _classifier(self) -> Classifier:
        return Classifier.load(self.config["model"].as_str())

    @cached_property
    def _options(self) -> Options:
        genre_map = self.config["map"].get()
        path = self.config["map"].as_filename() if genre_map else None
        least = self.config["min_confidence"].get()
        return Options(
            policy=self.config["policy"].as_choice(POLICIES),
            min_confidence=None if least is None else self.config["min_confidence"].as_number(),
            genres=read_map(path, self._classifier.bundle) if path else {},
        )

    def _classified(self, items: Iterable[Item], *, pretend: bool) -> Iterable[Item]:
        """Items whose genres change, with their new ones."""
        options = self._options
        asked = {
            os.fsdecode(item.path): item for item in items if needs_model(item.genres, options)
        }
        if not asked:
            return
        workers = min(self.config["workers"].get(int), len(asked))
        for prediction in self._classifier.predict_many(list(asked), n_workers=workers):
            item = asked[prediction.path]
            before = tuple(item.genres)
            row = decide(prediction.path, before, prediction, options, self._classifier.bundle)
            if row.error:
                self._log.warning("{}: {}", item, row.error)
                continue
            confidence = "" if row.confidence is None else f" {row.confidence:.0%}"
            self._log.info("{}: {}{}", item, "; ".join(row.proposed) or row.status, confidence)
            if row.status != "to write":
                continue
            if pretend:
                ui.print_(f"{item}: {'; '.join(row.after)}{confidence}")
                continue
            item.genres = list(row.after)
            yield item
