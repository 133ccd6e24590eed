"""Sends a plan to a server and collects what breaks the contract."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import attrs
import httpx
from attrs import define, field, frozen

from . import _causes, _lifecycle
from ._case import Case
from ._causes import Cause, Failure
from ._lifecycle import Life
from ._oracle import Verdict
from ._plan import MIN_CASES_A_RULE, Plan
from ._transport import Answer, Server
from ._verify import Complaint, complaints, read_object

CONNECTIONS = 4
FOLLOWED = 40
SECONDS_OF_FIRST_LOOKS = 1.0
MAX_SILENT = 5
NOT_FOUND = frozenset({400, 404, 410, 422})


class CannotTest(Exception):
    """The server cannot be tested; the message says why and what to do."""


@define
class Budget:
    """How many submissions a server may accept in a run."""

    limit: int | None
    """None where they cost nothing."""
    spent: int = 0

    def allows(self, case: Case) -> bool:
        """Say whether a case may be sent."""
        return self.limit is None or not case.may_cost or self.spent < self.limit

    @property
    def is_exceeded(self) -> bool:
        return self.limit is not None and self.spent > self.limit


@frozen
class Outcome:
    """What a run found."""

    plan: Plan
    base_url: str
    causes: tuple[Cause, ...]
    sent: tuple[tuple[Case, Answer], ...] = field(repr=False)
    """Every case that was sent, with its answer, in order."""
    left_out: tuple[str, ...]
    """What was not tested, and why."""
    stopped: str
    """Why the run ended early; empty where it did not."""
    accepted: int
    """How many submissions the server accepted, or may have."""
    seconds: float

    def broken_alone(self) -> Counter[str]:
        """Return how many bodies were sent that break one rule and nothing else."""
        reasons = (case.judgement.reasons for case, answer in self.sent if answer.status != 429)
        return Counter(next(iter(each)) for each in reasons if len(each) == 1)

    def untested_rules(self) -> list[str]:
        """Return the rules that too few bodies broke for a verdict."""
        alone = self.broken_alone()
        return [rule.id for rule in self.plan.contract.rules if alone[rule.id] < MIN_CASES_A_RULE]


class Run:
    """One run of a plan against a server."""

    def __init__(
        self,
        plan: Plan,
        server: Server,
        *,
        budget: int | None = None,
        has_other_key: bool = False,
        seconds_of_life: float = 20.0,
        stop_at_first: bool = False,
        progress: Callable[[str, int], object] = lambda *_: None,
    ) -> None:
        self._plan = plan
        self._server = server
        self._budget = Budget(budget)
        self._has_other_key = has_other_key
        self._seconds_of_life = seconds_of_life
        self._stop_at_first = stop_at_first
        self._progress = progress
        self._connections = 1
        self._sent: list[tuple[Case, Answer]] = []
        self._failures: list[Failure] = []
        self._left_out: Counter[str] = Counter()
        self._tasks: set[str] = set()
        self._lives: list[Life] = []
        self._silent = 0
        self._stopped = ""

    def go(self) -> Outcome:
        """Return what the run found. Raises CannotTest."""
        try:
            return self._go()
        finally:
            self._server.close()

    def _go(self) -> Outcome:
        start = time.monotonic()
        self._check_server()
        self._send_all("legal bodies", self._plan.submissions)
        # Most servers that are not live are done by now, and a broken life shows at once.
        self._follow(SECONDS_OF_FIRST_LOOKS)
        for cases in self._plan.groups:
            for check in dict.fromkeys(case.check for case in cases[:1]):
                self._send_all(check, cases)
        self._follow(self._seconds_of_life)
        self._count_open_lives()
        causes = self._confirm(_causes.group(self._failures, self._passed()))
        return Outcome(
            plan=self._plan,
            base_url=self._server.base_url,
            causes=tuple(causes),
            sent=tuple(self._sent),
            left_out=tuple(f"{count:,} times {what}" for what, count in self._left_out.items()),
            stopped=self._stopped,
            accepted=self._budget.spent,
            seconds=time.monotonic() - start,
        )

    def _check_server(self) -> None:
        """Raise CannotTest where no server answers, or none that knows the keys."""
        statuses = set()
        for request in self._plan.probes:
            answer = self._server.send(request)
            if answer.status == 0:
                raise CannotTest(f"no server to test at {self._server.base_url}: {answer.fault}")
            statuses.add(answer.status)
        if statuses and statuses <= {401, 403}:
            raise CannotTest(
                f"{self._server.base_url} refuses the key in MOUNTSEA_API_KEY with "
                f"{max(statuses)}: set the key of an account"
            )
        look = self._plan.look
        if look and self._has_other_key:
            foreign = (("Authorization", "Bearer {other}"),)
            answer = self._server.send(attrs.evolve(look.request, headers=foreign))
            if answer.status == 401:
                raise CannotTest(
                    f"{self._server.base_url} refuses the key in MOUNTSEA_OTHER_API_KEY: set the "
                    "key of a second account, or none"
                )
        if self._budget.limit is None and self._server.serves_several(self._plan.probes[:1]):
            self._connections = CONNECTIONS

    def _send_all(self, check: str, cases: Sequence[Case]) -> None:
        """Send cases, several at a time where that costs nothing, and take in the answers."""
        if self._connections == 1 or self._stopped:
            for case in cases:
                self._take(self._try(case))
                self._progress(check, len(self._sent))
            return
        with ThreadPoolExecutor(self._connections) as pool:
            for found in pool.map(self._try, cases):
                self._take(found)
                self._progress(check, len(self._sent))

    def _try(self, case: Case) -> list[tuple[Case, Answer, str]]:
        """Send a case, and where it makes a task have a look at that; return what was sent."""
        reason = self._reason_to_leave_out(case)
        if reason:
            return [(case, _NOT_SENT, reason)]
        task = self._lives[0].task if self._lives else "unknown"
        if "{task}" in case.request.target and not self._lives:
            # A server may look for the task first, and say that there is none.
            case = attrs.evolve(case, refusals=case.refusals | NOT_FOUND)
        answer = self._server.send(case.request, task=task)
        sent = [(case, answer, task if "{task}" in case.request.target else "")]
        new = self._new_task(case, answer)
        if new and self._plan.look:
            sent.append(
                (self._plan.look, self._server.send(self._plan.look.request, task=new), new)
            )
        return sent

    def _reason_to_leave_out(self, case: Case) -> str:
        if self._stopped:
            return f"{case.check}: the run was stopped"
        if not self._budget.allows(case):
            return f"{case.check}: it may be accepted and charged; raise the budget to send it"
        if not self._has_other_key and any("{other}" in value for _, value in case.request.headers):
            return f"{case.what}: set MOUNTSEA_OTHER_API_KEY to a second account's key"
        needs_task = case.verdict is Verdict.ACCEPT or "{other}" in str(case.request.headers)
        if "{task}" in case.request.target and needs_task and not self._lives:
            return f"{case.check}: it needs a task, and none was made"
        return ""

    def _new_task(self, case: Case, answer: Answer) -> str:
        if not case.is_submission or not 200 <= answer.status < 300:
            return ""
        task = read_object(answer).get("taskId")
        return task if isinstance(task, str) and task.isascii() and task.isprintable() else ""

    def _take(self, sent: list[tuple[Case, Answer, str]]) -> None:
        for case, answer, task in sent:
            if answer is _NOT_SENT:
                self._left_out[task] += 1
                continue
            self._sent.append((case, answer))
            for complaint in self._complaints(case, answer):
                self._failures.append(Failure(case, answer, complaint, task))
            if case.check == "tasks":
                life = next((each for each in self._lives if each.task == task), None)
                for complaint in life.see(answer) if life else ():
                    self._failures.append(Failure(case, answer, complaint, task))
            self._count(case, answer)

    def _complaints(self, case: Case, answer: Answer) -> Iterator[Complaint]:
        yield from complaints(case, answer)
        task = self._new_task(case, answer)
        if not task:
            return
        if task in self._tasks:
            yield Complaint(
                "answer", f"answers with a taskId seen before: {task}", "a taskId twice"
            )
            return
        self._tasks.add(task)
        look = self._plan.look
        if look and case.check == "legal bodies" and len(self._lives) < FOLLOWED:
            order = _lifecycle.order(look.operation, self._plan.contract.document)
            self._lives.append(Life(task, case, order))

    def _count(self, case: Case, answer: Answer) -> None:
        """Keep the budget, and stop where it or the server is gone."""
        is_accepted = case.is_submission and 200 <= answer.status < 300
        may_be = case.may_cost and (answer.status == 0 or answer.status >= 500)
        if is_accepted or may_be:
            self._budget.spent += 1
        self._silent += answer.status == 0 and not case.may_drop
        if self._stopped:
            return
        if self._budget.is_exceeded:
            self._stopped = (
                f"the server accepted {self._budget.spent} submissions, and the budget is "
                f"{self._budget.limit}"
            )
        elif self._silent >= MAX_SILENT:
            self._stopped = f"{self._silent} requests were not answered: {answer.fault}"
        elif self._stop_at_first and self._failures:
            self._stopped = "the first failure was enough"

    def _follow(self, seconds: float) -> None:
        """Look at the first tasks until they are final and stay so; fetch their pictures."""
        look = self._plan.look
        deadline = time.monotonic() + seconds
        pause = 0.02
        while look and not self._stopped:
            open_lives = [life for life in self._lives if not life.is_over]
            if not open_lives or time.monotonic() > deadline:
                break
            for life in open_lives:
                answer = self._server.send(look.request, task=life.task)
                self._take([(look, answer, life.task)])
                self._progress("tasks", len(self._sent))
            time.sleep(pause)
            pause = min(pause * 1.5, 3.0)
        if look and not self._stopped:
            self._fetch_pictures(look)

    def _count_open_lives(self) -> None:
        unseen = sum(not life.is_over for life in self._lives)
        if unseen:
            what = f"the end of a task: it was not final in {self._seconds_of_life:g} s"
            self._left_out[what] += unseen

    def _fetch_pictures(self, look: Case) -> None:
        self._progress("pictures", len(self._sent))
        if self._connections == 1:
            self._server.close()  # the pictures may be on a server that serves one at a time
        lives = [life for life in self._lives if life.is_over and life.picture]
        with (
            httpx.Client(follow_redirects=True, timeout=30, trust_env=False) as client,
            ThreadPoolExecutor(self._connections) as pool,
        ):
            found = pool.map(lambda life: _lifecycle.fetch(client, life.picture), lives)
            for life, complaint in zip(lives, found, strict=True):
                life.picture = ""
                if complaint:
                    self._failures.append(Failure(look, _NOT_SENT, complaint, life.task))

    def _passed(self) -> Iterable[Case]:
        failed = {id(failure.case) for failure in self._failures}
        return (case for case, _ in self._sent if id(case) not in failed)

    def _confirm(self, causes: Iterable[Cause]) -> list[Cause]:
        """Return the causes, those apart that another try does not show."""
        confirmed = []
        for cause in causes:
            first = cause.smallest
            kind = first.complaint.kind
            if kind != "answer" and not self._stopped and self._budget.limit is None:
                answer = self._server.send(first.case.request, task=first.task or "unknown")
                if all(each.kind != kind for each in complaints(first.case, answer)):
                    cause = cause.as_intermittent()
            confirmed.append(cause)
        return _causes.merge(confirmed)


_NOT_SENT = Answer(0)
