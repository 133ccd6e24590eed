"""Ctrl-C, once and twice."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def two_interrupts(first: Callable[[], object], second: Callable[[], object]) -> Iterator[None]:
    """Call a function in the event loop at the first Ctrl-C or SIGTERM, another at the second.

    A third interrupts as it did before. Threads other than the main one get no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    functions = iter((first, second))

    def interrupt(*_: object) -> None:
        function = next(functions, None)
        if function:
            loop.call_soon_threadsafe(function)
        else:
            restore()
            raise KeyboardInterrupt

    def restore() -> None:
        for each, old in before.items():
            signal.signal(each, old)

    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    # Background jobs of a shell ignore Ctrl-C, and keep ignoring it.
    before = {each: old for each, old in before.items() if old != signal.SIG_IGN}
    for each in before:
        signal.signal(each, interrupt)
    try:
        yield
    finally:
        restore()
