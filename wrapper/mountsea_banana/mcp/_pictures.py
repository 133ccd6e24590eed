"""Making pictures: each is submitted at most once, waited for, and saved in the output folder."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, cast

from mountsea_banana.batch._keys import file_name
from mountsea_banana.client import _errors as errors
from mountsea_banana.client._async_client import AsyncNanoBanana
from mountsea_banana.client._async_tasks import AsyncTask, AsyncTaskResult
from mountsea_banana.client._polling import FINAL, OPEN
from mountsea_banana.ledger._async_once import AsyncOnce, AsyncRecordedTask
from mountsea_banana.ledger._entries import Entry
from mountsea_banana.ledger._errors import KeyClaimed, LedgerError
from mountsea_banana.ledger._ledger import Ledger

from . import _replies
from ._arguments import Call
from ._failures import explain
from ._image_checks import check_images
from ._keys import key_of
from ._options import Options
from ._replies import Facts, Reply
from ._thumbnails import thumbnail

Report = Callable[[float, str], Awaitable[None]]
"""Reports progress: a number that only grows, and a message."""

SAVING = 5.0
"""Seconds of a call that are kept for downloading and saving the image."""

_logger = logging.getLogger("mountsea_banana.mcp")


class Pictures:
    """Makes the pictures that agents ask for, for one event loop.

    A submission that is under way is never cancelled, because nobody would know its task.
    """

    def __init__(
        self, options: Options, ledger: Ledger, client: AsyncNanoBanana | errors.ConfigurationError
    ) -> None:
        self._options = options
        self._ledger = ledger
        self._client_or_error = client
        self._submissions: dict[str, asyncio.Task[AsyncRecordedTask]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.finish()

    async def finish(self) -> None:
        """Wait for the submissions that are under way."""
        while self._submissions:
            await asyncio.wait(self._submissions.values())

    async def spent(self) -> dict[str, int | None]:
        """Return how many submissions were or may have been charged, and their limit.

        The number is None if the ledger cannot be read, because the rest of a result still counts.
        """
        submissions = None
        try:
            submissions = await asyncio.to_thread(self._ledger.charges)
        except LedgerError as error:
            _logger.warning("what was spent is not known: %s", error)
        return {"submissions": submissions, "budget": self._options.budget}

    async def make(self, call: Call, report: Report) -> Reply:
        """Return the picture of a call, or its task if that takes longer than a call may wait.

        Raises NanoBananaError if there is no task.
        """
        deadline = time.monotonic() + self._options.wait
        key = key_of(call.body, call.variant)
        if call.checks_images:
            await self._check_images(key, call)
        is_new = key not in self._submissions
        submission = self._submit(key, call)
        await asyncio.wait({submission}, timeout=max(0.0, deadline - time.monotonic()))
        if not submission.done():
            return _replies.submitting(Facts(key, charged="unknown"))
        if isinstance(error := submission.exception(), KeyClaimed):
            return _replies.claimed(Facts(key, charged="no"), error.entry.ends_at)
        task = submission.result()
        facts = Facts(key, task.id, "yes" if is_new and task.is_new else "no")
        return await self._follow(task, facts, deadline, report)

    async def resume(self, task_id: str, report: Report) -> Reply:
        """Return the picture of a task, in the ledger or not. Raises NanoBananaError."""
        deadline = time.monotonic() + self._options.wait
        client = self._client()
        entry = await asyncio.to_thread(self._ledger.find_task, task_id)
        if entry is None:
            return await self._follow(client.task(task_id), Facts(None, task_id), deadline, report)
        base_url = client._driver.settings.base_url
        if entry.order.base_url != base_url:
            raise errors.ConfigurationError(
                f"the task was created at {entry.order.base_url}, not at {base_url}"
            )
        task = self._ledger.task(entry, client)
        return await self._follow(task, Facts(entry.key, task_id), deadline, report)

    async def newest(self, limit: int) -> Reply:
        """Return the latest tasks of the ledger."""

        def read() -> list[Entry]:
            return list(itertools.islice(self._ledger.entries(newest_first=True), limit))

        return _replies.listed(await asyncio.to_thread(read))

    def _client(self) -> AsyncNanoBanana:
        if isinstance(self._client_or_error, errors.ConfigurationError):
            raise self._client_or_error
        return self._client_or_error

    async def _check_images(self, key: str, call: Call) -> None:
        """Request the source images of a picture that is not paid yet. Raises InvalidRequest."""
        entry = await asyncio.to_thread(self._ledger.find, key)
        if entry and entry.state != "released":
            return
        urls = cast("list[str]", call.body["image_urls"])
        violations = await check_images(urls, allows_private=self._options.allows_private_images)
        if violations:
            raise errors.InvalidRequest(violations)

    def _submit(self, key: str, call: Call) -> asyncio.Task[AsyncRecordedTask]:
        """Start a submission, or join the one of the same picture. It outlives its calls.

        Raises KeyClaimed, in the submission, while another process submits the picture.
        """
        if key in self._submissions:
            return self._submissions[key]
        once = AsyncOnce(
            self._ledger._store,
            key,
            self._client()._driver,
            retry_failed=False,
            max_cost=self._options.budget,
            waits=False,
        )

        async def submit() -> AsyncRecordedTask:
            return cast("AsyncRecordedTask", await once.submit(call.body))

        def finish(submission: asyncio.Task[AsyncRecordedTask]) -> None:
            del self._submissions[key]
            error = None if submission.cancelled() else submission.exception()
            if error:  # perhaps nobody waits for it any more
                _logger.warning("a submission ended with %s: %s", type(error).__name__, error)

        self._submissions[key] = submission = asyncio.create_task(submit())
        submission.add_done_callback(finish)
        return submission

    async def _follow(
        self, task: AsyncTask, facts: Facts, deadline: float, report: Report
    ) -> Reply:
        """Wait for a task and save its image."""
        await report(0, f"task {task.id}")
        numbers = itertools.count(1)

        async def update(result: AsyncTaskResult) -> None:
            status = result.status if result.status in OPEN | FINAL else "running"
            await report(next(numbers), f"task {task.id}: {status}")

        path = self._options.output / file_name(facts.key or task.id)
        try:
            result = await task.wait(
                timeout=max(0.0, deadline - SAVING - time.monotonic()), on_update=update
            )
            # Without a ledger entry, nobody knows whether an existing file is this image.
            saved = await result.save(
                path,
                overwrite=facts.key is None,
                timeout=max(SAVING, deadline - time.monotonic()),
            )
        except errors.WaitTimeout:
            return _replies.running(facts)
        except Exception as error:  # whatever happened, the agent needs the task id
            return _replies.failed(facts, explain(error, self._options))
        small = await asyncio.to_thread(thumbnail, saved)
        return _replies.saved(facts, saved, result.image_urls[0], small)
