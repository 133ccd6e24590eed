"""Under every fault: nothing charged is lost or charged twice, and the key stays secret."""

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
    Came,
    Fault,
    FaultServer,
    answer,
    call,
    report,
)

NAMES = [fault.name for fault in FAULTS]
either = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


@pytest.fixture(autouse=True)
def _warnings_are_read(recwarn: pytest.WarningsRecorder) -> Iterator[None]:
    warnings.simplefilter("always")
    yield
    assert all(KEY not in str(warning.message) for warning in recwarn)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    while error:
        yield error
        error = error.__cause__ or error.__context__


def everything_shown(came: Came) -> str:
    """Return all text in which a program may show what came of a call."""
    shown = [repr(came.result), str(getattr(came.result, "raw", ""))]
    for error in chain(came.error):
        shown += traceback.format_exception(error)
        shown += [repr(error), str(error), repr(error.args), repr(vars(error))]
        shown += [repr(getattr(error, name, "")) for name in ("headers", "_request", "response")]
        shown += [str(getattr(getattr(error, "_request", None), "headers", ""))]
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if "mountsea_banana" in frame.f_code.co_filename:
                shown.append(repr(frame.f_locals))
    if came.error:
        shown.append(repr(pickle.dumps(came.error)))
    return "".join(shown)


def check(came: Came, caplog: pytest.LogCaptureFixture) -> None:
    """Hold what must hold of every call under every fault."""
    assert isinstance(came.error, api.NanoBananaError | None)
    assert KEY not in everything_shown(came)
    assert KEY not in caplog.text
    if came.error:
        restored = pickle.loads(pickle.dumps(came.error))  # noqa: S301
        assert type(restored) is type(came.error)
        assert str(restored) == str(came.error)
        assert vars(restored).keys() == vars(came.error).keys()


@either
@pytest.mark.parametrize("fault", FAULTS, ids=NAMES)
def test_a_submission_is_charged_once_at_most_and_never_without_the_callers_knowing(
    fault: Any, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with FaultServer(fault) as server:
        came = call(server.url, "submit", is_async=is_async)
    check(came, caplog)
    assert server.charged <= 1
    if server.charged:
        assert came.task_id == "t-1" or isinstance(came.error, api.SubmissionUnknown)
    assert all(f"Bearer {KEY}".encode() in request for request in server.requests)


@pytest.mark.parametrize("fault", FAULTS, ids=NAMES)
def test_a_submission_after_a_fault_is_sent_again_only_where_none_was_charged(fault: Any) -> None:
    with FaultServer(fault, CREATED) as server:
        came = call(server.url, "submit", is_async=False)
    assert isinstance(came.error, api.NanoBananaError | None)
    assert server.charged <= 1
    assert (
        came.error is None or server.charged == 0 or isinstance(came.error, api.SubmissionUnknown)
    )


@pytest.mark.parametrize("resets", [False, True])
def test_a_kept_connection_that_breaks_as_it_is_used_again_leaves_that_submission_unknown(
    resets: bool,
) -> None:
    broken = Fault("broken before the answer", charges=True, resets=resets)
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
def test_a_look_or_a_download_ends_with_a_documented_error_that_knows_the_task(
    fault: Any, name: str, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    tail, times = fault.tail
    # It is asked several times, and a tenth is beyond every limit as well.
    shorter = attrs.evolve(fault, stalls=False, trickles=False, tail=(tail, times // 10))
    with FaultServer(shorter) as server:
        came = call(server.url, name, is_async=is_async)
    if name == "wait":
        check(came, caplog)
    assert isinstance(came.error, api.NanoBananaError)
    assert came.task_id == "t-1"
    assert server.posts == 0
    if name == "read":  # a download shows the key to nobody, so that nobody can echo it
        assert all(KEY.encode() not in request for request in server.requests)


def test_the_report_ends_with_three_zeros() -> None:
    lines: list[str] = []
    assert report(lines.append) == (0, 0, 0)
    assert len(lines) == 1 + 2 * len(FAULTS) + 3


class Money(RuleBasedStateMachine):
    """Many calls of one client against a server that fails at random."""

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
        self.server.expect(*faults, attrs.evolve(CREATED, text=answer(200, done), charges=False))
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
