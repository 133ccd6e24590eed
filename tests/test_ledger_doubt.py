"""Keys in doubt: what leaves a key in doubt, what is known about it, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import pickle
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import mountsea_banana as api
import psycopg
import pytest
from mountsea_banana import AsyncNanoBanana, InstantClock
from mountsea_banana.client._errors import ConfigurationError
from mountsea_banana.ledger import Entry, InDoubt, Ledger, LedgerError
from mountsea_banana.ledger._store import Store
from mountsea_banana.mock import MockServer, Plan

from tests.conftest import KEY, BoundedClock
from tests.faults import FAULTS, Fault, FaultServer, response
from tests.ledgers import Caller, Gate, created, end_claims, everywhere

ENDED = 10_000.0
"""Seconds after which every claim of a test has ended."""


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def caller(
    request: pytest.FixtureRequest, banana_server: MockServer, clock: InstantClock
) -> Caller:
    return Caller(banana_server.url, request.param, clock)


@pytest.fixture
def local(tmp_path: Any, clock: InstantClock) -> Any:
    """A ledger in a file, whose time is that of `clock`."""
    with Ledger(tmp_path / "pictures.db", clock=clock) as ledger:
        yield ledger


def put_in_doubt(caller: Caller, ledger: Ledger, server: MockServer) -> InDoubt:
    """Submit a request whose response is lost."""
    server.next_task(Plan(drops=True))
    with pytest.raises(InDoubt) as caught:
        caller.submit(ledger)
    return caught.value


@everywhere
def test_a_lost_response_leaves_the_key_in_doubt_and_nothing_is_sent_again(
    caller: Caller, ledger: Ledger, banana_server: MockServer
) -> None:
    first = put_in_doubt(caller, ledger, banana_server)
    assert isinstance(first, api.SubmissionUnknown)
    assert isinstance(first.__cause__, api.SubmissionUnknown)
    with pytest.raises(InDoubt) as caught:
        caller.submit(ledger, retry_failed=True)
    assert str(caught.value) == str(first)
    assert "is in doubt: the submission may have been sent" in str(first)
    (entry,) = ledger.entries("in doubt")
    assert (caught.value.key, caught.value.entry, entry.task_id) == ("cat", entry, None)
    assert ledger.charges() == banana_server.charged == 1
    restored = pickle.loads(pickle.dumps(first))  # noqa: S301
    assert (str(restored), restored.entry) == (str(first), entry)


QUICK = [each for each in FAULTS if not (each.stalls or each.trickles or each.tail[1])]


@pytest.mark.parametrize("fault", QUICK, ids=[each.name for each in QUICK])
@pytest.mark.filterwarnings("ignore::mountsea_banana.ContractWarning")
def test_after_every_fault_a_charged_key_has_its_task_or_is_in_doubt_and_any_other_is_free(
    fault: Any, local: Ledger, clock: InstantClock
) -> None:
    with FaultServer(fault) as server:
        caller = Caller(server.url, clock=clock)
        with contextlib.suppress(api.NanoBananaError):
            assert caller.submit(local, client={"timeout": httpx.Timeout(0.15)}) == "t-1"
        entry = local.find("cat")
        if entry:
            assert (entry.state, entry.task_id) in [("accepted", "t-1"), ("in doubt", None)]
            sent = server.posts
            with contextlib.suppress(InDoubt):
                assert caller.submit(local) == "t-1"
            assert server.posts == sent
        assert server.charged <= (entry is not None)


def test_a_task_id_in_a_broken_response_is_the_task_of_the_key(
    caller: Caller, ledger: Ledger
) -> None:
    whole = response(201, {"taskId": "t-1", "pad": "x" * 200}, "Content-Type: application/json")
    with FaultServer(Fault("broken", whole[:150], charges=True)) as server:
        for _ in range(2):
            assert caller.submit(ledger, client={"base_url": server.url}) == "t-1"
        assert server.charged == 1


@everywhere
def test_a_claim_that_has_ended_without_an_outcome_is_in_doubt(
    caller: Caller, ledger: Ledger, location: str
) -> None:
    with Gate() as gate, ThreadPoolExecutor(1) as pool, gate:
        first = pool.submit(Caller(caller.url).submit, ledger, handler=gate)
        assert gate.is_reached.wait(30)
        end_claims(location)
        with pytest.raises(InDoubt, match="did not report an outcome"):
            caller.submit(ledger)
        (entry,) = ledger.entries("in doubt")
        assert entry.key == "cat"
    assert first.result() == "t-1"
    assert caller.submit(ledger) == "t-1"


@everywhere
def test_a_key_in_doubt_is_settled_with_its_task(
    caller: Caller, ledger: Ledger, banana_server: MockServer
) -> None:
    put_in_doubt(caller, ledger, banana_server)
    task_id = banana_server._api.tasks.all()[0].id
    entry = ledger.settle("cat", task_id=task_id)
    assert (entry.state, entry.task_id, entry.reason) == ("accepted", task_id, None)
    assert ledger.find("cat") == entry
    assert caller.submit(ledger, then=lambda task: task.wait()).task_id == task_id
    assert banana_server.charged == 1


def test_a_key_in_doubt_is_released_only_when_its_response_can_no_longer_arrive(
    caller: Caller, local: Ledger, clock: InstantClock, banana_server: MockServer
) -> None:
    entry = put_in_doubt(caller, local, banana_server).entry
    with pytest.raises(LedgerError, match=rf"before {entry.ends_at:%H:%M:%S} UTC"):
        local.release("cat")
    with pytest.raises(InDoubt):
        caller.submit(local)
    clock.now += ENDED
    local.release("cat")
    assert [each.state for each in local.entries()] == ["released"]
    assert local.charges() == 0
    task_id = caller.submit(local, prompt="another cat")
    assert [each.state for each in local.entries()] == ["released", "accepted"]
    assert [each.attempt for each in local.entries()] == [1, 2]
    assert caller.submit(local, prompt="another cat") == task_id
    assert banana_server.charged == 2


@everywhere
def test_a_key_is_released_on_every_database(
    caller: Caller, ledger: Ledger, location: str, banana_server: MockServer
) -> None:
    put_in_doubt(caller, ledger, banana_server)
    end_claims(location)
    ledger.release("cat")
    assert caller.submit(ledger)
    assert [each.state for each in ledger.entries()] == ["released", "accepted"]


@everywhere
@pytest.mark.parametrize("key", ["accepted", "missing"])
def test_only_a_key_in_doubt_is_settled_or_released(
    caller: Caller, ledger: Ledger, key: str
) -> None:
    caller.submit(ledger, "accepted")
    reason = "is not in doubt: it is accepted" if key == "accepted" else "has no key 'missing'"
    with pytest.raises(LedgerError, match=reason):
        ledger.settle(key, task_id="t-1")
    with pytest.raises(LedgerError, match=reason):
        ledger.release(key)


def test_a_key_is_settled_with_a_task_id_only(ledger: Ledger) -> None:
    with pytest.raises(api.InvalidRequest, match="task_id"):
        ledger.settle("cat", task_id=" ")


class LateResponse:
    """A submission whose response arrives when its caller has given up."""

    def __init__(
        self, ledger: Ledger, location: str, caller: Caller, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self._gate = Gate("t-late")
        self._is_recorded = threading.Event()
        accept = Store.accept

        def accept_late(store: Store, entry: Entry, task_id: str) -> None:
            try:
                accept(store, entry, task_id)
            finally:
                if task_id == "t-late":
                    self._is_recorded.set()

        monkeypatch.setattr(Store, "accept", accept_late)
        with pytest.raises(InDoubt):
            caller.submit(ledger, handler=self._gate, client={"timeout": 0.01})
        end_claims(location)

    def arrive(self) -> None:
        """Let the response arrive, and return when the ledger has its task."""
        self._gate.is_open.set()
        assert self._is_recorded.wait(30)


@pytest.fixture
def late(
    ledger: Ledger,
    location: str,
    clock: InstantClock,
    banana_server: MockServer,
    monkeypatch: pytest.MonkeyPatch,
) -> LateResponse:
    # A cancelled asynchronous exchange receives no more; a thread cannot be cancelled.
    return LateResponse(ledger, location, Caller(banana_server.url, clock=clock), monkeypatch)


@everywhere
def test_a_task_id_that_arrives_late_replaces_the_doubt(
    caller: Caller, ledger: Ledger, late: LateResponse
) -> None:
    late.arrive()
    (entry,) = ledger.entries()
    assert (entry.state, entry.task_id, entry.reason) == ("accepted", "t-late", None)
    assert caller.submit(ledger) == "t-late"


@everywhere
def test_a_task_id_that_arrives_after_a_release_is_a_second_payment(
    caller: Caller, ledger: Ledger, late: LateResponse
) -> None:
    ledger.release("cat")
    second = caller.submit(ledger)
    late.arrive()
    assert [(each.state, each.task_id) for each in ledger.entries()] == [
        ("accepted", "t-late"),
        ("accepted", second),
    ]
    assert ledger.charges() == 2
    assert caller.submit(ledger) == second


@everywhere
def test_a_task_id_that_arrives_after_a_release_saves_the_second_payment(
    caller: Caller, ledger: Ledger, late: LateResponse, banana_server: MockServer
) -> None:
    ledger.release("cat")
    late.arrive()
    assert caller.submit(ledger) == "t-late"
    assert banana_server.charged == 0


@everywhere
def test_a_task_id_that_arrives_after_a_wrong_settlement_replaces_it_and_its_result(
    caller: Caller, ledger: Ledger, late: LateResponse, banana_server: MockServer
) -> None:
    other = caller.submit(ledger, "other")
    ledger.settle("cat", task_id=other)
    assert caller.submit(ledger, then=lambda task: task.wait()).task_id == other
    late.arrive()
    entry = ledger.find("cat")
    assert entry
    assert (entry.task_id, entry.status, entry.result) == ("t-late", None, None)


def test_a_late_task_id_that_cannot_be_recorded_is_logged(
    ledger: Ledger,
    late: LateResponse,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    is_logged = threading.Event()

    def fail(*_: object) -> bool:
        raise LedgerError("the disk is full")

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "could not be recorded" in record.getMessage():
                is_logged.set()

    monkeypatch.setattr(Store, "_write", fail)
    logger = logging.getLogger("mountsea_banana")
    watch = Watch()
    logger.addHandler(watch)
    try:
        late.arrive()
        assert is_logged.wait(30)
    finally:
        logger.removeHandler(watch)
    assert "task t-late could not be recorded for the key 'cat': the disk is full" in caplog.text


def test_a_response_without_a_task_id_that_arrives_late_changes_nothing(
    caller: Caller, ledger: Ledger
) -> None:
    with Gate("") as gate:
        late = Caller(caller.url, clock=caller.clock)
        with pytest.raises(InDoubt):
            late.submit(ledger, handler=gate, client={"timeout": 0.01})
    with pytest.raises(InDoubt):
        caller.submit(ledger)


def test_a_claimant_whose_claim_was_released_does_not_retry(
    caller: Caller, local: Ledger, banana_server: MockServer
) -> None:
    """A machine that was suspended during a pause must not pay a second time."""
    second: list[str] = []

    def release() -> None:
        caller.clock.now += ENDED
        local.release("cat")
        second.append(Caller(caller.url).submit(local))

    class Suspended(BoundedClock):
        def sleep(self, seconds: float) -> None:
            release()

        async def sleep_async(self, seconds: float) -> None:
            await asyncio.to_thread(release)

    banana_server.next_task(Plan(refusals=1))
    suspended = Caller(caller.url, caller.is_async, Suspended())
    with pytest.raises(LedgerError, match="the claim on the key 'cat' has ended"):
        suspended.submit(local)
    assert [each.task_id for each in local.entries()] == second
    assert banana_server.charged == 1


@everywhere
def test_a_claimant_that_cannot_read_its_claim_does_not_retry(
    caller: Caller, ledger: Ledger, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise LedgerError("the database is locked")

    monkeypatch.setattr(Store, "read", fail)
    banana_server.next_task(Plan(refusals=1))
    with pytest.raises(LedgerError, match="locked"):
        caller.submit(ledger)
    assert ledger.find("cat") is None
    assert banana_server.charged == 0


def test_a_clock_set_back_makes_a_claim_no_longer(
    caller: Caller, local: Ledger, banana_server: MockServer
) -> None:
    """The wall clock may jump; a caller measures its wait with the monotonic one."""
    with ThreadPoolExecutor(1) as pool, Gate() as gate:
        wall = InstantClock()
        with Ledger(local._store.name, clock=wall) as ledger:
            first = pool.submit(Caller(caller.url).submit, ledger, handler=gate)
            assert gate.is_reached.wait(30)
            wall.now -= 60
            with pytest.raises(InDoubt, match="did not report an outcome") as caught:
                caller.submit(ledger)
            claimed = caught.value.entry.ends_at - caught.value.entry.claimed_at
            assert sum(caller.clock.sleeps) == pytest.approx(claimed.total_seconds())
            with pytest.raises(LedgerError, match="not in doubt"):
                ledger.release("cat")
            gate.is_open.set()
            assert first.result() == "t-1"
            assert caller.submit(ledger) == "t-1"


def test_a_claim_from_a_future_that_the_clock_has_left_is_in_doubt(
    caller: Caller, local: Ledger
) -> None:
    """Otherwise it would last until that date, and could be neither settled nor released."""
    with ThreadPoolExecutor(1) as pool, Gate() as gate:
        wall = InstantClock()
        with Ledger(local._store.name, clock=wall) as ledger:
            first = pool.submit(Caller(caller.url).submit, ledger, handler=gate)
            assert gate.is_reached.wait(30)
            wall.now -= ENDED
            with pytest.raises(InDoubt, match="did not report an outcome"):
                caller.submit(ledger)
            assert caller.clock.sleeps == []
            with pytest.raises(LedgerError, match="cannot be released before"):
                ledger.release("cat")
            wall.now -= 24 * 3600
            ledger.release("cat")
            gate.is_open.set()
            assert first.result() == "t-1"


def test_a_process_that_was_suspended_sends_nothing_that_could_outlast_its_claim(
    caller: Caller, local: Ledger, banana_server: MockServer
) -> None:
    """Otherwise the key could be released, and paid for again, while its response is waited for."""
    wall = InstantClock()
    with Ledger(local._store.name, clock=wall) as ledger:

        class Suspended(InstantClock):
            def sleep(self, seconds: float) -> None:
                entry = ledger.find("cat")
                assert entry
                wall.now += entry.remaining - 5

            async def sleep_async(self, seconds: float) -> None:
                self.sleep(seconds)

        banana_server.next_task(Plan(refusals=1))
        suspended = Caller(caller.url, caller.is_async, Suspended())
        with pytest.raises(LedgerError, match="the claim on the key 'cat' has ended"):
            suspended.submit(ledger)
    assert banana_server.charged == 0


def test_a_response_that_is_lost_after_a_release_puts_the_key_in_doubt_again(
    caller: Caller, local: Ledger, banana_server: MockServer
) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        caller.clock.now += ENDED
        local.release("cat")
        raise httpx.ReadError("lost")

    with pytest.raises(InDoubt, match="lost"):
        caller.submit(local, handler=handler)
    with pytest.raises(InDoubt, match="lost"):
        caller.submit(local)
    assert banana_server.charged == 0


def test_a_task_id_that_arrives_during_a_release_wins(
    postgresql: str, banana_server: MockServer
) -> None:
    from tests.postgresql import new_schema

    location = new_schema(postgresql)
    for change in (
        lambda ledger: ledger.release("cat"),
        lambda ledger: ledger.settle("cat", task_id="wrong"),
    ):
        with (
            Ledger(location) as ledger,
            psycopg.connect(location) as other,
            ThreadPoolExecutor(1) as pool,
        ):
            other.execute("DELETE FROM submissions")
            other.commit()
            put_in_doubt(Caller(banana_server.url), ledger, banana_server)
            end_claims(location)
            other.execute("UPDATE submissions SET state = 'accepted', task_id = 't-1'")
            changing = pool.submit(change, ledger)
            wait_for_lock(location)
            other.commit()
            with pytest.raises(LedgerError, match="not in doubt: it is accepted"):
                changing.result()
            assert Caller(banana_server.url).submit(ledger) == "t-1"


@everywhere
@pytest.mark.parametrize("is_released", [False, True])
def test_a_process_that_was_suspended_until_its_claim_had_ended_sends_nothing(
    caller: Caller,
    ledger: Ledger,
    location: str,
    banana_server: MockServer,
    monkeypatch: pytest.MonkeyPatch,
    is_released: bool,
) -> None:
    claim = Store.claim

    def claim_and_sleep(store: Store, order: Any, *arguments: Any, **options: Any) -> Any:
        entry = claim(store, order, *arguments, **options)
        end_claims(location)
        if is_released:
            ledger.release(order.key)
        return entry

    with monkeypatch.context() as suspended:
        suspended.setattr(Store, "claim", claim_and_sleep)
        with pytest.raises(LedgerError, match="the claim on the key 'cat' has ended"):
            caller.submit(ledger)
    assert banana_server.charged == 0
    assert caller.submit(ledger)
    assert banana_server.charged == 1


def wait_for_lock(location: str) -> None:
    """Return when a transaction waits for another one."""
    with psycopg.connect(location, autocommit=True) as connection:
        for _ in range(10_000):
            waiting = connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if (waiting.fetchone() or [0])[0]:
                return
    raise AssertionError("nothing waits for a lock")


# Interrupts.


def test_an_interrupt_before_the_response_leaves_the_key_in_doubt(
    caller: Caller, ledger: Ledger, banana_server: MockServer
) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        caller.submit(ledger, handler=handler)
    assert "check your account" in caught.value.__notes__[0]
    with pytest.raises(InDoubt, match="interrupted by KeyboardInterrupt"):
        caller.submit(ledger)
    assert banana_server.charged == 0


def test_an_interrupt_after_the_task_id_keeps_the_task(
    caller: Caller, ledger: Ledger, banana_server: MockServer
) -> None:
    class Body(httpx.SyncByteStream, httpx.AsyncByteStream):
        def __iter__(self) -> Any:
            yield created().content
            raise KeyboardInterrupt

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for chunk in self:
                yield chunk

    with pytest.raises(KeyboardInterrupt):
        caller.submit(ledger, handler=lambda _: httpx.Response(201, stream=Body()))
    assert caller.submit(ledger) == "t-1"
    assert banana_server.charged == 0


def test_an_interrupt_before_the_request_is_built_frees_the_key(
    caller: Caller, ledger: Ledger, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(httpx.Client, "build_request", interrupt)
        patch.setattr(httpx.AsyncClient, "build_request", lambda *_, **__: interrupt())
        patch.setattr(httpx.Client, "build_request", lambda *_, **__: interrupt())
        with pytest.raises(KeyboardInterrupt):
            caller.submit(ledger)
    assert ledger.find("cat") is None
    assert caller.submit(ledger)
    assert banana_server.charged == 1


@pytest.mark.parametrize("method", ["claim", "accept"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_interrupt_while_the_ledger_is_written_loses_nothing(
    caller: Caller,
    ledger: Ledger,
    banana_server: MockServer,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    moment: str,
) -> None:
    write = getattr(Store, method)
    is_interrupted = False

    def interrupted(*arguments: Any, **options: Any) -> Any:
        nonlocal is_interrupted
        first = not is_interrupted
        is_interrupted = True
        if first and moment == "before":
            raise KeyboardInterrupt
        result = write(*arguments, **options)
        if first:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(Store, method, interrupted)
    with pytest.raises(KeyboardInterrupt):
        caller.submit(ledger)
    charged = int(method == "accept")
    assert banana_server.charged == len(list(ledger.entries("accepted"))) == charged
    assert caller.submit(ledger)
    assert banana_server.charged == 1


def test_an_interrupt_while_a_task_is_recorded_names_the_task(
    caller: Caller,
    ledger: Ledger,
    banana_server: MockServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    failures: list[BaseException] = [LedgerError("the disk is full"), KeyboardInterrupt()]

    def fail(*_: object) -> None:
        raise failures.pop()

    monkeypatch.setattr(Store, "accept", fail)
    with pytest.raises(KeyboardInterrupt) as caught:
        caller.submit(ledger)
    task_id = banana_server._api.tasks.all()[0].id
    note = f"task {task_id} was created for the key 'cat': resume it by its id"
    assert note in caught.value.__notes__
    assert note in caplog.messages


def test_an_interrupt_during_a_pause_frees_the_key(
    caller: Caller, ledger: Ledger, banana_server: MockServer
) -> None:
    class Interrupted(BoundedClock):
        def sleep(self, seconds: float) -> None:
            raise KeyboardInterrupt

        async def sleep_async(self, seconds: float) -> None:
            raise KeyboardInterrupt

    banana_server.next_task(Plan(refusals=1))
    with pytest.raises(KeyboardInterrupt):
        Caller(caller.url, caller.is_async, Interrupted()).submit(ledger)
    assert ledger.find("cat") is None
    assert banana_server.charged == 0


# Cancellations.


class Slow:
    """A method of the store that takes until the test lets it go on, in whatever thread."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.is_reached = asyncio.Event()
        self._may_go_on = threading.Event()
        self._loop = asyncio.get_running_loop()
        method = getattr(Store, name)

        def slow(*arguments: Any, **options: Any) -> Any:
            self._loop.call_soon_threadsafe(self.is_reached.set)
            assert self._may_go_on.wait(30)
            return method(*arguments, **options)

        monkeypatch.setattr(Store, name, slow)

    def go_on(self) -> None:
        self._may_go_on.set()


async def cancel_in(
    method: str, ledger: Ledger, url: str, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Cancel a submission, some times, while it is in a method of the store."""
    slow = Slow(monkeypatch, method)
    async with AsyncNanoBanana(KEY, base_url=url) as banana:
        submission = asyncio.create_task(ledger.once("cat", banana).generate("a cat"))
        await asyncio.wait_for(slow.is_reached.wait(), 30)
        for _ in range(times):
            submission.cancel()
            await asyncio.sleep(0)
        slow.go_on()
        with pytest.raises(asyncio.CancelledError):
            await submission


@pytest.mark.parametrize("times", [1, 3])
def test_a_cancellation_during_the_claim_frees_the_key(
    ledger: Ledger, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    asyncio.run(cancel_in("claim", ledger, banana_server.url, monkeypatch, times))
    assert ledger.find("cat") is None
    assert banana_server.charged == 0


@pytest.mark.parametrize("times", [1, 3])
def test_a_cancellation_while_the_task_id_is_recorded_keeps_the_task(
    ledger: Ledger, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    asyncio.run(cancel_in("accept", ledger, banana_server.url, monkeypatch, times))
    assert [each.state for each in ledger.entries()] == ["accepted"]
    assert banana_server.charged == 1


def test_a_failure_of_a_cancelled_call_is_not_logged_by_asyncio(
    ledger: Ledger,
    banana_server: MockServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object, **__: object) -> Any:
        raise LedgerError("the disk is full")

    monkeypatch.setattr(Store, "claim", fail)
    asyncio.run(cancel_in("claim", ledger, banana_server.url, monkeypatch, 1))
    assert "asyncio" not in {record.name for record in caplog.records}


def test_the_end_of_the_event_loop_during_the_claim_frees_the_key(
    ledger: Ledger, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    submissions: list[asyncio.Task[Any]] = []

    async def run() -> None:
        slow = Slow(monkeypatch, "claim")
        banana = AsyncNanoBanana(KEY, base_url=banana_server.url)
        submissions.append(asyncio.create_task(ledger.once("cat", banana).generate("a cat")))
        await asyncio.wait_for(slow.is_reached.wait(), 30)
        asyncio.get_running_loop().call_later(0.01, slow.go_on)

    asyncio.run(run())
    assert submissions[0].cancelled()
    assert ledger.find("cat") is None


class Waiting(httpx.AsyncBaseTransport, httpx.AsyncByteStream):
    """A transport that sends a request and never gets a response, or the first part of one."""

    def __init__(self, content: bytes = b"") -> None:
        self.is_reached = asyncio.Event()
        self._content = content

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not self._content:
            await self._wait()
        return httpx.Response(201, stream=self)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content
        await self._wait()

    async def aclose(self) -> None:
        pass

    async def _wait(self) -> None:
        self.is_reached.set()
        await asyncio.Event().wait()


@pytest.mark.parametrize("content", [b"", created().content])
@pytest.mark.parametrize("way", ["cancel", "abandon"])
def test_the_end_of_an_asyncio_task_during_the_request_keeps_the_picture_or_the_doubt(
    ledger: Ledger, caller: Caller, content: bytes, way: str
) -> None:
    loop = asyncio.new_event_loop()
    transport = Waiting(content)
    http = httpx.AsyncClient(transport=transport)
    banana = AsyncNanoBanana(KEY, base_url=caller.url, http_client=http)
    task = loop.create_task(ledger.once("cat", banana).generate("a cat"))
    loop.run_until_complete(asyncio.wait_for(transport.is_reached.wait(), 30))
    if way == "cancel":
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
    loop.close()
    del task
    gc.collect()  # which closes what nobody will ever resume
    if content:
        assert caller.submit(ledger) == "t-1"
    else:
        with pytest.raises(InDoubt, match="interrupted by"):
            caller.submit(ledger)


def test_a_ledger_needs_an_asyncio_event_loop(ledger: Ledger, banana_server: MockServer) -> None:
    trio = pytest.importorskip("trio")

    async def run() -> None:
        banana = AsyncNanoBanana(KEY, base_url=banana_server.url)
        await ledger.once("cat", banana).generate("a cat")

    with pytest.raises(ConfigurationError, match="asyncio event loop"):
        trio.run(run)
    assert ledger.find("cat") is None


# Failures of the ledger.


def fail_once(
    monkeypatch: pytest.MonkeyPatch, name: str, error: Exception | None = None, *, times: int = 1
) -> None:
    """Let the next call of a method of the store fail, or the next `times` calls."""
    method = getattr(Store, name)
    failures = [error or LedgerError("the disk is full")] * times

    def fail(*arguments: Any, **options: Any) -> Any:
        if failures:
            raise failures.pop()
        return method(*arguments, **options)

    monkeypatch.setattr(Store, name, fail)


def test_a_ledger_that_fails_before_the_request_sends_nothing(
    caller: Caller, ledger: Ledger, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_once(monkeypatch, "claim")
    with pytest.raises(LedgerError, match="the disk is full"):
        caller.submit(ledger)
    assert banana_server.charged == 0


@everywhere
def test_a_ledger_that_fails_after_the_response_hands_on_the_task_id_in_the_error_and_the_log(
    caller: Caller,
    ledger: Ledger,
    location: str,
    banana_server: MockServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fail_once(monkeypatch, "accept", times=4)
    with pytest.raises(LedgerError, match=r"could not be recorded \(the disk is full\)") as caught:
        caller.submit(ledger)
    task_id = banana_server._api.tasks.all()[0].id
    assert caught.value.task_id == task_id
    assert task_id in str(caught.value)
    assert task_id in caplog.text
    restored = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
    assert restored.task_id == task_id
    end_claims(location)
    with pytest.raises(InDoubt):
        caller.submit(ledger)
    ledger.settle("cat", task_id=task_id)
    assert caller.submit(ledger) == task_id
    assert banana_server.charged == 1


@pytest.mark.parametrize("times", [1, 3])
def test_a_ledger_that_fails_for_a_while_after_the_response_is_written_later(
    caller: Caller, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    fail_once(monkeypatch, "accept", times=times)
    task_id = caller.submit(ledger)
    assert [(each.state, each.task_id) for each in ledger.entries()] == [("accepted", task_id)]


@everywhere
def test_a_task_id_that_no_database_can_store_is_in_the_error(
    caller: Caller, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "mountsea_banana")  # pytest-xdist cannot report such a text
    content = json.dumps({"taskId": "\ud800\0"})
    with pytest.raises(LedgerError, match="could not be recorded") as caught:
        caller.submit(ledger, handler=lambda _: httpx.Response(201, content=content))
    assert caught.value.task_id == "\ud800\0"


def test_a_ledger_that_has_lost_the_submission_says_so(
    caller: Caller, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        entry = ledger.find("cat")
        assert entry
        ledger._store.free(entry.claim)
        return created()

    with pytest.raises(LedgerError, match="no longer has the submission") as caught:
        caller.submit(ledger, handler=handler)
    assert caught.value.task_id == "t-1"


def test_a_doubt_that_cannot_be_recorded_is_one_when_the_claim_has_ended(
    caller: Caller,
    ledger: Ledger,
    location: str,
    banana_server: MockServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fail_once(monkeypatch, "doubt")
    banana_server.next_task(Plan(drops=True))
    with pytest.raises(api.SubmissionUnknown) as caught:
        caller.submit(ledger)
    assert not isinstance(caught.value, InDoubt)
    assert caught.value.__notes__ == ["the ledger could not record this: the disk is full"]
    assert "the ledger could not record this" in caplog.text
    end_claims(location)
    with pytest.raises(InDoubt, match="did not report an outcome"):
        caller.submit(ledger)


def test_a_task_id_that_arrives_before_the_doubt_is_recorded_is_returned(
    ledger: Ledger, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    accept, doubt = Store.accept, Store.doubt
    is_recorded = threading.Event()

    def accept_late(*arguments: Any) -> None:
        accept(*arguments)
        is_recorded.set()

    def doubt_later(*arguments: Any) -> Any:
        gate.is_open.set()
        assert is_recorded.wait(30)
        return doubt(*arguments)

    monkeypatch.setattr(Store, "accept", accept_late)
    monkeypatch.setattr(Store, "doubt", doubt_later)
    caller = Caller(banana_server.url)
    assert caller.submit(ledger, handler=gate, client={"timeout": 0.01}) == "t-1"
    assert caller.submit(ledger) == "t-1"


@everywhere
def test_a_reason_that_no_database_can_store_is_cleaned(caller: Caller, ledger: Ledger) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("odd \ud800 \0" + "x" * 5000)

    with pytest.raises(InDoubt):
        caller.submit(ledger, handler=handler)
    entry = ledger.find("cat")
    assert entry
    assert entry.reason
    assert "odd ? \ufffd" in entry.reason
    assert len(entry.reason) == 2000
