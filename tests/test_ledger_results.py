"""What a ledger keeps of a task: a finished key costs neither money, nor a poll, nor a download."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import mountsea_banana as api
import pytest
from mountsea_banana import InstantClock, NanoBanana, TaskResult
from mountsea_banana.ledger import Ledger, LedgerError
from mountsea_banana.ledger._store import Store
from mountsea_banana.mock import MockServer

from tests.faults import Fault, FaultServer, response
from tests.ledgers import Caller

PNG = b"\x89PNG\r\n\x1a\n" + b"1" * 100


class Server(FaultServer):
    """A server of one task, whose image has moved for each poll before the last one."""

    def __init__(self) -> None:
        super().__init__(Fault("?"))
        self.image: bytes | None = PNG
        self.status = "completed"

    def _handle(self, connection: Any, fault: Fault) -> Fault:
        received = self._read(connection, "all")
        self.requests.append(received)
        connection.sendall(self._respond(received))
        return fault

    def _respond(self, request: bytes) -> bytes:
        if request.startswith(b"POST"):
            return response(201, {"taskId": "t-1"})
        if request.startswith(b"GET /image"):
            is_current = request.startswith(b"GET /image-%d " % self.polls)
            return response(200, self.image) if self.image and is_current else response(404)
        urls = [f"{self.url}/image-{self.polls}"]
        return response(200, {"status": self.status, "result": {"imageUrls": urls}})

    @property
    def polls(self) -> int:
        return sum(b"taskId=" in request.split(b"\r\n")[0] for request in self.requests)

    @property
    def downloads(self) -> int:
        return sum(request.startswith(b"GET /image") for request in self.requests)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def caller(request: pytest.FixtureRequest, server: Server, clock: InstantClock) -> Caller:
    return Caller(server.url, request.param, clock)


def finish(use: Callable[[Any], Any] = lambda result: result) -> Callable[[Any], Any]:
    """Return what to do with a task: wait for it, and use its result."""

    def then(task: Any) -> Any:
        waiting = task.wait()
        if not hasattr(waiting, "__await__"):
            return use(waiting)

        async def finish_async() -> Any:
            used = use(await waiting)
            return await used if hasattr(used, "__await__") else used

        return finish_async()

    return then


def save(path: Path | str, **options: Any) -> Callable[[Any], Any]:
    return finish(lambda result: result.save(path, **options))


def test_a_final_task_is_not_polled_again(caller: Caller, ledger: Ledger, server: Server) -> None:
    first = caller.submit(ledger, then=finish())
    again = caller.submit(ledger, then=finish())
    fetched = caller.submit(ledger, then=lambda task: task.fetch())
    assert first == again == fetched
    assert (again.status, again.image_urls) == ("completed", [f"{server.url}/image-1"])
    assert (server.posts, server.polls) == (1, 1)


def test_a_task_that_a_fetch_found_final_is_not_polled_again(
    caller: Caller, ledger: Ledger, server: Server
) -> None:
    server.status = "processing"
    for _ in range(2):
        caller.submit(ledger, then=lambda task: task.fetch())
    server.status = "completed"
    for _ in range(2):
        caller.submit(ledger, then=lambda task: task.fetch())
    assert server.polls == 3


def test_a_task_that_failed_is_not_polled_again(
    caller: Caller, ledger: Ledger, server: Server
) -> None:
    server.status = "cancelled"
    for _ in range(2):
        with pytest.raises(api.TaskFailed, match="cancelled"):
            caller.submit(ledger, then=finish())
    assert server.polls == 1
    assert [entry.is_failed for entry in ledger.entries()] == [True]


def wait(task: Any, **options: Any) -> Any:
    return task.wait(**options)


def test_a_caller_is_told_about_a_recorded_result(caller: Caller, ledger: Ledger) -> None:
    for _ in range(2):
        seen: list[TaskResult] = []
        caller.submit(ledger, then=partial(wait, on_update=seen.append))
        assert [result.status for result in seen] == ["completed"]


def test_a_saved_file_is_not_downloaded_again(
    caller: Caller, ledger: Ledger, server: Server, tmp_path: Path
) -> None:
    path = tmp_path / "cat.png"
    for _ in range(2):
        assert caller.submit(ledger, then=save(path)) == path
    assert path.read_bytes() == PNG
    assert server.downloads == 1
    entry = ledger.find("cat")
    assert entry
    assert (entry.file, entry.file_size) == (path, len(PNG))


@pytest.mark.parametrize("name", ["cat", "", "new/"])
def test_a_file_that_is_named_by_its_image_is_found_again(
    caller: Caller, ledger: Ledger, server: Server, tmp_path: Path, name: str
) -> None:
    files = {caller.submit(ledger, then=save(f"{tmp_path}/{name}")) for _ in range(2)}
    assert len(files) == server.downloads == 1


def test_a_missing_file_is_downloaded_again(
    caller: Caller, ledger: Ledger, server: Server, tmp_path: Path
) -> None:
    path = tmp_path / "cat.png"
    for _ in range(2):
        caller.submit(ledger, then=save(path))
        path.unlink()
    assert server.downloads == 2
    assert server.polls == 1


def test_another_path_or_a_permission_to_overwrite_downloads_again(
    caller: Caller, ledger: Ledger, server: Server, tmp_path: Path
) -> None:
    caller.submit(ledger, then=save(tmp_path / "cat.png"))
    caller.submit(ledger, then=save(tmp_path / "cat.png", overwrite=True))
    assert caller.submit(ledger, then=save(tmp_path / "two.png")) == tmp_path / "two.png"
    assert server.downloads == 3


def test_an_expired_url_is_renewed_by_one_poll(
    caller: Caller, ledger: Ledger, server: Server, tmp_path: Path
) -> None:
    caller.submit(ledger, then=finish())
    server.requests.append(b"GET /?taskId=t-1 of somebody else\r\n")  # which moves the image
    assert caller.submit(ledger, then=finish(lambda result: result.read())) == PNG
    assert server.polls == 3
    caller.submit(ledger, then=save(tmp_path / "cat.png"))
    assert server.polls == 3


def test_an_image_that_is_gone_is_an_error_after_one_more_poll(
    caller: Caller, ledger: Ledger, server: Server, tmp_path: Path
) -> None:
    server.image = None
    with pytest.raises(api.DownloadError, match="404"):
        caller.submit(ledger, then=save(tmp_path / "cat.png"))
    assert (server.polls, server.downloads) == (2, 2)


def test_a_download_that_fails_otherwise_is_not_renewed(
    caller: Caller, ledger: Ledger, server: Server
) -> None:
    server.image = b"no image"
    with pytest.raises(api.DownloadError, match="not an image"):
        caller.submit(ledger, then=finish(lambda result: result.read()))
    assert server.polls == 1


def test_a_foreign_file_is_not_taken_for_the_picture(
    caller: Caller, ledger: Ledger, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "cat.png").write_bytes(b"foreign")
    for _ in range(2):  # nothing of the first attempt must mislead the second
        with pytest.raises(api.DownloadError, match="the file exists"):
            caller.submit(ledger, then=save(tmp_path / "cat"))
    assert (tmp_path / "cat.png").read_bytes() == b"foreign"


def test_a_file_that_another_picture_has_replaced_is_not_taken_for_the_picture(
    caller: Caller, ledger: Ledger, server: Server, tmp_path: Path
) -> None:
    path = tmp_path / "cat.png"
    caller.submit(ledger, then=save(path))
    path.write_bytes(PNG + b"another")
    with pytest.raises(api.DownloadError, match="the file exists"):
        caller.submit(ledger, then=save(path))


def test_an_empty_file_of_a_killed_process_is_replaced(
    caller: Caller, ledger: Ledger, server: Server, tmp_path: Path
) -> None:
    path = tmp_path / "cat.png"
    caller.submit(ledger, then=save(path))
    path.write_bytes(b"")  # the name is claimed before the content is there
    assert caller.submit(ledger, then=save(path)) == path
    assert path.read_bytes() == PNG


def test_a_file_that_another_process_saves_meanwhile_is_found(
    caller: Caller, ledger: Ledger, server: Server, tmp_path: Path
) -> None:
    path = tmp_path / "cat.png"
    other = Caller(server.url, clock=caller.clock)

    def save_after_another(result: Any) -> Any:
        other.submit(ledger, then=save(path))
        return result.save(path)

    assert caller.submit(ledger, then=finish(save_after_another)) == path
    assert server.downloads == 1


def test_a_file_that_exists_before_the_ledger_knows_any_is_left_alone(
    caller: Caller, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cat.png"
    path.write_bytes(PNG)
    with pytest.raises(api.DownloadError, match="the file exists"):
        caller.submit(ledger, then=save(path))
    monkeypatch.setattr(Store, "read", lambda *_: None)  # somebody has deleted the entry
    with pytest.raises(api.DownloadError, match="the file exists"):
        caller.submit(ledger, then=save(path))


@pytest.mark.parametrize("path", ["", "a\0b", None])
def test_a_path_that_cannot_be_saved_to_is_an_error_with_a_recorded_file_as_well(
    caller: Caller, ledger: Ledger, tmp_path: Path, path: Any
) -> None:
    caller.submit(ledger, then=save(tmp_path / "cat.png"))
    if path == "":
        path = tmp_path / "cat.png" / "below a file"
    with pytest.raises(api.DownloadError, match="could not be saved"):
        caller.submit(ledger, then=save(path))


@pytest.mark.parametrize(("method", "what"), [("keep_result", "result"), ("keep_file", "file")])
def test_a_ledger_that_cannot_keep_a_result_does_not_keep_the_picture_from_its_caller(
    caller: Caller,
    ledger: Ledger,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    method: str,
    what: str,
) -> None:
    def fail(*_: object) -> None:
        raise LedgerError("the disk is full")

    monkeypatch.setattr(Store, method, fail)
    path = tmp_path / "cat.png"
    assert caller.submit(ledger, then=save(path)).read_bytes() == PNG
    assert f"the {what} of task t-1 was not recorded: the disk is full" in caplog.text


def test_a_result_without_its_ledger_is_a_plain_result(
    caller: Caller, ledger: Ledger, tmp_path: Path
) -> None:
    """A copy, such as one from another process, has no connection to the ledger."""
    result = caller.submit(ledger, then=finish())
    assert copy.copy(result) == result
    path = tmp_path / "cat.png"
    assert caller.submit(ledger, then=finish(lambda each: copy.copy(each).save(path))) == path
    assert caller.submit(ledger, then=finish(lambda each: copy.copy(each).read())) == PNG
    entry = ledger.find("cat")
    assert entry
    assert entry.file is None


def test_a_whole_picture_from_prompt_to_file_costs_nothing_the_second_time(
    banana: NanoBanana, banana_server: MockServer, location: str, tmp_path: Path
) -> None:
    contents = set()
    for _ in range(2):
        with Ledger(location) as ledger:
            task = ledger.once("cover/42", banana).generate("a cat")
            contents.add(task.wait().save(tmp_path / "cover-42.png").read_bytes())
    assert len(contents) == banana_server.charged == 1
