"""Under every fault, no charged task is lost or charged twice, and the key stays secret."""

from __future__ import annotations

import logging
import pickle
import traceback
import warnings
from collections.abc import Iterator
from typing import Any

import attrs
import mountsea_banana as api
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from mountsea_banana import InstantClock, NanoBanana

from tests.faults import (
    CREATED,
    FAULTS,
    KEPT,
    KEY,
    TIMEOUT,
    Fault,
    FaultServer,
    Outcome,
    catch_outcome,
    response,
)

NAMES = [fault.name for fault in FAULTS]
either = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


@pytest.fixture(autouse=True)
def _warnings_hold_no_key(recwarn: pytest.WarningsRecorder) -> Iterator[None]:
    warnings.simplefilter("always")
    yield
    assert all(KEY not in str(warning.message) for warning in recwarn)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    while error:
        yield error
        error = error.__cause__ or error.__context__


def everything_visible(outcome: Outcome) -> str:
    """Return all text of an outcome that a program could show or log."""
    texts = [repr(outcome.result), str(getattr(outcome.result, "raw", ""))]
    for error in chain(outcome.error):
        texts += traceback.format_exception(error)
        texts += [repr(error), str(error), repr(error.args), repr(vars(error))]
        texts += [repr(getattr(error, name, "")) for name in ("headers", "_request", "response")]
        texts += [str(getattr(getattr(error, "_request", None), "headers", ""))]
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if "mountsea_banana" in frame.f_code.co_filename:
                texts.append(repr(frame.f_locals))
    if outcome.error:
        texts.append(repr(pickle.dumps(outcome.error)))
    return "".join(texts)


def check(outcome: Outcome, caplog: pytest.LogCaptureFixture) -> None:
    """Assert what must be true of every call under every fault."""
    assert isinstance(outcome.error, api.NanoBananaError | None)
    assert KEY not in everything_visible(outcome)
    assert KEY not in caplog.text
    if outcome.error:
        restored = pickle.loads(pickle.dumps(outcome.error))  # noqa: S301
        assert type(restored) is type(outcome.error)
        assert str(restored) == str(outcome.error)
        assert vars(restored).keys() == vars(outcome.error).keys()


@either
@pytest.mark.parametrize("fault", FAULTS, ids=NAMES)
def test_a_submission_is_charged_at_most_once_and_never_without_the_callers_knowledge(
    fault: Any, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with FaultServer(fault) as server:
        outcome = catch_outcome(server.url, "submit", is_async=is_async)
    check(outcome, caplog)
    assert server.charged <= 1
    if server.charged:
        assert outcome.task_id == "t-1" or isinstance(outcome.error, api.SubmissionUnknown)
    assert all(f"Bearer {KEY}".encode() in request for request in server.requests)


@pytest.mark.parametrize("fault", FAULTS, ids=NAMES)
def test_a_submission_is_retried_after_a_fault_only_if_nothing_was_charged(fault: Any) -> None:
    with FaultServer(fault, CREATED) as server:
        outcome = catch_outcome(server.url, "submit", is_async=False)
    assert isinstance(outcome.error, api.NanoBananaError | None)
    assert server.charged <= 1
    assert (
        outcome.error is None
        or server.charged == 0
        or isinstance(outcome.error, api.SubmissionUnknown)
    )


@pytest.mark.parametrize("resets", [False, True])
def test_a_submission_on_a_reused_connection_that_breaks_is_unknown(
    resets: bool,
) -> None:
    broken = Fault("broken before the response", charges=True, resets=resets)
    with (
        FaultServer(attrs.evolve(KEPT, keeps=True), broken) as server,
        NanoBanana(KEY, base_url=server.url) as client,
    ):
        assert client.generate("a cat").id == "t-1"
        with pytest.raises(api.SubmissionUnknown):
            client.generate("a dog")
    assert server.posts == server.charged == 2


@either
@pytest.mark.parametrize("name", ["wait", "read"])
@pytest.mark.parametrize("fault", FAULTS, ids=NAMES)
def test_a_wait_or_a_download_ends_with_a_documented_error_that_has_the_task_id(
    fault: Any, name: str, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    tail, times = fault.tail
    # The client sends several requests, and a tenth of the tail exceeds every limit too.
    shorter = attrs.evolve(fault, stalls=False, trickles=False, tail=(tail, times // 10))
    with FaultServer(shorter) as server:
        outcome = catch_outcome(server.url, name, is_async=is_async)
    if name == "wait":
        check(outcome, caplog)
    assert isinstance(outcome.error, api.NanoBananaError)
    assert outcome.task_id == "t-1"
    assert server.posts == 0
    if name == "read":  # a download never sends the key, so no server can echo it
        assert all(KEY.encode() not in request for request in server.requests)


class Money(RuleBasedStateMachine):
    """Many calls of one client against a server with random faults."""

    faults = st.sampled_from([each for each in FAULTS if not each.stalls and not each.trickles])

    def __init__(self) -> None:
        super().__init__()
        self.server = FaultServer(CREATED)
        self.server.__enter__()
        self.client = NanoBanana(
            KEY, base_url=self.server.url, timeout=TIMEOUT, clock=InstantClock()
        )
        self.lost = self.twice = self.undocumented = 0

    @rule(faults=st.lists(faults, max_size=3))
    def submit(self, faults: Any) -> None:
        self.server.expect(*faults, CREATED)
        is_known = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                self.client.generate("a cat")
            except api.NanoBananaError as error:
                is_known = isinstance(error, api.SubmissionUnknown)
            except Exception:
                self.undocumented += 1
        self.twice += self.server.charged > 1
        self.lost += self.server.charged > 0 and not is_known

    @rule(faults=st.lists(faults, max_size=3))
    def wait(self, faults: Any) -> None:
        done = {"taskId": "t-1", "status": "completed", "result": {"imageUrls": ["https://a/b"]}}
        self.server.expect(*faults, attrs.evolve(CREATED, text=response(200, done), charges=False))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                self.client.task("t-1").wait(timeout=20)
            except api.NanoBananaError as error:
                self.lost += error.task_id != "t-1"
            except Exception:
                self.undocumented += 1

    @invariant()
    def nothing_is_lost(self) -> None:
        assert (self.lost, self.twice, self.undocumented) == (0, 0, 0)

    def teardown(self) -> None:
        self.client.close()
        self.server.__exit__()


TestMoney = Money.TestCase
TestMoney.settings = settings(
    max_examples=10,
    stateful_step_count=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
