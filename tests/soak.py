"""Deadlines and cancellations by the thousand: nothing may stay behind.

`python -m tests.soak [COUNT]` prints the threads, open files and memory before and after, and exits
with 1 if one of them has grown.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import mountsea_banana as api
from mountsea_banana import AsyncNanoBanana, NanoBanana

KEY = "test-token"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
ALLOWED_GROWTH = {"threads": 10, "open files": 10, "memory in MB": 30}


async def _trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, EOFError):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD)
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.001)
    writer.close()


@contextlib.contextmanager
def trickling_server() -> Iterator[str]:
    """Run a server that sends its responses one byte at a time, forever; yield its URL."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    start = asyncio.start_server(_trickle, "127.0.0.1", 0)
    server = asyncio.run_coroutine_threadsafe(start, loop).result()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def deadlines(url: str, count: int) -> None:
    """Let the deadline of a synchronous wait pass, `count` times."""
    with NanoBanana(KEY, base_url=url) as banana:
        for _ in range(count):
            with contextlib.suppress(api.WaitTimeout):
                banana.task("t-1").wait(timeout=0.005)


async def cancellations(url: str, count: int) -> None:
    """Cancel an asynchronous poll, `count` times."""
    async with AsyncNanoBanana(KEY, base_url=url) as banana:
        for _ in range(count):
            poll = asyncio.create_task(banana.task("t-1").fetch())
            await asyncio.sleep(0.003)
            poll.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await poll


def usage() -> dict[str, int]:
    """Return what this process uses, once that has settled."""
    files = -1
    for _ in range(50):
        gc.collect()
        before, files = files, len(list(Path("/proc/self/fd").iterdir()))
        if files == before:
            break
        time.sleep(0.05)
    resident = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf(
        "SC_PAGE_SIZE"
    )
    threads = threading.active_count()
    return {"threads": threads, "open files": files, "memory in MB": resident // 2**20}


def main(count: int) -> int:
    """Print the usage before and after; return the exit status."""
    with trickling_server() as url:
        deadlines(url, 50)
        asyncio.run(cancellations(url, 50))
        before = usage()
        deadlines(url, count)
        asyncio.run(cancellations(url, count))
        after = usage()
    for name, limit in ALLOWED_GROWTH.items():
        print(f"{name:<14} {before[name]:>6} -> {after[name]}, at most {limit} more")
    return int(any(after[name] > before[name] + limit for name, limit in ALLOWED_GROWTH.items()))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000))
