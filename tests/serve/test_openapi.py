"""The service keeps what its own OpenAPI document promises."""

from __future__ import annotations

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from tsresformer.serve.app import create_app
from tsresformer.serve.problems import KINDS, NAMESPACE
from tsresformer.serve.service import Service
from tsresformer.serve.settings import Settings

DOCUMENT = create_app(Service(Settings(decoders=1))).openapi()
schema = schemathesis.openapi.from_dict(DOCUMENT)


@pytest.mark.filterwarnings("ignore:Skipped test cases with unsupported payload:UserWarning")
@schema.parametrize()
@settings(max_examples=12, suppress_health_check=list(HealthCheck))
def test_answers_are_as_documented(case: schemathesis.Case, client: httpx.Client) -> None:
    case.call_and_validate(
        base_url=str(client.base_url),
        excluded_checks=[
            # Audio bytes are not what a schema can tell from noise.
            schemathesis.checks.positive_data_acceptance,
        ],
        timeout=60,
    )


def test_document_lists_every_route_and_every_problem() -> None:
    assert set(DOCUMENT["paths"]) == {
        "/v1/predict",
        "/v1/predict/batch",
        "/v1/analyse",
        "/v1/models",
        "/v1/models/{name}",
        "/v1/models/{name}/card",
        "/v1/examples",
        "/v1/examples/{name}",
        "/healthz",
        "/readyz",
        "/metrics",
    }
    kinds = DOCUMENT["components"]["schemas"]["ProblemDetails"]["properties"]["type"]["enum"]
    assert kinds == [NAMESPACE + kind for kind in KINDS]
    predict = DOCUMENT["paths"]["/v1/predict"]["post"]
    assert set(predict["requestBody"]["content"]) == {
        "multipart/form-data",
        "application/octet-stream",
        "audio/*",
        "application/json",
    }
    too_large = predict["responses"]["413"]["content"]["application/problem+json"]
    assert too_large["examples"]["too-large"]["value"]["status"] == 413


def test_served_document_is_this_one(client: httpx.Client) -> None:
    assert client.get("/openapi.json").json() == DOCUMENT


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_pages_that_load_from_other_hosts_are_not_served(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404
