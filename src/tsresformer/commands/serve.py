"""`tsresformer serve`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

import click

from tsresformer.errors import EXIT_OK, TsResformerError, require
from tsresformer.serve.settings import PREFIX, Settings, key_from

Command = TypeVar("Command", bound=Callable[..., Any])


def _settings(command: Command) -> Command:
    """Add an option, which is an environment variable too, for each setting."""
    for one in reversed(fields(Settings)):
        if one.metadata.get("hidden"):
            continue
        flag = one.metadata["flag"] or one.name.replace("_", "-")
        repeated = isinstance(one.default, tuple)
        command = click.option(
            f"--{flag}",
            one.name,
            envvar=PREFIX + flag.replace("-", "_").upper(),
            type=str if repeated else type(one.default),
            multiple=repeated,
            default=one.default,
            show_default=bool(one.default),
            help=one.metadata["help"],
        )(command)
    return command


@click.command()
@_settings
@click.option(
    "--log-level",
    envvar=f"{PREFIX}LOG_LEVEL",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="Least level of the log, JSON on stderr.",
)
def serve(log_level: str, **values: Any) -> int:
    """Answer over HTTP what `predict` answers; SIGHUP reads the bundles again.

    Every option --some-name is also the environment variable TSRESFORMER_SERVE_SOME_NAME
    (a list is divided by spaces).

    \b
    Examples:
      tsresformer serve
      tsresformer serve --host 0.0.0.0 --model fma-small --model my.bundle
      curl -F file=@song.mp3 http://127.0.0.1:8000/v1/predict
    """
    settings = Settings(**values, api_key=key_from(values["api_key_file"]))
    for module in ("fastapi", "uvicorn", "python_multipart", "prometheus_client", "httpx"):
        require(module, "serve")
    from tsresformer.serve.logs import configuration
    from tsresformer.serve.server import Server
    from tsresformer.serve.service import Service

    service = Service(settings)
    try:
        service.start()
        Server(service, configuration(log_level)).run()
    except SystemExit:  # so uvicorn ends when it cannot listen, once it has logged why
        where = f"{settings.host}:{settings.port}"
        raise TsResformerError(f"{where}: cannot listen there; name another --port") from None
    finally:
        service.stop()
    return EXIT_OK
