"""Measure the client, the mock and the contract tests beside what limits them.

    python -m scripts.bench          measure every row
    python -m scripts.bench ROW...   measure these rows only
    python -m scripts.bench --guard  exit with 1 if the client got much slower; write no report

Writes bench-report/bench.md and bench-report/bench.html. The sides of a row are measured in one
run, in alternating rounds. Their ratios therefore hold on other machines; the figures do not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import importlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import httpx
from mountsea_api import AuthenticatedClient
from mountsea_api.api.gemini import api_public_controller_nano_image as nano_image
from mountsea_api.models import NanoImageDto
from mountsea_banana import AsyncNanoBanana, InstantClock, NanoBanana, batch, check_request
from mountsea_banana.ledger import Ledger

from scripts import bench_growth as growth
from scripts import bench_guard as guard
from scripts import bench_measure as measure
from scripts.bench_measure import Row, Sample, alternate, per_await, per_call
from scripts.bench_report import write

ROOT = Path(__file__).parent.parent
REPORT = ROOT / "bench-report"
KEY = "test-token"
HEADERS = {"Authorization": f"Bearer {KEY}"}
PATH = "/gemini/image/generate"
POLL_PATH = "/gemini/task/result"
BODY = {"prompt": "a cat", "action": "generate", "model": "nano-banana-2", "aspect_ratio": "8:1"}
BODIES: Mapping[str, Mapping[str, object]] = {
    "4 fields": BODY,
    "6 fields": {
        **BODY,
        "action": "edit",
        "resolution": "2K",
        "image_urls": ["https://example.com/cat.png"],
    },
    "1 violation": {"prompt": "a cat", "action": "generate", "resolution": "2K"},
    "6 violations": {
        "prompt": 5,
        "action": "edit",
        "model": "nano-banana-pro",
        "aspect_ratio": "8:1",
        "num_images": 2,
        "resolution": "9K",
    },
}


def in_process() -> Row:
    """A submission through a transport in this process: what the client itself costs."""
    url, transport = "http://127.0.0.1", httpx.MockTransport(_created)
    http = httpx.Client(transport=transport, headers=HEADERS)
    generated = AuthenticatedClient(url, KEY).set_httpx_client(
        httpx.Client(transport=transport, headers=HEADERS, base_url=url)
    )
    banana = NanoBanana(KEY, base_url=url, http_client=httpx.Client(transport=transport))
    body = NanoImageDto.from_dict(BODY)

    def post() -> object:
        return http.post(url + PATH, json=BODY).json()

    with measure.waiting_thread() as hand_over:
        sides: dict[str, Callable[[], object]] = {
            "bare httpx": post,
            "generated client": lambda: nano_image.sync(client=generated, body=body),
            "NanoBanana": lambda: banana.submit(BODY),
            "bare httpx in a waiting thread": lambda: hand_over(post),
            "one hand-off between threads": lambda: hand_over(lambda: None),
        }
        with contextlib.suppress(ImportError):
            sides["openai's SDK"] = _openai_call()
        samples = alternate({n: per_call(call, 10) for n, call in sides.items()}, rounds=300)
    row = Row("A submission in process, synchronous", "µs", samples)
    own = row.fastest("NanoBanana") / row.fastest("bare httpx in a waiting thread")
    note = f"The fastest NanoBanana to the fastest in a thread: {own:.2f}"
    return Row(row.title, row.unit, {**samples, **_missing(samples, "openai's SDK")}, note)


def in_process_async() -> Row:
    """The same, in an event loop."""
    url, transport = "http://127.0.0.1", httpx.MockTransport(_created)
    http = httpx.AsyncClient(transport=transport, headers=HEADERS)
    generated = AuthenticatedClient(url, KEY).set_async_httpx_client(
        httpx.AsyncClient(transport=transport, headers=HEADERS, base_url=url)
    )
    ours = httpx.AsyncClient(transport=transport)
    banana = AsyncNanoBanana(KEY, base_url=url, http_client=ours)
    body = NanoImageDto.from_dict(BODY)
    with asyncio.Runner() as runner:
        sides = {
            "bare httpx": lambda: _post(http, url),
            "generated client": lambda: nano_image.asyncio(client=generated, body=body),
            "AsyncNanoBanana": lambda: banana.submit(BODY),
        }
        samples = alternate(
            {name: per_await(runner, call, 10, time.process_time) for name, call in sides.items()},
            rounds=300,
        )
    return Row("A submission in process, asynchronous", "µs of the processor", samples)


def loopback() -> Row:
    """A submission to the mock server, in another process on this machine."""
    with (
        measure.mock() as url,
        httpx.Client(headers=HEADERS) as http,
        NanoBanana(KEY, base_url=url) as banana,
        measure.waiting_thread() as hand_over,
    ):

        def post() -> object:
            return http.post(url + PATH, json=BODY).json()

        sides = {
            "bare httpx": post,
            "NanoBanana": lambda: banana.submit(BODY),
            "bare httpx in a waiting thread": lambda: hand_over(post),
        }
        samples = alternate({n: per_call(call, 10) for n, call in sides.items()}, rounds=200)
    return Row("A submission to the mock, synchronous", "µs", samples)


def loopback_async() -> Row:
    """The same, in an event loop."""
    with measure.mock() as url, asyncio.Runner() as runner:
        http, banana = httpx.AsyncClient(headers=HEADERS), AsyncNanoBanana(KEY, base_url=url)
        sides = {
            "bare httpx": lambda: _post(http, url),
            "AsyncNanoBanana": lambda: banana.submit(BODY),
        }
        samples = alternate(
            {name: per_await(runner, call, 10) for name, call in sides.items()}, rounds=200
        )
        runner.run(http.aclose())
        runner.run(banana.aclose())
    return Row("A submission to the mock, asynchronous", "µs", samples)


def in_flight() -> Row:
    """10,000 submissions to the mock in four rounds, 200 of them always under way."""
    memory: list[float] = []
    with measure.mock() as url, asyncio.Runner() as runner, _clients(runner, url) as (http, banana):

        def submit() -> float:
            rate = runner.run(measure.rate(lambda: banana.submit(BODY), 2500, 200))
            memory.append(measure.resident_mb())
            return rate

        sides: dict[str, Sample] = {
            "bare httpx": lambda: runner.run(measure.rate(lambda: _post(http, url), 2500, 200)),
            "AsyncNanoBanana": submit,
        }
        with contextlib.suppress(ImportError):
            import aiohttp  # noqa: F401

            sides["bare aiohttp"] = lambda: runner.run(_aiohttp_rate(url, 2500, 200))
        samples = alternate(sides, rounds=4)
    note = f"memory in MB after each round: {', '.join(f'{each:.0f}' for each in memory)}"
    title = "10,000 submissions to the mock, 200 in flight"
    return Row(title, "per second", {**samples, **_missing(samples, "bare aiohttp")}, note)


def polls() -> Row:
    """10,000 polls of a task on the mock in four rounds, 200 of them always under way."""
    with (
        measure.mock("--advances", "hand") as url,
        asyncio.Runner() as runner,
        _clients(runner, url) as (http, banana),
    ):
        task = runner.run(banana.submit(BODY))

        async def poll() -> object:
            return (await http.get(url + POLL_PATH, params={"taskId": task.id})).json()

        sides = {
            "bare httpx": lambda: runner.run(measure.rate(poll, 2500, 200)),
            "AsyncNanoBanana": lambda: runner.run(measure.rate(task.fetch, 2500, 200)),
        }
        samples = alternate(sides, rounds=4)
    return Row("10,000 polls of the mock, 200 in flight", "per second", samples)


def batches() -> Row:
    """Batches on the mock: every row is submitted, polled and downloaded, and its image written."""
    count, in_flight = 1000, 50
    bodies = [{"prompt": f"cat {number}", "action": "generate"} for number in range(count)]
    memory: list[float] = []
    with (
        measure.mock("--polls", "1") as url,
        tempfile.TemporaryDirectory() as scratch,
        asyncio.Runner() as runner,
    ):

        def folder() -> Path:
            return Path(tempfile.mkdtemp(dir=scratch))

        def run(location: Path | str, output: Path) -> float:
            with batch.rows(bodies) as rows, Ledger(location) as ledger:
                start = time.perf_counter()
                client = AsyncNanoBanana(KEY, base_url=url, clock=InstantClock(), max_retries=0)
                batch.run(rows, ledger=ledger, output=output, client=client, concurrency=in_flight)
                memory.append(measure.resident_mb())
                return count / (time.perf_counter() - start)

        def run_in_a_file() -> float:
            output = folder()
            return run(output / "ledger.db", output / "images")

        sides: dict[str, Sample] = {
            "asyncio and httpx, without a ledger": lambda: runner.run(
                _bare_batch(url, bodies, in_flight, folder())
            ),
            "batch, SQLite": run_in_a_file,
        }
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(ImportError):
                from tests.postgresql import new_schema, serve

                location = stack.enter_context(serve(Path(scratch, "postgresql")))
                sides["batch, PostgreSQL"] = lambda: run(new_schema(location), folder())
            samples = alternate(sides, rounds=4)
    note = f"memory in MB after each batch: {', '.join(f'{each:.0f}' for each in memory)}"
    title = f"Batches of {count:,} rows on the mock, {in_flight} in flight"
    sides_of = {**samples, **_missing(samples, "batch, PostgreSQL")}
    return Row(title, "rows per second", sides_of, note)


def rules() -> Row:
    """Checking a request body with the client's rules, and with the same rules as JSON Schema."""
    sides = {
        f"check_request, {name}": per_call(
            functools.partial(check_request, body), 100, time.process_time
        )
        for name, body in BODIES.items()
    }
    with contextlib.suppress(ImportError):
        from mountsea_banana.contract import Contract

        schema = next(o.request for o in Contract.load().operations if o.request)
        for name, body in BODIES.items():
            check = functools.partial(schema.is_valid, body)
            sides[f"jsonschema-rs, valid or not, {name}"] = per_call(check, 100, time.process_time)
    samples = alternate(sides, rounds=300)
    return Row(
        "Checking a request",
        "µs of the processor",
        {**samples, **_missing(samples, "jsonschema-rs")},
    )


def start_up() -> Row:
    """Fresh interpreters whose modules are compiled."""
    programs = {
        "import httpx": "import httpx",
        "import NanoBanana": "from mountsea_banana import NanoBanana",
        "import check_request": "from mountsea_banana import check_request",
        "nano-banana --help": "from mountsea_banana.cli import main; main(['--help'])",
        "no program at all": "pass",
    }
    sides = {
        name: measure.command("-c", code, clock=measure.processor_of_children)
        for name, code in programs.items()
    }
    row = Row("Starting", "ms of the processor", alternate(sides, rounds=20))
    more = row.fastest("import NanoBanana") - row.fastest("import httpx")
    return Row(
        row.title, row.unit, row.sides, f"The fastest NanoBanana: {more:.0f} ms more than httpx"
    )


def mock_server(connections: int) -> Row:
    """Responses to submissions, beside an application on the same server, and Prism."""
    with contextlib.ExitStack() as stack:
        urls = {
            "bare Starlette app": stack.enter_context(measure.bare_app()),
            "mock": stack.enter_context(measure.mock()),
        }
        with contextlib.suppress(FileNotFoundError):
            urls["Prism"] = stack.enter_context(measure.prism(ROOT / "openapi.yaml"))
        runner = stack.enter_context(asyncio.Runner())
        sides = {
            name: functools.partial(_server_rate, runner, url, connections)
            for name, url in urls.items()
        }
        samples = alternate(sides, rounds=7)
    title = f"The mock, {connections} connections"
    return Row(title, "responses per second", {**samples, **_missing(samples, "Prism")})


def generation() -> Row:
    """Generating the low-level client, by the generator alone and with all our checks."""
    with tempfile.TemporaryDirectory() as folder:
        generator = (
            *("-m", "openapi_python_client", "generate", "--meta", "none", "--overwrite"),
            *("--path", str(ROOT / "openapi.yaml"), "--config", str(ROOT / "generator-config.yml")),
            *("--output-path", f"{folder}/mountsea_api"),
        )
        sides = {
            "the generator alone": measure.command(*generator),
            "make check-generated": measure.command(str(ROOT / "scripts/generate.py"), "--check"),
        }
        return Row("Generating the client", "ms", alternate(sides, rounds=5))


def contract_tests() -> Row:
    """The contract tests against the mock: the whole run, and the part before its first request."""
    with tempfile.TemporaryDirectory() as folder:
        harness = ("-m", "mountsea_banana.harness", "--report", folder)
        sides = {
            "whole run": measure.command(*harness),
            "until the first request": lambda: measure.ms_to_first_request(*harness),
        }
        return Row("The contract tests", "ms", alternate(sides, rounds=3))


ROWS: Mapping[str, Callable[[], Row]] = {
    "in-process": in_process,
    "in-process-async": in_process_async,
    "loopback": loopback,
    "loopback-async": loopback_async,
    "in-flight": in_flight,
    "polls": polls,
    "batches": batches,
    "rules": rules,
    "start-up": start_up,
    "mock-1": functools.partial(mock_server, 1),
    "mock-16": functools.partial(mock_server, 16),
    "mock-256": functools.partial(mock_server, 256),
    "contract": contract_tests,
    "generate": generation,
    "growth-submissions": growth.submissions,
    "growth-waits": growth.waits,
    "growth-rows": growth.rows,
    "growth-operations": growth.operations,
    "growth-prompts": growth.prompts,
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"one of {', '.join(ROWS)}")
    parser.add_argument("--guard", action="store_true", help="compare with the committed ratios")
    options = parser.parse_args(arguments)
    if options.guard:
        return guard.main(ROWS)
    names = options.rows or list(ROWS)
    if unknown := [name for name in names if name not in ROWS]:
        parser.error(f"there is no row {unknown[0]!r}: choose from {', '.join(ROWS)}")
    rows = []
    for name in names:
        start = time.perf_counter()
        rows.append(ROWS[name]())
        print(f"bench: {name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    print(write(rows, REPORT))
    return 0


def _openai_call() -> Callable[[], object]:
    """Return a request of like size by openai's SDK. Raises ImportError if it is not installed."""
    sdk, http = importlib.import_module("openai"), importlib.import_module("httpx2")
    transport = http.MockTransport(lambda _: http.Response(200, json={"created": 1, "data": []}))
    client = sdk.OpenAI(
        api_key=KEY, base_url="http://127.0.0.1", http_client=http.Client(transport=transport)
    )
    return functools.partial(client.images.generate, prompt="a cat", model="a", size="1024x1024")


def _created(_: httpx.Request) -> httpx.Response:
    return httpx.Response(201, json={"taskId": "t-1"})


@contextlib.contextmanager
def _clients(
    runner: asyncio.Runner, url: str
) -> Iterator[tuple[httpx.AsyncClient, AsyncNanoBanana]]:
    """Yield a bare client and ours, each with connections for 200 requests at once."""
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=200)
    http = httpx.AsyncClient(headers=HEADERS, limits=limits, timeout=120)
    ours = httpx.AsyncClient(limits=limits)
    yield http, AsyncNanoBanana(KEY, base_url=url, timeout=120, http_client=ours)
    runner.run(http.aclose())
    runner.run(ours.aclose())


async def _post(http: httpx.AsyncClient, url: str) -> object:
    return (await http.post(url + PATH, json=BODY)).json()


async def _bare_batch(
    url: str, bodies: Sequence[Mapping[str, str]], in_flight: int, folder: Path
) -> float:
    """Return the rows per second of the plainest program that does what a batch does."""
    remaining = iter(enumerate(bodies))
    async with httpx.AsyncClient(headers=HEADERS, base_url=url) as http:

        async def work() -> None:
            for number, body in remaining:
                task_id = (await http.post(PATH, json=body)).json()["taskId"]
                poll = await http.get(POLL_PATH, params={"taskId": task_id})
                image = await http.get(poll.json()["result"]["imageUrls"][0])
                await asyncio.to_thread((folder / f"{number}.png").write_bytes, image.content)

        start = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(in_flight)))
        return len(bodies) / (time.perf_counter() - start)


async def _aiohttp_rate(url: str, calls: int, in_flight: int) -> float:
    import aiohttp

    connector = aiohttp.TCPConnector(limit=in_flight)
    async with aiohttp.ClientSession(connector=connector, headers=HEADERS) as session:

        async def post() -> object:
            async with session.post(url + PATH, json=BODY) as response:
                return await response.json()

        return await measure.rate(post, calls, in_flight)


def _server_rate(runner: asyncio.Runner, url: str, connections: int) -> float:
    request = httpx.Request("POST", url + PATH, json=BODY, headers=HEADERS)
    return runner.run(measure.server_rate(request, 3000, connections))


def _missing(samples: Mapping[str, object], side: str) -> dict[str, list[float]]:
    """Return a side without samples, if no side of that name was measured."""
    return {} if any(name.startswith(side) for name in samples) else {side: []}


if __name__ == "__main__":
    sys.exit(main())
