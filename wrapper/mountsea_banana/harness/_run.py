"""Sends the cases of a plan to a server and collects its violations of the contract."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import attrs
from attrs import define, evolve

from . import _causes, _requests
from ._case import BEARER, BURSTS, OTHER_BEARER, POLLS, TASKS, VALID_BODIES, Case, Request
from ._causes import Cause
from ._failure import Failure
from ._gallery import Gallery
from ._lifecycle import FINAL, Task
from ._oracle import Verdict
from ._outcome import Outcome
from ._plan import Plan
from ._shrink import shrink
from ._transport import Response, Server
from ._verify import Violation, read_object, submits, violations

CONNECTIONS = 4
BATCH = 250
BURST = 16
MAX_FOREIGN_POLLS = 8
MAX_SAMPLED_TASKS = 16
FIRST_POLLING_SECONDS = 1.0
CLOSE_POLLS = 10
MIN_PAUSE = 0.02
MAX_PAUSE = 3.0
MAX_UNANSWERED = 5
# A server that fails every one of this many requests fails them all.
MAX_FAILED = 100
NOT_FOUND = frozenset({400, 404, 410, 422})


class CannotTest(Exception):
    """The server cannot be tested. The message names the reason and what to do."""


@define
class Budget:
    """How many submissions a server may accept in a run."""

    limit: int | None
    """None if submissions are free."""
    spent: int = 0

    def allows(self, case: Case) -> bool:
        """Return whether a case may be sent."""
        return self.limit is None or not case.may_cost or self.spent < self.limit

    @property
    def is_exceeded(self) -> bool:
        return self.limit is not None and self.spent > self.limit


class Run:
    """One run of a plan against a server."""

    def __init__(
        self,
        plan: Plan,
        server: Server,
        *,
        budget: int | None = None,
        has_other_key: bool = False,
        task_timeout: float = 20.0,
        fail_fast: bool = False,
        progress: Callable[[str, int], object] = lambda *_: None,
    ) -> None:
        self._plan = plan
        self._server = server
        self._budget = Budget(budget)
        self._has_other_key = has_other_key
        self._task_timeout = task_timeout
        self._fail_fast = fail_fast
        self._progress = progress
        self._connections = 1
        self._sent: list[tuple[Case, Response]] = []
        self._failures: list[Failure] = []
        self._skipped: Counter[str] = Counter()
        self._tasks: dict[str, Task] = {}
        self._reused_ids: set[str] = set()
        self._followed_tasks: list[Task] = []
        self._gallery = Gallery(plan)
        self._failed = 0
        self._unanswered = 0
        self._stopped = ""

    def execute(self) -> Outcome:
        """Send the plan and return the result. Raises CannotTest."""
        try:
            return self._execute()
        finally:
            self._server.close()

    def _execute(self) -> Outcome:
        start = time.monotonic()
        self._check_server()
        self._send_all(TASKS, self._plan.tasks)
        self._poll_as_others()
        self._send_all(VALID_BODIES, self._plan.submissions)
        # Most test servers finish their tasks in this time, and the first polls reveal defects.
        self._follow(FIRST_POLLING_SECONDS)
        self._poll_at_once()
        for cases in self._plan.groups:
            for check in dict.fromkeys(case.check for case in cases[:1]):
                self._send_all(check, cases)
        self._check_connections()
        self._sample_tasks()
        self._follow(self._task_timeout)
        self._poll_again()
        self._poll_as_others()
        self._free_connection()
        self._fail_tasks(self._gallery.fetch_again())
        self._fail_tasks(self._gallery.compare())
        rules = self._plan.rule_properties()
        # What a task does whose id is another's too follows from that.
        failures = [each for each in self._failures if each.task not in self._reused_ids]
        causes = self._confirm(_causes.group(failures, self._passed(), rules))
        return Outcome(
            plan=self._plan,
            base_url=self._server.base_url,
            causes=tuple(cause for cause in causes if not cause.is_warning),
            warnings=tuple(cause for cause in causes if cause.is_warning),
            sent=tuple(self._sent),
            skipped=tuple(self._skipped_lines()),
            stopped=self._stopped,
            missing=self._missing(),
            accepted=self._budget.spent,
            seconds=time.monotonic() - start,
        )

    def _check_server(self) -> None:
        """Raise CannotTest if the server does not respond or rejects a key."""
        base_url = self._server.base_url
        responses = [self._server.send(request) for request in self._plan.probes]
        statuses = {response.status for response in responses}
        if statuses == {0}:
            raise CannotTest(
                f"no response from {base_url}: {responses[0].fault}; start the server or correct "
                "--base-url"
            )
        if statuses and statuses <= {401, 403}:
            raise CannotTest(
                f"{base_url} rejects the key in MOUNTSEA_API_KEY with status {max(statuses)}: set "
                "the variable to a valid key"
            )
        poll = next(iter(self._plan.polls.values()), None)
        if poll and self._has_other_key:
            response = self._server.send(attrs.evolve(poll.request, headers=(OTHER_BEARER,)))
            if response.status == 401:
                raise CannotTest(
                    f"{base_url} rejects the key in MOUNTSEA_OTHER_API_KEY: set the variable to "
                    "the key of a second account, or unset it"
                )
        if self._budget.limit is None and self._server.accepts_parallel_connections(
            self._plan.probes[:1]
        ):
            self._connections = CONNECTIONS

    def _send_all(self, check: str, cases: Sequence[Case]) -> None:
        """Send cases, in parallel if submissions are free, and record the responses."""
        with ThreadPoolExecutor(self._connections) as pool:
            for start in range(0, len(cases), BATCH):
                # The pool would take its time for cases that a stopped run skips.
                in_turn = self._connections == 1 or self._stopped
                send = map if in_turn else pool.map
                for found in send(self._send_case, cases[start : start + BATCH]):
                    self._record(found)
                    self._progress(check, len(self._sent))

    def _send_case(self, case: Case) -> list[tuple[Case, Response, str]]:
        """Send a case, and poll the task that it creates, if any.

        Return each case sent with its response and the id of its task. For a case that is skipped,
        the third item is the reason.
        """
        reason = self._skip_reason(case)
        if reason:
            return [(case, _NOT_SENT, reason)]
        known = self._task_for(case)
        task = known.id if known else "unknown"
        if case.request.names_task and not known:
            # A server may look up the task before it checks the key.
            case = attrs.evolve(case, rejection_statuses=case.rejection_statuses | NOT_FOUND)
        if case.may_cost and self._budget.limit is not None:
            # On a new connection, no request is sent a second time.
            self._server.close()
        response = self._server.send(case.request, task=task)
        sent = [(case, response, task if case.request.names_task else "")]
        created = self._created_task(case, response)
        poll = self._plan.poll_of(case.operation)
        if created and poll and case.verdict is not Verdict.REJECT and case.is_submission:
            request = _poll_request(poll, Task(created, case))
            sent.append((poll, self._server.send(request, task=created), created))
            # The first task is polled closely, as a status may last only for a moment.
            for _ in range(CLOSE_POLLS if case in self._plan.tasks[:1] else 0):
                time.sleep(MIN_PAUSE)
                sent.append((poll, self._server.send(request, task=created), created))
        return sent

    def _skip_reason(self, case: Case) -> str:
        """Return the case's name and why it cannot be sent; empty if it can."""
        if self._stopped:
            return f"{case.check}: the run stopped early"
        if not self._budget.allows(case):
            return f"{case.check}: may be accepted and charged; raise the budget to include this"
        if not self._has_other_key and OTHER_BEARER in case.request.headers:
            name = case.variant or case.check
            return f"{name}: set MOUNTSEA_OTHER_API_KEY to a second account's key"
        needs_task = case.verdict is Verdict.ACCEPT or OTHER_BEARER in case.request.headers
        if case.request.names_task and needs_task and not self._task_for(case):
            return f"{case.check}: needs a task, but none was created"
        return ""

    def _task_for(self, case: Case) -> Task | None:
        """Return a task that the operation of a case can poll, if one was created."""
        name = case.operation.name
        return next(
            (each for each in self._followed_tasks if each.submission.operation.polled_by == name),
            None,
        )

    def _poll_of(self, task: Task) -> Case:
        poll = self._plan.poll_of(task.submission.operation)
        assert poll is not None  # noqa: S101 - only tasks that can be polled are followed
        return poll

    def _skipped_lines(self) -> Iterator[str]:
        for key, count in self._skipped.items():
            name, _, reason = key.partition(": ")
            yield f"{name} ({count:,} request{'s' * (count != 1)}): {reason}"
        unfinished = sum(not task.is_settled for task in self._followed_tasks)
        if unfinished:
            yield (
                f"final status ({unfinished} task{'s' * (unfinished != 1)}): not reached within "
                f"{self._task_timeout:g} s"
            )
        if self._plan.polls and not self._followed_tasks:
            yield "tasks and their images: no task was created"

    def _missing(self) -> str:
        """Return what a run that may submit must have seen to say anything about tasks."""
        if not any(400 <= response.status < 500 for _, response in self._sent):
            return "the server refused no request"
        if self._followed_tasks and not any(task.status in FINAL for task in self._followed_tasks):
            return "no task reached a final status"
        makes_images = any(task.submission.operation.makes_images for task in self._followed_tasks)
        return "no image was fetched" if makes_images and not self._gallery else ""

    def _created_task(self, case: Case, response: Response) -> str:
        """Return the id of the task that a request created; empty if it created none."""
        is_text = submits(case, response)
        return str(read_object(response)["taskId"]).strip() if is_text else ""

    def _record(self, sent: list[tuple[Case, Response, str]]) -> None:
        for case, response, task in sent:
            if response is _NOT_SENT:
                self._skipped[task] += 1
                continue
            self._sent.append((case, response))
            # What follows from the first violation of a response has the same cause.
            violation = next(self._violations(case, response, task), None)
            if violation:
                self._fail(case, response, violation, task)
                self._failed += 1
            self._update_budget(case, response)

    def _fail(self, case: Case, response: Response, violation: Violation, task: str) -> None:
        self._failures.append(self._failure(case, response, violation, task))

    def _failure(
        self, case: Case, response: Response, violation: Violation, task: str = ""
    ) -> Failure:
        redacted = evolve(violation, text=self._server.redact(violation.text))
        return Failure(case, self._server.redacted(response), redacted, task)

    def _retry(self, case: Case) -> Failure | None:
        """Send a case once more, without recording it, and return its failure if it fails."""
        response = self._server.send(case.request)
        violation = next(violations(case, response), None)
        return self._failure(case, response, violation) if violation else None

    def _violations(self, case: Case, response: Response, task: str) -> Iterator[Violation]:
        created = self._created_task(case, response)
        is_duplicate = created in self._tasks
        if created and not is_duplicate and case.is_submission:
            self._tasks[created] = Task(created, case)
            is_followed = case.check == TASKS or not case.operation.request
            if is_followed and self._plan.poll_of(case.operation):
                self._followed_tasks.append(self._tasks[created])
        observed: list[Violation] = []
        if case.operation.is_poll and case.verdict is Verdict.ACCEPT and task in self._tasks:
            polled = self._tasks[task]
            # Overlapping polls may be recorded in another order than the server's.
            judge = polled.observe if case.check == POLLS else polled.contradictions
            observed = list(judge(response))
        yield from violations(case, response)
        if is_duplicate:
            self._reused_ids.add(created)
            text = f"responds with a taskId that it has already used: {created}"
            yield Violation("response", text, "duplicate taskId")
        yield from observed

    def _update_budget(self, case: Case, response: Response) -> None:
        """Count accepted submissions; stop if the budget is exceeded or the server is gone."""
        is_accepted = (case.is_submission and 200 <= response.status < 300) or submits(
            case, response
        )
        may_be = case.may_cost and (response.status == 0 or response.status >= 500)
        if is_accepted or may_be:
            self._budget.spent += 1
        is_unanswered = response.status == 0 and not case.may_disconnect
        self._unanswered = self._unanswered + 1 if is_unanswered else 0
        if self._stopped:
            return
        if self._budget.is_exceeded:
            self._stopped = (
                f"the server accepted {self._budget.spent} submissions, more than the budget of "
                f"{self._budget.limit}"
            )
        elif self._unanswered >= MAX_UNANSWERED and self._is_gone():
            self._stopped = f"{self._unanswered} requests got no response: {response.fault}"
        elif self._failed == len(self._sent) >= MAX_FAILED:
            self._stopped = f"each of the first {self._failed} requests failed"
        elif self._fail_fast and any(not each.violation.is_warning for each in self._failures):
            self._stopped = "first failure (--fail-fast)"

    def _is_gone(self) -> bool:
        """Return whether the server responds to nothing at all any more."""
        return all(self._server.send(request).status == 0 for request in self._plan.probes)

    def _follow(self, seconds: float) -> None:
        """Poll the followed tasks until their final status is settled, then fetch their images."""
        deadline = time.monotonic() + seconds
        pause = MIN_PAUSE
        while not self._stopped:
            unfinished = [task for task in self._followed_tasks if not task.is_settled]
            if not unfinished or time.monotonic() > deadline:
                break
            for task in unfinished:
                self._poll(task)
                self._progress(POLLS, len(self._sent))
            time.sleep(pause)
            is_waiting = any(task.status not in FINAL for task in unfinished)
            pause = min(pause * 1.5, MAX_PAUSE) if is_waiting else MIN_PAUSE
        if not self._stopped:
            self._fetch_images()

    def _poll(self, task: Task) -> None:
        poll = self._poll_of(task)
        response = self._server.send(_poll_request(poll, task), task=task.id)
        self._record([(poll, response, task.id)])

    def _poll_as_others(self) -> None:
        """Poll tasks of each account with the key of the other one, at once."""
        if not self._has_other_key or self._stopped:
            return
        mine = [task for task in self._followed_tasks if task.bearer == BEARER]
        others = [task for task in self._followed_tasks if task.bearer != BEARER]
        half = MAX_FOREIGN_POLLS // 2
        asked = [(task, OTHER_BEARER) for task in mine[:half]]
        asked += [(task, BEARER) for task in others[:half]]

        def ask(pair: tuple[Task, tuple[str, str]]) -> tuple[Case, Response, str]:
            task, bearer = pair
            poll = self._poll_of(task)
            case = _requests.foreign_poll(poll.operation, poll.request, bearer)
            return case, self._server.send(case.request, task=task.id), task.id

        if self._connections == 1:
            self._record([ask(pair) for pair in asked])
            return
        with ThreadPoolExecutor(self._connections) as pool:
            self._record(list(pool.map(ask, asked)))

    def _poll_at_once(self) -> None:
        """Poll the followed tasks in a burst."""
        if not self._followed_tasks or self._connections == 1 or self._stopped:
            return
        tasks = [self._followed_tasks[i % len(self._followed_tasks)] for i in range(BURST)]

        def ask(task: Task) -> tuple[Case, Response, str]:
            poll = self._poll_of(task)
            burst = evolve(poll, check=BURSTS, variant="many polls at once")
            return burst, self._server.send(_poll_request(poll, task), task=task.id), task.id

        with ThreadPoolExecutor(BURST) as pool:
            self._record(list(pool.map(ask, tasks)))

    def _check_connections(self) -> None:
        """Send pairs of requests on one connection: the first must not affect the second."""
        if self._stopped:
            return
        for case, second in self._plan.pairs:
            alone, response = self._send_pair(case.request, second)
            if response.status != alone.status:  # a server that fails now and then: ask again
                alone, response = self._send_pair(case.request, second)
            self._sent.append((case, response))
            if response.status != alone.status:
                shown = response.status or response.fault
                text = (
                    f"responds with {shown} to the next request on the connection, which gets "
                    f"{alone.status} on its own"
                )
                self._fail(case, response, Violation("connection", text), "")

    def _send_pair(self, first: Request, second: Request) -> tuple[Response, Response]:
        """Return the responses to the second request: on its own, and after the first one."""
        close = attrs.evolve(second, headers=(*second.headers, ("Connection", "close")))
        return self._server.send(close), self._server.send_both(first, second)

    def _poll_again(self) -> None:
        """Poll every followed task a last time, as a final status stays final."""
        for task in self._followed_tasks if not self._stopped else ():
            self._poll(task)

    def _sample_tasks(self) -> None:
        """Follow some of the other tasks too."""
        rest = [
            task
            for task in self._tasks.values()
            if task.submission.verdict is Verdict.ACCEPT
            and task not in self._followed_tasks
            and self._plan.poll_of(task.submission.operation)
        ]
        choice = random.Random(self._plan.seed)  # noqa: S311
        self._followed_tasks += choice.sample(rest, min(MAX_SAMPLED_TASKS, len(rest)))

    def _fetch_images(self) -> None:
        self._progress("images", len(self._sent))
        self._free_connection()
        self._fail_tasks(self._gallery.fetch(self._followed_tasks, self._connections))

    def _free_connection(self) -> None:
        """Let the images be fetched from this server if it handles one connection at a time."""
        if self._connections == 1:
            self._server.close()

    def _fail_tasks(self, found: Iterable[tuple[Task, Violation]]) -> None:
        for task, violation in found:
            self._fail(self._poll_of(task), _NOT_SENT, violation, task.id)

    def _passed(self) -> Iterable[Case]:
        failed = {id(failure.case) for failure in self._failures}
        return (case for case, _ in self._sent if id(case) not in failed)

    def _confirm(self, causes: Iterable[Cause]) -> list[Cause]:
        """Return the causes with their smallest requests.

        Those that a retry does not reproduce are marked intermittent.
        """
        confirmed = []
        for cause in causes:
            first = cause.smallest
            kind = first.violation.kind
            is_repeatable = kind not in ("response", "lost", "connection")
            if is_repeatable and not self._stopped and self._budget.limit is None:
                response = self._server.send(first.case.request, task=first.task or "unknown")
                if all(each.kind != kind for each in violations(first.case, response)):
                    cause = cause.as_intermittent()
                else:
                    smallest = shrink(first, self._plan.contract, self._retry)
                    cause = evolve(cause, failures=(smallest, *cause.failures[1:]))
            confirmed.append(cause)
        return _causes.join(confirmed)


def _poll_request(poll: Case, task: Task) -> Request:
    """Return a poll with the key of the account that submitted the task."""
    return attrs.evolve(poll.request, headers=(task.bearer,))


_NOT_SENT = Response(0)
