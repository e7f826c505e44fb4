"""The OpenAPI document: request bodies, problems and examples."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from tsresformer.serve.problems import KINDS, MEDIA_TYPE
from tsresformer.serve.schemas import ProblemDetails, example_of
from tsresformer.serve.uploads import FIELD

DETAILS = {
    "bad-request": "the form needs the field 'file' with a file, and nothing else",
    "host-not-allowed": "the operator of this service does not allow that host",
    "unknown-model": "no such model; there is fma-small",
    "slow-body": "the body did not arrive in time",
    "too-large": "the body exceeds 100 MiB",
    "not-audio": "this is no audio: it looks like text; check what it is, or convert it to WAV or "
    "FLAC",
    "undecodable": "no sample can be decoded; copy the file again, or convert it to WAV or FLAC",
    "fetch-failed": "the URL cannot be fetched: the host answered 404",
    "busy": "too many requests at once; come again soon",
    "timeout": "the decoder made no progress for 20 s; copy the file again, or convert it to WAV "
    "or FLAC",
}
"""A detail for each status, as an example."""

_SCHEMA = {"$ref": "#/components/schemas/ProblemDetails"}
_BYTES = {"type": "string", "format": "binary"}


def _form(file: dict[str, Any]) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {FIELD: file},
        "required": [FIELD],
        "additionalProperties": False,
    }
    return {"multipart/form-data": {"schema": schema}}


_URL = {
    "application/json": {
        "schema": {
            "type": "object",
            "properties": {"url": {"type": "string", "format": "uri"}},
            "required": ["url"],
        },
        "example": {"url": "https://music.example/song.mp3"},
    }
}


def _body(file: dict[str, Any]) -> dict[str, Any]:
    raw = {"application/octet-stream": {"schema": _BYTES}, "audio/*": {"schema": _BYTES}}
    return {"requestBody": {"required": True, "content": {**_form(file), **raw, **_URL}}}


ONE_FILE_BODY = _body(_BYTES)
BATCH_BODY = _body({"type": "array", "items": _BYTES, "minItems": 1})


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the problems of a route, by their statuses."""
    described: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        kinds = [kind for kind, (number, _) in KINDS.items() if number == status]
        examples = {k: {"value": example_of(k, DETAILS[k])} for k in kinds if k in DETAILS}
        content = {"schema": _SCHEMA, **({"examples": examples} if examples else {})}
        described[status] = {
            "description": ", ".join(kinds),
            "content": {MEDIA_TYPE: content},
        }
        if status == 503:
            header = {"schema": {"type": "integer"}, "description": "seconds"}
            described[status]["headers"] = {"Retry-After": header}
    return described


def describe(app: FastAPI, *, with_key: bool) -> None:
    """Let an application tell FastAPI's document with the problems' schema, and the key."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title, version=app.version, summary=app.summary, routes=app.routes
            )
            components = document.setdefault("components", {})
            schema = ProblemDetails.model_json_schema()
            components.setdefault("schemas", {})["ProblemDetails"] = schema
            for unused in ("HTTPValidationError", "ValidationError"):
                components["schemas"].pop(unused, None)
            if with_key:
                components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
                for path, operations in document["paths"].items():
                    for operation in operations.values():
                        _ask_for_key(path, operation)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _ask_for_key(path: str, operation: dict[str, Any]) -> None:
    if path.startswith(("/v1/", "/metrics")):
        operation["security"] = [{"key": []}]
        operation["responses"].update({str(k): v for k, v in problems(401).items()})
