"""`python -m mountsea_banana.mock`: the mock server, for people to develop against."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path


def main(arguments: list[str] | None = None, prog: str = "python -m mountsea_banana.mock") -> int:
    """Serve until interrupted; return the exit status, 2 where the server cannot start."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="the address to bind to")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--spec", type=Path, help="an OpenAPI document to serve")
    options = parser.parse_args(arguments)
    try:
        import uvicorn

        from mountsea_banana.contract import Contract, ContractError
        from mountsea_banana.mock import create_app
        from mountsea_banana.mock._server import listen
    except ImportError as error:
        print(
            f"mock: {error.name} is missing: pip install 'mountsea-banana[mock]'", file=sys.stderr
        )
        return 2
    try:
        app = create_app(Contract.load(options.spec))
        listener = listen(options.host, options.port)
    except (ContractError, OSError, OverflowError) as error:
        print(f"mock: cannot serve at {options.host}:{options.port}: {error}", file=sys.stderr)
        return 2
    host, port = listener.getsockname()[:2]
    config = uvicorn.Config(app, log_level="warning", lifespan="off")
    print(f"mock: serving at http://{host}:{port} (its page shows the tasks; Ctrl-C stops it)")
    print(f"mock: point a client at it: export MOUNTSEA_BASE_URL=http://{host}:{port}")
    if not os.environ.get("MOCK_API_KEYS"):
        print("mock: and give it a key: export MOUNTSEA_API_KEY=test-token", flush=True)
    with listener, contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run([listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
