"""The application: routes, errors and what surrounds them."""

from __future__ import annotations

import asyncio
import contextlib
import http
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from tsresformer import __version__
from tsresformer.serve.gate import REQUEST_ID, Gate, Key
from tsresformer.serve.openapi import describe
from tsresformer.serve.problems import Problem
from tsresformer.serve.routes import api, operation
from tsresformer.serve.service import Service


def create_app(service: Service) -> FastAPI:
    """Build the application around a service, which it starts, unless it is, and stops."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        try:
            if not service.ready:
                await asyncio.to_thread(service.start)
            yield
        finally:
            await asyncio.to_thread(service.stop)

    app = FastAPI(
        title="ts-resformer",
        summary="Music genre classification",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # these pages load scripts from another host
        redoc_url=None,
    )
    settings = service.settings
    app.include_router(api(service))
    app.include_router(operation(service))
    app.add_api_route("/", _page, methods=["GET"], include_in_schema=False)
    app.mount("/static", _Files(directory=page_folder()), name="static")
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    if settings.api_key:
        app.add_middleware(Key, key=settings.api_key)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", REQUEST_ID],
            expose_headers=[REQUEST_ID, "retry-after"],
        )
    app.add_middleware(Gate, metrics=service.metrics)
    describe(app, with_key=bool(settings.api_key))
    return app


def page_folder() -> Path:
    """Folder of the page's files."""
    return Path(str(resources.files("tsresformer.serve") / "page"))


def _page() -> Response:
    """Show the page."""
    return FileResponse(page_folder() / "index.html", headers={"cache-control": "no-cache"})


class _Files(StaticFiles):
    """The page's files, which browsers ask for again by their ETag."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["cache-control"] = "no-cache"
        return response


def _problem(request: Request, problem: Problem) -> Response:
    state = request.scope["state"]
    state.setdefault("fields", {})["problem"] = problem.kind
    return problem.response(state["request_id"])


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return _problem(request, error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """Turn what routing raises into problems."""
    assert isinstance(error, HTTPException)
    if error.status_code == http.HTTPStatus.METHOD_NOT_ALLOWED:
        response = _problem(request, Problem("method-not-allowed", "use another method"))
    elif error.status_code == http.HTTPStatus.NOT_FOUND:
        response = _problem(request, Problem("not-found", "there is nothing at this path"))
    else:
        response = _problem(request, Problem("bad-request", str(error.detail)))
    response.headers.update(error.headers or {})
    return response


async def _on_invalid(request: Request, error: Exception) -> Response:
    """Name the query parameter that is out of range."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"][1:])
    return _problem(request, Problem("invalid-parameter", f"{name}: {first['msg']}"))
