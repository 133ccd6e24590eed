"""One client in many threads, after a fork and in two event loops; the key at one origin only."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import mountsea_banana as api
import pytest
from mountsea_banana import AsyncNanoBanana, InstantClock, NanoBanana
from mountsea_banana.mock import MockServer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tests.conftest import KEY, error_in_a_forked_child
from tests.faults import Fault, FaultServer, response
from tests.test_images import PNG


class Origin:
    """An image server that records the headers it receives."""

    def __init__(self, target: str = "") -> None:
        self.headers: list[str] = []

        async def respond(request: Request) -> Response:
            self.headers.append(repr(request.headers.items()) + str(request.url))
            return RedirectResponse(target) if target else Response(PNG, media_type="image/png")

        self.server = MockServer(app=Starlette(routes=[Route("/{path:path}", respond)]))


@pytest.fixture
def origins() -> Iterator[tuple[Origin, Origin]]:
    last = Origin()
    with last.server:
        first = Origin(f"{last.server.url}/a.png")
        with first.server:
            yield first, last


def test_the_key_is_sent_only_to_the_origin_of_the_api(
    origins: tuple[Origin, Origin], tmp_path: Any
) -> None:
    first, last = origins
    raw = {"result": {"imageUrls": [f"{first.server.url}/a.png"]}}
    api.TaskResult("t", "completed", raw).save(tmp_path / "a")
    asyncio.run(api.AsyncTaskResult("t", "completed", raw).save(tmp_path / "b"))
    with (
        NanoBanana(KEY, base_url=first.server.url) as banana,
        pytest.raises(api.APIStatusError, match="307"),
    ):
        banana.task("t").fetch()
    assert (tmp_path / "a.png").read_bytes() == PNG
    assert (len(first.headers), len(last.headers)) == (3, 2)
    has_key = ["authorization" in headers for headers in first.headers]
    # Only the last request goes to the API, whose redirects are not followed.
    assert has_key == [False, False, True]
    assert KEY not in "".join(last.headers)
    assert "cookie" not in "".join(last.headers)


def test_an_environment_proxy_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultServer(Fault("a proxy", response(200, PNG))) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        raw = {"result": {"imageUrls": ["http://images.example/a.png"]}}
        assert api.TaskResult("t", "completed", raw).read() == PNG
    assert proxy.requests[0].startswith(b"GET http://images.example/a.png")


def test_unencrypted_requests_to_this_machine_bypass_proxies(
    banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def submit() -> str:
        async with AsyncNanoBanana(KEY, base_url=banana_server.url) as banana:
            return (await banana.generate("a cat")).id

    with FaultServer(Fault("a proxy", response(200, PNG))) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        with NanoBanana(KEY, base_url=banana_server.url) as banana:
            banana.generate("a cat")
        asyncio.run(submit())
    assert (proxy.requests, banana_server.charged) == ([], 2)


def test_encrypted_requests_to_this_machine_use_the_environments_proxy(
    monkeypatch: pytest.MonkeyPatch, clock: InstantClock
) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with FaultServer(Fault("refuses", response(502))) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("https_proxy", proxy.url)
        with (
            NanoBanana(KEY, base_url="https://127.0.0.1:9", clock=clock) as banana,
            pytest.raises(api.APIConnectionError, match="502"),
        ):
            banana.generate("a cat")
    assert {request.split(b" ")[0] for request in proxy.requests} == {b"CONNECT"}


def test_each_image_is_checked_with_the_proxy_settings_for_its_own_url(
    banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultServer(Fault("a proxy", response(200, PNG, "Content-Type: image/png"))) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        with NanoBanana(KEY, base_url=banana_server.url) as banana:
            task_id = banana.generate("a cat").id
            local = f"{banana_server.url}/images/{task_id}.png"
            remote = "http://images.example/a.png"
            assert banana.edit("red", [local, remote], check_images=True).id
    proxied = [request.split(b" ")[1] for request in proxy.requests]
    assert set(proxied) == {remote.encode()}


def test_thirty_two_threads_share_one_client_and_every_poll_succeeds() -> None:
    connections = set()

    async def count(request: Request) -> Response:
        connections.add(request.client)
        return Response(b'{"taskId": "t", "status": "pending"}', media_type="application/json")

    app = Starlette(routes=[Route("/{path:path}", count)])
    limits = httpx.Limits(max_connections=8, max_keepalive_connections=8)
    with (
        MockServer(app=app) as counting,
        httpx.Client(limits=limits) as http,
        NanoBanana(KEY, base_url=counting.url, http_client=http) as banana,
        ThreadPoolExecutor(32) as pool,
    ):
        polls = [pool.submit(banana.task("t").fetch) for _ in range(32 * 50)]
        assert {poll.result().status for poll in polls} == {"pending"}
    # httpcore replaces a connection that becomes idle in the moment when it looks for one.
    assert 8 <= len(connections) < 16


def test_many_threads_submit_each_task_once(banana_server: MockServer) -> None:
    with NanoBanana(KEY, base_url=banana_server.url) as banana, ThreadPoolExecutor(32) as pool:
        tasks = list(pool.map(lambda number: banana.generate(f"cat {number}").id, range(200)))
    assert len(set(tasks)) == len(banana_server.submissions) == 200


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_client_created_before_a_fork_raises_a_configuration_error_in_the_child(
    banana: NanoBanana,
) -> None:
    message = error_in_a_forked_child(lambda: banana.generate("a cat"))
    assert "before a fork" in message
    assert banana.generate("a cat").id


def test_a_download_leaves_no_connection_open(banana_server: MockServer) -> None:
    """Nobody may close it: a result can be saved after its client was closed."""
    with NanoBanana(KEY, base_url=banana_server.url, clock=InstantClock()) as banana:
        banana.generate("a cat").wait().read()
        downloads: Any = banana._driver.downloader._http
        assert downloads._transport._pool.connections == []


def test_a_closed_client_raises_a_configuration_error(banana_server: MockServer) -> None:
    with NanoBanana(KEY, base_url=banana_server.url) as banana:
        task = banana.generate("a cat")
    for call in (task.fetch, task.wait, lambda: banana.generate("a cat")):
        with pytest.raises(api.ConfigurationError, match="closed"):
            call()


def test_a_client_of_another_event_loop_raises_an_error_and_does_not_hang(
    banana_server: MockServer,
) -> None:
    banana = AsyncNanoBanana(KEY, base_url=banana_server.url)
    with asyncio.Runner() as first:
        first.run(_submit(banana))
        with (
            pytest.raises(api.ConfigurationError, match="another event loop"),
            asyncio.Runner() as second,
        ):
            second.run(_submit(banana))
        first.run(banana.aclose())


async def _submit(banana: AsyncNanoBanana) -> str:
    return (await banana.generate("a cat")).id


def test_a_cancelled_wait_logs_the_task(
    banana_server: MockServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> str:
        polled = asyncio.Event()
        async with AsyncNanoBanana(KEY, base_url=banana_server.url) as banana:
            task = await banana.generate("a cat")
            waiting = asyncio.ensure_future(task.wait(on_update=lambda _: polled.set()))
            await polled.wait()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            return task.id

    assert f"resume with client.task({asyncio.run(run())!r})" in caplog.text
