"""CSV tables in which no spreadsheet finds a formula.

A spreadsheet takes a cell that begins with ``=``, ``+``, ``-`` or ``@`` for a formula and may run
it; file names, tags and labels are anybody's and may begin so. Such text is written behind an
apostrophe, which to a spreadsheet says "this is text", and is read without it: whatever is
written here is read as it was.
"""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

from tsresformer.files import sha256_file

_MARKS = r"[=+\-@\t\r\n＝＋－＠]"
_FORMULA = re.compile(f"'*{_MARKS}")
_GUARDED = re.compile(f"'+{_MARKS}")
_NEEDS_QUOTES = re.compile('[",;\t\r\n]')  # LibreOffice takes ; and tabs for separators, too
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def guarded(text: str) -> str:
    """The text as a cell that is no formula; `plain` takes it back.

    >>> guarded("=1+1.mp3"), guarded("-0.5"), guarded("a-b")
    ("'=1+1.mp3", '-0.5', 'a-b')
    """
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def plain(cell: str) -> str:
    """The text of a cell that `guarded` made.

    >>> plain("'=1+1.mp3"), plain("'tis a song")
    ('=1+1.mp3', "'tis a song")
    """
    return cell[1:] if _GUARDED.match(cell) else cell


def csv_line(cells: Iterable[object]) -> str:
    """One row, at least two cells, as a line of CSV; None is empty."""
    # csv.writer leaves a lone carriage return unquoted, and csv.reader then ends the row there.
    texts = ("" if cell is None else guarded(str(cell)) for cell in cells)
    quoted = (
        '"' + text.replace('"', '""') + '"' if _NEEDS_QUOTES.search(text) else text
        for text in texts
    )
    return ",".join(quoted) + "\n"


def write_rows(stream: IO[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows as CSV."""
    stream.writelines(map(csv_line, rows))


def read_rows(stream: IO[str]) -> list[dict[str, str]]:
    """Read what `write_rows` wrote, by the names in the first row.

    Raises
    ------
    ValueError : a row has more or fewer cells than the first
    """
    reader = csv.reader(stream)
    header = [plain(name) for name in next(reader, [])]
    return [dict(zip(header, map(plain, row), strict=True)) for row in reader]


def read_table(path: str | Path, sha256: str | None = None) -> list[dict[str, str]]:
    """Rows of a CSV file, or of ``<path>.gz`` where only that lies there.

    Parameters
    ----------
    sha256 : of the file that lies there, if it is known

    Raises
    ------
    FileNotFoundError : neither lies there
    ValueError : the file is damaged
    """
    file = Path(path)
    packed = not file.is_file() and Path(f"{path}.gz").is_file()
    if packed:
        file = Path(f"{path}.gz")
    if sha256 and sha256_file(file) != sha256:
        raise ValueError(f"{file.name} has changed since it was written")
    opened = gzip.open if packed else open
    try:
        with opened(file, "rt", newline="", encoding="utf-8") as stream:
            return read_rows(stream)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{file.name}: {error}") from None
