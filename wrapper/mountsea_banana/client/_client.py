"""The synchronous client: a thin shell that does what the flows decide."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, overload

import httpx
from attrs import frozen

from mountsea_banana.rules._options import (
    AspectRatio,
    FastOptions,
    Model,
    Nano2Options,
    ProOptions,
    Resolution,
)
from mountsea_banana.rules._rules import Violation

from . import _downloads as _pictures
from . import _exchange as _http
from . import _flows, _settings
from . import _image_checks as _images
from ._errors import ConfigurationError, InvalidRequest
from ._responses import MAX_BYTES, Answer
from ._snapshots import Look

if TYPE_CHECKING:
    from mountsea_api.models import NanoImageDto

T = TypeVar("T")


@frozen
class TaskResult(Look):
    """A task as the server described it at one moment."""

    def read(
        self, *, max_bytes: int = _pictures.MAX_BYTES, timeout: float = _pictures.TIMEOUT
    ) -> bytes:
        """Download the first picture and return its bytes.

        The request carries no credentials and follows redirects. `timeout` is in seconds, over
        all. Raises DownloadError: no picture, an expired link, more than `max_bytes` (by default
        64 MiB), no image.
        """
        return self._download(max_bytes, timeout).content

    def save(
        self,
        path: Path | str,
        *,
        overwrite: bool = False,
        max_bytes: int = _pictures.MAX_BYTES,
        timeout: float = _pictures.TIMEOUT,
    ) -> Path:
        """Download the first picture into a file, whole or not at all; return the path written.

        A folder as `path` means a file in it named after the task; a missing suffix is the
        picture's own; missing folders are made. Raises DownloadError as `read` does, and where
        the file exists and `overwrite` is false, or cannot be written.
        """
        _pictures.check_free(path, self, overwrite=overwrite)
        picture = self._download(max_bytes, timeout)
        return _pictures.write(picture, path, self, overwrite=overwrite)

    def _download(self, max_bytes: int, timeout: float) -> _pictures.Picture:
        url = _pictures.address(self)
        seconds = _settings.seconds(timeout)
        outcome = _fetch_outside("GET", url, {}, max_bytes, seconds)
        return _pictures.judge(outcome, url, self.task_id)


def _fetch_outside(
    method: str, url: str, headers: Mapping[str, str], limit: int, seconds: float
) -> _http.Outcome:
    """Send a request without credentials to whoever holds a picture."""
    try:
        with _http.make_client(httpx.Client, url, follow_redirects=True) as client:
            request = client.build_request(method, url, headers=headers)
            return _http.exchange(client, request, auth=None, limit=limit, seconds=seconds)
    except Exception as error:  # whatever httpx makes of an address or of the environment
        return error


class Task:
    """A task of the API, known by its id."""

    def __init__(self, client: NanoBanana, task_id: str) -> None:
        self._client = client
        self._id = task_id

    @property
    def id(self) -> str:
        """The id that the submission returned: keep it to pick the task up again."""
        return self._id

    def fetch(self) -> TaskResult:
        """Look at the task once, which costs nothing; return what the server says of it.

        A look that fails is made again as often as the client's `max_retries` says. Raises
        APIConnectionError, APIStatusError or UnexpectedResponse.
        """
        return self._client._fetch(self._id)

    def wait(
        self, *, timeout: float = 600, on_update: Callable[[TaskResult], object] | None = None
    ) -> TaskResult:
        """Look at the task every 3 to 10 seconds until it is final; return the last look.

        The vendor advises 3 to 5 seconds, and longer pauses for long tasks. `timeout` is in
        seconds, over sleeps and requests alike; `on_update` is handed every look. A look that
        fails is made again until then. Raises TaskFailed, WaitTimeout, UnexpectedResponse (a
        completed task without a picture), and APIStatusError for a 4xx other than 408 and 429, or
        where the server asks for a wait of more than 60 s or than the time that is left.
        """
        return self._client._wait(self._id, timeout, on_update)

    def __repr__(self) -> str:
        return f"Task({self._id!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        _settings.refuse_pickle(self)


class NanoBanana:
    """A client of Mountsea's Nano Banana image API.

    `api_key` and `base_url` come from MOUNTSEA_API_KEY and MOUNTSEA_BASE_URL where they are not
    given; the base URL is `https://api.mountsea.ai` where neither is, and plain http only for this
    machine. `timeout`, in seconds or as `httpx.Timeout`, bounds each part of a request; by default
    10 s to connect and 60 s for the rest. `max_retries` is how often a request is sent again where
    that can charge nothing. An `http_client` of yours, an `httpx.Client`, is used and not closed.
    Raises ConfigurationError.
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        timeout: float | httpx.Timeout = _settings.DEFAULT_TIMEOUT,
        max_retries: int = 2,
        http_client: httpx.Client | None = None,
    ) -> None:
        self._settings = _settings.settings(api_key, base_url, timeout, max_retries)
        if http_client is not None and not isinstance(http_client, httpx.Client):
            raise ConfigurationError(f"http_client is an httpx.Client, not {type(http_client)}")
        self._owns_http = http_client is None
        self._http = http_client or _http.make_client(httpx.Client, self._settings.base_url)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, but for those of an `http_client` that was passed in."""
        if self._owns_http:
            self._http.close()

    @overload
    def generate(self, prompt: str, **options: Unpack[FastOptions]) -> Task: ...
    @overload
    def generate(self, prompt: str, **options: Unpack[ProOptions]) -> Task: ...
    @overload
    def generate(self, prompt: str, **options: Unpack[Nano2Options]) -> Task: ...
    def generate(
        self,
        prompt: str,
        *,
        model: Model | None = None,
        aspect_ratio: AspectRatio | None = None,
        resolution: Resolution | None = None,
    ) -> Task:
        """Submit the making of a picture; return its task, which is charged.

        What is None is not sent; the model is then `nano-banana-fast`. A `resolution` goes with
        `nano-banana-pro` and `nano-banana-2`, the ratios 1:4, 4:1, 1:8 and 8:1 with
        `nano-banana-2`: rules of the vendor's, quoted in `_rules.py`. Raises InvalidRequest before
        anything is sent, SubmissionUnknown where the request may have been charged all the same,
        and else APIConnectionError or APIStatusError: nothing was charged.
        """
        request = _settings.fields(
            "generate", prompt, model=model, aspect_ratio=aspect_ratio, resolution=resolution
        )
        return self.submit(request)

    @overload
    def edit(
        self,
        prompt: str,
        image_urls: str | Sequence[str],
        *,
        check_images: bool = ...,
        **options: Unpack[FastOptions],
    ) -> Task: ...
    @overload
    def edit(
        self,
        prompt: str,
        image_urls: str | Sequence[str],
        *,
        check_images: bool = ...,
        **options: Unpack[ProOptions],
    ) -> Task: ...
    @overload
    def edit(
        self,
        prompt: str,
        image_urls: str | Sequence[str],
        *,
        check_images: bool = ...,
        **options: Unpack[Nano2Options],
    ) -> Task: ...
    def edit(
        self,
        prompt: str,
        image_urls: str | Sequence[str],
        *,
        model: Model | None = None,
        aspect_ratio: AspectRatio | None = None,
        resolution: Resolution | None = None,
        check_images: bool = False,
    ) -> Task:
        """Submit the editing of pictures, given by one http(s) address or several.

        `check_images` asks for each picture first, without the key: one that is not reachable, no
        image, or larger than 10 MB, the vendor's limit, is an InvalidRequest. The other arguments,
        what is returned and what is raised are those of `generate`.
        """
        request = _settings.fields(
            "edit",
            prompt,
            image_urls=_settings.as_list(image_urls),
            model=model,
            aspect_ratio=aspect_ratio,
            resolution=resolution,
        )
        if check_images:
            urls = _settings.urls_of(_settings.body_of(request))
            violations = self._check_images(urls)
            if violations:
                raise InvalidRequest(violations)
        return self.submit(request)

    def submit(self, request: NanoImageDto | Mapping[str, object]) -> Task:
        """Submit a request that the caller built; return its task, which is charged.

        `request` is a `mountsea_api.models.NanoImageDto` or a mapping of the fields as they are
        sent. It is held to the rules of `check_request`, and raises what `generate` does.
        """
        flow = _flows.submit(
            _settings.body_of(request),
            max_retries=self._settings.max_retries,
            clock=self._settings.clock,
        )
        return Task(self, self._run(flow))

    def task(self, task_id: str) -> Task:
        """Return the task of an id, from any process; nothing is sent.

        Raises InvalidRequest for what is no id.
        """
        return Task(self, _settings.check_task_id(task_id))

    def __repr__(self) -> str:
        return f"NanoBanana(base_url={self._settings.base_url!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        _settings.refuse_pickle(self)

    def _check_images(self, urls: list[str]) -> list[Violation]:
        check = _images.check(urls)
        try:
            ask = next(check)
            while True:
                outcome = _fetch_outside(
                    ask.method, ask.url, ask.headers, _images.MAX_BYTES, _images.TIMEOUT
                )
                ask = check.send(outcome)
        except StopIteration as stop:
            violations: list[Violation] = stop.value
            return violations

    def _fetch(self, task_id: str) -> TaskResult:
        flow = _flows.fetch(
            task_id, max_retries=self._settings.max_retries, clock=self._settings.clock
        )
        return _result(self._run(flow))

    def _wait(
        self, task_id: str, timeout: float, on_update: Callable[[TaskResult], object] | None
    ) -> TaskResult:
        flow = _flows.wait(task_id, _settings.seconds(timeout), clock=self._settings.clock)
        return _result(self._run(flow, on_update))

    def _run(
        self, flow: _flows.Flow[T], on_update: Callable[[TaskResult], object] | None = None
    ) -> T:
        try:
            step = next(flow)
            while True:
                try:
                    done = self._do(step, on_update)
                except BaseException as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(done)
        except StopIteration as stop:
            result: T = stop.value
            return result

    def _do(
        self,
        step: _flows.Send | _flows.Sleep | _flows.Tell,
        on_update: Callable[[TaskResult], object] | None,
    ) -> Answer | Exception | None:
        match step:
            case _flows.Send(call, seconds):
                return self._settings.read(self._exchange(call, seconds))
            case _flows.Sleep(seconds):
                self._settings.clock.sleep(seconds)
            case _flows.Tell(look) if on_update is not None:
                on_update(_result(look))
        return None

    def _exchange(self, call: _flows.Call, seconds: float | None) -> _http.Outcome:
        self._settings.check_use(is_closed=self._http.is_closed)
        request = self._http.build_request(**self._settings.request(call))
        return _http.exchange(
            self._http,
            request,
            auth=self._settings.auth,
            limit=MAX_BYTES,
            seconds=self._settings.seconds if seconds is None else seconds,
        )


def _result(look: Look) -> TaskResult:
    return TaskResult(look.task_id, look.status, look.raw)
