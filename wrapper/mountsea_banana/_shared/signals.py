"""Signals that ask a program to end."""

import signal

ENDING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""Ctrl-C, a request to end, and a closed terminal, which Windows does not signal."""
