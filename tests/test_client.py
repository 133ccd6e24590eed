"""The client against the mock server: submitting, polling, waiting and saving."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
from collections import UserList
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import mountsea_banana
import pytest
from mountsea_api.models import NanoImageDto
from mountsea_api.types import UNSET
from mountsea_banana import (
    AsyncNanoBanana,
    AsyncTaskResult,
    ConfigurationError,
    DownloadError,
    InstantClock,
    InvalidRequest,
    NanoBanana,
    NotFoundError,
    SubmissionUnknown,
    TaskResult,
    check_request,
)
from mountsea_banana.mock import MockServer

from tests.conftest import KEY

PNG = b"\x89PNG\r\n\x1a\n"


def test_an_image_is_generated_awaited_and_saved(banana: NanoBanana, tmp_path: Path) -> None:
    seen: list[str] = []
    task = banana.generate("a cat", model="nano-banana-2", aspect_ratio="8:1", resolution="2K")
    result = task.wait(on_update=lambda result: seen.append(result.status))
    assert seen == ["pending", "processing", "completed"]
    path = result.save(tmp_path / "new" / "cat")
    assert path == tmp_path / "new" / "cat.png"
    assert path.read_bytes().startswith(PNG)
    assert result.created_at is not None
    assert result.finished_at is not None
    assert result.finished_at >= result.created_at


def test_the_request_body_contains_only_the_fields_that_were_passed(
    banana: NanoBanana, banana_server: MockServer
) -> None:
    banana.generate("a cat", model=None)
    banana.edit("red", "https://example.com/a.png", aspect_ratio="1:1")
    banana.edit("red", ("https://example.com/a.png", "https://example.com/b.png"))
    banana.submit(NanoImageDto("dto", "generate", num_images=UNSET, model="nano-banana-2"))
    assert banana_server.submissions == [
        {"action": "generate", "prompt": "a cat"},
        {
            "action": "edit",
            "prompt": "red",
            "image_urls": ["https://example.com/a.png"],
            "aspect_ratio": "1:1",
        },
        {
            "action": "edit",
            "prompt": "red",
            "image_urls": ["https://example.com/a.png", "https://example.com/b.png"],
        },
        {"action": "generate", "prompt": "dto", "model": "nano-banana-2"},
    ]


def test_an_invalid_request_is_rejected_before_anything_is_sent(
    banana: NanoBanana, banana_server: MockServer
) -> None:
    request = {
        "prompt": 5,
        "action": "edit",
        "resolution": "2K",
        "aspect_ratio": "8:1",
        "num_images": 2,
    }
    with pytest.raises(InvalidRequest) as caught:
        banana.submit(request)
    assert caught.value.violations == check_request(request)
    assert {(found.rule, found.field) for found in caught.value.violations} == {
        ("type", "prompt"),
        ("edit-needs-image-urls", "image_urls"),
        ("resolution-needs-pro-or-2", "resolution"),
        ("wide-ratio-needs-2", "aspect_ratio"),
        ("one-image-only", "num_images"),
    }
    assert banana_server.submissions == []


@pytest.mark.parametrize(
    ("request_", "found"),
    [
        (None, ("type", "")),
        (5, ("type", "")),
        ({"action": "generate"}, ("required", "prompt")),
        ({"prompt": "x"}, ("required", "action")),
        ({"prompt": "x", "action": "make"}, ("value", "action")),
        ({"prompt": "x", "action": []}, ("type", "action")),
        ({"prompt": "\ud800", "action": "generate"}, ("type", "prompt")),
        ({"prompt": "x", "action": "generate", "odd": object()}, ("type", "odd")),
        ({"prompt": "x", "action": "generate", 5: 5}, ("type", "5")),
        ({"prompt": "x", "action": "generate", "num_images": True}, ("type", "num_images")),
        ({"prompt": "x", "action": "generate", "num_images": float("nan")}, ("type", "num_images")),
        ({"prompt": "x", "action": "edit", "image_urls": "https://a/b"}, ("type", "image_urls")),
        ({"prompt": "x", "action": "edit", "image_urls": [5]}, ("type", "image_urls[0]")),
        (
            {"prompt": "x", "action": "edit", "image_urls": ["http://a/ b"]},
            ("uri", "image_urls[0]"),
        ),
        (
            {"prompt": "x", "action": "edit", "image_urls": ["http://[::g]/"]},
            ("uri", "image_urls[0]"),
        ),
        (
            {"prompt": "x", "action": "edit", "image_urls": ["http://[1]/"]},
            ("uri", "image_urls[0]"),
        ),
        (
            {"prompt": "x", "action": "edit", "image_urls": ["file:///a"]},
            ("image-url-is-http", "image_urls[0]"),
        ),
        (
            {"prompt": "x", "action": "edit", "image_urls": ["my cat.png"]},
            ("image-url-is-http", "image_urls[0]"),
        ),
    ],
)
def test_a_violation_names_the_rule_and_the_field(request_: Any, found: tuple[str, str]) -> None:
    assert [(each.rule, each.field) for each in check_request(request_)] == [found]


@pytest.mark.parametrize("images", [Path("cat.png"), [Path("cat.png")], "cat.png"])
def test_a_local_file_is_rejected_with_what_to_do(images: Any, banana: NanoBanana) -> None:
    with pytest.raises(InvalidRequest) as caught:
        banana.edit("make it red", images)
    assert str(caught.value) == (
        "image_urls[0] is 'cat.png', but the API takes only http(s) URLs with a host: upload a "
        "local file to a web server, and pass its URL"
    )


@pytest.mark.parametrize("url", ["http://[::1]:80/a?b#c", "HTTPS://u@a.b/%20", "http://a"])
def test_an_image_url_may_have_every_part_of_a_uri(url: str) -> None:
    assert check_request({"prompt": "", "action": "edit", "image_urls": [url]}) == []


def test_image_urls_that_are_not_a_sequence_are_rejected(banana: NanoBanana) -> None:
    with pytest.raises(InvalidRequest):
        banana.edit("x", 5)  # type: ignore[call-overload]


def test_a_task_is_resumed_by_its_id(banana: NanoBanana, banana_server: MockServer) -> None:
    task_id = banana.generate("a cat").id
    with NanoBanana(KEY, base_url=banana_server.url) as other:
        result = other.task(task_id).fetch()
    assert (result.task_id, result.status, result.is_final) == (task_id, "pending", False)
    assert repr(banana.task(task_id)) == f"Task({task_id!r})"


def test_an_unknown_task_is_not_found(banana: NanoBanana) -> None:
    with pytest.raises(NotFoundError, match="no such task") as caught:
        banana.task("unknown").wait()
    assert caught.value.task_id == "unknown"


@pytest.mark.parametrize("task_id", ["", " ", None, 5, "\ud800"])
def test_an_invalid_task_id_is_rejected(banana: NanoBanana, task_id: Any) -> None:
    with pytest.raises(InvalidRequest):
        banana.task(task_id)


def test_results_can_be_pickled_and_copied_but_clients_and_tasks_cannot(banana: NanoBanana) -> None:
    task = banana.generate("a cat")
    result = task.fetch()
    assert pickle.loads(pickle.dumps(result)) == result == copy.deepcopy(result)  # noqa: S301
    for thing in (banana, task):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(thing)


@pytest.mark.parametrize(
    "create",
    [
        lambda: NanoBanana(),
        lambda: NanoBanana(" "),
        lambda: NanoBanana("Bearer key"),
        lambda: NanoBanana("k", base_url="http://example.com"),
        lambda: NanoBanana("k", base_url="http://www.example.com"),
        lambda: NanoBanana("k", base_url="ftp://127.0.0.1"),
        lambda: NanoBanana("k", base_url="https://user:secret@example.com"),
        lambda: NanoBanana("k", base_url="https://example.com?user=secret"),
        lambda: NanoBanana("k", base_url="https://example.com#user"),
        lambda: NanoBanana("k", base_url="https://"),
        lambda: NanoBanana("k", base_url="https://[::g"),
        lambda: NanoBanana("k", base_url="http://127.0.0.1.example.com"),
        lambda: NanoBanana("k", timeout=-1),
        lambda: NanoBanana("k", timeout=httpx.Timeout(5, read=-1)),
        lambda: NanoBanana("k", max_retries=-1),
        lambda: NanoBanana("k", http_client=httpx.AsyncClient()),  # type: ignore[arg-type]
        lambda: NanoBanana("k").task("x").wait(timeout=float("nan")),
    ],
)
def test_an_invalid_configuration_is_rejected(create: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError):
        create()


@pytest.mark.parametrize("key", ["!", "~", "!k~"])
def test_a_key_may_have_any_visible_ascii_character(key: str) -> None:
    NanoBanana(key, timeout=httpx.Timeout(None, connect=5)).close()


def test_plain_http_to_another_machine_is_allowed_only_if_the_user_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = "http://gateway.example"
    assert repr(NanoBanana("k", base_url=url, allow_http=True)) == f"NanoBanana(base_url={url!r})"
    for value in ("0", "true", ""):
        monkeypatch.setenv("MOUNTSEA_ALLOW_HTTP", value)
        with pytest.raises(ConfigurationError, match=r"unencrypted.*set MOUNTSEA_ALLOW_HTTP=1"):
            NanoBanana("k", base_url=url)
    monkeypatch.setenv("MOUNTSEA_ALLOW_HTTP", "1")
    assert repr(AsyncNanoBanana("k", base_url=url)) == f"AsyncNanoBanana(base_url={url!r})"
    with pytest.raises(ConfigurationError, match="allow_http must be True or False, not 'no'"):
        NanoBanana("k", base_url=url, allow_http="no")  # type: ignore[arg-type]


def test_the_key_and_the_base_url_come_from_the_environment(
    banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOUNTSEA_API_KEY", f"{KEY}\n")
    monkeypatch.setenv("MOUNTSEA_BASE_URL", banana_server.url + "/")
    with NanoBanana() as banana:
        assert banana.generate("a cat").id
        assert repr(banana) == f"NanoBanana(base_url={banana_server.url!r})"


def test_a_closed_client_raises_a_configuration_error(banana: NanoBanana) -> None:
    banana.close()
    with pytest.raises(ConfigurationError, match="closed"):
        banana.generate("a cat")


def test_a_client_created_before_a_fork_raises_a_configuration_error(
    banana: NanoBanana, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(ConfigurationError, match="fork"):
        banana.generate("a cat")


def test_an_http_client_that_was_passed_in_is_not_closed(banana_server: MockServer) -> None:
    with httpx.Client() as http:
        with NanoBanana(KEY, base_url=banana_server.url, http_client=http, timeout=5) as banana:
            banana.generate("a cat")
        assert not http.is_closed


def test_an_existing_file_is_kept_unless_overwrite_is_true(
    banana: NanoBanana, tmp_path: Path
) -> None:
    result = banana.generate("a cat").wait()
    path = tmp_path / "cat.png"
    path.write_bytes(b"mine")
    with pytest.raises(DownloadError, match="overwrite=True"):
        result.save(path)
    assert path.read_bytes() == b"mine"
    assert result.save(path, overwrite=True).read_bytes() == result.read()
    assert result.save(tmp_path) == tmp_path / f"{result.task_id}.png"
    with pytest.raises(DownloadError, match="overwrite=True"):
        result.save(tmp_path)
    (tmp_path / "file").touch()
    for invalid in ("\0", tmp_path / "file" / "cat.png", 5):
        with pytest.raises(DownloadError):
            result.save(invalid)  # type: ignore[arg-type]
    assert not list(tmp_path.glob(".*"))


def test_a_full_disk_leaves_no_file(
    banana: NanoBanana, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    result = banana.generate("a cat").wait()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DownloadError, match="No space left"):
        result.save(tmp_path / "cat.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ({}, "no image"),
        ({"result": {"imageUrls": ["file:///etc/passwd"]}}, r"not an http\(s\) URL"),
        ({"result": {"imageUrls": ["http://[::g/"]}}, r"not an http\(s\) URL"),
        ({"result": {"imageUrls": ["http://127.0.0.1:1/a"]}}, "could not be downloaded"),
        ({"result": {"imageUrls": ["http://a\0/"]}}, "could not be downloaded"),
    ],
)
def test_a_failed_download_reports_the_reason(raw: dict[str, Any], reason: str) -> None:
    with pytest.raises(DownloadError, match=reason):
        TaskResult("t", "completed", raw).read()


def test_a_response_that_is_not_an_image_is_not_read(banana_server: MockServer) -> None:
    def result(path: str) -> TaskResult:
        return TaskResult("t", "completed", {"result": {"imageUrls": [banana_server.url + path]}})

    for path, reason in [
        ("/", "not an image .content type: text/html"),
        ("/none", "404"),
        ("/openapi.yaml", "not an image .content type: application/yaml"),
    ]:
        with pytest.raises(DownloadError, match=reason):
            result(path).read()
    with pytest.raises(DownloadError, match="405"):
        TaskResult(
            "t", "x", {"result": {"imageUrls": [f"{banana_server.url}/gemini/image/generate"]}}
        ).read()
    with pytest.raises(DownloadError, match="TooLarge"):
        result("/").read(max_bytes=10)


@pytest.mark.parametrize(
    ("result", "urls"),
    [
        ({"imageUrls": ["https://a/1"]}, ["https://a/1"]),
        ({"image_urls": ["https://a/1", "https://a/1", 5]}, ["https://a/1"]),
        ({"images": [{"url": "https://a/1"}, {}, "https://a/2"]}, ["https://a/1", "https://a/2"]),
        ({"imageUrls": "https://a/1"}, []),
        (["https://a/1"], []),
        (None, []),
    ],
)
def test_image_urls_are_read_from_every_known_shape(result: object, urls: list[str]) -> None:
    assert TaskResult("t", "completed", {"result": result}).image_urls == urls


def test_a_field_of_the_wrong_type_is_ignored() -> None:
    result = TaskResult(
        "t", "x", {"createdAt": "soon", "finishedAt": 5, "errorCode": True, "traceId": 5}
    )
    assert (result.created_at, result.finished_at, result.error_code, result.trace_id) == (
        None,
    ) * 4
    assert TaskResult("t", "x", {"createdAt": "2026-01-01"}).created_at is None
    assert TaskResult("t", "x", {"errorCode": 7, "errorMessage": "no"}).error_code == 7


def test_the_asynchronous_client_behaves_like_the_synchronous_one(
    banana_server: MockServer, clock: InstantClock, tmp_path: Path
) -> None:
    async def run() -> None:
        seen: list[str] = []

        async def update(result: AsyncTaskResult) -> None:
            seen.append(result.status)

        async with AsyncNanoBanana(KEY, base_url=banana_server.url, clock=clock) as banana:
            task = await banana.edit("red", "https://example.com/a.png")
            assert (await task.fetch()).status == "pending"
            result = await task.wait(on_update=update)
            assert seen == ["processing", "completed"]
            assert (await result.save(tmp_path / "a.png")).read_bytes() == await result.read()
            other = await banana.submit({"prompt": "x", "action": "generate"})
            await other.wait(on_update=lambda result: seen.append(result.status))
            assert repr(banana.task(other.id)) == f"AsyncTask({other.id!r})"
            invalid = AsyncTaskResult("t", "x", {"result": {"imageUrls": ["http://a\0/"]}})
            with pytest.raises(DownloadError):
                await invalid.read()
            for thing in (banana, task):
                with pytest.raises(TypeError, match="cannot be pickled"):
                    pickle.dumps(thing)
            assert pickle.loads(pickle.dumps(result)) == result == copy.deepcopy(result)  # noqa: S301
            assert {result: 1}[result] == 1
            assert repr(banana).startswith("AsyncNanoBanana(")
        with pytest.raises(ConfigurationError, match="closed"):
            await banana.generate("a cat")
        async with httpx.AsyncClient() as http:
            async with AsyncNanoBanana(KEY, base_url=banana_server.url, http_client=http):
                pass
            assert not http.is_closed

    asyncio.run(run())
    with pytest.raises(ConfigurationError, match="http_client"):
        AsyncNanoBanana(KEY, http_client=httpx.Client())  # type: ignore[arg-type]


def test_an_asynchronous_client_works_in_one_event_loop_only(banana_server: MockServer) -> None:
    async def submit(banana: AsyncNanoBanana) -> None:
        await banana.generate("a cat")

    async def create() -> AsyncNanoBanana:
        banana = AsyncNanoBanana(KEY, base_url=banana_server.url, http_client=httpx.AsyncClient())
        await submit(banana)
        await banana._driver.http.aclose()
        banana._driver.http = httpx.AsyncClient()
        return banana

    banana = asyncio.run(create())
    with pytest.raises(ConfigurationError, match="event loop"):
        asyncio.run(submit(banana))


@pytest.mark.parametrize("kind", [NanoBanana, AsyncNanoBanana])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTPS_PROXY", "foo://proxy"),
        ("ALL_PROXY", "socks5://127.0.0.1:1"),
        ("HTTPS_PROXY", "http://host:notaport"),
        ("NO_PROXY", "http://a:b"),
        ("SSL_CERT_FILE", "/none/such.pem"),
    ],
)
def test_an_unusable_environment_variable_is_named(
    kind: Any, name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=name):
        kind(KEY)


@pytest.mark.parametrize("kind", [TaskResult, AsyncTaskResult])
def test_an_unusable_environment_during_a_download_is_a_download_error(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    result = kind("t-1", "completed", {"result": {"imageUrls": ["https://a.example/a.png"]}})
    with pytest.raises(DownloadError, match="ALL_PROXY") as caught:
        asyncio.run(result.read())  # the synchronous one raises before it returns
    assert caught.value.task_id == "t-1"


def test_an_invalid_image_url_is_a_download_error() -> None:
    result = TaskResult("t-1", "completed", {"result": {"imageUrls": ["http://[x/a.png"]}})
    with pytest.raises(DownloadError, match=r"is not an http\(s\) URL"):
        result.read()


def test_dir_lists_the_public_names_and_the_imported_modules() -> None:
    assert {*mountsea_banana.__all__, "mock", "__file__"} <= set(dir(mountsea_banana))
    assert not {"Any", "TYPE_CHECKING", "_MODULES"} & set(dir(mountsea_banana))


@pytest.mark.parametrize(
    "name", [name for name in mountsea_banana.__all__ if name != "__version__"]
)
def test_a_public_name_is_cached_in_the_module_after_its_first_access(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(vars(mountsea_banana), name, raising=False)
    value = getattr(mountsea_banana, name)
    assert vars(mountsea_banana)[name] is value
    assert name in ("AspectRatio", "Model", "Resolution") or value.__name__ == name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(
        AttributeError, match=r"^module 'mountsea_banana' has no attribute 'Banana'$"
    ):
        _ = mountsea_banana.Banana  # type: ignore[attr-defined]


@pytest.mark.parametrize("clock", [InstantClock, object(), 0, "x", True, []])
def test_an_object_that_is_not_a_clock_is_rejected_before_anything_is_sent(
    banana_server: MockServer, clock: Any
) -> None:
    for kind in (NanoBanana, AsyncNanoBanana):
        with pytest.raises(ConfigurationError, match="clock must be a Clock, not "):
            kind(KEY, base_url=banana_server.url, clock=clock)


def test_a_clock_that_counts_as_false_is_used(banana_server: MockServer) -> None:
    class Falsy(InstantClock):
        def __len__(self) -> int:
            return 0

    clock = Falsy()
    with NanoBanana(KEY, base_url=banana_server.url, clock=clock) as banana:
        banana.generate("a cat").wait()
    assert clock.sleeps


def test_a_clock_that_fails_does_not_lose_the_task(banana_server: MockServer) -> None:
    class Stopped(InstantClock):
        def wall(self) -> float:
            raise RuntimeError

        jitter = wall

    with NanoBanana(KEY, base_url=banana_server.url, clock=Stopped()) as banana:
        assert banana.generate("a cat").id


@pytest.mark.parametrize("max_bytes", ["x", None, float("nan"), -1, True])
def test_an_invalid_size_limit_is_named_before_the_download(max_bytes: Any) -> None:
    result = TaskResult("t", "completed", {"result": {"imageUrls": ["https://a.example/"]}})
    with pytest.raises(ConfigurationError, match="max_bytes must be 0 or more bytes"):
        result.read(max_bytes=max_bytes)
    with pytest.raises(ConfigurationError, match="max_bytes must be 0 or more bytes"):
        result.save("cat.png", max_bytes=max_bytes)


def test_a_callback_that_cannot_be_called_is_named_before_the_first_poll(
    banana: NanoBanana,
) -> None:
    with pytest.raises(ConfigurationError, match="on_update must be a function, not 'x'"):
        banana.task("none").wait(on_update="x")  # type: ignore[arg-type]


def test_any_sequence_of_urls_is_sent(banana: NanoBanana, banana_server: MockServer) -> None:
    urls = ["https://example.com/a.png", "https://example.com/b.png"]
    banana.edit("red", UserList(urls))
    assert banana_server.submissions[0]["image_urls"] == urls
    with pytest.raises(InvalidRequest, match="image_urls"):
        banana.edit("red", b"https://example.com/a.png")  # type: ignore[arg-type]


class Odd(str):
    """A string that compares, prints and hashes in ways of its own."""

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    def isprintable(self) -> bool:
        raise ValueError

    def __str__(self) -> str:
        raise ValueError


class Raising(dict[str, object]):
    def items(self) -> Any:
        raise KeyError


class OddRequest(NanoImageDto):
    def to_dict(self) -> Any:
        return [1]


ODD: list[tuple[Callable[[], Any], str]] = [
    (lambda: 10**5000, "the request must be a NanoImageDto or a mapping of fields, not <int>"),
    (lambda: OddRequest("a", "generate"), "the request must be a NanoImageDto or a mapping"),
    (
        lambda: {"action": "generate", "prompt": "a", 10**5000: 1},
        "<int> is used as a field's name, but names must be strings",
    ),
    (
        lambda: {"action": "generate", "prompt": "a", "x": Raising(a=1)},
        "x cannot be sent as JSON in UTF-8: ",
    ),
    (
        lambda: {"action": "generate", "prompt": "a", Odd("q"): object()},
        "q cannot be sent as JSON in UTF-8: ",
    ),
]


@pytest.mark.parametrize(("make", "message"), ODD)
def test_a_request_that_raises_is_a_violation(make: Callable[[], Any], message: str) -> None:
    (violation,) = check_request(make())
    assert violation.message.startswith(message)


def test_a_field_is_sent_once_whatever_its_name_compares_to(
    banana: NanoBanana, banana_server: MockServer
) -> None:
    with pytest.raises(InvalidRequest):
        banana.submit(
            {
                "action": "generate",
                "prompt": "a",
                "model": "nano-banana-2",
                "resolution": "2K",
                Odd("model"): "nano-banana-fast",
            }
        )
    assert banana_server.charged == 0


@pytest.mark.parametrize("path", ["link/a.png", "link/", "link/new/a.png"])
def test_a_link_to_nothing_is_not_a_folder(banana: NanoBanana, tmp_path: Path, path: str) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    result = banana.generate("a cat").wait()
    with pytest.raises(DownloadError, match=r"link is not a folder$"):
        result.save(f"{tmp_path}/{path}", overwrite=True)


def test_a_folder_that_becomes_a_file_during_the_download_is_named(
    banana: NanoBanana, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = banana.generate("a cat").wait()
    mkdir = Path.mkdir

    def intrude(self: Path, **options: Any) -> None:
        (tmp_path / "new").touch()
        mkdir(self, **options)

    monkeypatch.setattr(Path, "mkdir", intrude)
    with pytest.raises(DownloadError, match=r"new is not a folder$"):
        result.save(tmp_path / "new" / "cat.png")


def test_a_key_that_comes_back_as_the_task_id_is_redacted() -> None:
    def echo(request: httpx.Request) -> httpx.Response:
        return httpx.Response(404, json={"taskId": request.headers["authorization"]})

    http = httpx.Client(transport=httpx.MockTransport(echo))
    banana = NanoBanana("sk-secret", http_client=http)
    with pytest.raises(SubmissionUnknown) as caught:
        banana.generate("a cat")
    assert caught.value.task_id == "Bearer [redacted]"
