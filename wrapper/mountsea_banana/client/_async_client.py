"""The asynchronous client."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import httpx

from mountsea_banana._shared.clock import Clock

from . import _flows, _network, _requests, _settings
from ._async_driver import AsyncDriver
from ._async_submitter import AsyncSubmitter
from ._async_tasks import AsyncTask
from ._errors import ConfigurationError

if TYPE_CHECKING:
    from mountsea_api.models import NanoImageDto


class AsyncNanoBanana(AsyncSubmitter):
    """An asynchronous client for Mountsea's Nano Banana image API, for one event loop.

    `api_key` and `base_url` default to MOUNTSEA_API_KEY and MOUNTSEA_BASE_URL; without a base URL,
    it is `https://api.mountsea.ai`. Plain http is allowed only for this machine, unless
    `allow_http` is true or MOUNTSEA_ALLOW_HTTP is 1. `timeout` limits each phase of a request, in
    seconds or as an `httpx.Timeout`. The default is 10 s to connect and 60 s for every other phase.
    `max_retries` is how many times a request is retried if that cannot charge you twice. If you
    pass your own `httpx.AsyncClient` as `http_client`, the client does not close it. `clock`
    replaces the system's time in tests. Raises ConfigurationError.
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        timeout: float | httpx.Timeout = _settings.DEFAULT_TIMEOUT,
        max_retries: int = 2,
        http_client: httpx.AsyncClient | None = None,
        allow_http: bool = False,
        clock: Clock | None = None,
    ) -> None:
        settings = _settings.settings(
            api_key, base_url, timeout, max_retries, clock, allow_http=allow_http
        )
        if http_client is not None and not isinstance(http_client, httpx.AsyncClient):
            raise ConfigurationError(
                f"http_client must be an httpx.AsyncClient, not {type(http_client)}"
            )
        self._owns_http = http_client is None
        http = http_client or _network.make_client(
            httpx.AsyncClient, settings.base_url, limits=_network.LIMITS
        )
        self._driver = AsyncDriver(settings, http)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections, except those of an `http_client` that you passed in."""
        if self._owns_http:
            await self._driver.http.aclose()
        await self._driver.downloader.close()

    async def _submit(
        self, request: NanoImageDto | Mapping[str, object], *, check_images: bool = False
    ) -> AsyncTask:
        flow = _flows.submit(request, check_images=check_images, settings=self._driver.settings)
        return AsyncTask(self._driver, await self._driver.run(flow))

    def task(self, task_id: str) -> AsyncTask:
        """Return the task with this id, from any process. Nothing is sent.

        Raises InvalidRequest if `task_id` cannot be an id.
        """
        return AsyncTask(self._driver, _requests.check_task_id(task_id))

    def __repr__(self) -> str:
        return f"AsyncNanoBanana(base_url={self._driver.settings.base_url!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        _settings.reject_pickle(self)
