"""What the ledger adds to a client's operations, step by step and without I/O."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from attrs import define, evolve

from mountsea_banana.client import _downloads, _flows, _requests, _responses, _retries
from mountsea_banana.client import _errors as errors
from mountsea_banana.client._exchange import Exchange
from mountsea_banana.client._files import find_saved
from mountsea_banana.client._images import Image
from mountsea_banana.client._settings import Settings
from mountsea_banana.client._snapshots import TaskSnapshot
from mountsea_banana.client._steps import Call, Flow, Notify, Sleep
from mountsea_banana.rules._check import CheckedRequest

from ._entries import Entry, Order
from ._errors import CostLimitReached, InDoubt, KeyClaimed, KeyConflict, LedgerError
from ._store import Store, is_free

if TYPE_CHECKING:
    from mountsea_api.models import NanoImageDto

SLACK = 60.0
"""Seconds of a claim for all but the exchanges: the ledger itself, and a busy machine."""
MAX_CLAIM = 365 * 24 * 3600.0
"""Seconds; a time that is much further away is not a date."""
RECORD_PAUSES = (1.0, 5.0, 15.0)
"""Seconds before the attempts to record a task that could not be recorded."""
PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds between two reads of a key that another caller submits."""


@define
class Record:
    """What the ledger has about the task of a submission."""

    store: Store
    settings: Settings
    claim: str
    task_id: str
    snapshot: TaskSnapshot | None
    file: Path | None
    file_size: int | None
    is_new: bool = False
    """Whether this caller submitted the request, which was charged."""

    @classmethod
    def of(cls, entry: Entry, store: Store, settings: Settings, *, is_new: bool = False) -> Self:
        """Return the record of a submission whose task is known."""
        assert entry.task_id  # noqa: S101
        return cls(
            store,
            settings,
            entry.claim,
            entry.task_id,
            entry.snapshot,
            entry.file,
            entry.file_size,
            is_new,
        )


def submit(
    store: Store,
    key: str,
    request: NanoImageDto | Mapping[str, object],
    *,
    check_images: bool,
    retry_failed: bool,
    max_cost: int | None,
    settings: Settings,
    waits: bool = True,
) -> Flow[Record]:
    """Return the record of a key's task; submit the request if nobody has.

    Raises InvalidRequest, KeyConflict, InDoubt, CostLimitReached, LedgerError, and what any
    submission raises; KeyClaimed, unless it `waits`, while another caller submits it.
    """
    checked = _requests.checked(request)
    seconds = _claim_seconds(settings)
    order = Order.of(key, checked, settings.base_url, settings.account)
    if check_images:
        found: Entry | None = yield Call(partial(store.find, key))
        if found is None or is_free(found, retry_failed=retry_failed):
            yield from _flows.check_image_urls(checked)
    claim = secrets.token_hex(16)
    try_to_claim = partial(
        store.claim,
        order,
        claim,
        seconds=seconds,
        retry_failed=retry_failed,
        max_cost=max_cost,
    )
    try:
        entry = yield from _claim(try_to_claim, order, claim, settings, waits=waits)
    except (CostLimitReached, InDoubt, KeyConflict, LedgerError):
        raise
    except BaseException as error:  # the claim may have been made nevertheless
        yield from _record(error, partial(store.free, claim))
        raise
    if entry.claim == claim:
        entry = yield from _submit(store, entry, checked, settings)
    return Record.of(entry, store, settings, is_new=entry.claim == claim)


def _claim_seconds(settings: Settings) -> float:
    """Return how long a client may take to submit a request, retries included.

    Raises ConfigurationError if there is no limit, or hardly one.
    """
    exchanges = (settings.max_retries + 1) * settings.exchange_timeout
    seconds = exchanges + settings.max_retries * _retries.MAX_RETRY_AFTER + SLACK
    if not seconds <= MAX_CLAIM:
        raise errors.ConfigurationError(
            "with a ledger, a submission must end within a year: every part of the client's "
            "timeout must be finite, because the ledger has to know when it has ended"
        )
    return seconds


def _claim(
    try_to_claim: Callable[[], Entry],
    order: Order,
    claim: str,
    settings: Settings,
    *,
    waits: bool,
) -> Flow[Entry]:
    """Claim a key, or wait for the caller that has claimed it; return the claim, or its task."""
    clock = settings.clock
    other, deadline = "", 0.0
    polls = 0
    while True:
        entry: Entry = yield Call(try_to_claim)
        if entry.claim == claim:
            return entry
        if entry.order.differences(order):
            raise KeyConflict(entry, order)
        if entry.state == "accepted":
            return entry
        now = clock.monotonic()
        if entry.claim != other:
            # The wall clock, which `remaining` comes from, may be set back meanwhile.
            other, deadline = entry.claim, now + entry.remaining
        if entry.state == "in doubt" or now >= deadline:
            raise InDoubt(entry)
        if not waits:
            raise KeyClaimed(entry)
        yield Sleep(min(PAUSES[min(polls, len(PAUSES) - 1)], deadline - now))
        polls += 1


def _submit(store: Store, entry: Entry, checked: CheckedRequest, settings: Settings) -> Flow[Entry]:
    """Submit a request under a claim; record what comes of it."""
    attempts: list[Exchange] = []
    try:
        task_id = yield from _flows.create_task(
            checked,
            attempts,
            settings=settings,
            before_attempt=partial(_check_claim, store, entry, settings),
            on_late_task=partial(_accept_late, store, entry),
        )
    except BaseException as error:
        found = _task_id_in(error, attempts, settings)
        if found:
            task_id = found
        elif _may_be_charged(error, attempts):
            reason = errors.text_of(error) or f"it was interrupted by {type(error).__name__}"
            doubtful = yield from _record(error, partial(store.doubt, entry.claim, reason))
            if not isinstance(doubtful, Entry) or not isinstance(error, Exception):
                raise
            if not doubtful.task_id:
                raise InDoubt(doubtful) from error
            return doubtful  # a late response was faster
        else:
            yield from _record(error, partial(store.free, entry.claim))
            raise
        if not isinstance(error, errors.NanoBananaError):
            yield from _record(error, partial(store.accept, entry, task_id))
            raise
    yield from _accept(store, entry, task_id)
    return evolve(entry, state="accepted", task_id=task_id)


def _accept(store: Store, entry: Entry, task_id: str) -> Flow[None]:
    """Record the task of a submission; try again for a while if the ledger fails."""
    accept = partial(store.accept, entry, task_id)
    try:
        for pause in RECORD_PAUSES:
            try:
                yield Call(accept)
            except Exception as error:
                _responses.log(f"task {task_id} is not recorded yet, trying again: {error}")
                yield Sleep(pause)
            else:
                return
        yield Call(accept)
    except Exception as error:
        reason = errors.text_of(error) or type(error).__name__
        problem = (
            f"task {task_id} was created for the key {entry.key!r}, but it could not be recorded "
            f"({reason}). The key will be in doubt: settle it with this task id"
        )
        _responses.log(problem)
        raise LedgerError(problem, task_id=task_id) from error
    except BaseException as interrupt:  # nobody knows how far it came
        note = f"task {task_id} was created for the key {entry.key!r}: resume it by its id"
        interrupt.add_note(note)
        _responses.log(note)
        yield from _record(interrupt, accept)
        raise


def _check_claim(store: Store, entry: Entry, settings: Settings) -> None:
    """Raise LedgerError unless the claim outlasts an attempt.

    It does not if this process was suspended, if the clock was set, or if somebody released it.
    """
    current = store.read(entry.claim)
    outlasts_it = (
        current is not None
        and current.state == "claimed"
        and current.remaining >= settings.exchange_timeout
    )
    if not outlasts_it:
        raise LedgerError(
            f"the claim on the key {entry.key!r} has ended before the request was accepted; "
            "nothing was charged"
        )


def _accept_late(store: Store, entry: Entry, task_id: str) -> None:
    try:
        store.accept(entry, task_id)
    except Exception as error:  # nobody waits for it; the id is in the log
        _responses.log(f"task {task_id} could not be recorded for the key {entry.key!r}: {error}")


def _task_id_in(
    error: BaseException, attempts: Sequence[Exchange], settings: Settings
) -> str | None:
    """Return the id of the task that a submission created although it ended with an error."""
    if isinstance(error, errors.NanoBananaError):
        return error.task_id if isinstance(error, errors.SubmissionUnknown) else None
    return _responses.find_task_id(attempts[-1].body, settings.redact) if attempts else None


def _may_be_charged(error: BaseException, attempts: Sequence[Exchange]) -> bool:
    if isinstance(error, errors.NanoBananaError):
        return isinstance(error, errors.SubmissionUnknown)
    return bool(attempts) and attempts[-1].may_have_left


def _record(error: BaseException, function: Callable[[], object]) -> Flow[object]:
    """Record what an error means; return what the function returns, and None if it fails.

    A failure is noted on the error: what is not recorded ends in doubt.
    """
    try:
        if isinstance(error, GeneratorExit):  # a flow that is being closed cannot take a step
            return function()
        return (yield Call(function))
    except Exception as failure:
        note = f"the ledger could not record this: {failure}"
        error.add_note(note)
        _responses.log(note)
        return None


def fetch(record: Record) -> Flow[TaskSnapshot]:
    """Return a task's final state from the ledger, or poll the task once and record the state."""
    if record.snapshot:
        return record.snapshot
    return (yield from _poll(record))


def _poll(record: Record) -> Flow[TaskSnapshot]:
    snapshot = yield from _flows.fetch(record.task_id, settings=record.settings)
    if snapshot.is_final:
        yield Call(partial(_keep, record, snapshot))
    return snapshot


def wait(record: Record, *, timeout: float, poll_interval: float | None) -> Flow[TaskSnapshot]:
    """Return a task's final state from the ledger, or poll the task until it has one."""
    if record.snapshot:
        yield Notify(record.snapshot)
        return _flows.conclude(record.snapshot)
    return (
        yield from _flows.wait(
            record.task_id,
            timeout=timeout,
            poll_interval=poll_interval,
            clock=record.settings.clock,
            on_final=partial(_keep, record),
        )
    )


def _keep(record: Record, snapshot: TaskSnapshot) -> None:
    """Record a task's final state; without it, the next caller polls once more."""
    record.snapshot = snapshot
    try:
        record.store.keep_result(record.claim, snapshot)
    except LedgerError as error:
        _responses.log(f"the result of task {record.task_id} was not recorded: {error}")


def download(
    record: Record, snapshot: TaskSnapshot, *, max_bytes: int, timeout: float
) -> Flow[Image]:
    """Download the first image of a task; poll the task once if the URL has expired."""
    try:
        return (yield from _downloads.download(snapshot, max_bytes=max_bytes, timeout=timeout))
    except errors.DownloadError as error:
        if error.hint is not errors.Hint.POLL_AGAIN:
            raise
    fresh = yield from _poll(record)
    return (yield from _downloads.download(fresh, max_bytes=max_bytes, timeout=timeout))


def save(
    record: Record,
    snapshot: TaskSnapshot,
    path: Path | str,
    *,
    overwrite: bool,
    max_bytes: int,
    timeout: float,
) -> Flow[Path]:
    """Download the first image of a task into a file, unless the ledger knows that it is there."""
    saving = partial(_save, record, snapshot, path, max_bytes=max_bytes, timeout=timeout)
    try:
        return (yield from saving(overwrite=overwrite))
    except errors.DownloadError as error:
        if error.hint is not errors.Hint.OVERWRITE:
            raise
    yield Call(partial(_read_file, record))  # another process may have saved it meanwhile
    return (yield from saving(overwrite=False))


def _save(
    record: Record,
    snapshot: TaskSnapshot,
    path: Path | str,
    *,
    overwrite: bool,
    max_bytes: int,
    timeout: float,
) -> Flow[Path]:
    if record.file and not overwrite:
        saved: tuple[Path, int] | None = yield Call(partial(_find_saved, record, path))
        if saved and saved[1] == record.file_size:
            return saved[0]
        # A process may have been killed when it had only claimed the name.
        overwrite = saved is not None and saved[1] == 0
    return (
        yield from _downloads.save(
            snapshot,
            path,
            download(record, snapshot, max_bytes=max_bytes, timeout=timeout),
            overwrite=overwrite,
            before_write=partial(_keep_file, record, overwrite=overwrite),
        )
    )


def _find_saved(record: Record, path: Path | str) -> tuple[Path, int] | None:
    """Return where the task's image would be saved and its size, if the file is there."""
    found = find_saved(record.file, path, record.task_id) if record.file else None
    return (found, found.stat().st_size) if found else None


def _keep_file(record: Record, file: Path, size: int, *, overwrite: bool) -> None:
    """Record a file before it is written: it is complete if it has the size of the image.

    Without the record, the next caller takes it for somebody else's. Raises FileExistsError if it
    exists, perhaps written and recorded by another process.
    """
    if not overwrite and os.path.lexists(file):
        raise FileExistsError(f"{file} exists")
    record.file, record.file_size = file.absolute(), size
    try:
        record.store.keep_file(record.claim, record.file, size)
    except LedgerError as error:
        _responses.log(f"the file of task {record.task_id} was not recorded: {error}")


def _read_file(record: Record) -> None:
    entry = record.store.read(record.claim)
    if entry:
        record.file, record.file_size = entry.file, entry.file_size
