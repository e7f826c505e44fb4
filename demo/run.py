"""What `make demo` runs: classify a piece of music, then train and evaluate a model of one's own.

Every command is shown before it runs, so that it can be repeated by hand. All files go to
demo-out/. A demo that was stopped during training goes on where it was; otherwise it starts
afresh.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console

from compose import N_ARTISTS, N_TRACKS
from styles import STYLES

ROOT = Path(__file__).resolve().parent.parent
PIECE = Path("demo/piece.ogg")
OUT = Path("demo-out")
SET, IMPORTED, MANIFEST = OUT / "my_music", OUT / "my_music.csv", OUT / "split.csv"
STORE, RUN, BUNDLE, REPORT = OUT / "store", OUT / "run", OUT / "demo.bundle", OUT / "report"
INTERRUPTED = 130

console = Console(highlight=False)


def main() -> int:
    """Run the demo; returns the exit code of the first command that fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--audio", type=Path, help="a song of your own to classify")
    audio = parser.parse_args().audio
    start = time.monotonic()
    console.print("To repeat a command by hand: source .venv/bin/activate")
    try:
        _classify(audio.absolute() if audio else PIECE)
        _train(resume=_stopped_in_training())
        _evaluate()
    except KeyboardInterrupt:
        console.print("\nStopped; `make demo` goes on from here.")
        return INTERRUPTED
    except subprocess.CalledProcessError as error:
        print(
            f"demo: the command above failed (exit code {error.returncode}); "
            "if demo-out/ is from an older version, remove it",
            file=sys.stderr,
        )
        return int(error.returncode)
    minutes, seconds = divmod(round(time.monotonic() - start), 60)
    _say(f"Done in {minutes} min {seconds} s. The report: {ROOT / REPORT / 'index.html'}")
    return 0


def _classify(audio: Path) -> None:
    what = "The project's own piece" if audio == PIECE else "Your song"
    _say(f"{what}, classified by the model that ships in the package")
    _run("tsresformer", "predict", audio, "--top", 3, "--timeline")


def _train(*, resume: bool) -> None:
    if resume:
        _say("The training that was stopped goes on")
    else:
        shutil.rmtree(ROOT / OUT, ignore_errors=True)
        n_tracks = len(STYLES) * N_ARTISTS * N_TRACKS
        _say(f"A data set of our own: {n_tracks} tracks, {len(STYLES)} styles, no download")
        _run("python", "demo/compose.py", "set", SET)
        _say("From a folder of music to a manifest with an honest split: by artist")
        _run("tsresformer", "data", "import", "folder", SET, "-o", IMPORTED)
        _run("tsresformer", "data", "check", IMPORTED)
        split = ("--protocol", "artist-kfold", "--seed", 0, "-o", MANIFEST)
        _run("tsresformer", "data", "split", IMPORTED, *split)
        _say("Log-mel features, then a small TS-Resformer")
        _run("tsresformer", "features", MANIFEST, "-o", STORE)
    how = ("--config", "demo", "--manifest", MANIFEST, "--store", STORE, "-o", RUN)
    _run("tsresformer", "train", *how, *(["--resume"] if resume else []))


def _evaluate() -> None:
    _say("The run becomes one bundle; the bundle is what gets evaluated and used")
    _run("tsresformer", "export", RUN, "-o", BUNDLE)
    _run("tsresformer", "evaluate", BUNDLE, MANIFEST, "--split", "test", "-o", REPORT)


def _stopped_in_training() -> bool:
    """Whether an earlier demo got as far as training and no further."""
    return (ROOT / RUN).exists() and not (ROOT / BUNDLE).exists()


def _say(text: str) -> None:
    console.print(f"\n[bold]{text}[/bold]")


def _run(program: str, *arguments: object) -> None:
    """Show a command and run it from the root of the project."""
    words = [program, *map(str, arguments)]
    console.print(f"[green]$ {shlex.join(words)}[/green]", soft_wrap=True)
    command = [str(Path(sys.executable).parent / program), *words[1:]]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        exit_code = process.wait()
    except KeyboardInterrupt:
        process.wait()  # Ctrl-C reached it too; it tidies up before it ends
        raise
    if exit_code:
        raise subprocess.CalledProcessError(exit_code, words)


if __name__ == "__main__":
    sys.exit(main())
