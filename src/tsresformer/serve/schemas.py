"""The replies, as the OpenAPI document describes them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from tsresformer.serve.problems import KINDS, NAMESPACE

_GENRES: dict[str, JsonValue] = {"Electronic": 0.591573, "Instrumental": 0.146542, "Folk": 0.074605}
_WINDOW: dict[str, JsonValue] = {
    "start_s": 0.0,
    "end_s": 27.5,
    "label": "Electronic",
    "probabilities": _GENRES,
}
_TRACK: dict[str, JsonValue] = {
    "path": "piece.ogg",
    "status": "ok",
    "error": None,
    "label": "Electronic",
    "probabilities": _GENRES,
    "unsure": False,
    "timeline": [_WINDOW],
}
_REFUSED: dict[str, JsonValue] = {
    "path": "notes.txt",
    "status": "undecodable",
    "error": "this is no audio: it looks like text; check what it is, or convert it to WAV or FLAC",
    "label": None,
    "probabilities": {},
    "unsure": None,
    "timeline": [],
}

Probability = Field(ge=0, le=1)


class Reply(BaseModel):
    """Base of the replies: no field but those that are named."""

    model_config = ConfigDict(extra="forbid")


class Window(Reply):
    """The genres of one stretch of a track; silent where `label` is null."""

    start_s: float = Field(ge=0)
    end_s: float = Field(ge=0)
    label: str | None
    probabilities: dict[str, float]


class Track(Reply):
    """What a bundle says of one file: an entry of `predict`'s JSON."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_TRACK]})

    path: str = Field(description="last part of the client's file name")
    status: str = Field(description="ok, silent, or in a batch what went wrong")
    error: str | None
    label: str | None
    probabilities: dict[str, float] = Field(description="genre to probability, falling")
    unsure: bool | None
    timeline: list[Window]


class Batch(Reply):
    """The whole of `predict`'s JSON."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"schema": 1, "model": "fma-small", "tracks": [_TRACK, _REFUSED]}]
        },
    )

    schema_: Literal[1] = Field(alias="schema")
    model: str
    tracks: list[Track]


class Waveform(Reply):
    """Least and greatest sample of equal stretches."""

    seconds_per_point: float = Field(gt=0)
    low: list[float]
    high: list[float]


class LogMel(Reply):
    """A log-mel as bytes, column after column, lowest band first."""

    n_columns: int = Field(ge=1)
    n_mels: int = Field(ge=1)
    seconds_per_column: float = Field(gt=0)
    top_db: float | None = Field(description="how far 0 lies below 255; null for PCEN")
    mel_hz: list[float]
    data: str = Field(description="base64 of n_columns * n_mels bytes; 255 is the loudest")


class Attention(Reply):
    """Attention to the columns and to the bands of the log-mel; null where there is none."""

    time: list[float | None] | None
    frequency: list[float] | None


class Analysis(Reply):
    """A prediction with what a picture of it needs."""

    model: str
    unsure_below: float = Probability
    track: Track
    seconds: float
    warning: str
    waveform: Waveform
    log_mel: LogMel
    attention: Attention


class Model(Reply):
    """A bundle that is served."""

    name: str
    task: Literal["single", "multi"]
    labels: list[str]
    protocol: str = Field(description="split protocol of the training, empty if not known")
    unsure_below: float = Probability
    sha256: str


class ModelCard(Model):
    """A bundle with its model card."""

    card: str = Field(description="Markdown")


class ModelList(Reply):
    """The bundles that are served."""

    default: str
    models: list[Model]


class Example(Reply):
    """A piece of music to try."""

    name: str
    title: str
    seconds: float
    licence: str
    url: str


class ExampleList(Reply):
    """Music to try."""

    examples: list[Example]


class Health(Reply):
    """The process answers."""

    status: Literal["ok", "starting"]


class ProblemDetails(Reply):
    """An error (RFC 9457)."""

    type: Literal[tuple(NAMESPACE + kind for kind in KINDS)]  # type: ignore[valid-type]
    title: str
    status: int = Field(ge=400, le=599)
    detail: str
    request_id: str


def example_of(kind: str, detail: str) -> dict[str, Any]:
    """Return an example of a problem."""
    status, title = KINDS[kind]
    return {
        "type": NAMESPACE + kind,
        "title": title,
        "status": status,
        "detail": detail,
        "request_id": "4be0643f1d98573b97cdca98a65347dd",
    }
