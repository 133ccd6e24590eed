"""Sends the cases of a plan to a server and collects its violations of the contract."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import attrs
import httpx
from attrs import define, field, frozen

from . import _causes, _lifecycle
from ._case import POLLS, VALID_BODIES, Case
from ._causes import Cause, Failure
from ._lifecycle import FollowedTask
from ._oracle import Verdict
from ._plan import MIN_CASES_PER_RULE, Plan
from ._transport import Response, Server
from ._verify import Violation, read_object, violations

CONNECTIONS = 4
MAX_FOLLOWED_TASKS = 40
FIRST_POLLING_SECONDS = 1.0
MAX_UNANSWERED = 5
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


@frozen
class Outcome:
    """The result of a run."""

    plan: Plan
    base_url: str
    causes: tuple[Cause, ...]
    sent: tuple[tuple[Case, Response], ...] = field(repr=False)
    """Every case that was sent and its response, in order."""
    skipped: tuple[str, ...]
    """What was not tested and why, one line each."""
    stopped: str
    """Why the run ended early, or empty if it did not."""
    accepted: int
    """The number of submissions that the server accepted or may have accepted."""
    seconds: float

    def sole_violations(self) -> Counter[str]:
        """Return the number of bodies sent that violate only one thing, by that violation."""
        return Counter(
            next(iter(case.expectation.reasons))
            for case, response in self.sent
            if response.status != 429 and len(case.expectation.reasons) == 1
        )

    def untested_rules(self) -> list[str]:
        """Return the ids of the rules that too few bodies tested."""
        counts = self.sole_violations()
        return [
            rule.id for rule in self.plan.contract.rules if counts[rule.id] < MIN_CASES_PER_RULE
        ]


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
        self._tasks: set[str] = set()
        self._followed_tasks: list[FollowedTask] = []
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
        self._send_all(VALID_BODIES, self._plan.submissions)
        # Most test servers finish their tasks in this time, and the first polls reveal defects.
        self._follow(FIRST_POLLING_SECONDS)
        for cases in self._plan.groups:
            for check in dict.fromkeys(case.check for case in cases[:1]):
                self._send_all(check, cases)
        self._follow(self._task_timeout)
        causes = self._confirm(_causes.group(self._failures, self._passed()))
        return Outcome(
            plan=self._plan,
            base_url=self._server.base_url,
            causes=tuple(causes),
            sent=tuple(self._sent),
            skipped=tuple(self._skipped_lines()),
            stopped=self._stopped,
            accepted=self._budget.spent,
            seconds=time.monotonic() - start,
        )

    def _check_server(self) -> None:
        """Raise CannotTest if the server does not respond or rejects a key."""
        base_url = self._server.base_url
        statuses = set()
        for request in self._plan.probes:
            response = self._server.send(request)
            if response.status == 0:
                raise CannotTest(
                    f"no response from {base_url}: {response.fault}; start the server or correct "
                    "--base-url"
                )
            statuses.add(response.status)
        if statuses and statuses <= {401, 403}:
            raise CannotTest(
                f"{base_url} rejects the key in MOUNTSEA_API_KEY with status {max(statuses)}: set "
                "the variable to a valid key"
            )
        poll = self._plan.poll
        if poll and self._has_other_key:
            foreign = (("Authorization", "Bearer {other}"),)
            response = self._server.send(attrs.evolve(poll.request, headers=foreign))
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
        if self._connections == 1 or self._stopped:
            for case in cases:
                self._record(self._send_case(case))
                self._progress(check, len(self._sent))
            return
        with ThreadPoolExecutor(self._connections) as pool:
            for found in pool.map(self._send_case, cases):
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
        task = self._followed_tasks[0].id if self._followed_tasks else "unknown"
        if "{task}" in case.request.target and not self._followed_tasks:
            # A server may look up the task before it checks the key.
            case = attrs.evolve(case, rejection_statuses=case.rejection_statuses | NOT_FOUND)
        response = self._server.send(case.request, task=task)
        sent = [(case, response, task if "{task}" in case.request.target else "")]
        created = self._created_task(case, response)
        poll = self._plan.poll
        if created and poll:
            sent.append((poll, self._server.send(poll.request, task=created), created))
        return sent

    def _skip_reason(self, case: Case) -> str:
        """Return the case's name and why it cannot be sent; empty if it can."""
        if self._stopped:
            return f"{case.check}: the run stopped early"
        if not self._budget.allows(case):
            return f"{case.check}: may be accepted and charged; raise the budget to include this"
        if not self._has_other_key and any("{other}" in value for _, value in case.request.headers):
            return f"{case.variant}: set MOUNTSEA_OTHER_API_KEY to a second account's key"
        needs_task = case.verdict is Verdict.ACCEPT or "{other}" in str(case.request.headers)
        if "{task}" in case.request.target and needs_task and not self._followed_tasks:
            return f"{case.check}: needs a task, but none was created"
        return ""

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

    def _created_task(self, case: Case, response: Response) -> str:
        if not case.is_submission or not 200 <= response.status < 300:
            return ""
        task = read_object(response).get("taskId")
        return task if isinstance(task, str) and task.isascii() and task.isprintable() else ""

    def _record(self, sent: list[tuple[Case, Response, str]]) -> None:
        for case, response, task in sent:
            if response is _NOT_SENT:
                self._skipped[task] += 1
                continue
            self._sent.append((case, response))
            for violation in self._violations(case, response):
                self._failures.append(Failure(case, response, violation, task))
            if case.check == POLLS:
                followed = next((each for each in self._followed_tasks if each.id == task), None)
                for violation in followed.observe(response) if followed else ():
                    self._failures.append(Failure(case, response, violation, task))
            self._update_budget(case, response)

    def _violations(self, case: Case, response: Response) -> Iterator[Violation]:
        yield from violations(case, response)
        task = self._created_task(case, response)
        if not task:
            return
        if task in self._tasks:
            text = f"responds with a taskId that it has already used: {task}"
            yield Violation("response", text, "duplicate taskId")
            return
        self._tasks.add(task)
        poll = self._plan.poll
        is_wanted = len(self._followed_tasks) < MAX_FOLLOWED_TASKS
        if poll and case.check == VALID_BODIES and is_wanted:
            order = _lifecycle.status_order(poll.operation, self._plan.contract.document)
            self._followed_tasks.append(FollowedTask(task, case, order))

    def _update_budget(self, case: Case, response: Response) -> None:
        """Count accepted submissions; stop if the budget is exceeded or the server is gone."""
        is_accepted = case.is_submission and 200 <= response.status < 300
        may_be = case.may_cost and (response.status == 0 or response.status >= 500)
        if is_accepted or may_be:
            self._budget.spent += 1
        self._unanswered += response.status == 0 and not case.may_disconnect
        if self._stopped:
            return
        if self._budget.is_exceeded:
            self._stopped = (
                f"the server accepted {self._budget.spent} submissions, more than the budget of "
                f"{self._budget.limit}"
            )
        elif self._unanswered >= MAX_UNANSWERED:
            self._stopped = f"{self._unanswered} requests got no response: {response.fault}"
        elif self._fail_fast and self._failures:
            self._stopped = "first failure (--fail-fast)"

    def _follow(self, seconds: float) -> None:
        """Poll the followed tasks until their final status is settled, then fetch their images."""
        poll = self._plan.poll
        deadline = time.monotonic() + seconds
        pause = 0.02
        while poll and not self._stopped:
            unfinished = [task for task in self._followed_tasks if not task.is_settled]
            if not unfinished or time.monotonic() > deadline:
                break
            for task in unfinished:
                response = self._server.send(poll.request, task=task.id)
                self._record([(poll, response, task.id)])
                self._progress(POLLS, len(self._sent))
            time.sleep(pause)
            pause = min(pause * 1.5, 3.0)
        if poll and not self._stopped:
            self._fetch_images(poll)

    def _fetch_images(self, poll: Case) -> None:
        self._progress("images", len(self._sent))
        if self._connections == 1:
            # The images may be on this server, which may handle one connection at a time.
            self._server.close()
        tasks = [task for task in self._followed_tasks if task.is_settled and task.image_url]
        with (
            httpx.Client(follow_redirects=True, timeout=30, trust_env=False) as client,
            ThreadPoolExecutor(self._connections) as pool,
        ):
            found = pool.map(lambda task: _lifecycle.fetch_image(client, task.image_url), tasks)
            for task, violation in zip(tasks, found, strict=True):
                task.image_url = ""
                if violation:
                    self._failures.append(Failure(poll, _NOT_SENT, violation, task.id))

    def _passed(self) -> Iterable[Case]:
        failed = {id(failure.case) for failure in self._failures}
        return (case for case, _ in self._sent if id(case) not in failed)

    def _confirm(self, causes: Iterable[Cause]) -> list[Cause]:
        """Return the causes, with those that a retry does not reproduce marked intermittent."""
        confirmed = []
        for cause in causes:
            first = cause.smallest
            kind = first.violation.kind
            if kind != "response" and not self._stopped and self._budget.limit is None:
                response = self._server.send(first.case.request, task=first.task or "unknown")
                if all(each.kind != kind for each in violations(first.case, response)):
                    cause = cause.as_intermittent()
            confirmed.append(cause)
        return _causes.merge(confirmed)


_NOT_SENT = Response(0)
