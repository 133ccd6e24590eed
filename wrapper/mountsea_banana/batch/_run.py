"""Running a batch: every row is submitted at most once, and its image is saved."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypedDict, Unpack

from attrs import evolve

from mountsea_banana._shared.text import is_utf8, shown
from mountsea_banana.client import _errors as errors
from mountsea_banana.client._async_client import AsyncNanoBanana
from mountsea_banana.client._files import Destination, reason
from mountsea_banana.ledger._async_once import AsyncOnce, AsyncRecordedTask
from mountsea_banana.ledger._entries import Entry
from mountsea_banana.ledger._errors import CostLimitReached, KeyClaimed, LedgerError
from mountsea_banana.ledger._ledger import Ledger
from mountsea_banana.ledger._store import is_free

from ._failures import is_fatal, is_old, is_refusal, may_be_charged, outcome_of
from ._interrupts import two_interrupts
from ._keys import file_name
from ._outcomes import Draining, Event, Outcome, Paused, Report, Submitted, Waiting
from ._pace import Pace
from ._rows import Row
from ._worklist import Worklist

CONCURRENCY = 20
"""How many rows are in flight by default."""

CLAIM_PAUSE = 1.0
"""Seconds between two reads of a key that another process submits."""

JOINING_SECONDS = 0.005
"""How long a row waits for others that can share its commits."""
MAX_THREADS = 64
"""How many rows can do so at once, or write their images."""


class Options(TypedDict, total=False):
    """The options of `run` and `run_async`."""

    concurrency: int
    """How many rows may be in flight: 20 by default, and fewer while the server refuses more."""
    max_cost: int | None
    """How many submissions the ledger may hold that were or may have been charged."""
    max_failures: int | None
    """How many rows may fail in this run before no more are started."""
    retry_failed: bool
    """Whether rows whose task failed are submitted, and charged, again."""
    on_event: Callable[[Event], object] | None
    """Called with what happens."""


def run(
    rows: Worklist,
    *,
    ledger: Ledger,
    output: str | os.PathLike[str],
    client: AsyncNanoBanana | None = None,
    **options: Unpack[Options],
) -> Report:
    """Submit every row that is not in the ledger, and save the images in the folder `output`.

    A row is charged at most once, however often the batch is run: run it again to finish what is
    left. The first Ctrl-C starts no more rows, and ends once every submission has its task. The
    second ends at once, and may leave submissions in doubt.

    `client` is closed at the end; by default, one is created from the environment. The options are
    those of `Options`. Raises ConfigurationError before anything is sent.
    """

    async def main() -> Report:
        async with client or AsyncNanoBanana(max_retries=0) as opened:
            batch = _Batch(rows, client=opened, ledger=ledger, output=output, **options)
            threads = ThreadPoolExecutor(min(batch.concurrency, MAX_THREADS))
            asyncio.get_running_loop().set_default_executor(threads)
            with two_interrupts(batch.drain, batch.abort):
                return await batch.run()

    return asyncio.run(main())


async def run_async(
    rows: Worklist,
    *,
    ledger: Ledger,
    output: str | os.PathLike[str],
    client: AsyncNanoBanana,
    **options: Unpack[Options],
) -> Report:
    """The same as `run`, in your own event loop. It leaves Ctrl-C to you, and the client open.

    If it is cancelled, so are its submissions, which may leave them in doubt.
    """
    return await _Batch(rows, client=client, ledger=ledger, output=output, **options).run()


def count_unpaid(rows: Worklist, ledger: Ledger, *, retry_failed: bool = False) -> int:
    """Return how many rows would be submitted, and charged. Nothing is sent."""
    found = (ledger.find(row.key) for row in rows)
    return sum(entry is None or is_free(entry, retry_failed=retry_failed) for entry in found)


class _Batch:
    """A run of a batch. Rows start one after another, and each is a task of the event loop."""

    def __init__(
        self,
        rows: Worklist,
        *,
        client: AsyncNanoBanana,
        ledger: Ledger,
        output: str | os.PathLike[str],
        concurrency: int = CONCURRENCY,
        max_cost: int | None = None,
        max_failures: int | None = None,
        retry_failed: bool = False,
        on_event: Callable[[Event], object] | None = None,
    ) -> None:
        if concurrency < 1:
            raise errors.ConfigurationError(f"concurrency must be 1 or more, not {concurrency!r}")
        self._rows = rows
        self._client = client
        self._clock = client._driver.settings.clock
        self._ledger = ledger
        self._folder, self._is_new_folder = _check_folder(output)
        self.concurrency = concurrency
        self._pace = Pace(concurrency)
        self._max_cost = max_cost
        self._max_failures = max_failures
        self._retry_failed = retry_failed
        self._tell = on_event or (lambda _: None)
        self._again: deque[Row] = deque()
        """Rows that the server refused for now."""
        self._later: deque[Row] = deque()
        """Rows that another process submits: they are waited for once the others have ended."""
        self._claimed_seconds = 0.0
        """How long the other processes' submissions can take from now on."""
        self._is_last_turn = False
        self._in_flight: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.Task[None]] = set()
        """Those in flight whose task is known: nothing is lost if they stop."""
        self._changed = asyncio.Event()
        self._unrecorded_before = frozenset(ledger._store.unrecorded)
        self._charged = 0
        self._failures = 0
        self._is_interrupted = False
        self._stopped: str | None = None
        self._crash: BaseException | None = None

    def drain(self) -> None:
        """Start no more rows, and end once every submission has its task."""
        self._is_interrupted = True
        self._changed.set()
        self._tell(Draining(len(self._in_flight - self._waiting)))
        for task in self._waiting:
            task.cancel()

    def abort(self) -> None:
        """End at once."""
        for task in self._in_flight:
            task.cancel()

    async def run(self) -> Report:
        try:
            with self._ledger._store.joining_writes(JOINING_SECONDS):
                await self._start_rows()
                while self._in_flight:
                    await self._change()
        finally:
            for task in self._in_flight:
                task.cancel()
            await asyncio.gather(*self._in_flight, return_exceptions=True)
            await self._record_again()
        if self._crash:
            raise self._crash
        return Report(self._rows.states, self._charged, self._is_interrupted, self._stopped)

    async def _start_rows(self) -> None:
        rows = self._rows.unfinished()
        while not self._is_ending:
            pause = self._pace.pause(self._clock.monotonic())
            if pause:
                await self._sleep(pause)
            elif len(self._in_flight) >= self._pace.limit:
                await self._change()
            elif self._again:
                self._start(self._again.popleft())
            elif row := next(rows, None):
                self._start(row)
            elif self._later and self._is_last_turn:
                self._start(self._later.popleft())
            elif self._in_flight:
                await self._change()  # it may have to start again
            elif self._later:
                self._is_last_turn = True
                self._tell(Waiting(len(self._later), self._claimed_seconds))
            else:
                return

    @property
    def _is_ending(self) -> bool:
        return self._is_interrupted or self._stopped is not None

    def _start(self, row: Row) -> None:
        task = asyncio.ensure_future(self._do(row))
        self._in_flight.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        self._waiting.discard(task)
        self._changed.set()
        if not task.cancelled() and task.exception():
            self._crash = task.exception()
            self._stop(f"unexpected error: {self._crash!r}")

    async def _change(self) -> None:
        """Wait until a row has ended, or no more are to be started."""
        self._changed.clear()
        await self._changed.wait()

    async def _sleep(self, seconds: float) -> None:
        """Sleep, unless no more rows are to be started."""
        sleep = asyncio.ensure_future(self._clock.sleep_async(seconds))
        while not sleep.done() and not self._is_ending:
            self._changed.clear()  # at once: a change that comes before the wait must end it
            change = asyncio.ensure_future(self._changed.wait())
            await asyncio.wait([sleep, change], return_when=asyncio.FIRST_COMPLETED)
            change.cancel()
        sleep.cancel()

    def _stop(self, reason: str) -> None:
        """Start no more rows, and go on with those in flight."""
        self._stopped = self._stopped or reason
        self._changed.set()

    async def _do(self, row: Row) -> None:
        """Submit a row unless it is in the ledger, and save its image."""
        started = self._clock.monotonic()
        try:
            if not self._is_new_folder:
                await asyncio.to_thread(self._check_file, row)
            if self._is_ending:
                return
            once = AsyncOnce(
                self._ledger._store,
                row.key,
                self._client._driver,
                retry_failed=self._retry_failed,
                max_cost=self._max_cost,
                waits=False,  # the batch does, so that Ctrl-C ends it
            )
            task = await once.submit(row.request)
        except KeyClaimed as error:
            await self._put_off(row, error.entry)
        except CostLimitReached as error:
            self._stop(error.problem)
        except (OSError, ValueError, errors.NanoBananaError) as error:
            self._refuse_or_fail(row, error, started=started)
        except asyncio.CancelledError:
            if not self._is_interrupted:
                raise
            self._abandon(row)
        else:
            assert isinstance(task, AsyncRecordedTask)  # noqa: S101
            await self._follow(row, task)

    async def _put_off(self, row: Row, entry: Entry) -> None:
        """Start a row again later, as another process submits it."""
        self._claimed_seconds = max(self._claimed_seconds, entry.remaining)
        if self._is_last_turn:
            await self._sleep(CLAIM_PAUSE)
        self._later.append(row)

    def _check_file(self, row: Row) -> None:
        """Raise OSError or ValueError if a row's image could not be saved."""
        file = Destination(self._folder / file_name(row.key), is_folder=False)
        if file.path.is_dir():
            raise IsADirectoryError(f"{file.path} is a folder")
        try:
            file.check(overwrite=False, any_suffix=True)
        except FileExistsError:
            entry = self._ledger.find(row.key)
            if entry is None or is_free(entry, retry_failed=self._retry_failed):
                raise

    def _refuse_or_fail(self, row: Row, error: Exception, *, started: float) -> None:
        """Note that a row was not accepted, or may not have been."""
        if is_refusal(error):
            self._again.append(row)
            self._slow_down(error, started)
            return
        if is_fatal(error):
            self._stop(outcome_of(row, error).error or "")
            if not may_be_charged(error):
                return  # the row itself is not to blame
        self._finish(outcome_of(row, error), is_old=is_old(error))

    def _slow_down(self, error: Exception, started: float) -> None:
        now = self._clock.monotonic()
        asked = getattr(error, "retry_after", None)
        seconds = self._pace.refuse(
            started=started, now=now, asked=asked, jitter=self._clock.jitter()
        )
        if self._pace.gives_up(now):
            self._stop(f"the server accepts no more rows for now: {error}")
        elif seconds:
            self._tell(Paused(seconds, str(error)))

    async def _follow(self, row: Row, task: AsyncRecordedTask) -> None:
        """Wait for a row's task, and save its image."""
        is_old = task.is_final
        if task.is_new:
            self._charged += 1
            self._pace.accept()
            self._tell(Submitted(row.number, row.key, task.id))
        outcome = Outcome(row.number, row.key, "running", task.id, prompt=row.request["prompt"])
        current = asyncio.current_task()
        assert current  # noqa: S101
        self._waiting.add(current)
        try:
            if not self._is_interrupted:
                result = await task.wait()
                path = await result.save(self._folder / file_name(row.key))
                # The ledger knows an absolute path.
                outcome = evolve(outcome, state="done", path=self._folder / path.name)
        except errors.NanoBananaError as error:
            outcome = outcome_of(row, error, task.id)
            if is_fatal(error):
                self._stop(error.problem)
        except asyncio.CancelledError:
            if not self._is_interrupted:
                raise
        self._finish(outcome, is_old=is_old)

    def _abandon(self, row: Row) -> None:
        """Note what the ledger says about a row whose submission was cancelled."""
        prompt = row.request["prompt"]
        task_id = self._ledger._store.unrecorded_task(row.key)
        try:
            entry = self._ledger.find(row.key)
        except LedgerError as error:
            reason = f"it was interrupted, and {error.problem}"
        else:
            if entry is None or entry.state not in ("claimed", "in doubt"):
                return
            reason = entry.reason or "it was interrupted"
        self._finish(Outcome(row.number, row.key, "in doubt", task_id, error=reason, prompt=prompt))

    async def _record_again(self) -> None:
        """Record the tasks that the ledger could not record when they were created."""
        store = self._ledger._store
        tasks = {
            entry.key: task_id
            for claim, (entry, task_id) in store.unrecorded.items()
            if claim not in self._unrecorded_before
        }
        if not tasks:
            return
        with contextlib.suppress(LedgerError):
            await asyncio.to_thread(store.accept_unrecorded)
        left = {entry.key for entry, _ in store.unrecorded.values()}
        for outcome in [each for each in self._rows.outcomes() if each.key in tasks]:
            task_id = tasks[outcome.key or ""]
            self._charged += 1
            if outcome.key in left:
                self._rows.record(evolve(outcome, state="in doubt", task_id=task_id))
            else:
                self._rows.record(evolve(outcome, state="running", task_id=task_id, error=None))

    def _finish(self, outcome: Outcome, *, is_old: bool = False) -> None:
        self._tell(outcome)  # first, as the disk may be full
        self._rows.record(outcome)
        # What failed in an earlier run fails again without a request.
        if outcome.state in ("failed", "in doubt") and not is_old:
            self._failures += 1
            if self._max_failures is not None and self._failures >= self._max_failures:
                self._stop(f"{self._failures} rows have failed")


def _check_folder(output: str | os.PathLike[str]) -> tuple[Path, bool]:
    """Return the folder for the images, and whether it is new or empty.

    Raises ConfigurationError if the images cannot be saved there.
    """
    try:
        folder = Path(output)
        if not is_utf8(str(folder.absolute())):
            raise OSError("its path is not in UTF-8, so the ledger could not store it")
        destination = Destination(folder, is_folder=True)
        destination.check(overwrite=False, any_suffix=False)
        destination.check_writable()
        is_new = not folder.is_dir() or not any(folder.iterdir())
    except (TypeError, ValueError, OSError) as error:
        problem = f"the images cannot be saved in {shown(output)}: {reason(error)}"
        raise errors.ConfigurationError(problem) from error
    return folder, is_new
