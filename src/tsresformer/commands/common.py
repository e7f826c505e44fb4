"""What several commands share: options and output."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tsresformer.errors import TsResformerError, require
from tsresformer.files import atomic_write, check_writable
from tsresformer.spreadsheet import write_rows
from tsresformer.terminal import echo as echo
from tsresformer.terminal import shown as shown
from tsresformer.workers import n_cores

if TYPE_CHECKING:
    from tsresformer.cluster import Engine

Command = TypeVar("Command", bound=Callable[..., Any])


def writable(_ctx: click.Context, _param: click.Parameter, path: str | None) -> str | None:
    """Refuse an output (a path, ``-`` or None) that cannot be written, before the work begins."""
    if path not in (None, "-"):
        check_writable(path)
    return path


def model_option(command: Command) -> Command:
    """`--model NAME|PATH`, by default the shipped one."""
    return click.option(
        "--model",
        default="fma-small",
        show_default=True,
        metavar="NAME|PATH",
        help="A shipped bundle, or the folder of one.",
    )(command)


def workers_option(command: Command) -> Command:
    """`--workers N`, by default one for each core."""
    return click.option(
        "--workers",
        type=click.IntRange(1),
        default=n_cores,
        show_default="one a core",
        help="Processes that decode.",
    )(command)


def engine_options(default: str) -> Callable[[Command], Command]:
    """`--engine`, `--address` and `--pin`; see `check_engine`."""

    def decorate(command: Command) -> Command:
        pin = "Keep each worker to a core of its own.  [default: pin without --address]"
        address = "Of a Ray cluster, such as auto.  [default: a Ray of its own]"
        command = click.option("--pin/--no-pin", default=None, help=pin)(command)
        command = click.option("--address", help=address)(command)
        return click.option(
            "--engine", type=click.Choice(["ray", "local"]), default=default, show_default=True
        )(command)

    return decorate


def check_engine(engine: str, address: str | None, pin: bool | None = None) -> Engine:
    """Return the engine, unless an option is given that is for Ray alone and the engine is not."""
    if engine == "ray":
        return "ray"
    if address:
        raise TsResformerError(f"--address {address}: is for --engine ray")
    if pin is not None:
        raise TsResformerError(f"--{'pin' if pin else 'no-pin'}: is for --engine ray")
    return "local"


def output_options(command: Command) -> Command:
    """`--json`, `--csv` and `--parquet`, each with a path or ``-``."""
    for name, what in (
        ("--parquet", "Parquet (extra: parquet)"),
        ("--csv", "CSV"),
        ("--json", "JSON"),
    ):
        command = output_option(name, what)(command)
    return command


def output_option(name: str, what: str) -> Callable[[Command], Command]:
    """Make an option that takes a path or ``-``."""
    text = f"Write {what}; - is stdout."
    return click.option(name, metavar="OUT", callback=writable, help=text)


def write_text(out: str, text: str) -> None:
    """Write to a file, atomically, or to stdout."""
    if out == "-" and sys.stdout.isatty():
        echo(*text.splitlines())
        return
    data = text.encode("utf-8", "backslashreplace")
    if out == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    with atomic_write(out, "wb") as stream:
        stream.write(data)


def json_text(value: object) -> str:
    """Return indented JSON with a last newline."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def csv_text(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a CSV table; None is empty."""
    stream = io.StringIO(newline="")
    write_rows(stream, [header, *rows])
    return stream.getvalue()


def write_parquet(out: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a table as Parquet."""
    arrow = require("pyarrow", "parquet")
    parquet = require("pyarrow.parquet", "parquet")
    columns = zip(*rows, strict=True) if rows else [()] * len(header)
    table = arrow.table({name: list(c) for name, c in zip(header, columns, strict=True)})
    if out == "-":
        parquet.write_table(table, sys.stdout.buffer)
        return
    with atomic_write(out, "wb") as stream:
        parquet.write_table(table, stream)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, n_names: int) -> None:
    """Print a table on stdout; all but the first `n_names` columns are numbers."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE, pad_edge=False, padding=(0, 1))
    for place, name in enumerate(header):
        table.add_column(name, justify="left" if place < n_names else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(shown, row))
    width = None if sys.stdout.isatty() else 200
    Console(file=sys.stdout, markup=False, emoji=False, highlight=False, width=width).print(table)


def warn(message: str) -> None:
    """Print one line on stderr."""
    echo(message, err=True)


def warn_of_leak(thing: str, protocol: str) -> None:
    """Say on stderr under what protocol a thing was made, if that keeps no artists apart."""
    from tsresformer.splits import parse_protocol

    parsed = parse_protocol(protocol)
    if not parsed.honest:
        warn(f"warning: {thing}: {parsed.title}")
