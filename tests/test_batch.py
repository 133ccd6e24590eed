"""Batches against the mock server: what is paid, what is saved, and what is left."""

from __future__ import annotations

import asyncio
import csv
import json
import pickle
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from mountsea_banana import (
    AsyncNanoBanana,
    AuthenticationError,
    ConfigurationError,
    InstantClock,
    RateLimitError,
    batch,
)
from mountsea_banana.batch import (
    Draining,
    Event,
    Outcome,
    Paused,
    Report,
    Row,
    Submitted,
    Waiting,
    Worklist,
    _run,
)
from mountsea_banana.batch._pace import Pace
from mountsea_banana.client._files import Destination
from mountsea_banana.ledger import Entry, Ledger, LedgerError
from mountsea_banana.ledger._store import Store
from mountsea_banana.mock import MockServer, Plan
from sqlalchemy import Connection, Engine, event

from .conftest import KEY
from .ledgers import end_claims, fail_to_record

Respond = Callable[[httpx.Request], Awaitable[httpx.Response | None]]


class Interceptor(httpx.AsyncBaseTransport):
    """Responds to submissions itself, or lets the server respond."""

    def __init__(self, respond: Respond) -> None:
        self._respond = respond
        self._real = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_keepalive_connections=0))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._respond(request) if request.method == "POST" else None
        return response or await self._real.handle_async_request(request)


class Batch:
    """A batch of rows in a folder, which can be run again and again."""

    def __init__(self, server: MockServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.output = folder / "pictures"
        self.events: list[Event] = []
        self.outcomes: list[Outcome] = []

    def client(self, respond: Respond | None = None, **options: Any) -> AsyncNanoBanana:
        async def pass_on(request: httpx.Request) -> None:
            return None

        return AsyncNanoBanana(
            KEY,
            base_url=self.server.url,
            http_client=httpx.AsyncClient(transport=Interceptor(respond or pass_on)),
            clock=self.server.clock,
            **{"max_retries": 0, **options},
        )

    def run(
        self,
        *rows: Mapping[str, object],
        respond: Respond | None = None,
        on_event: Callable[[Event], object] = lambda _: None,
        **options: Any,
    ) -> Report:
        self.events = []

        def note(event: Event) -> None:
            self.events.append(event)
            on_event(event)

        with batch.rows(rows) as checked, Ledger(self.folder / "ledger.db") as ledger:
            report = batch.run(
                checked,
                ledger=ledger,
                output=self.output,
                client=self.client(respond),
                on_event=note,
                **options,
            )
            self.outcomes = list(checked.outcomes())
        return report

    @property
    def files(self) -> list[str]:
        return sorted(file.name for file in self.output.iterdir())

    def states(self) -> list[str]:
        return [outcome.state for outcome in self.outcomes]


@pytest.fixture
def jobs(banana_server: MockServer, tmp_path: Path) -> Batch:
    return Batch(banana_server, tmp_path)


def cats(count: int) -> list[dict[str, object]]:
    return [{"prompt": f"cat {n}", "key": f"cat-{n}"} for n in range(1, count + 1)]


def response(status: int, **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"message": "no"}, headers=headers)


# Every row one picture


def test_every_row_is_paid_for_once_and_its_image_saved_under_its_key(jobs: Batch) -> None:
    report = jobs.run(*cats(3), {"prompt": "a dog"})
    assert report == Report({"done": 4}, 4, is_interrupted=False, stopped=None)  # type: ignore[arg-type]
    assert report.is_complete
    assert jobs.server.charged == 4
    dog = jobs.outcomes[3]
    assert dog.key is not None
    assert jobs.files == sorted(["cat-1.png", "cat-2.png", "cat-3.png", f"{dog.key}.png"])
    assert [outcome.path for outcome in jobs.outcomes] == [
        jobs.output / f"{outcome.key}.png" for outcome in jobs.outcomes
    ]


def test_a_batch_that_is_run_again_sends_nothing(jobs: Batch) -> None:
    jobs.run(*cats(3))
    before = jobs.outcomes

    async def fail(_: httpx.Request) -> httpx.Response:
        raise AssertionError("sent")

    jobs.server.reset()  # a poll would fail as well
    report = jobs.run(*cats(3), respond=fail)
    assert (report.charged, report.states, jobs.outcomes) == (0, {"done": 3}, before)


def test_a_batch_with_more_rows_pays_only_for_the_new_ones(jobs: Batch) -> None:
    jobs.run({"prompt": "a cat"}, {"prompt": "a dog"})
    report = jobs.run({"prompt": "a cow"}, {"prompt": "a dog"}, {"prompt": "a dog"})
    assert (report.charged, jobs.server.charged) == (2, 4)


def test_a_missing_file_is_downloaded_again_free_of_charge(jobs: Batch) -> None:
    jobs.run(*cats(2))
    (jobs.output / "cat-1.png").unlink()
    assert jobs.run(*cats(2)).charged == 0
    assert jobs.files == ["cat-1.png", "cat-2.png"]


def test_the_events_tell_what_happens_to_each_row(jobs: Batch) -> None:
    jobs.run(*cats(1))
    submitted, done = jobs.events
    assert isinstance(submitted, Submitted)
    assert isinstance(done, Outcome)
    assert submitted.to_dict() == {
        "event": "submitted",
        "number": 1,
        "key": "cat-1",
        "task_id": done.task_id,
    }
    assert done.to_dict() == {
        "event": "done",
        "number": 1,
        "key": "cat-1",
        "task_id": done.task_id,
        "path": str(jobs.output / "cat-1.png"),
        "error": None,
    }


def test_only_so_many_rows_are_in_flight_and_none_is_claimed_before_its_turn(jobs: Batch) -> None:
    claimed = []

    async def respond(_: httpx.Request) -> None:
        with Ledger(jobs.folder / "ledger.db") as ledger:
            claimed.append(sum(1 for _ in ledger.entries("claimed")))

    assert jobs.run(*cats(8), concurrency=3, respond=respond).is_complete
    assert len(claimed) == 8
    assert max(claimed) <= 3


def test_a_batch_runs_in_ones_own_event_loop(jobs: Batch) -> None:
    async def main(ledger: Ledger) -> Report:
        async with jobs.client() as client:
            with batch.rows(cats(2)) as rows:
                return await batch.run_async(rows, client=client, ledger=ledger, output=jobs.output)

    with Ledger(jobs.folder / "ledger.db") as ledger:
        assert asyncio.run(main(ledger)).is_complete


def test_the_client_comes_from_the_environment_by_default(
    jobs: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.run(*cats(1))
    monkeypatch.setenv("MOUNTSEA_API_KEY", KEY)
    monkeypatch.setenv("MOUNTSEA_BASE_URL", jobs.server.url)
    with Ledger(jobs.folder / "ledger.db") as ledger, batch.rows(cats(1)) as rows:
        assert batch.run(rows, ledger=ledger, output=jobs.output).is_complete


def test_a_thread_can_run_a_batch(jobs: Batch) -> None:
    reports: list[Report] = []
    thread = threading.Thread(target=lambda: reports.append(jobs.run(*cats(1))))
    thread.start()
    thread.join()
    assert [report.is_complete for report in reports] == [True]


# What fails


def test_the_rows_may_have_been_read_by_another_thread(jobs: Batch) -> None:
    with (
        ThreadPoolExecutor(1) as pool,
        pool.submit(batch.rows, cats(1)).result() as rows,
        Ledger(jobs.folder / "ledger.db") as ledger,
    ):
        assert batch.run(rows, ledger=ledger, output=jobs.output, client=jobs.client()).is_complete


def test_a_failed_task_leaves_its_row_without_an_image(jobs: Batch) -> None:
    jobs.server.next_task(Plan(ends_as="failed"))
    report = jobs.run(*cats(2), concurrency=1)
    assert report.states == {"done": 1, "failed": 1}
    assert not report.is_complete
    assert jobs.states() == ["failed", "done"]
    assert jobs.outcomes[0].error is not None
    assert "ended as failed" in jobs.outcomes[0].error


def test_a_failed_row_is_paid_for_again_only_if_that_is_asked_for(jobs: Batch) -> None:
    jobs.server.next_task(Plan(ends_as="failed"))
    jobs.run(*cats(1))
    assert jobs.run(*cats(1)).states == {"failed": 1}
    assert jobs.server.charged == 1
    assert jobs.run(*cats(1), retry_failed=True).is_complete
    assert jobs.server.charged == 2


def test_a_task_that_takes_too_long_is_left_running_for_the_next_run(jobs: Batch) -> None:
    jobs.server.plan = Plan(advances="hand")
    assert jobs.run(*cats(1), max_failures=1).states == {"running": 1}
    assert jobs.outcomes[0].error is not None
    assert "was still running after 600 s" in jobs.outcomes[0].error
    jobs.server.advance()
    jobs.server.advance()
    assert jobs.run(*cats(1)).is_complete
    assert jobs.server.charged == 1


def test_a_task_whose_poll_is_refused_is_left_running_for_the_next_run(jobs: Batch) -> None:
    keys = jobs.server._api.keys

    def replace_the_key(event: Event) -> None:
        if isinstance(event, Submitted):
            jobs.server._api.keys = ("another key",)

    report = jobs.run(*cats(3), concurrency=1, on_event=replace_the_key)
    assert report.states == {"running": 1, "not started": 2}
    assert report.stopped is not None
    assert "401" in report.stopped
    jobs.server._api.keys = keys
    assert jobs.run(*cats(3)).is_complete
    assert jobs.server.charged == 3


def test_a_row_in_doubt_is_named_and_never_sent_again(jobs: Batch) -> None:
    jobs.server.next_task(Plan(drops=True))
    for _ in range(2):
        report = jobs.run(*cats(2), concurrency=1)
        assert report.states == {"done": 1, "in doubt": 1}
        assert (jobs.outcomes[0].key, jobs.outcomes[0].state) == ("cat-1", "in doubt")
        assert jobs.outcomes[0].error is not None
        assert jobs.outcomes[0].error.startswith("the submission may have been sent")
    assert jobs.server.charged == 2


def test_no_more_rows_are_started_after_so_many_failures(jobs: Batch) -> None:
    jobs.server.plan = Plan(ends_as="failed")
    report = jobs.run(*cats(5), concurrency=1, max_failures=2)
    assert report.states == {"failed": 2, "not started": 3}
    assert report.stopped == "2 rows have failed"


def test_failures_of_earlier_runs_do_not_count(jobs: Batch) -> None:
    for plan in (Plan(ends_as="failed"), Plan(drops=True)):
        jobs.server.next_task(plan)
    jobs.run(*cats(2), concurrency=1)
    report = jobs.run(*cats(4), concurrency=1, max_failures=1)
    assert report.states == {"done": 2, "failed": 1, "in doubt": 1}


def test_failures_of_rows_that_are_paid_for_again_count(jobs: Batch) -> None:
    jobs.server.plan = Plan(ends_as="failed")
    jobs.run(*cats(3), concurrency=1)
    report = jobs.run(*cats(3), concurrency=1, max_failures=1, retry_failed=True)
    assert (report.charged, report.stopped) == (1, "1 rows have failed")


def test_no_more_rows_are_started_once_the_ledger_has_enough_submissions(jobs: Batch) -> None:
    report = jobs.run(*cats(5), concurrency=1, max_cost=2)
    assert report.states == {"done": 2, "not started": 3}
    assert report.stopped is not None
    assert "already holds 2 submissions" in report.stopped
    assert jobs.server.charged == 2


def test_another_request_under_a_key_of_the_ledger_is_not_sent(jobs: Batch) -> None:
    jobs.run({"prompt": "a cat", "key": "k"})
    report = jobs.run({"prompt": "a dog", "key": "k"})
    assert (report.states, jobs.server.charged) == ({"failed": 1}, 1)
    assert jobs.outcomes[0].error is not None
    assert "is in use for something else" in jobs.outcomes[0].error


def test_a_row_is_not_paid_for_if_its_file_exists_already(jobs: Batch) -> None:
    jobs.output.mkdir()
    (jobs.output / "cat-1.webp").write_bytes(b"mine")
    assert jobs.run(*cats(2)).states == {"done": 1, "failed": 1}
    assert jobs.server.charged == 1
    assert jobs.outcomes[0].error == f"{jobs.output / 'cat-1.webp'} exists"


def test_a_row_is_not_paid_for_if_its_name_is_that_of_a_folder(jobs: Batch) -> None:
    (jobs.output / "cat-1").mkdir(parents=True)
    assert jobs.run(*cats(2)).states == {"done": 1, "failed": 1}
    assert jobs.server.charged == 1
    assert jobs.outcomes[0].error == f"{jobs.output / 'cat-1'} is a folder"


def test_an_image_that_cannot_be_downloaded_is_left_for_the_next_run(jobs: Batch) -> None:
    jobs.server.plan = Plan(truncates=True)
    assert jobs.run(*cats(1)).states == {"failed": 1}
    assert jobs.outcomes[0].task_id
    for task in jobs.server._api.tasks.all():
        task.plan = Plan()
    assert jobs.run(*cats(1)).is_complete
    assert jobs.server.charged == 1


@pytest.mark.parametrize("status", [401, 402])
def test_a_failure_that_every_row_would_share_stops_the_batch(jobs: Batch, status: int) -> None:
    async def refuse(_: httpx.Request) -> httpx.Response:
        return response(status)

    report = jobs.run(*cats(5), concurrency=1, respond=refuse)
    assert report.states == {"not started": 5}
    assert report.stopped is not None
    assert str(status) in report.stopped


def test_a_rejected_row_fails_alone(jobs: Batch) -> None:
    statuses = iter([400, 403])

    async def refuse(_: httpx.Request) -> httpx.Response | None:
        status = next(statuses, None)
        return status and response(status)  # type: ignore[return-value]

    assert jobs.run(*cats(3), concurrency=1, respond=refuse).states == {"done": 1, "failed": 2}


def test_a_task_that_the_ledger_cannot_record_is_in_doubt_and_named(
    jobs: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise LedgerError("the disk is full")

    monkeypatch.setattr("mountsea_banana.ledger._store.Store.accept", fail)
    report = jobs.run(*cats(3), concurrency=1)
    assert report.states == {"in doubt": 1, "not started": 2}
    assert jobs.outcomes[0].task_id
    assert report.stopped == jobs.outcomes[0].error


def let_the_next_recordings_fail(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    write = Store._write
    failures = [LedgerError("the server is gone")] * times

    def fail(store: Store, operation: Callable[[Any], object]) -> object:
        if store.unrecorded and failures:  # what is written is a task
            raise failures.pop()
        return write(store, operation)

    monkeypatch.setattr(Store, "_write", fail)


def test_a_task_that_the_ledger_cannot_record_is_recorded_at_the_end(
    jobs: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_the_next_recordings_fail(monkeypatch, 4)
    report = jobs.run(*cats(2), concurrency=1)
    assert report.states == {"running": 1, "not started": 1}
    assert report.charged == 1
    assert (jobs.outcomes[0].task_id, jobs.outcomes[0].error) == (
        jobs.server._api.tasks.all()[0].id,
        None,
    )
    assert jobs.run(*cats(2)).is_complete
    assert jobs.server.charged == 2


def test_tasks_that_an_earlier_batch_could_not_record_do_not_count(
    jobs: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Ledger(jobs.folder / "ledger.db") as ledger:
        charged = []
        for _ in range(2):
            with monkeypatch.context() as patch, batch.rows(cats(1)) as rows:
                patch.setattr(Store, "accept", fail_to_record)
                client = jobs.client()
                report = batch.run(rows, ledger=ledger, output=jobs.output, client=client)
                charged.append(report.charged)
            end_claims(str(jobs.folder / "ledger.db"))
    assert charged == [1, 0]
    assert jobs.server.charged == 1


def test_the_second_ctrl_c_does_not_lose_a_task_that_is_not_recorded_yet(
    jobs: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals = [interrupt] * 2

    def fail(store: Store, entry: Entry, task_id: str) -> None:
        store.unrecorded[entry.claim] = entry, task_id
        if signals:
            signals.pop()()
        raise LedgerError("the server is gone")

    monkeypatch.setattr(Store, "accept", fail)
    jobs.run(*cats(1))
    assert [(each.state, each.task_id) for each in jobs.outcomes] == [
        ("in doubt", jobs.server._api.tasks.all()[0].id)
    ]


def test_an_error_in_the_callback_ends_the_batch_once_nothing_is_in_flight(jobs: Batch) -> None:
    def fail(event: Event) -> None:
        raise RuntimeError("the screen broke")

    with pytest.raises(RuntimeError, match="the screen broke"):
        jobs.run(*cats(5), concurrency=2, on_event=fail)
    with Ledger(jobs.folder / "ledger.db") as ledger:
        assert {entry.state for entry in ledger.entries()} == {"accepted"}


@pytest.mark.parametrize("concurrency", [0, -1])
def test_at_least_one_row_must_be_allowed_in_flight(jobs: Batch, concurrency: int) -> None:
    with pytest.raises(ConfigurationError, match="concurrency must be 1 or more"):
        jobs.run(*cats(1), concurrency=concurrency)


def test_a_folder_that_cannot_be_read_is_an_error_before_anything_is_sent(
    jobs: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> None:
        raise PermissionError("not readable")

    jobs.output.mkdir()
    monkeypatch.setattr(Path, "iterdir", fail)
    with pytest.raises(ConfigurationError, match=r"cannot be saved in .*: not readable"):
        jobs.run(*cats(1))
    assert jobs.server.charged == 0


def test_a_folder_that_the_ledger_cannot_store_is_an_error_before_anything_is_sent(
    jobs: Batch,
) -> None:
    jobs.output = jobs.folder / "pictures\udcff"
    with pytest.raises(ConfigurationError, match="its path is not in UTF-8"):
        jobs.run(*cats(1))
    assert jobs.server.charged == 0


def test_a_folder_that_cannot_be_written_is_an_error_before_anything_is_sent(jobs: Batch) -> None:
    jobs.output.write_text("a file")
    with pytest.raises(ConfigurationError, match=r"cannot be saved in .*pictures.*not a folder"):
        jobs.run(*cats(1))
    assert jobs.server.charged == 0


# A server that wants a pause


def test_a_refused_row_is_sent_again_after_the_pause_that_the_server_asks_for(
    jobs: Batch,
) -> None:
    times: list[float] = []

    async def refuse(_: httpx.Request) -> httpx.Response | None:
        times.append(jobs.server.clock.monotonic())
        return response(429, **{"Retry-After": "120"}) if len(times) == 1 else None

    report = jobs.run(*cats(2), concurrency=1, respond=refuse)
    assert (report.is_complete, report.charged) == (True, 2)
    assert times[1] - times[0] >= 120
    (pause,) = [event for event in jobs.events if isinstance(event, Paused)]
    assert pause.to_dict() == {"event": "paused", "seconds": 120, "reason": pause.reason}
    assert "429" in pause.reason


@pytest.mark.parametrize("status", [429, 503])
def test_rows_are_refused_together_and_paused_together(jobs: Batch, status: int) -> None:
    refused: list[httpx.Request] = []
    are_sent = asyncio.Event()

    async def refuse(request: httpx.Request) -> httpx.Response | None:
        if len(refused) == 4:
            return None
        refused.append(request)
        if len(refused) == 4:
            are_sent.set()
        await are_sent.wait()
        return response(status, **{"Retry-After": "5"})

    assert jobs.run(*cats(6), concurrency=4, respond=refuse).is_complete
    assert len([event for event in jobs.events if isinstance(event, Paused)]) == 1


def test_a_batch_ends_if_the_server_cannot_be_reached(jobs: Batch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with batch.rows(cats(3)) as rows, Ledger(jobs.folder / "ledger.db") as ledger:
        client = AsyncNanoBanana(KEY, base_url=url, clock=jobs.server.clock, max_retries=0)
        report = batch.run(rows, ledger=ledger, output=jobs.output, client=client)
        assert ledger.charges() == 0
    assert report.states == {"not started": 3}
    assert report.stopped is not None
    assert "the request was not sent" in report.stopped


def test_a_batch_ends_if_the_server_goes_on_refusing(jobs: Batch) -> None:
    async def refuse(_: httpx.Request) -> httpx.Response:
        return response(429)

    report = jobs.run(*cats(5), respond=refuse)
    assert report.states == {"not started": 5}
    assert report.stopped is not None
    assert report.stopped.startswith("the server accepts no more rows for now: 429")


def test_a_batch_ends_if_the_server_asks_for_too_long_a_pause(jobs: Batch) -> None:
    async def refuse(_: httpx.Request) -> httpx.Response:
        return response(429, **{"Retry-After": "3600"})

    before = jobs.server.clock.monotonic()
    assert jobs.run(*cats(2), respond=refuse).stopped
    assert jobs.server.clock.monotonic() - before < 60


def test_a_refusal_halves_the_rows_in_flight_and_acceptances_raise_them_again() -> None:
    pace = Pace(8)
    assert pace.refuse(started=0, now=1, asked=None, jitter=1) == 1
    assert (pace.limit, pace.pause(1), pace.pause(3)) == (4, 1, 0)
    for _ in range(100):
        pace.accept()
    assert pace.limit == 8


def test_rows_that_were_sent_before_a_refusal_tell_nothing_new_unless_they_ask_for_more() -> None:
    pace = Pace(8)
    pace.refuse(started=0, now=1, asked=5, jitter=0)
    assert [pace.refuse(started=0, now=1, asked=asked, jitter=0) for asked in (None, 4)] == [0, 0]
    assert (pace.limit, pace.pause(1)) == (4, 5)
    assert pace.refuse(started=0, now=1, asked=9, jitter=0) == 0
    assert (pace.limit, pace.pause(1)) == (4, 9)


def test_pauses_grow_while_nothing_is_accepted() -> None:
    pace, now = Pace(8), 0.0
    pauses = []
    while not pace.gives_up(now):
        pauses.append(pace.refuse(started=now, now=now, asked=None, jitter=1))
        now += 1000
    assert pauses == [1, 2, 4, 8, 16, 30, 60, 60, 60, 60]
    assert pace.limit == 1
    pace.accept()
    assert not pace.gives_up(now)


# Two batches on one ledger


def test_a_row_that_another_process_submits_does_not_hold_up_the_others(jobs: Batch) -> None:
    events: list[Event] = []

    async def main() -> tuple[Report, Report]:
        is_claimed, may_respond = asyncio.Event(), asyncio.Event()

        async def respond(_: httpx.Request) -> None:
            is_claimed.set()
            await may_respond.wait()

        def release(event: Event) -> None:
            events.append(event)
            if isinstance(event, Outcome) and event.key == "cat-3":
                may_respond.set()

        # A claim that is far from its end, as the clock runs fast.
        first = jobs.client(respond, timeout=100_000)
        with (
            batch.rows(cats(1)) as one,
            batch.rows(cats(3)) as all_of_them,
            Ledger(jobs.folder / "ledger.db") as ledger,
            Ledger(jobs.folder / "ledger.db") as other,
        ):
            running = asyncio.ensure_future(
                batch.run_async(one, client=first, ledger=ledger, output=jobs.output)
            )
            await is_claimed.wait()
            report = await batch.run_async(
                all_of_them,
                client=jobs.client(timeout=100_000),
                ledger=other,
                output=jobs.folder / "other",
                concurrency=1,
                on_event=release,
            )
            return await running, report

    first, second = asyncio.run(main())
    assert (first.charged, second.charged) == (1, 2)
    ends = [event.to_dict()["event"] for event in events if not isinstance(event, Submitted)]
    assert ends == ["done", "done", "waiting", "done"]
    waiting = next(event for event in events if isinstance(event, Waiting))
    assert waiting.rows == 1
    assert waiting.seconds > 0
    assert first.is_complete
    assert second.is_complete
    assert jobs.server.charged == 3


# Ctrl-C


def interrupt(_: object = None) -> None:
    signal.raise_signal(signal.SIGINT)


def test_rows_share_commits(jobs: Batch) -> None:
    """On a disk, a commit costs more than all the rest."""
    commits = 0

    def count(_: Connection) -> None:
        nonlocal commits
        commits += 1

    event.listen(Engine, "commit", count)
    try:
        assert jobs.run(*cats(40)).is_complete
    finally:
        event.remove(Engine, "commit", count)
    assert commits < 4 * 40  # a claim, a task, a result and a file for each


def test_ctrl_c_starts_no_more_rows_and_the_next_run_finishes_them(jobs: Batch) -> None:
    jobs.server.plan = Plan(advances="hand")

    def stop(event: Event) -> None:
        if event == jobs.events[0]:
            interrupt()

    report = jobs.run(*cats(5), concurrency=2, on_event=stop)
    assert report.is_interrupted
    assert report.states["running"] == report.charged <= 3
    assert report.states["not started"] == 5 - report.charged
    assert {outcome.task_id for outcome in jobs.outcomes if outcome.state == "running"} == set(
        jobs.server._api.tasks._tasks
    )
    jobs.server.plan = Plan()
    for task in jobs.server._api.tasks.all():
        task.plan = Plan()
    assert jobs.run(*cats(5)).is_complete
    assert jobs.server.charged == 5


def test_the_first_ctrl_c_waits_for_the_ids_of_submissions(jobs: Batch) -> None:
    is_draining = asyncio.Event()

    async def respond(_: httpx.Request) -> None:
        interrupt()
        await is_draining.wait()

    def note(event: Event) -> None:
        if isinstance(event, Draining):
            is_draining.set()

    report = jobs.run(*cats(3), concurrency=1, respond=respond, on_event=note)
    assert report.states == {"running": 1, "not started": 2}
    assert jobs.events[0].to_dict() == {"event": "draining", "submissions": 1}


def test_the_second_ctrl_c_leaves_submissions_in_doubt_and_says_so(jobs: Batch) -> None:
    async def respond(_: httpx.Request) -> None:
        interrupt()
        interrupt()
        await asyncio.Event().wait()

    report = jobs.run(*cats(3), concurrency=1, respond=respond)
    assert report.states == {"in doubt": 1, "not started": 2}
    assert report.is_interrupted


def test_the_second_ctrl_c_leaves_rows_in_doubt_even_if_the_ledger_fails(
    jobs: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise LedgerError("the server is gone")

    async def respond(_: httpx.Request) -> None:
        monkeypatch.setattr(Ledger, "find", fail)
        interrupt()
        interrupt()
        await asyncio.Event().wait()

    report = jobs.run(*cats(3), concurrency=1, respond=respond)
    assert (report.states, report.is_interrupted) == ({"in doubt": 1, "not started": 2}, True)
    assert jobs.outcomes[0].error == "it was interrupted, and the server is gone"


def test_ctrl_c_ends_the_wait_for_a_row_that_another_process_submits(
    jobs: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_claimed, may_respond = threading.Event(), threading.Event()

    async def respond(_: httpx.Request) -> httpx.Response:
        is_claimed.set()
        await asyncio.to_thread(may_respond.wait)
        return response(400)  # the key is free again

    async def submit() -> Report:
        with batch.rows(cats(1)) as rows, Ledger(jobs.folder / "ledger.db") as ledger:
            client = jobs.client(respond, timeout=100_000)
            return await batch.run_async(rows, client=client, ledger=ledger, output=jobs.output)

    def interrupt_a_wait(event: Event) -> None:
        if isinstance(event, Waiting):
            interrupt()

    with ThreadPoolExecutor() as pool:
        other = pool.submit(asyncio.run, submit())
        is_claimed.wait()
        monkeypatch.setattr(Ledger, "find", lambda *_: None)  # as it was before the claim
        try:
            report = jobs.run(*cats(1), on_event=interrupt_a_wait)
        finally:
            may_respond.set()
    assert (report.states, report.is_interrupted) == ({"not started": 1}, True)
    assert other.result().states == {"failed": 1}
    assert jobs.server.charged == 0


def test_ctrl_c_works_with_an_event_loop_that_handles_no_signals(
    jobs: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise NotImplementedError

    for name in ("add_signal_handler", "remove_signal_handler"):
        monkeypatch.setattr(asyncio.SelectorEventLoop, name, fail)
    jobs.server.plan = Plan(advances="hand")

    def stop(event: Event) -> None:
        if isinstance(event, Submitted):
            interrupt()

    report = jobs.run(*cats(2), concurrency=1, on_event=stop)
    assert report.states == {"running": 1, "not started": 1}


def test_the_third_ctrl_c_raises_keyboard_interrupt(jobs: Batch) -> None:
    def stop(event: Event) -> None:
        if event == jobs.events[0]:
            for _ in range(3):
                interrupt()

    with pytest.raises(KeyboardInterrupt):
        jobs.run(*cats(1), on_event=stop)


@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGINT, signal.SIGTERM]])
def test_a_row_that_has_not_been_claimed_at_ctrl_c_is_not_started(
    jobs: Batch, monkeypatch: pytest.MonkeyPatch, signals: list[signal.Signals]
) -> None:
    is_draining, is_abandoned = threading.Event(), threading.Event()
    check, find = Destination.check, Ledger.find
    jobs.output.mkdir()
    (jobs.output / "notes.txt").touch()  # so the file of each row is looked for

    def look(destination: Destination, *, overwrite: bool, any_suffix: bool) -> None:
        if not destination.is_folder:
            for each in signals:
                signal.raise_signal(each)
            (is_abandoned if signals[1:] else is_draining).wait()
        check(destination, overwrite=overwrite, any_suffix=any_suffix)

    def find_abandoned(ledger: Ledger, key: str) -> object:
        is_abandoned.set()  # nobody but the second signal leads here
        return find(ledger, key)

    monkeypatch.setattr(Destination, "check", look)
    monkeypatch.setattr(Ledger, "find", find_abandoned)
    report = jobs.run(*cats(3), concurrency=1, on_event=lambda _: is_draining.set())
    assert (report.states, report.is_interrupted) == ({"not started": 3}, True)


@pytest.mark.parametrize("turns", range(6))
def test_ctrl_c_ends_a_pause_however_soon_after_the_end_of_a_row_it_comes(
    jobs: Batch, turns: int
) -> None:
    class Endless(InstantClock):
        async def sleep_async(self, seconds: float) -> None:
            await asyncio.Event().wait()

    async def main() -> None:
        with batch.rows(cats(1)) as rows, Ledger(jobs.folder / "ledger.db") as ledger:
            client = AsyncNanoBanana(KEY, base_url=jobs.server.url, clock=Endless())
            run = _run._Batch(rows, client=client, ledger=ledger, output=jobs.output)
            pause = asyncio.ensure_future(run._sleep(60))
            await asyncio.sleep(0)
            run._changed.set()  # a row has ended
            for _ in range(turns):
                await asyncio.sleep(0)
            run.drain()
            await asyncio.wait_for(pause, 10)

    asyncio.run(main())


def test_ctrl_c_ends_a_pause(jobs: Batch) -> None:
    async def refuse(_: httpx.Request) -> httpx.Response:
        return response(429, **{"Retry-After": "60"})

    def stop(event: Event) -> None:
        if isinstance(event, Paused):
            interrupt()

    report = jobs.run(*cats(2), concurrency=1, respond=refuse, on_event=stop)
    assert (report.states, report.is_interrupted) == ({"not started": 2}, True)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows does not signal it")
@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, "SIGHUP"])
def test_a_closed_terminal_is_never_the_second_ctrl_c(jobs: Batch, first: Any) -> None:
    """The shell and the system both signal it, and submissions must still get their ids."""
    number = getattr(signal, first) if isinstance(first, str) else first

    async def close_the_terminal(_: httpx.Request) -> None:
        for each in (number, signal.SIGHUP, signal.SIGHUP):
            signal.raise_signal(each)
            await asyncio.sleep(0)

    report = jobs.run(*cats(3), concurrency=1, respond=close_the_terminal)
    assert report.is_interrupted
    assert report.states == {"running": 1, "not started": 2}


def test_a_batch_leaves_the_signals_as_they_were(jobs: Batch) -> None:
    before = signal.getsignal(signal.SIGINT)
    jobs.run(*cats(1))
    assert signal.getsignal(signal.SIGINT) is before


def test_a_background_job_goes_on_ignoring_ctrl_c(jobs: Batch) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert jobs.run(*cats(1), on_event=interrupt).is_complete
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_batch_that_is_cancelled_cancels_its_rows(jobs: Batch) -> None:
    async def main(ledger: Ledger) -> None:
        is_accepted, is_sent = asyncio.Event(), asyncio.Event()

        async def respond(request: httpx.Request) -> None:
            if b"cat 1" in request.content:
                return
            await is_accepted.wait()
            is_sent.set()
            await asyncio.Event().wait()

        jobs.server.plan = Plan(advances="hand")
        with batch.rows(cats(3)) as rows:
            running = asyncio.ensure_future(
                batch.run_async(
                    rows,
                    client=jobs.client(respond),
                    ledger=ledger,
                    output=jobs.output,
                    concurrency=2,
                    on_event=lambda _: is_accepted.set(),
                )
            )
            await is_sent.wait()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

    with Ledger(jobs.folder / "ledger.db") as ledger:
        asyncio.run(main(ledger))
        assert {entry.key: entry.state for entry in ledger.entries()} == {
            "cat-1": "accepted",
            "cat-2": "in doubt",
        }


# Counting


def test_the_rows_to_pay_for_can_be_counted_without_sending_anything(jobs: Batch) -> None:
    jobs.server.next_task(Plan(ends_as="failed"))
    jobs.run(*cats(2), concurrency=1)
    with Ledger(jobs.folder / "ledger.db") as ledger, batch.rows(cats(5)) as rows:
        assert batch.count_unpaid(rows, ledger) == 3
        assert batch.count_unpaid(rows, ledger, retry_failed=True) == 4
    assert jobs.server.charged == 2


# One row by itself


@pytest.fixture
def _environment(banana_server: MockServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOUNTSEA_API_KEY", KEY)
    monkeypatch.setenv("MOUNTSEA_BASE_URL", banana_server.url)
    monkeypatch.setattr("mountsea_banana._shared.clock.Clock.sleep", lambda *_: None)


@pytest.mark.usefixtures("_environment")
class TestRunRow:
    def run(self, jobs: Batch, row: dict[str, object], **options: Any) -> Outcome:
        with batch.rows([row]) as rows:
            (one,) = rows
        sent: Row = pickle.loads(pickle.dumps(one))  # noqa: S301
        outcome = batch.run_row(
            sent, ledger=jobs.folder / "ledger.db", output=jobs.output, **options
        )
        restored: Outcome = pickle.loads(pickle.dumps(outcome))  # noqa: S301
        return restored

    def test_pays_once_however_often_it_is_repeated(self, jobs: Batch) -> None:
        first = self.run(jobs, {"prompt": "a", "key": "k"})
        assert first == self.run(jobs, {"prompt": "a", "key": "k"})
        assert (first.state, first.path) == ("done", jobs.output / "k.png")
        assert jobs.server.charged == 1

    def test_returns_a_failure_that_another_attempt_would_not_change(self, jobs: Batch) -> None:
        jobs.server.next_task(Plan(ends_as="failed"))
        failed = self.run(jobs, {"prompt": "a", "key": "k"})
        assert failed.state == "failed"
        assert failed.task_id
        jobs.server.next_task(Plan(drops=True))
        assert self.run(jobs, {"prompt": "b"}).state == "in doubt"
        again = self.run(jobs, {"prompt": "a", "key": "k"}, retry_failed=True)
        assert again.state == "done"

    def test_raises_what_another_attempt_may_change(self, jobs: Batch) -> None:
        jobs.server.next_task(Plan(refusals=100))
        with pytest.raises(RateLimitError):
            self.run(jobs, {"prompt": "a"})

    def test_raises_what_no_row_can_change(
        self, jobs: Batch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MOUNTSEA_API_KEY", "wrong")
        with pytest.raises(AuthenticationError):
            self.run(jobs, {"prompt": "a"})


# Results and contact sheet


@pytest.fixture
def mixed(tmp_path: Path) -> Iterator[Worklist]:
    items: list[dict[str, object]] = [
        {"prompt": "<b>bold</b> & 猫", "key": "a/b"},
        {"prompt": "fails", "key": "f"},
        {"prompt": 5},
        {"prompt": "left"},
    ]
    with batch.rows(items, skip_invalid=True) as rows:
        done = Outcome(1, "a/b", "done", "t-1", tmp_path / "a_b.png")
        rows.record(done)
        rows.record(Outcome(2, "f", "failed", "t-2", error="no <script> \ud800"))
        yield rows


def test_the_results_can_be_json_lines(mixed: Worklist, tmp_path: Path) -> None:
    file = tmp_path / "new" / "results.jsonl"
    batch.write_results(mixed, file)
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert lines[0] == {
        "state": "done",
        "number": 1,
        "key": "a/b",
        "task_id": "t-1",
        "path": str(tmp_path / "a_b.png"),
        "error": None,
    }
    assert [line["state"] for line in lines] == ["done", "failed", "skipped", "not started"]
    assert lines[1]["error"] == "no <script> ?"


def test_the_results_can_be_a_table_that_excel_opens(mixed: Worklist, tmp_path: Path) -> None:
    file = tmp_path / "results.csv"
    batch.write_results(mixed, file)
    assert file.read_bytes().startswith(b"\xef\xbb\xbfnumber,key,state,task_id,path,error\r\n")
    with file.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert (rows[0]["key"], rows[0]["error"], rows[2]["key"]) == ("a/b", "", "")


def test_the_contact_sheet_shows_images_prompts_and_errors(mixed: Worklist, tmp_path: Path) -> None:
    page = batch.write_contact_sheet(mixed, tmp_path / "new", "jobs <1>").read_text("utf-8")
    assert "<h1>jobs &lt;1&gt;</h1>" in page
    assert "1 done, 1 not started, 1 failed, 1 skipped" in page
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; 猫" in page
    assert '<img src="a_b.png" alt="" loading="lazy">' in page
    assert "no &lt;script&gt; ?" in page
    assert "3 without an image" in page
    assert "<nav>" not in page


def test_a_contact_sheet_has_500_images_a_page(tmp_path: Path) -> None:
    with batch.rows(cats(1001)) as rows:
        for outcome in list(rows.outcomes()):
            path = tmp_path / f"{outcome.key}.png"
            rows.record(Outcome(outcome.number, outcome.key, "done", "t", path))
        index = batch.write_contact_sheet(rows, tmp_path, "cats")
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "index.html",
        "page-2.html",
        "page-3.html",
    ]
    assert index.read_text("utf-8").count("<img") == 500
    assert (tmp_path / "page-3.html").read_text("utf-8").count("<img") == 1
    assert '<a href="page-2.html">2</a>' in index.read_text("utf-8")


def test_the_contact_sheet_lists_the_first_rows_without_an_image(tmp_path: Path) -> None:
    with batch.rows(cats(700)) as rows:
        index = batch.write_contact_sheet(rows, tmp_path, "cats").read_text("utf-8")
    assert "700 without an image" in index
    assert index.count("<li>") == 201
    assert "and 500 more" in index


def test_a_batch_without_rows_has_an_empty_contact_sheet(jobs: Batch, tmp_path: Path) -> None:
    assert jobs.run().is_complete
    with batch.rows([]) as rows:
        assert "<article" not in batch.write_contact_sheet(rows, tmp_path, "none").read_text(
            "utf-8"
        )
