"""A run over a library, or its undoing, for tests that kill it: `tag_run.py tag|undo PLACE`.

One line on stdout a file that is changed, or cannot be, as soon as it is done.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tagged_files import StubClassifier
from tsresformer.tagging.library import Library, undo
from tsresformer.tagging.plan import Options
from tsresformer.tagging.rewrite import Manner


def main(what: str, place: Path) -> None:
    if what == "undo":
        for row in undo(place, Manner()):
            if row.status != "unchanged":
                print(row.error or row.status, flush=True)
        return
    with Library(place, Options(policy="replace")) as library:
        for row in library.tag(StubClassifier()):
            if row.status != "kept":
                print(row.error or row.status, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
