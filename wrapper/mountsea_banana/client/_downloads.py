"""Downloading a task's image and saving it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from ._errors import DownloadError, Hint, describe
from ._exchange import Failure, RawResponse
from ._files import Destination, reason
from ._images import Image, suffix_of
from ._snapshots import TaskSnapshot
from ._steps import Call, Download, Flow

MAX_BYTES = 64 * 1024 * 1024
TIMEOUT = 60.0


def download(snapshot: TaskSnapshot, *, max_bytes: int, timeout: float) -> Flow[Image]:
    """Download the first image of a task. Raises DownloadError."""
    url = _image_url(snapshot)
    outcome = yield Download("GET", url, {}, max_bytes, timeout)
    return _read_image(outcome, url, snapshot.task_id)


def save(
    snapshot: TaskSnapshot,
    path: Path | str,
    downloading: Flow[Image],
    *,
    overwrite: bool,
    before_write: Callable[[Path, int], object] | None = None,
) -> Flow[Path]:
    """Save the image of a task that is `downloading`; return its path. Raises DownloadError.

    `before_write` is called with the path and the size of the file before there is one, and may
    raise an OSError.
    """
    try:
        destination = Destination.parse(path)
        destination.check(overwrite=overwrite, any_suffix=False)
    except (TypeError, ValueError, OSError) as error:
        raise _not_saved(snapshot, path, error) from error
    image = yield from downloading

    def write() -> Path:
        if before_write:
            before_write(destination.file(image.suffix, snapshot.task_id), len(image.content))
        return destination.write(image, snapshot.task_id, overwrite=overwrite)

    try:
        written: Path = yield Call(write)
    except (ValueError, OSError) as error:
        raise _not_saved(snapshot, path, error) from error
    return written


def _image_url(snapshot: TaskSnapshot) -> str:
    if not snapshot.image_urls:
        raise DownloadError(
            f"task {snapshot.task_id} has no image: its status is {snapshot.status}",
            url=None,
            task_id=snapshot.task_id,
        )
    url = snapshot.image_urls[0]
    try:
        parts = urlsplit(url)
        is_web = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_web = False
    if not is_web:
        raise DownloadError(
            f"the image URL of task {snapshot.task_id} is not an http(s) URL: {url[:200]!r}",
            url=url,
            task_id=snapshot.task_id,
        )
    return url


def _read_image(outcome: RawResponse | Failure, url: str, task_id: str) -> Image:
    def failed(
        why: str, *, hint: Hint | None = None, cause: Exception | None = None
    ) -> DownloadError:
        problem = f"the image of task {task_id} could not be downloaded from {url}: {why}"
        error = DownloadError(problem, url=url, task_id=task_id, hint=hint)
        error.__cause__ = cause
        return error

    if isinstance(outcome, Failure):
        raise failed(describe(outcome.error), cause=outcome.error)
    if outcome.status_code in (403, 404, 410):
        expired = f"the server responded {outcome.status_code}, so the URL may have expired"
        raise failed(expired, hint=Hint.POLL_AGAIN)
    if outcome.status_code != 200:
        raise failed(f"the server responded {outcome.status_code}")
    if outcome.fault:
        raise failed(describe(outcome.fault), cause=outcome.fault)
    suffix = suffix_of(outcome.body)
    if suffix:
        return Image(outcome.body, suffix)
    content_type = outcome.headers.get("content-type", "none")
    raise failed(f"the response is not an image (content type: {content_type})")


def _not_saved(snapshot: TaskSnapshot, path: object, cause: Exception) -> DownloadError:
    exists = isinstance(cause, FileExistsError)
    why = "the file exists" if exists else reason(cause)
    return DownloadError(
        f"the image of task {snapshot.task_id} could not be saved as {str(path)!r}: {why}",
        url=snapshot.image_urls[0] if snapshot.image_urls else None,
        task_id=snapshot.task_id,
        hint=Hint.OVERWRITE if exists else None,
    )
