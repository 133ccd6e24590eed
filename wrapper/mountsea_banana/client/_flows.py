"""The client's operations as flows: submit, fetch and wait, step by step and without I/O."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from mountsea_banana._shared.clock import Clock

from . import _errors as errors
from . import _image_checks, _polling, _requests, _responses, _retries
from ._exchange import Exchange, RawResponse
from ._requests import APIRequest
from ._responses import APIResponse
from ._settings import Settings
from ._snapshots import TaskSnapshot
from ._steps import Call, Flow, Notify, Send, Sleep

if TYPE_CHECKING:
    from mountsea_api.models import NanoImageDto

    from mountsea_banana.rules._check import CheckedRequest


def submit(
    request: NanoImageDto | Mapping[str, object],
    *,
    check_images: bool,
    settings: Settings,
) -> Flow[str]:
    """Validate and submit a request; return the task id. Raises InvalidRequest."""
    checked = _requests.checked(request)
    if check_images:
        yield from check_image_urls(checked)
    return (yield from create_task(checked, [], settings=settings))


def check_image_urls(checked: CheckedRequest) -> Flow[None]:
    """Request the images of an edit. Raises InvalidRequest if one cannot be used."""
    violations = yield from _image_checks.check_images(_requests.image_urls(checked))
    if violations:
        raise errors.InvalidRequest(violations)


def create_task(
    checked: CheckedRequest,
    attempts: list[Exchange],
    *,
    settings: Settings,
    before_attempt: Callable[[], object] | None = None,
    on_late_task: Callable[[str], object] | None = None,
) -> Flow[str]:
    """Submit a valid request; return the task id.

    `attempts` holds the exchange that is under way, and none during a pause. `before_attempt` may
    raise an error to prevent an attempt. `on_late_task` is called, from any thread, with the id of
    a task that an abandoned exchange created.
    """

    def receive_late(response: RawResponse) -> None:
        task_id = _responses.find_task_id(response.body, settings.redact)
        if task_id:
            _responses.log(f"an abandoned submission created task {task_id}: resume it by its id")
            if on_late_task:
                on_late_task(task_id)

    try:
        response = yield from _send(
            _requests.submission(checked),
            attempts,
            settings=settings,
            before_attempt=before_attempt,
            on_late_response=receive_late,
        )
        task_id = _responses.submitted_task_id(response)
        # After this, only the caller knows the id, and an interrupt may lose it.
        _responses.log(f"submitted task {task_id}", logging.INFO)
        return task_id
    except errors.NanoBananaError as error:
        is_unknown = isinstance(error, errors.SubmissionUnknown)
        if attempts and attempts[-1].is_accepted and not is_unknown:
            raise _struck(error, attempts[-1], settings) from error
        raise
    except BaseException as interrupt:
        _note_submission(interrupt, attempts, settings)
        raise


def _struck(
    error: errors.NanoBananaError, exchange: Exchange, settings: Settings
) -> errors.SubmissionUnknown:
    """Return the error for a submission during which a signal handler raised one of its own."""
    task_id = _responses.find_task_id(exchange.body, settings.redact)
    return _responses.unknown_submission(error, task_id)


def _note_submission(
    interrupt: BaseException, attempts: Sequence[Exchange], settings: Settings
) -> None:
    """Note on what interrupts a submission whether it may have been charged; log it if so."""
    body = attempts[-1].body if attempts else b""
    task_id = _responses.find_task_id(body, settings.redact)
    if task_id:
        note = f"a submission was interrupted, but created task {task_id}: resume it by its id"
    elif attempts and attempts[-1].may_have_left:
        note = (
            "a submission was interrupted before its response: it may have been accepted and "
            "charged, so check your account before you resend it"
        )
    else:
        interrupt.add_note("a submission was interrupted, and nothing was charged")
        return
    interrupt.add_note(note)
    _responses.log(note)


def fetch(task_id: str, *, settings: Settings) -> Flow[TaskSnapshot]:
    """Poll a task once."""
    request = _requests.poll(task_id)
    response = yield from _send(request, [], settings=settings)
    return TaskSnapshot(task_id, *_responses.read_result(response, task_id))


def wait(
    task_id: str,
    *,
    timeout: float,
    poll_interval: float | None,
    clock: Clock,
    on_final: Callable[[TaskSnapshot], object] | None = None,
) -> Flow[TaskSnapshot]:
    """Poll a task until it is final or `timeout` seconds have passed; return the last snapshot.

    `on_final` is called with the final snapshot, also that of a task that failed.
    """
    request = _requests.poll(task_id)
    deadline = clock.monotonic() + timeout
    failure: errors.NanoBananaError | None = None
    known = set(_polling.OPEN)
    polls = 0
    try:
        while (remaining := deadline - clock.monotonic()) > 0 or not polls:
            if not timeout:
                remaining = _polling.LAST_POLL  # without any time, there is still one poll
            exchange = Exchange(max_bytes=_responses.MAX_BYTES)
            outcome = yield Send(request, exchange, remaining)
            try:
                response = _retries.settle(outcome, request, now=clock.wall())
                snapshot = TaskSnapshot(task_id, *_responses.read_result(response, task_id))
            except errors.NanoBananaError as error:
                failure = error
                if not _polling.keeps_waiting(error):
                    raise
            else:
                failure = None
                if on_final and snapshot.is_final:
                    yield Call(partial(on_final, snapshot))
                yield Notify(snapshot)
                if snapshot.is_final:
                    return conclude(snapshot)
                if snapshot.status not in known:
                    known.add(snapshot.status)
                    _responses.warn(
                        f"task {task_id} has a status that is not in the spec: {snapshot.status!r}"
                    )
            remaining = max(deadline - clock.monotonic(), 0.0)
            asked = getattr(failure, "retry_after", None) or 0.0
            if failure and (asked > _retries.MAX_RETRY_AFTER or asked > remaining):
                raise failure
            if not remaining:
                break
            pause = max(poll_interval or _polling.pause(polls, clock.jitter()), asked)
            polls += 1
            if remaining > _polling.LAST_POLL:
                pause = min(pause, max(remaining - _polling.LAST_POLL, asked))
            yield Sleep(min(pause, remaining))
    except (Exception, GeneratorExit):
        raise
    except BaseException:  # Ctrl-C, an exit, or a cancelled asyncio task
        _responses.log(f"task {task_id} is still running: resume with client.task({task_id!r})")
        raise
    raise errors.WaitTimeout(
        f"task {task_id} was still running after {timeout:g} s",
        task_id=task_id,
        hint=errors.Hint.RESUME,
    ) from failure


def conclude(snapshot: TaskSnapshot) -> TaskSnapshot:
    """Return a final snapshot that has an image. Raises TaskFailed or UnexpectedResponse."""
    if snapshot.status != "completed":
        reason = snapshot.error_message or "the server gave no reason"
        raise errors.TaskFailed(
            f"task {snapshot.task_id} ended as {snapshot.status}: {reason}",
            task_id=snapshot.task_id,
            status=snapshot.status,
            error_message=snapshot.error_message,
            error_code=snapshot.error_code,
            trace_id=snapshot.trace_id,
        )
    if not snapshot.image_urls:
        raise errors.UnexpectedResponse(
            f"task {snapshot.task_id} is completed but has no image URL: {snapshot.raw!r:.500}",
            status_code=200,
            body=repr(dict(snapshot.raw)),
            task_id=snapshot.task_id,
        )
    return snapshot


def _send(
    request: APIRequest,
    attempts: list[Exchange],
    *,
    settings: Settings,
    before_attempt: Callable[[], object] | None = None,
    on_late_response: Callable[[RawResponse], None] | None = None,
) -> Flow[APIResponse]:
    """Send a request, and retry it if that is safe, up to `max_retries` times.

    `attempts` holds the exchange that is under way, and none during a pause.
    """
    clock = settings.clock
    attempt = 0
    while True:
        if before_attempt:
            yield Call(before_attempt)
        exchange = Exchange(max_bytes=_responses.MAX_BYTES, on_late_response=on_late_response)
        attempts.append(exchange)
        try:
            outcome = yield Send(request, exchange, None)
        except errors.NanoBananaError as error:
            if request.is_submission and exchange.may_have_left:
                raise _struck(error, exchange, settings) from error
            raise
        if isinstance(outcome, APIResponse) and outcome.is_success and not outcome.fault:
            return outcome  # before anything else can fail, the clock included
        delay = _retries.delay(
            outcome, request, attempt=attempt, jitter=clock.jitter(), now=clock.wall()
        )
        if delay is None or attempt == settings.max_retries:
            return _retries.settle(outcome, request, now=clock.wall())
        attempts.clear()
        yield Sleep(delay)
        attempt += 1
