"""How `bench.py` measures: in alternating rounds, and the servers and clients that it needs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import random
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path

import httpx
from attrs import frozen

Sample = Callable[[], float]
"""Takes one sample of one side, in the unit of its row."""


@frozen
class Row:
    """What was measured side by side. The other sides are compared to the first."""

    title: str
    unit: str
    sides: Mapping[str, Sequence[float]]
    """The samples of each side; none if its tool is not installed."""
    note: str = ""

    @property
    def is_rate(self) -> bool:
        """Whether a larger figure is better."""
        return "per second" in self.unit

    def median(self, side: str) -> float:
        """Return the median of a side."""
        return statistics.median(self.sides[side])

    def ratio(self, side: str) -> float:
        """Return how many times the first side's median a side's median is."""
        return self.median(side) / self.median(next(iter(self.sides)))

    def fastest(self, side: str) -> float:
        """Return the best sample of a side: other programs can only make one worse."""
        return (max if self.is_rate else min)(self.sides[side])

    def fastest_ratio(self, side: str) -> float:
        """Return how many times the first side's best sample a side's best sample is."""
        return self.fastest(side) / self.fastest(next(iter(self.sides)))


def alternate(sides: Mapping[str, Sample], *, rounds: int) -> dict[str, list[float]]:
    """Take a sample of each side in turn, `rounds` times, after one round to warm up."""
    samples: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        # In a random order, so that no side always has the moment when others use the machine.
        for name in random.sample(list(sides), len(sides)):
            figure = sides[name]()
            if number:
                samples[name].append(figure)
    return samples


def per_call(
    call: Callable[[], object], calls: int, clock: Callable[[], float] = time.perf_counter
) -> Sample:
    """Return a sample: the microseconds that a call takes, on average of `calls`."""

    def sample() -> float:
        start = clock()
        for _ in range(calls):
            call()
        return (clock() - start) / calls * 1e6

    return sample


def per_await(
    runner: asyncio.Runner,
    call: Callable[[], Awaitable[object]],
    calls: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Sample:
    """Return a sample: the microseconds that an awaited call takes, on average of `calls`."""

    async def sample() -> float:
        start = clock()
        for _ in range(calls):
            await call()
        return (clock() - start) / calls * 1e6

    return lambda: runner.run(sample())


def processor_of_children() -> float:
    """Return the seconds that the processes started so far, and ended, have used the processor."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def command(*arguments: str, clock: Callable[[], float] = time.perf_counter) -> Sample:
    """Return a sample: the milliseconds that a Python process takes, its modules compiled."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = {**os.environ, "PATH": path, "PYTHONPYCACHEPREFIX": _bytecode.name}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def sample() -> float:
        start = clock()
        subprocess.run(  # noqa: S603
            [sys.executable, *arguments], check=True, env=environment, stdout=subprocess.DEVNULL
        )
        return (clock() - start) * 1e3

    return sample


_bytecode = tempfile.TemporaryDirectory()


@contextlib.contextmanager
def waiting_thread() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Yield a function that hands a job over to a waiting thread, and waits until it is done."""
    jobs: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
    done = threading.Lock()
    done.acquire()

    def work() -> None:
        while job := jobs.get(timeout=60):
            job()
            done.release()

    def hand_over(job: Callable[[], object]) -> None:
        jobs.put(job)
        done.acquire(timeout=60)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield hand_over
    finally:
        jobs.put(None)
        thread.join()


@contextlib.contextmanager
def server(*arguments: str) -> Iterator[str]:
    """Run a Python process that serves on this machine and prints its URL; yield the URL."""
    with subprocess.Popen(  # noqa: S603
        [sys.executable, *arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None  # noqa: S101
            yield next(word for word in process.stdout.readline().split() if "://" in word)
        finally:
            process.terminate()
            process.communicate()


def mock(*options: str) -> contextlib.AbstractContextManager[str]:
    """Run the mock server; yield its URL."""
    return server("-m", "mountsea_banana.mock", "--port", "0", *options)


def bare_app() -> contextlib.AbstractContextManager[str]:
    """Run an application that only parses a request and creates an id; yield its URL."""
    return server(str(Path(__file__).with_name("bench_bare_app.py")))


@contextlib.contextmanager
def prism(spec: Path) -> Iterator[str]:
    """Run Prism, a mock server of others for any spec; yield its URL.

    Raises FileNotFoundError if npm is not installed or cannot get Prism.
    """
    npx = shutil.which("npx")
    if npx is None:
        raise FileNotFoundError("npx is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [npx, "--yes", "@stoplight/prism-cli@5", "mock", "--port", str(port), str(spec)]
    with subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None  # noqa: S101
            if not any("listening" in line for line in process.stdout):
                raise FileNotFoundError("npm cannot get Prism")
            # It logs every request, and a full pipe would stop it.
            threading.Thread(target=process.stdout.read, daemon=True).start()
            yield f"http://127.0.0.1:{port}"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)


async def rate(call: Callable[[], Awaitable[object]], calls: int, in_flight: int) -> float:
    """Return the calls per second if `in_flight` of them are always under way."""
    remaining = iter(range(calls))

    async def work() -> None:
        for _ in remaining:
            await call()

    start = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(in_flight)))
    return calls / (time.perf_counter() - start)


async def server_rate(request: httpx.Request, requests: int, connections: int) -> float:
    """Return the responses per second that a server gives to one request, sent again and again.

    The connections are bare sockets, so that the client takes little of the processor.
    """
    host, port = request.url.host, request.url.port
    head = [f"{request.method} {request.url.raw_path.decode()} HTTP/1.1"]
    head += [f"{name}: {value}" for name, value in request.headers.items()]
    message = "\r\n".join([*head, "", ""]).encode() + request.content
    opened = await asyncio.gather(
        *(asyncio.open_connection(host, port) for _ in range(connections))
    )
    idle = list(opened)

    async def exchange() -> None:
        reader, writer = connection = idle.pop()
        writer.write(message)
        response = await reader.readuntil(b"\r\n\r\n")
        length = response.lower().partition(b"content-length:")[2].split(None, 1)[0]
        await reader.readexactly(int(length))
        if not response.startswith(b"HTTP/1.1 201"):
            raise RuntimeError(f"the server did not create a task: {response!r}")
        idle.append(connection)

    try:
        return await rate(exchange, requests, connections)
    finally:
        for _, writer in opened:
            writer.close()


def ms_to_first_request(*arguments: str) -> float:
    """Return the milliseconds until a Python process, given a base URL, connects to its server."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        start = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, *arguments, "--base-url", url],
            stdout=subprocess.DEVNULL,
            env=os.environ | {"MOUNTSEA_API_KEY": "test-token"},
        )
        try:
            listener.settimeout(120)
            listener.accept()[0].close()
            return (time.perf_counter() - start) * 1e3
        finally:
            process.kill()
            process.wait()


def resident_mb() -> float:
    """Return the megabytes of memory that this process has in use; 0 where Linux is not."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
