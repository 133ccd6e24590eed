"""The ledger: a key is paid for at most once, whoever calls, how often and from where."""

from __future__ import annotations

import asyncio
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import mountsea_banana as api
import pytest
from mountsea_banana import AsyncNanoBanana, InstantClock, NanoBanana
from mountsea_banana.ledger import (
    CostLimitReached,
    InDoubt,
    KeyConflict,
    Ledger,
    LedgerError,
    _statements,
)
from mountsea_banana.mock import MockServer, Plan

from tests.conftest import KEY, error_in_a_forked_child
from tests.ledgers import Caller, Gate, everywhere


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def caller(
    request: pytest.FixtureRequest, banana_server: MockServer, clock: InstantClock
) -> Caller:
    return Caller(banana_server.url, request.param, clock)


@everywhere
def test_every_call_with_a_key_returns_the_task_of_the_first_and_only_the_first_is_sent(
    caller: Caller, location: str, banana_server: MockServer
) -> None:
    with Ledger(location) as ledger:
        task_id = caller.submit(ledger)
        assert caller.submit(ledger) == task_id
    with Ledger(location) as another:
        assert caller.submit(another) == task_id
    assert banana_server.charged == 1


def test_a_task_says_whether_its_call_has_paid(caller: Caller, ledger: Ledger) -> None:
    assert caller.submit(ledger, then=lambda task: task.is_new)
    assert not caller.submit(ledger, then=lambda task: task.is_new)


@everywhere
def test_another_process_gets_the_same_task(
    location: str, banana: NanoBanana, banana_server: MockServer
) -> None:
    with Ledger(location) as ledger:
        task = ledger.once("cat", banana).generate("a cat")
    program = """
import sys
from mountsea_banana import NanoBanana
from mountsea_banana.ledger import Ledger
url, location = sys.argv[1:]
with NanoBanana("test-token", base_url=url) as banana, Ledger(location) as ledger:
    print(ledger.once("cat", banana).generate("a cat").id)
"""
    command = [sys.executable, "-c", program, banana_server.url, location]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert output.strip() == task.id
    assert banana_server.charged == 1


def test_different_keys_are_different_pictures(
    caller: Caller, ledger: Ledger, banana_server: MockServer
) -> None:
    assert caller.submit(ledger, "one") != caller.submit(ledger, "two")
    assert banana_server.charged == 2


def test_the_same_request_may_be_built_in_any_way(
    caller: Caller, ledger: Ledger, banana_server: MockServer
) -> None:
    url = "https://example.com/a.png"
    body = {"image_urls": [url], "prompt": "a hat", "action": "edit"}
    first = caller.call(lambda banana: ledger.once("cat", banana).edit("a hat", url))
    assert caller.call(lambda banana: ledger.once("cat", banana).submit(body)) == first
    assert banana_server.charged == 1


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"prompt": "a dog"}, ["a cat", "a dog"]),
        ({"api_key": "other-token"}, ["another API key", "account", "replace_api_key(old, new)"]),
        ({"client": {"base_url": "http://127.0.0.1:9"}}, ["http://127.0.0.1:9"]),
    ],
    ids=["request", "account", "server"],
)
def test_a_key_that_names_something_else_is_a_conflict_that_shows_both(
    caller: Caller,
    ledger: Ledger,
    banana_server: MockServer,
    change: dict[str, Any],
    shown: list[str],
) -> None:
    task_id = caller.submit(ledger)
    with pytest.raises(KeyConflict) as caught:
        caller.submit(ledger, **change)
    assert (caught.value.key, caught.value.entry.task_id) == ("cat", task_id)
    assert all(text in str(caught.value) for text in shown)
    assert not hasattr(caught.value, "__notes__")
    assert banana_server.charged == 1


@everywhere
def test_a_new_api_key_of_the_same_account_takes_over_what_the_old_one_submitted(
    caller: Caller, ledger: Ledger, banana_server: MockServer
) -> None:
    task_id = caller.submit(ledger)
    caller.submit(ledger, "two")
    with pytest.raises(LedgerError, match="has no submission with the old API key"):
        ledger.replace_api_key("other-token", KEY)
    with pytest.raises(api.ConfigurationError, match="are the same"):
        ledger.replace_api_key(KEY, f" {KEY}")
    assert ledger.replace_api_key(f" {KEY}\n", "other-token") == 2
    assert caller.submit(ledger, api_key="other-token") == task_id
    with pytest.raises(KeyConflict):
        caller.submit(ledger)
    assert banana_server.charged == 2


def test_a_new_api_key_takes_over_any_number_of_submissions(
    caller: Caller, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_statements, "AT_ONCE", 2)
    with Ledger(location) as ledger:
        for number in range(5):
            caller.submit(ledger, str(number))
        assert ledger.replace_api_key(KEY, "other-token") == 5


@pytest.mark.parametrize("api_key", ["", "Bearer secret", None])
def test_an_api_key_that_cannot_be_one_is_not_replaced(ledger: Ledger, api_key: Any) -> None:
    for keys in ((api_key, KEY), (KEY, api_key)):
        with pytest.raises(api.ConfigurationError, match="the API key") as caught:
            ledger.replace_api_key(*keys)
        assert "secret" not in str(caught.value)


class Yielding(InstantClock):
    """A clock whose sleeps let other threads run, and take no time of its own."""

    def sleep(self, seconds: float) -> None:
        threading.Event().wait(0.001)

    async def sleep_async(self, seconds: float) -> None:
        await asyncio.sleep(0.001)


@everywhere
def test_threads_with_one_key_get_one_task(location: str, banana_server: MockServer) -> None:
    start = threading.Barrier(8, timeout=60)

    def submit(ledger: Ledger) -> str:
        start.wait()
        return str(Caller(banana_server.url, clock=Yielding()).submit(ledger))

    with Ledger(location) as one, Ledger(location) as other, ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(submit, [one, other] * 4))) == 1
    assert banana_server.charged == 1


@everywhere
def test_asyncio_tasks_with_one_key_get_one_task(location: str, banana_server: MockServer) -> None:
    async def run(ledger: Ledger) -> set[str]:
        options: Any = {"base_url": banana_server.url, "clock": Yielding()}
        async with AsyncNanoBanana(KEY, **options) as banana:
            calls = (ledger.once("cat", banana).generate("a cat") for _ in range(20))
            return {task.id for task in await asyncio.gather(*calls)}

    with Ledger(location) as ledger:
        assert len(asyncio.run(run(ledger))) == 1
    assert banana_server.charged == 1


@everywhere
def test_a_caller_waits_for_the_task_of_the_one_that_submits(
    location: str, banana_server: MockServer
) -> None:
    gate = Gate()

    class Opening(Yielding):
        def sleep(self, seconds: float) -> None:
            gate.is_open.set()
            super().sleep(seconds)

    with Ledger(location) as ledger, ThreadPoolExecutor(1) as pool, gate:
        first = pool.submit(Caller(banana_server.url).submit, ledger, handler=gate)
        assert gate.is_reached.wait(30)
        second = Caller(banana_server.url, clock=Opening())
        assert second.submit(ledger) == first.result() == "t-1"
    assert banana_server.charged == 0


def test_a_caller_waits_no_longer_than_the_claim_can_last(
    caller: Caller, ledger: Ledger, banana_server: MockServer
) -> None:
    timeout = {"timeout": 10, "max_retries": 2}
    with ThreadPoolExecutor(1) as pool, Gate() as gate:
        first = pool.submit(
            Caller(caller.url, clock=InstantClock()).submit, ledger, handler=gate, client=timeout
        )
        assert gate.is_reached.wait(30)
        with pytest.raises(InDoubt, match="did not report an outcome"):
            caller.submit(ledger)
        # Three exchanges of four phases, two Retry-Afters of a minute, and a minute for all else.
        assert sum(caller.clock.sleeps) == pytest.approx(4 * 10 * 3 + 2 * 60 + 60, abs=5)
        gate.is_open.set()
        assert first.result() == "t-1"
    assert caller.submit(ledger) == "t-1"
    assert banana_server.charged == 0


@everywhere
@pytest.mark.parametrize("status", [400, 401, 402, 403, 422, 429, 503])
def test_a_refusal_frees_the_key(
    caller: Caller, ledger: Ledger, banana_server: MockServer, status: int
) -> None:
    banana_server.next_task(Plan(refusals=1, refusal_status=status))
    with pytest.raises(api.APIStatusError):
        caller.submit(ledger, client={"max_retries": 0})
    assert ledger.find("cat") is None
    assert caller.submit(ledger, prompt="another cat")
    assert banana_server.charged == 1


def test_a_request_that_never_left_frees_the_key(caller: Caller, ledger: Ledger) -> None:
    with pytest.raises(api.APIConnectionError):
        caller.submit(ledger, client={"base_url": "http://127.0.0.1:9"})
    assert ledger.find("cat") is None


@everywhere
def test_a_retry_is_part_of_the_same_submission(
    caller: Caller, ledger: Ledger, banana_server: MockServer
) -> None:
    banana_server.next_task(Plan(refusals=2))
    task_id = caller.submit(ledger)
    (entry,) = ledger.entries()
    assert (entry.state, entry.task_id, entry.attempt) == ("accepted", task_id, 1)
    assert banana_server.charged == 1


def test_an_invalid_request_is_not_recorded(caller: Caller, ledger: Ledger) -> None:
    with pytest.raises(api.InvalidRequest):
        caller.call(lambda banana: ledger.once("cat", banana).generate("a cat", aspect_ratio="9:1"))
    assert ledger.find("cat") is None


@pytest.mark.parametrize("timeout", [None, float("inf"), 1e12, httpx.Timeout(5, pool=None)])
def test_a_timeout_without_an_end_is_refused(
    caller: Caller, ledger: Ledger, banana_server: MockServer, timeout: Any
) -> None:
    with pytest.raises(api.ConfigurationError, match="within a year"):
        caller.submit(ledger, client={"timeout": httpx.Timeout(timeout)})
    assert ledger.find("cat") is None
    assert banana_server.charged == 0


def test_a_task_says_whether_the_ledger_has_its_final_state(caller: Caller, ledger: Ledger) -> None:
    assert not caller.submit(ledger, then=lambda task: task.is_final)
    caller.submit(ledger, then=lambda task: task.wait())
    assert caller.submit(ledger, then=lambda task: task.is_final)


def test_a_submission_may_take_a_year_and_no_longer(caller: Caller, ledger: Ledger) -> None:
    year = 365 * 24 * 3600
    phase = (year - 60) / 4  # with four phases, and a minute for the ledger
    assert caller.submit(ledger, client={"timeout": httpx.Timeout(phase), "max_retries": 0})
    with pytest.raises(api.ConfigurationError, match="within a year"):
        caller.submit(ledger, client={"timeout": httpx.Timeout(phase + 1), "max_retries": 0})


def test_images_are_checked_only_for_a_key_that_will_be_submitted(
    caller: Caller, ledger: Ledger, banana_server: MockServer
) -> None:
    with NanoBanana(KEY, base_url=caller.url, clock=caller.clock) as banana:
        image_url = banana.generate("a hat").wait().image_urls[0]

    def edit(banana: Any) -> Any:
        return ledger.once("cat", banana).edit("red", image_url, check_images=True)

    task_id = caller.call(edit)
    banana_server.reset()  # the image is gone
    assert caller.call(edit) == task_id
    with pytest.raises(api.InvalidRequest, match="404"):
        caller.call(
            lambda banana: ledger.once("two", banana).edit("red", image_url, check_images=True)
        )
    assert ledger.find("two") is None


def test_a_failed_task_keeps_its_key_spent(
    caller: Caller, ledger: Ledger, banana_server: MockServer
) -> None:
    banana_server.plan = Plan(ends_as="failed")
    with pytest.raises(api.TaskFailed) as caught:
        caller.submit(ledger, then=lambda task: task.wait())
    task_id = caught.value.task_id
    assert caller.submit(ledger) == task_id
    assert banana_server.charged == 1


@everywhere
def test_a_failed_task_is_submitted_again_if_the_caller_says_so(
    caller: Caller, ledger: Ledger, banana_server: MockServer
) -> None:
    banana_server.next_task(Plan(ends_as="failed"))
    first = caller.submit(ledger, retry_failed=True)  # nothing has failed yet
    with pytest.raises(api.TaskFailed):
        caller.submit(ledger, retry_failed=True, then=lambda task: task.wait())
    with pytest.raises(KeyConflict):
        caller.submit(ledger, retry_failed=True, prompt="a dog")
    second = caller.submit(ledger, retry_failed=True)
    assert caller.submit(ledger, retry_failed=True) == second
    assert [each.task_id for each in ledger.entries()] == [first, second]
    assert [each.attempt for each in ledger.entries()] == [1, 2]
    assert banana_server.charged == ledger.charges() == 2


@everywhere
def test_the_ledger_holds_at_most_as_many_submissions_as_allowed(
    caller: Caller, ledger: Ledger, banana_server: MockServer
) -> None:
    task_id = caller.submit(ledger, "one", max_cost=1)
    with pytest.raises(CostLimitReached, match="already holds 1 submission"):
        caller.submit(ledger, "two", max_cost=1)
    assert ledger.find("two") is None
    assert caller.submit(ledger, "one", max_cost=0) == task_id  # costs nothing
    assert caller.submit(ledger, "two", max_cost=2)
    assert banana_server.charged == 2


@everywhere
def test_callers_at_once_do_not_exceed_the_limit(location: str, banana_server: MockServer) -> None:
    start = threading.Barrier(8, timeout=60)

    def submit(number: int) -> bool:
        with Ledger(location) as ledger:
            start.wait()
            try:
                Caller(banana_server.url).submit(ledger, f"cat {number}", max_cost=3)
            except CostLimitReached:
                return False
            return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(submit, range(8))) == 3
    assert banana_server.charged == 3


@pytest.mark.parametrize("max_cost", [-1, True, 1.5, "3"])
def test_an_invalid_limit_is_named(ledger: Ledger, banana: NanoBanana, max_cost: Any) -> None:
    with pytest.raises(api.ConfigurationError, match=f"max_cost must be .*, not {max_cost!r}"):
        ledger.once("cat", banana, max_cost=max_cost)


@pytest.mark.parametrize("key", ["", "a" * 501, "a\0b", "\ud800", None, 5])
def test_an_invalid_key_is_named(ledger: Ledger, banana: NanoBanana, key: Any) -> None:
    for call in (
        lambda: ledger.once(key, banana),
        lambda: ledger.find(key),
        lambda: ledger.settle(key, task_id="t-1"),
        lambda: ledger.release(key),
    ):
        with pytest.raises(api.ConfigurationError, match="a key must be a string of 1 to 500"):
            call()


@everywhere
def test_a_key_may_have_any_other_character(
    caller: Caller, ledger: Ledger, banana_server: MockServer
) -> None:
    key = "cover/42 '\"; -- %s \U0001f34c" * 16
    assert caller.submit(ledger, key, "a cat\0") == caller.submit(ledger, key, "a cat\0")
    assert banana_server.charged == 1


@everywhere
def test_an_entry_says_what_was_submitted_when_and_what_came_of_it(
    caller: Caller, ledger: Ledger, tmp_path: Path
) -> None:
    assert list(ledger.entries()) == []
    caller.submit(ledger, "one", "first")
    assert ledger.charges() == 1
    file = tmp_path / "two.png"

    def save(task: Any) -> Any:
        if not caller.is_async:
            return task.wait().save(file)

        async def save_async() -> Any:
            return await (await task.wait()).save(file)

        return save_async()

    caller.submit(ledger, "two", "second", then=save)
    one, two = ledger.entries()
    assert (one.key, one.request, one.status) == (
        "one",
        {"action": "generate", "prompt": "first"},
        None,
    )
    assert (one.image_urls, one.is_failed, one.snapshot) == ([], False, None)
    assert (two.key, two.status, two.file, two.is_failed) == ("two", "completed", file, False)
    assert one.claimed_at <= two.claimed_at <= two.ends_at
    assert ledger.find("two") == two
    assert list(ledger.entries("accepted")) == [one, two]
    assert list(ledger.entries("in doubt")) == []
    assert two.to_dict() == {
        "key": "two",
        "attempt": 1,
        "state": "accepted",
        "task_id": two.task_id,
        "reason": None,
        "status": "completed",
        "image_urls": [f"{caller.url}/images/{two.task_id}.png"],
        "file": str(file),
        "claimed_at": two.claimed_at.isoformat(),
        "ends_at": two.ends_at.isoformat(),
        "base_url": caller.url,
        "request": {"action": "generate", "prompt": "second"},
    }
    assert one.to_dict()["file"] is None


def test_entries_and_errors_can_be_pickled_but_a_ledger_cannot(
    caller: Caller, ledger: Ledger
) -> None:
    caller.submit(ledger, then=lambda task: task.wait())
    entry = ledger.find("cat")
    assert pickle.loads(pickle.dumps(entry)) == entry  # noqa: S301
    with pytest.raises(KeyConflict) as caught:
        caller.submit(ledger, prompt="a dog")
    restored = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
    assert (str(restored), restored.entry) == (str(caught.value), entry)
    with pytest.raises(TypeError, match="Ledger cannot be pickled"):
        pickle.dumps(ledger)


def test_a_ledger_of_another_process_raises_a_configuration_error(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as other:
        other.setattr(os, "getpid", lambda: 1)
        with pytest.raises(api.ConfigurationError, match="before a fork"):
            ledger.find("cat")


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_ledger_opened_before_a_fork_raises_a_configuration_error_in_the_child(
    ledger: Ledger, banana_server: MockServer
) -> None:
    caller = Caller(banana_server.url)
    task_id = caller.submit(ledger)
    message = error_in_a_forked_child(lambda: ledger.find("cat"), ledger.close)
    assert "before a fork" in message
    assert caller.submit(ledger) == task_id
