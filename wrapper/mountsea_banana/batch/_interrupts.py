"""Ctrl-C, once and twice."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

from mountsea_banana._shared.signals import ENDING


@contextlib.contextmanager
def two_interrupts(first: Callable[[], object], second: Callable[[], object]) -> Iterator[None]:
    """Call a function in the event loop at the first Ctrl-C, and another at the second.

    The third raises KeyboardInterrupt. SIGTERM and SIGHUP count as Ctrl-C. Threads other than the
    main one get no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    functions = iter((first, second))
    is_interrupted = False

    def interrupt(number: int) -> None:
        nonlocal is_interrupted
        if is_interrupted and number not in (signal.SIGINT, signal.SIGTERM):
            return  # both the shell and the system say that the terminal was closed
        is_interrupted = True
        function = next(functions, None)
        if function is None:
            raise KeyboardInterrupt
        function()

    before = {each: signal.getsignal(each) for each in ENDING}
    # Background jobs of a shell ignore Ctrl-C, and keep ignoring it.
    before = {each: old for each, old in before.items() if old not in (signal.SIG_IGN, None)}
    loop = asyncio.get_running_loop()
    for each in before:
        try:
            # Unlike signal.signal, this wakes the loop even if another thread gets the signal.
            loop.add_signal_handler(each, interrupt, each)
        except NotImplementedError:  # Windows, which wakes it anyway
            signal.signal(each, lambda number, _: loop.call_soon_threadsafe(interrupt, number))
    try:
        yield
    finally:
        for each, old in before.items():
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(each)
            signal.signal(each, old)
