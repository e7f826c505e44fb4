"""The command line: parse, call, print. Heavy imports happen inside the commands."""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import signal
import sys
import traceback
from importlib import import_module
from types import FrameType
from typing import Any

import click

from tsresformer import __version__
from tsresformer.errors import EXIT_INTERRUPTED, EXIT_USAGE, TsResformerError
from tsresformer.files import DISK_FULL
from tsresformer.terminal import echo

# Command -> module of tsresformer.commands that holds it, in the order of a project's life.
COMMANDS = {
    "predict": "predict",
    "tag": "tag",
    "watch": "tag",
    "data": "data",
    "features": "features",
    "train": "train",
    "export": "train",
    "catalogue": "catalogue",
    "evaluate": "evaluate",
    "publish": "evaluate",
    "compare": "compare",
    "study": "study",
    "reproduce": "reproduce",
    "serve": "serve",
    "info": "info",
    "doctor": "info",
}


class LazyGroup(click.Group):
    """Imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module that holds a command."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"tsresformer.commands.{COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name)
        return command


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="tsresformer")
def cli() -> None:
    """Music-genre classification: prepare data, train, evaluate honestly, classify.

    \b
    Example:
      tsresformer predict song.mp3
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0, 1 some input failed, 2 usage or artefact, 130 Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
        sys.unraisablehook = _unraisable
    codes: list[int] = []
    atexit.register(_leave, codes)
    try:
        code = run(arguments)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # nobody is left to answer it
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Python would restore what kills, as it ends
    if _interrupts:
        codes.append(code)
    sys.exit(code)


def _leave(codes: list[int]) -> None:
    """End here, after all other exit handlers, if there is a code.

    `python -m` ends by SIGINT, whatever the code, once a KeyboardInterrupt has passed an `exec`.
    """
    if codes:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(codes[0])


_interrupts: list[int] = []
"""Each Ctrl-C so far."""


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Answer Ctrl-C by an exception; a second one ends the process, as kill -9 would.

    An exception amid what cleans up after the first would be lost, or told with a traceback.
    """
    _interrupts.append(number)
    if len(_interrupts) > 1:
        os._exit(EXIT_INTERRUPTED)
    raise KeyboardInterrupt


def _unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """End the process where Ctrl-C came in a destructor, in which Python drops exceptions."""
    if unraisable.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(unraisable)
        return
    _complain("interrupted")
    os._exit(EXIT_INTERRUPTED)


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    if sys.stdout is None:  # closed by the caller, as in `>&-`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lives
    try:
        code: Any = cli.main(arguments, prog_name="tsresformer", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        message = io.StringIO()
        error.show(message)
        echo(*message.getvalue().splitlines(), err=True)
        return EXIT_USAGE
    except TsResformerError as error:
        _complain(str(error))
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        _complain("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        remedy = "; make room and run again" if error.errno in DISK_FULL else ""
        _complain(f"{error.filename or 'input/output'}: {error.strerror or error}{remedy}")
        return EXIT_USAGE
    except Exception as error:
        if os.environ.get("TSRESFORMER_DEBUG") == "1":
            echo(*traceback.format_exc().splitlines(), err=True)
        _complain(
            f"unexpected {type(error).__name__}: {error}; please report this, with what "
            "TSRESFORMER_DEBUG=1 shows"
        )
        return EXIT_USAGE
    return int(code or 0)


def _complain(message: str) -> None:
    echo(" ".join(f"error: {message}".split()), err=True)


if __name__ == "__main__":
    main()
