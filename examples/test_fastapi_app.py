"""The service's tests. They run against the mock server, so they cost nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from mountsea_banana.mock import MockServer, Plan

from examples.fastapi_app import app


@pytest.fixture
def service(banana_server: MockServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setenv("MOUNTSEA_API_KEY", "test-token")
    monkeypatch.setenv("MOUNTSEA_BASE_URL", banana_server.url)
    with TestClient(app) as client:
        yield client


def test_the_page_shows_the_image_once_the_task_ends(service: TestClient) -> None:
    page = service.post("/images", json={"prompt": "a cat"}).json()["page"]
    pages = [service.get(page).text for _ in range(3)]
    assert ["refresh" in each for each in pages] == [True, True, False]
    assert pages[-1].startswith("<img src=")


def test_the_page_shows_why_a_task_failed(service: TestClient, banana_server: MockServer) -> None:
    banana_server.next_task(Plan(ends_as="failed", polls=1))
    page = service.post("/images", json={"prompt": "a cat"}).json()["page"]
    assert "No image: the mock is set to end this task as failed" in service.get(page).text


def test_an_invalid_request_is_explained_and_costs_nothing(
    service: TestClient, banana_server: MockServer
) -> None:
    response = service.post("/images", json={"prompt": "a cat", "aspect_ratio": "8:1"})
    assert response.status_code == 422
    assert "nano-banana-2" in response.json()["detail"][0]
    assert banana_server.charged == 0


def test_a_lost_response_is_not_retried(service: TestClient, banana_server: MockServer) -> None:
    banana_server.next_task(Plan(drops=True))
    assert service.post("/images", json={"prompt": "a cat"}).status_code == 502
    assert banana_server.charged == 1


def test_an_unknown_image_is_not_found(service: TestClient) -> None:
    assert service.get("/images/none").status_code == 404


def test_an_unavailable_api_gets_a_503(service: TestClient, banana_server: MockServer) -> None:
    banana_server.next_task(Plan(refusals=1, refusal_status=401))
    assert service.post("/images", json={"prompt": "a cat"}).status_code == 503
    assert banana_server.charged == 0
