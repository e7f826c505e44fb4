"""The errors that users meet: one root, each with the exit code of the command line."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

EXIT_OK, EXIT_INPUT, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130


class TsResformerError(Exception):
    """Root of every error that this package raises on purpose."""

    exit_code = EXIT_USAGE


class AudioError(TsResformerError):
    """One audio file could not be used.

    Parameters
    ----------
    path : the file, as the user named it
    problem : what is wrong with it, without a full stop
    remedy : what the user can do about it, without a full stop
    status : the row status that batch commands give to the file
    """

    exit_code = EXIT_INPUT

    def __init__(
        self,
        path: str | Path,
        problem: str,
        remedy: str = "",
        *,
        status: str = "undecodable",
    ) -> None:
        self.path, self.problem, self.remedy, self.status = str(path), problem, remedy, status
        super().__init__(self.path, problem, remedy)

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"

    def __reduce__(self) -> tuple[object, ...]:
        return _audio_error, (type(self), self.path, self.problem, self.remedy, self.status)

    @property
    def reason(self) -> str:
        """The message without the path, for rows that name the file elsewhere."""
        return f"{self.problem}; {self.remedy}" if self.remedy else self.problem


class NotAudioError(AudioError):
    """The content of a file is no audio."""


class TooLongError(AudioError):
    """A file holds more audio than may be decoded."""


class ChildDiedError(AudioError):
    """The process that decoded a file ended, by the file's fault or another's."""


class StalledError(ChildDiedError):
    """Decoding a file made no progress, or took too long."""


def _audio_error(
    kind: type[AudioError], path: str, problem: str, remedy: str, status: str
) -> AudioError:
    """Rebuild an error that crossed a process boundary."""
    return kind(path, problem, remedy, status=status)


class ConfigError(TsResformerError, ValueError):
    """A configuration has an unknown key or a value out of range."""


class ManifestError(TsResformerError):
    """A manifest is malformed or does not fit its use."""


class SplitError(ManifestError):
    """A protocol cannot be served, or its promise is broken by the manifest."""


class StoreError(TsResformerError):
    """A feature store is unfinished, damaged, or made for something else."""


class BundleError(TsResformerError):
    """A model bundle is damaged, or does not fit its use."""


class CatalogueError(TsResformerError):
    """A catalogue cannot be classified, or its folder belongs to something else."""


class ClusterError(TsResformerError):
    """Ray cannot be started or reached, or gave up."""


class TrainingError(TsResformerError):
    """Training cannot start or cannot go on."""


class StudyError(TsResformerError):
    """A study is malformed, cannot be run as asked, or its results are another study's."""


class MissingExtraError(TsResformerError):
    """A feature needs packages that the light install leaves out."""


def require(module: str, extra: str) -> ModuleType:
    """Import `module`, or say which extra brings it.

    >>> require("json", "train").dumps({"a": 1})
    '{"a": 1}'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"this needs {module.partition('.')[0]}, which is not installed: "
            f"pip install 'ts-resformer[{extra}]'"
        ) from error
