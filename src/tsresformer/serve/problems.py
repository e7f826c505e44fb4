"""Errors as clients get them: RFC 9457 problem details."""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.responses import Response

from tsresformer.errors import (
    AudioError,
    NotAudioError,
    StalledError,
    TooLongError,
)

MEDIA_TYPE = "application/problem+json"
NAMESPACE = "urn:ts-resformer:problem:"

# Type -> status and title. The documentation has the same table.
KINDS: dict[str, tuple[int, str]] = {
    "bad-request": (400, "Bad request"),
    "unauthorised": (401, "Bearer key missing or wrong"),
    "host-not-allowed": (403, "Host not allowed"),
    "not-found": (404, "Not found"),
    "unknown-model": (404, "No such model"),
    "unknown-example": (404, "No such example"),
    "method-not-allowed": (405, "Method not allowed"),
    "slow-body": (408, "Body too slow"),
    "too-large": (413, "Upload too large"),
    "too-long": (413, "Audio too long"),
    "unsupported-media-type": (415, "Content type not supported"),
    "not-audio": (415, "Not audio"),
    "invalid-parameter": (422, "Query parameter out of range"),
    "undecodable": (422, "Audio cannot be decoded"),
    "incomplete": (422, "Audio too short"),
    "internal": (500, "Fault of the service"),
    "fetch-failed": (502, "URL cannot be fetched"),
    "busy": (503, "Queue full"),
    "timeout": (504, "Took too long"),
}
RETRY_AFTER_S = 2


class Problem(Exception):  # noqa: N818 - as RFC 9457 calls it
    """A request that fails in a way that its client is told of.

    Parameters
    ----------
    kind : a key of `KINDS`
    detail : one sentence about this request
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(kind, detail)
        self.kind, self.detail = kind, detail

    @property
    def status(self) -> int:
        """The HTTP status."""
        return KINDS[self.kind][0]

    def headers(self) -> dict[str, str]:
        """Headers that belong to this kind of problem."""
        if self.kind == "busy":
            return {"retry-after": str(RETRY_AFTER_S)}
        if self.kind == "unauthorised":
            return {"www-authenticate": "Bearer"}
        return {}

    def body(self, request_id: str) -> bytes:
        """Return the problem as JSON."""
        status, title = KINDS[self.kind]
        value = {
            "type": NAMESPACE + self.kind,
            "title": title,
            "status": status,
            "detail": self.detail,
            "request_id": request_id,
        }
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")

    def response(self, request_id: str, headers: Mapping[str, str] | None = None) -> Response:
        """Return the problem as an answer."""
        return Response(
            self.body(request_id),
            self.status,
            {**self.headers(), **(headers or {})},
            media_type=MEDIA_TYPE,
        )


def problem_of(error: AudioError) -> Problem:
    """Tell a client about a file that could not be used."""
    if isinstance(error, NotAudioError):
        kind = "not-audio"
    elif isinstance(error, TooLongError):
        kind = "too-long"
    elif isinstance(error, StalledError):
        kind = "timeout"
    else:
        kind = "incomplete" if error.status == "incomplete" else "undecodable"
    return Problem(kind, error.reason)
