"""The service's tests: they run against the mock, and nothing is paid for."""

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


def test_a_picture_is_shown_when_it_is_done(service: TestClient) -> None:
    page = service.post("/pictures", json={"prompt": "a cat"}).json()["page"]
    looks = [service.get(page).text for _ in range(3)]
    assert ["refresh" in look for look in looks] == [True, True, False]
    assert looks[-1].startswith("<img src=")


def test_a_failed_picture_says_why(service: TestClient, banana_server: MockServer) -> None:
    banana_server.next_task(Plan(ends_as="failed", polls=1))
    page = service.post("/pictures", json={"prompt": "a cat"}).json()["page"]
    assert "No picture: the mock was told" in service.get(page).text


def test_a_wrong_combination_is_explained_and_costs_nothing(
    service: TestClient, banana_server: MockServer
) -> None:
    answer = service.post("/pictures", json={"prompt": "a cat", "aspect_ratio": "8:1"})
    assert answer.status_code == 422
    assert "works only with nano-banana-2" in answer.json()["detail"][0]
    assert banana_server.charged == 0


def test_a_lost_answer_is_not_submitted_twice(
    service: TestClient, banana_server: MockServer
) -> None:
    banana_server.next_task(Plan(drops=True))
    assert service.post("/pictures", json={"prompt": "a cat"}).status_code == 502
    assert banana_server.charged == 1


def test_an_unknown_picture_is_not_found(service: TestClient) -> None:
    assert service.get("/pictures/none").status_code == 404


def test_a_service_that_does_not_answer_is_said_to(
    service: TestClient, banana_server: MockServer
) -> None:
    banana_server.next_task(Plan(refusals=1, refusal_status=401))
    assert service.post("/pictures", json={"prompt": "a cat"}).status_code == 503
    assert banana_server.charged == 0
