"""The routes."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import math
from collections.abc import AsyncIterator
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from numpy.typing import NDArray
from starlette.datastructures import UploadFile
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response

from tsresformer.bundle import Bundle
from tsresformer.classifier import Prediction
from tsresformer.features import mel_edges
from tsresformer.serve import examples, schemas
from tsresformer.serve.cards import card_page
from tsresformer.serve.fetch import Fetcher
from tsresformer.serve.openapi import BATCH_BODY, ONE_FILE_BODY, problems
from tsresformer.serve.pictures import attention_by_band, attention_by_column
from tsresformer.serve.problems import Problem
from tsresformer.serve.service import Outcome, Service
from tsresformer.serve.uploads import client_name, received

Top = Annotated[int | None, Query(ge=1, description="genres in `probabilities`; all")]
Model = Annotated[str | None, Query(description="a bundle that is served; the first")]
Timeline = Annotated[bool, Query(description="fill `timeline`")]
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def api(service: Service) -> APIRouter:
    """Build the routes under /v1."""
    router = APIRouter(prefix="/v1")
    _add_classification(router, service)
    _add_lists(router, service)
    return router


def _add_classification(router: APIRouter, service: Service) -> None:
    settings, fetcher = service.settings, Fetcher(service.settings)

    @router.post(
        "/predict",
        response_model=schemas.Track,
        responses=problems(400, 403, 404, 408, 413, 415, 422, 502, 503, 504),
        openapi_extra=ONE_FILE_BODY,
    )
    async def predict(
        request: Request, model: Model = None, top: Top = None, timeline: Timeline = False
    ) -> Response:
        """Tell the genre of one file."""
        classifier = service.shelf.get(model)
        with service.admitted():
            async with received(request, settings, fetcher) as (file,), left(request) as gone:
                outcome = await service.classify(file, classifier, gone, timeline=timeline)
        return JSONResponse(outcome.prediction.as_json(top))

    @router.post(
        "/predict/batch",
        response_model=schemas.Batch,
        responses=problems(400, 403, 404, 408, 413, 415, 422, 502, 503),
        openapi_extra=BATCH_BODY,
    )
    async def predict_batch(
        request: Request, model: Model = None, top: Top = None, timeline: Timeline = False
    ) -> Response:
        """Tell the genres of several files; a file that fails is a row."""
        classifier, most = service.shelf.get(model), settings.batch_files

        async def row(file: UploadFile, gone: asyncio.Future[None]) -> dict[str, Any]:
            try:
                outcome = await service.classify(file, classifier, gone, timeline=timeline)
            except Problem as problem:
                return _failed_row(client_name(file), problem)
            return outcome.prediction.as_json(top)

        with service.admitted():
            async with (
                received(request, settings, fetcher, most) as files,
                left(request) as gone,
                asyncio.TaskGroup() as group,  # ends before any file does
            ):
                rows = [group.create_task(row(file, gone)) for file in files]
        tracks = [task.result() for task in rows]
        return JSONResponse({"schema": 1, "model": classifier.bundle.name, "tracks": tracks})

    @router.post(
        "/analyse",
        response_model=schemas.Analysis,
        responses=problems(400, 403, 404, 408, 413, 415, 422, 502, 503, 504),
        openapi_extra=ONE_FILE_BODY,
    )
    async def analyse(request: Request, model: Model = None, top: Top = None) -> Response:
        """Tell the genre of one file, with what a picture of it needs."""
        classifier = service.shelf.get(model)
        with service.admitted():
            async with received(request, settings, fetcher) as (file,), left(request) as gone:
                outcome = await service.classify(file, classifier, gone, timeline=True, draw=True)
        return JSONResponse(_analysis(classifier.bundle, outcome, top))


def _add_lists(router: APIRouter, service: Service) -> None:
    @router.get("/models", response_model=schemas.ModelList)
    def models() -> Response:
        """List the bundles that are served."""
        bundles = [classifier.bundle for classifier in service.shelf]
        value = {"default": bundles[0].name, "models": [_model(bundle) for bundle in bundles]}
        return JSONResponse(value)

    @router.get("/models/{name}", response_model=schemas.ModelCard, responses=problems(404, 422))
    def model(name: str) -> Response:
        """Show a bundle with its model card."""
        bundle = service.shelf.get(name).bundle
        return JSONResponse({**_model(bundle), "card": bundle.card()})

    @router.get(
        "/models/{name}/card",
        responses={200: {"content": {"text/html": {}}}, **problems(404, 422)},
        response_class=Response,
    )
    def card(name: str) -> Response:
        """Show the model card of a bundle as a page."""
        bundle = service.shelf.get(name).bundle
        return HTMLResponse(card_page(bundle.name, bundle.card()))

    @router.get("/examples", response_model=schemas.ExampleList)
    def example_list() -> Response:
        """List music to try."""
        return JSONResponse({"examples": examples.described()})

    @router.get(
        "/examples/{name}",
        responses={200: {"content": {"audio/ogg": {}}}, **problems(404, 422)},
        response_class=Response,
    )
    def example(name: str) -> Response:
        """Return the audio of an example."""
        return FileResponse(examples.path_of(name), media_type="audio/ogg")


def operation(service: Service) -> APIRouter:
    """Build the routes for who operates the service."""
    router = APIRouter()

    @router.get("/healthz", response_model=schemas.Health)
    async def healthz() -> Response:
        """Tell that the process answers."""
        return JSONResponse({"status": "ok"})

    @router.get(
        "/readyz", response_model=schemas.Health, responses={503: {"model": schemas.Health}}
    )
    async def readyz() -> Response:
        """Tell whether models and decoders are ready."""
        state = {"status": "ok" if service.ready else "starting"}
        return JSONResponse(state, 200 if service.ready else 503)

    @router.get(
        "/metrics",
        responses={200: {"content": {"text/plain": {}}}},
        response_class=Response,
    )
    async def metrics() -> Response:
        """Return the counters for Prometheus."""
        return Response(service.metrics.text(), media_type=PROMETHEUS)

    return router


@contextlib.asynccontextmanager
async def left(request: Request) -> AsyncIterator[asyncio.Future[None]]:
    """Watch a request whose body was read; the future is done once its client has left."""

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task = asyncio.ensure_future(watch())
    try:
        yield task
    finally:
        task.cancel()


def _failed_row(name: str, problem: Problem) -> dict[str, Any]:
    status = "incomplete" if problem.kind == "incomplete" else "undecodable"
    return Prediction(name, status, problem.detail).as_json()


def _model(bundle: Bundle) -> dict[str, Any]:
    return {
        "name": bundle.name,
        "task": bundle.task,
        "labels": bundle.labels,
        "protocol": bundle.protocol,
        "unsure_below": bundle.unsure_below,
        "sha256": bundle.hash,
    }


def _analysis(bundle: Bundle, outcome: Outcome, top: int | None) -> dict[str, Any]:
    """Arrange what the page draws."""
    picture, scores, prediction = outcome.picture, outcome.scores, outcome.prediction
    assert picture is not None
    features, attention = bundle.features, bundle.model.attention
    by_time = attention in ("time_frequency", "time")
    by_band = attention in ("time_frequency", "frequency")
    return {
        "model": bundle.name,
        "unsure_below": bundle.unsure_below,
        "track": prediction.as_json(top),
        "seconds": round(prediction.seconds, 3),
        "warning": prediction.warning,
        "waveform": {
            "seconds_per_point": picture.seconds_per_point,
            "low": _rounded(picture.low, 3),
            "high": _rounded(picture.high, 3),
        },
        "log_mel": {
            "n_columns": len(picture.log_mel),
            "n_mels": features.n_mels,
            "seconds_per_column": picture.frames_per_column / features.frames_per_second,
            "top_db": features.top_db if features.scale == "log" else None,
            "mel_hz": _rounded(mel_edges(features)[1:-1], 1),
            "data": base64.b64encode(picture.log_mel.tobytes()).decode(),
        },
        "attention": {
            "time": _rounded(attention_by_column(bundle, scores, picture), 4) if by_time else None,
            "frequency": _rounded(attention_by_band(bundle, scores), 4) if by_band else None,
        },
    }


def _rounded(values: NDArray[np.floating], digits: int) -> list[float | None]:
    """Return numbers for JSON, nan as None."""
    rounded = np.round(values.astype(np.float64), digits).tolist()
    return [None if math.isnan(value) else value for value in rounded]
