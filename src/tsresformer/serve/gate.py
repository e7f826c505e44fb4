"""What surrounds every request: its id, safe headers, the bearer key, one line of log, counters."""

from __future__ import annotations

import hmac
import logging
import re
import time
import uuid
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tsresformer.serve.logs import LOGGER
from tsresformer.serve.metrics import Metrics
from tsresformer.serve.problems import Problem

REQUEST_ID = "x-request-id"
PROTECTED = ("/v1/", "/metrics")

SAFE_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; "
        "img-src 'self' data: blob:; media-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}

_CLIENTS_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Gate:
    """The outermost layer: ids, headers, log and counters; a fault inside becomes a problem."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics
        self._log = logging.getLogger(LOGGER)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and record it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope))
        scope.setdefault("state", {})["request_id"] = request_id
        started, status, n_received, n_sent = time.perf_counter(), 0, 0, 0

        async def count_received() -> Message:
            nonlocal n_received
            message = await receive()
            n_received += len(message.get("body", b""))
            return message

        async def add_headers(message: Message) -> None:
            nonlocal status, n_sent
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(raw=message["headers"])
                headers[REQUEST_ID] = request_id
                headers.setdefault("cache-control", "no-store")
                for name, value in SAFE_HEADERS.items():
                    headers[name] = value
                message["headers"] = headers.raw
            n_sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, count_received, add_headers)
        except Exception:
            self._log.exception("unexpected", extra={"fields": {"request_id": request_id}})
            if status:
                raise
            problem = Problem("internal", "the service failed; its log has the request's id")
            await problem.response(request_id)(scope, receive, add_headers)
        finally:
            seconds = time.perf_counter() - started
            self._record(scope, request_id, status, seconds, n_received, n_sent)

    def _record(
        self,
        scope: Scope,
        request_id: str,
        status: int,
        seconds: float,
        n_received: int,
        n_sent: int,
    ) -> None:
        route = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        self._metrics.requests.labels(route, method, str(status or 499)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        self._metrics.received.inc(n_received)
        fields: Mapping[str, object] = {
            "request_id": request_id,
            "client": (scope.get("client") or [""])[0],
            "method": method,
            "route": route,
            "status": status or 499,  # nobody was left to answer to, as nginx writes it
            "seconds": round(seconds, 4),
            "received_bytes": n_received,
            "sent_bytes": n_sent,
            **scope["state"].get("fields", {}),
        }
        level = logging.ERROR if status >= 500 else logging.INFO
        self._log.log(level, "request", extra={"fields": fields})


class Key:
    """Asks for the bearer key where there is one."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app, self._expected = app, f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on that needs no key or has the right one."""
        if scope["type"] == "http" and scope["path"].startswith(PROTECTED):
            given = Headers(scope=scope).get("authorization", "").encode("latin-1", "replace")
            if not hmac.compare_digest(given, self._expected):
                detail = "send the header 'Authorization: Bearer KEY' with the operator's key"
                problem = Problem("unauthorised", detail)
                response = problem.response(scope["state"]["request_id"])
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _request_id(headers: Headers) -> str:
    """Return the client's id if it is harmless, else a new one."""
    given = headers.get(REQUEST_ID, "")
    return given if _CLIENTS_ID.fullmatch(given) else uuid.uuid4().hex
