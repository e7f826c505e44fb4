"""The reference's parts that are made from the code: commands, configuration."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator
from importlib import resources
from typing import Any, Literal, Union, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from tsresformer.cli import cli
from tsresformer.config import Config, FeatureConfig, Section, shipped_configs

HELP_WIDTH = 80
NAMES = {bool: "true or false", float: "number", int: "whole number", str: "text"}
BOUNDS = {"Ge": "ge", "Gt": "gt", "Le": "le", "Lt": "lt", "MultipleOf": "multiple_of"}
SIGNS = {"ge": "≥ {}", "gt": "> {}", "le": "≤ {}", "lt": "< {}", "multiple_of": "multiple of {}"}
HUGE = 2**53
"""A bound from which on it only keeps the value in its bytes, and says nothing to a reader."""


def commands() -> Iterator[str]:
    """Yield a heading and the `--help` of every command, in Markdown."""
    yield from _command(cli, "tsresformer", None)


def _command(command: click.Command, name: str, parent: click.Context | None) -> Iterator[str]:
    context = command.make_context(
        name, [], parent, resilient_parsing=True, terminal_width=HELP_WIDTH
    )
    depth = context.command_path.count(" ") + 2
    yield f"{'#' * depth} {context.command_path}\n"
    yield f"```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            assert found is not None
            yield from _command(found, below, context)


def settings() -> Iterator[str]:
    """Yield a table of the keys of every section of the configuration."""
    yield from _section("General", "", Config)
    for name, field in Config.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from _section(name, f"{name}.", kind)
    yield from _section("Features", "", FeatureConfig)


def shipped() -> Iterator[str]:
    """Yield the configurations that ship, each as its file."""
    folder = resources.files("tsresformer") / "configs"
    for name in shipped_configs():
        text = (folder / f"{name}.toml").read_text(encoding="utf-8")
        yield f"### {name}\n\n```toml\n{text}```\n"


def _section(title: str, prefix: str, section: type[Section]) -> Iterator[str]:
    yield f"### {title}\n"
    yield f"{inspect.getdoc(section)}\n".replace("`tsresformer.", "`")
    yield "| key | value | default | |\n|---|---|---|---|"
    for name, field in section.model_fields.items():
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, Section)):
            cells = (f"`{prefix}{name}`", _kind(field), _default(field), field.description or "")
            yield f"| {' | '.join(cells)} |"
    yield ""


def _default(field: FieldInfo) -> str:
    if field.default is None:
        return ""
    return f"`{_toml(field.default)}`"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else f"{value:g}"


def _kind(field: FieldInfo) -> str:
    bounds = [
        SIGNS[attribute].format(f"{bound:g}")
        for item in field.metadata
        if (attribute := BOUNDS.get(type(item).__name__))
        and abs(bound := getattr(item, attribute)) < HUGE
    ]
    return " ".join(filter(None, [_type(field.annotation), ", ".join(bounds)]))


def _type(kind: Any) -> str:
    origin, inside = get_origin(kind), [part for part in get_args(kind) if part is not type(None)]
    if origin is Literal:
        return ", ".join(f"`{_toml(value)}`" for value in inside)
    if origin in (Union, types.UnionType):
        return " or ".join(map(_type, inside))
    if origin is tuple:
        if inside[-1] is Ellipsis:
            return f"list, each a {_type(inside[0])}"
        return f"list of {len(inside)}, each a {_type(inside[0])}"
    if hasattr(kind, "__metadata__"):  # Annotated, as pydantic's PositiveInt
        return _kind(FieldInfo.from_annotation(kind))
    return NAMES[kind]
