"""What the client does, step by step, without doing it.

Each flow is a generator: it yields what is to be done (`Send`, `Sleep`, `Tell`), is handed what
came of it, and returns its result or raises a documented error. The synchronous and the
asynchronous client drive the same flows, so that no decision is written twice.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping
from typing import Any, TypeVar

from attrs import frozen

from mountsea_banana._shared.clock import Clock

from . import _errors as errors
from . import _polling
from . import _responses as _answers
from . import _retries as _retry
from ._snapshots import Look

_logger = logging.getLogger("mountsea_banana")

T = TypeVar("T")


@frozen
class Call:
    """One request of the API, as the generated client describes it."""

    arguments: Mapping[str, Any]
    """What `httpx.Client.build_request` takes; `url` is the path."""
    is_submission: bool
    task_id: str | None


@frozen
class Send:
    """Send the call; be handed an `Answer` or an exception."""

    call: Call
    seconds: float | None
    """How long the exchange may take at most; None: the client's own limit."""


@frozen
class Sleep:
    """Wait so many seconds."""

    seconds: float


@frozen
class Tell:
    """Hand a look to the caller's `on_update`."""

    look: Look


Flow = Generator[Send | Sleep | Tell, Any, T]


def submit(body: Mapping[str, Any], *, max_retries: int, clock: Clock) -> Flow[str]:
    """Submit a checked body; return the task id."""
    from mountsea_api.api.gemini import api_public_controller_nano_image as nano_image
    from mountsea_api.models import NanoImageDto

    arguments = nano_image._get_kwargs(body=NanoImageDto.from_dict(body))
    call = Call(arguments, is_submission=True, task_id=None)
    try:
        answer = yield from _send(call, max_retries=max_retries, clock=clock)
    except errors.NanoBananaError:
        raise
    except BaseException as interrupt:
        interrupt.add_note(_INTERRUPTED)
        _logger.warning(_INTERRUPTED)
        raise
    return _answers.submitted_task_id(answer)


_INTERRUPTED = (
    "a submission was interrupted before its answer came: it may have been accepted and charged"
)


def fetch(task_id: str, *, max_retries: int, clock: Clock) -> Flow[Look]:
    """Look at a task once."""
    answer = yield from _send(_look(task_id), max_retries=max_retries, clock=clock)
    return Look(task_id, *_answers.read_result(answer, task_id))


def wait(task_id: str, timeout: float, *, clock: Clock) -> Flow[Look]:
    """Look at a task until it is final or `timeout` seconds are over; return the last look."""
    call = _look(task_id)
    deadline = clock.monotonic() + timeout
    failure: errors.NanoBananaError | None = None
    known = set(_polling.OPEN)
    looks = 0
    try:
        while (remaining := deadline - clock.monotonic()) > 0:
            outcome = yield Send(call, remaining)
            try:
                answer = _retry.settle(
                    outcome, is_submission=False, task_id=task_id, now=clock.wall()
                )
                look = Look(task_id, *_answers.read_result(answer, task_id))
            except errors.NanoBananaError as error:
                failure = error
                if not _polling.keeps_waiting(error):
                    raise
            else:
                failure = None
                yield Tell(look)
                if look.is_final:
                    return conclude(look)
                if look.status not in known:
                    known.add(look.status)
                    _answers.warn(f"task {task_id} has the unknown status {look.status!r}")
            remaining = max(deadline - clock.monotonic(), 0.0)
            asked = getattr(failure, "retry_after", None) or 0.0
            if failure and (asked > _retry.MAX_RETRY_AFTER or asked > remaining):
                raise failure
            pause = max(_polling.pause(looks, clock.jitter()), asked)
            looks += 1
            if remaining > _polling.LAST_LOOK:
                pause = min(pause, max(remaining - _polling.LAST_LOOK, asked))
            yield Sleep(min(pause, remaining))
    except (Exception, GeneratorExit):
        raise
    except BaseException:  # Ctrl-C, an exit, or a cancelled asyncio task
        _logger.warning("task %s was still running: client.task(%r) picks it up", task_id, task_id)
        raise
    raise errors.WaitTimeout(
        f"task {task_id} was still running after {timeout:g} s: wait longer, or pick it up later "
        f"with client.task({task_id!r})",
        task_id=task_id,
    ) from failure


def conclude(look: Look) -> Look:
    """Return a final look where it carries a picture; raise TaskFailed or UnexpectedResponse."""
    if look.status != "completed":
        reason = look.error_message or "the server gave no reason"
        raise errors.TaskFailed(
            f"task {look.task_id} ended as {look.status}: {reason}",
            task_id=look.task_id,
            status=look.status,
            error_message=look.error_message,
            error_code=look.error_code,
            trace_id=look.trace_id,
        )
    if not look.image_urls:
        raise errors.UnexpectedResponse(
            f"task {look.task_id} is completed and carries no image URL: {look.raw!r:.500}",
            status_code=200,
            body=repr(dict(look.raw)),
            task_id=look.task_id,
        )
    return look


def _look(task_id: str) -> Call:
    from mountsea_api.api.gemini import api_public_controller_task_result as task_result

    return Call(task_result._get_kwargs(task_id=task_id), is_submission=False, task_id=task_id)


def _send(call: Call, *, max_retries: int, clock: Clock) -> Flow[_answers.Answer]:
    """Send a call until it is answered, as often as that is safe and allowed."""
    for attempt in range(max_retries):
        outcome = yield Send(call, None)
        delay = _retry.delay(
            outcome,
            is_submission=call.is_submission,
            attempt=attempt,
            jitter=clock.jitter(),
            now=clock.wall(),
        )
        if delay is None:
            break
        yield Sleep(delay)
    else:
        outcome = yield Send(call, None)
    return _retry.settle(
        outcome, is_submission=call.is_submission, task_id=call.task_id, now=clock.wall()
    )
