"""Runs the server whose Python is on standard input: `python -m tests.servers.run PORT NAME`."""

import sys
from pathlib import Path

__file__ = str(Path(__file__).parent / "honest" / f"{sys.argv[2]}_server.py")
# In this module's own namespace, because frameworks look annotations up in `__main__`.
exec(compile(sys.stdin.read(), __file__, "exec"), globals())
