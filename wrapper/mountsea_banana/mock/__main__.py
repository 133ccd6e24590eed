"""Serve a mock of the API: it costs nothing and needs no account."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path

from mountsea_banana._shared.extras import missing

from ._plan import ENDS, WAYS, Plan, plan_of


def main(arguments: list[str] | None = None, prog: str = "python -m mountsea_banana.mock") -> int:
    """Serve until interrupted; return the exit status, 2 where the server cannot start."""
    parser = _parser(prog)
    knobs = vars(parser.parse_args(arguments))
    host, port, spec = (knobs.pop(name) for name in ("host", "port", "spec"))
    try:
        plan = plan_of(knobs)
    except ValueError as error:
        parser.error(str(error))
    try:
        return _serve(host, port, spec, plan)
    except ImportError as error:
        print(f"mock: {missing(error, 'mock')}", file=sys.stderr)
        return 2


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description=__doc__,
        epilog="It accepts the keys in MOCK_API_KEYS, by default test-token and other-token.",
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to bind to")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--spec", type=Path, default=None, help="an OpenAPI document to serve")
    knob = parser.add_argument_group("every submission and its task").add_argument
    knob("--ends-as", choices=ENDS, help="how it ends, by default completed")
    knob("--advances", choices=WAYS, help="what moves it on, by default each poll")
    knob("--polls", type=int, help="which poll sees the end, by default the third")
    knob("--seconds", type=float, help="how long it takes with --advances time, by default 5")
    knob("--shows", metavar="STATUS", help="its status until it ends")
    knob("--refusals", type=int, help="how often it is refused before it is accepted")
    knob("--refusal-status", type=int, help="the status of a refusal, by default 429")
    knob("--drops", action="store_true", help="accept it, and close the connection unanswered")
    knob("--truncates", action="store_true", help="close in the middle of the picture")
    return parser


def _serve(host: str, port: int, spec: Path | None, plan: Plan) -> int:
    import uvicorn

    from mountsea_banana.contract import Contract, ContractError
    from mountsea_banana.mock import create_app
    from mountsea_banana.mock._server import config, listen

    try:
        app = create_app(Contract.load(spec), plan=plan)
        listener = listen(host, port)
    except (ContractError, OSError, OverflowError) as error:
        print(f"mock: cannot serve at {host}:{port}: {error}", file=sys.stderr)
        return 2
    host, port = listener.getsockname()[:2]
    print(f"mock: serving at http://{host}:{port} (its page shows the tasks; Ctrl-C stops it)")
    print(f"mock: point a client at it: export MOUNTSEA_BASE_URL=http://{host}:{port}")
    if not os.environ.get("MOCK_API_KEYS"):
        print("mock: and give it a key: export MOUNTSEA_API_KEY=test-token", flush=True)
    with listener, contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config(app, "warning")).run([listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
