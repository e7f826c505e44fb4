"""Lines for a terminal, which would obey the control characters in a name, a tag or a card."""

from __future__ import annotations

from pathlib import Path

import click


def shown(text: str | Path) -> str:
    r"""The text on one line, with all that is not to be printed as an escape.

    >>> shown("a\x1b[31m\n\u202e\udce9")
    'a\\x1b[31m\\n\\u202e\\xe9'
    """
    return "".join(c if c.isprintable() else _escaped(c) for c in str(text))


def _escaped(character: str) -> str:
    return repr(character)[1:-1].replace(r"\udc", r"\x")  # a byte of a name that is not UTF-8


def echo(*lines: str, err: bool = False) -> None:
    """Print lines on stdout, or on stderr."""
    for line in lines:
        click.echo(shown(line), err=err)
