"""How the time of the client, a batch and the contract grows with what they are given."""

from __future__ import annotations

import asyncio
import copy
import functools
import itertools
import math
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml
from mountsea_banana import AsyncNanoBanana, InstantClock, batch
from mountsea_banana.contract import Contract
from mountsea_banana.ledger import Ledger

from scripts import bench_measure as measure
from scripts.bench_measure import Row, alternate

ROOT = Path(__file__).parent.parent
KEY = "test-token"
COUNTS = (250, 1000, 4000, 16_000)
LINEAR = 1.1
"""The largest power that counts as linear."""


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """Return the power of the size that the time grows with: 1 if it is proportional to it."""
    slope, _ = statistics.linear_regression(
        [math.log(size) for size in sizes], [math.log(each) for each in seconds]
    )
    return slope


def grow(
    title: str, noun: str, sizes: Sequence[int], run: Callable[[int], object], *, rounds: int = 3
) -> Row:
    """Measure `run` at each of the sizes."""

    def sample(size: int) -> float:
        start = time.perf_counter()
        run(size)
        return (time.perf_counter() - start) * 1e3

    names = {f"{size:,} {noun}": size for size in sizes}
    samples = alternate(
        {name: functools.partial(sample, size) for name, size in names.items()}, rounds=rounds
    )
    power = exponent(sizes, [min(each) for each in samples.values()])
    verdict = "no more than linear" if power <= LINEAR else "more than linear"
    return Row(title, "ms", samples, f"The fastest grow with the power {power:.2f}: {verdict}.")


def submissions() -> Row:
    """Submissions by one client in process, 50 in flight."""
    with asyncio.Runner() as runner:
        banana = _client(lambda _: httpx.Response(201, json={"taskId": "t-1"}))

        def run(count: int) -> None:
            runner.run(measure.rate(lambda: banana.generate("a cat"), count, 50))

        return grow("How submissions grow", "submissions", COUNTS, run)


def waits() -> Row:
    """Tasks that one process waits for at once, with three polls each."""
    polls: Counter[str] = Counter()

    def respond(request: httpx.Request) -> httpx.Response:
        task_id = request.url.params["taskId"]
        polls[task_id] += 1
        if polls[task_id] % 3:
            return httpx.Response(200, json={"taskId": task_id, "status": "processing"})
        result = {"imageUrls": ["https://example.com/cat.png"]}
        return httpx.Response(
            200, json={"taskId": task_id, "status": "completed", "result": result}
        )

    with asyncio.Runner() as runner:
        banana = _client(respond)

        async def wait(count: int) -> None:
            await asyncio.gather(*(banana.task(f"t-{n}").wait() for n in range(count)))

        return grow("How waiting grows", "tasks", COUNTS, lambda count: runner.run(wait(count)))


def rows() -> Row:
    """Rows of a batch with a ledger in SQLite, on the mock."""
    with measure.mock("--polls", "1") as url, tempfile.TemporaryDirectory() as scratch:

        def run(count: int) -> None:
            folder = Path(tempfile.mkdtemp(dir=scratch))
            bodies = ({"prompt": f"cat {number}"} for number in range(count))
            with batch.rows(bodies) as checked, Ledger(folder / "ledger.db") as ledger:
                client = AsyncNanoBanana(KEY, base_url=url, clock=InstantClock(), max_retries=0)
                batch.run(checked, ledger=ledger, output=folder / "images", client=client)

        return grow("How a batch grows", "rows", (100, 300, 1000, 3000), run, rounds=2)


def operations() -> Row:
    """Operations of a spec from which the contract is built."""
    published = yaml.safe_load((ROOT / "openapi.yaml").read_text("utf-8"))
    rules = (ROOT / "wrapper/mountsea_banana/contract/rules.overlay.yaml").read_text("utf-8")
    overlay = yaml.safe_load(rules)

    def run(count: int) -> None:
        Contract.build(_with_operations(published, count), overlay)

    return grow("How reading a spec grows", "operations", (5, 20, 80, 300), run)


def prompts() -> Row:
    """Characters of a prompt that is submitted in process."""
    with asyncio.Runner() as runner:
        banana = _client(lambda _: httpx.Response(201, json={"taskId": "t-1"}))

        def run(length: int) -> None:
            runner.run(measure.rate(lambda: banana.generate("a" * length), 10, 1))

        sizes = (1000, 20_000, 450_000, 10_000_000)
        return grow("How ten submissions grow with their prompts", "characters", sizes, run)


def _client(respond: Callable[[httpx.Request], httpx.Response]) -> AsyncNanoBanana:
    transport = httpx.MockTransport(respond)
    return AsyncNanoBanana(
        KEY,
        base_url="http://127.0.0.1",
        clock=InstantClock(),
        http_client=httpx.AsyncClient(transport=transport),
    )


def _with_operations(published: Mapping[str, Any], count: int) -> dict[str, Any]:
    """Return a spec whose paths are copied until it has `count` operations."""
    document: dict[str, Any] = copy.deepcopy(dict(published))
    for number in itertools.count(1):
        for path, item in published["paths"].items():
            if len(document["paths"]) >= count:
                return document
            copied = copy.deepcopy(item)
            for operation in copied.values():
                operation["operationId"] += f"-{number}"
            document["paths"][f"{path}/{number}"] = copied
    raise AssertionError
