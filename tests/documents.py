"""The code in the documents: fenced blocks, what is said of them, and how a page's are run.

An HTML comment right before a block says what is special about it:

- `<!-- not run: REASON -->`: left out, for that reason.
- `<!-- slow: REASON -->`: left out of the default run.
- `<!-- file: NAME -->`: becomes a file that later blocks use.
- `<!-- background -->`: one command that runs beside the blocks after it, until the page ends.
- `<!-- output -->`: what the block before printed; a line `...` stands for any lines.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from markdown_it import MarkdownIt
from packaging.requirements import Requirement

from compose import compose_set
from processes import wait_for
from serving import Process
from tsresformer import cli
from tsresformer.errors import EXIT_INTERRUPTED, EXIT_OK

ROOT = Path(__file__).resolve().parent.parent

TOLERANCE = 1e-4
"""By how much a probability may differ between processors, as in the golden tests."""

_LONG = re.compile(r"(\d+\.\d{5,})")
KINDS = ("not run", "slow", "file", "background", "output")
COMMENT = re.compile(rf"<!-- ({'|'.join(KINDS)})(?:: (.+))? -->\n?")
FOR_BASH = re.compile(r"[|&;<>$`*?()]")
SERVER = "http://127.0.0.1:8000"
MUSIC: dict[str, Any] = {"styles": ("ambient", "chiptune", "waltz"), "n_artists": 10, "n_tracks": 2}
"""What the tests compose where a document composes more."""

PARSERS: dict[str, Callable[[str], object]] = {
    "csv": lambda text: list(csv.reader(text.splitlines(), strict=True)),
    "json": json.loads,
    "toml": tomllib.loads,
    "yaml": yaml.safe_load,
}


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, and what the comment before it says."""

    page: str
    line: int
    language: str
    code: str
    kind: str = ""
    about: str = ""

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(path: Path, page: str) -> Iterator[Block]:
    """Yield the fenced blocks of a document."""
    comment = None
    for token in MarkdownIt().parse(path.read_text("utf-8")):
        if token.type == "fence":
            assert token.map
            kind, about = (comment[1], comment[2] or "") if comment else ("", "")
            yield Block(page, token.map[0] + 1, token.info.strip(), token.content, kind, about)
        comment = COMMENT.fullmatch(token.content) if token.type == "html_block" else None


def commands(code: str) -> Iterator[str]:
    """Yield the command lines of a shell block, those that go on with a backslash as one."""
    for line in code.replace("\\\n", " ").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield line.strip()


class Runner:
    """Runs the blocks of one page, in order, in the current folder."""

    def __init__(self, printed: Callable[[], tuple[str, str]]) -> None:
        self._printed, self._server, self._out = printed, SERVER, ""
        self._until_the_end = ExitStack()

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self._until_the_end.close()

    def run(self, block: Block) -> None:
        """Run, parse, store or compare a block; an AssertionError says which."""
        if block.kind == "output":
            compare(self._out, block)
            return
        code = block.code.replace(SERVER, self._server)
        if block.kind == "file":
            Path(block.about).write_text(code, "utf-8")
        if block.kind == "background":
            self._start(code)
        elif block.language == "sh":
            for line in commands(code):
                self._command(line, block.where)
        elif block.language == "python":
            exec(compile(code, block.where, "exec"), {"__name__": "__main__"})
        else:
            PARSERS[block.language](code)
        self._out = self._printed()[0]

    def _command(self, line: str, where: str) -> None:
        words = [os.path.expanduser(word) for word in shlex.split(line, comments=True)]
        in_bash = bool(FOR_BASH.search(line))
        if words[0] == "tsresformer" and not in_bash:
            assert cli.run(words[1:]) == 0, self._failure(where, line)
        elif words[0] == "pip":
            check_requirements(words[1:], where)
        elif words[:3] == ["python", "demo/compose.py", "set"]:
            list(compose_set(words[3], seconds=4.0, **MUSIC))
        elif words[0] == "make":
            self._bash(f"make -n {shlex.join(words[1:])} >/dev/null", where, cwd=ROOT)
        else:
            self._bash(line, where)

    def _bash(self, line: str, where: str, cwd: Path | None = None) -> None:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        command = ["bash", "-euo", "pipefail", "-c", line]
        done = subprocess.run(command, cwd=cwd, env={**os.environ, "PATH": path})
        assert done.returncode == 0, self._failure(where, line)

    def _failure(self, where: str, line: str) -> str:
        out, err = self._printed()
        return f"{where}: {line}\n{out}{err}"

    def _start(self, code: str) -> None:
        (line,) = commands(code)
        program, command, *options = shlex.split(line, comments=True)
        assert program == "tsresformer"
        if command == "serve":
            server = Process(*options)
            self._until_the_end.callback(server.end)
            self._server = SERVER.replace("8000", str(server.port))
            return
        assert command == "watch"
        folder = os.path.expanduser(options[0])
        process = subprocess.Popen(
            [sys.executable, "-m", "tsresformer.cli", command, folder, *options[1:]]
        )
        self._until_the_end.callback(interrupt, process, line)
        held = Path(folder, ".tsresformer", ".lock")
        wait_for(lambda: held.exists() or process.poll() is not None)


def interrupt(process: subprocess.Popen[bytes], line: str) -> None:
    """Press Ctrl-C for a process that must still run."""
    assert process.poll() is None, f"{line} ended by itself"
    process.send_signal(signal.SIGINT)
    assert process.wait(60) in (EXIT_OK, EXIT_INTERRUPTED), line


def check_requirements(words: list[str], where: str) -> None:
    """Check that what a document installs is this project, with extras that it has."""
    extras = set(metadata.metadata("ts-resformer").get_all("Provides-Extra") or ())
    assert words[0] == "install", where
    for word in words[1:]:
        if word.startswith("--") or word == "constraints.txt":
            continue
        requirement = Requirement(re.sub(r"^\.(?=\[|$)", "ts-resformer", word))
        assert requirement.name == "ts-resformer", f"{where}: {word}"
        assert requirement.extras <= extras, f"{where}: {word}"


def compare(printed: str, block: Block) -> None:
    """Check that a document shows what was printed; the last of many digits may differ."""
    parts = re.split(r"^\.\.\.\n", block.code, flags=re.M)
    pattern = r"(?:.*\n)*".join(map(_pattern, parts))
    found = re.fullmatch(pattern, printed.removesuffix("\n") + "\n")
    assert found, f"{block.where}: now it prints\n{printed}"
    for expected, number in zip(_LONG.findall(block.code), found.groups(), strict=True):
        assert abs(float(expected) - float(number)) <= TOLERANCE, f"{block.where}: now {number}"


def _pattern(text: str) -> str:
    """A regular expression for a text, with a group for each number that has many digits."""
    words = _LONG.split(text)
    return "".join(r"(\d+\.\d+)" if i % 2 else re.escape(word) for i, word in enumerate(words))
