"""`nano-banana`: the command line. Needs the `cli` extra."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mountsea_banana._shared.extras import missing


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code, which is 2 if the extra is missing."""
    try:
        import click  # noqa: F401
        import rich  # noqa: F401
    except ModuleNotFoundError as error:
        print(f"nano-banana: {missing(error, 'cli')}", file=sys.stderr)
        return 2
    try:
        from ._commands import run

        return run(arguments)
    except KeyboardInterrupt:
        return 130
