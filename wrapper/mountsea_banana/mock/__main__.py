"""Serve a mock of the API. It is free and needs no account."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path

from mountsea_banana._shared.extras import missing

from ._plan import FINAL_STATUSES, TRIGGERS, Plan, parse_plan


def main(arguments: list[str] | None = None, prog: str = "python -m mountsea_banana.mock") -> int:
    """Serve until interrupted; return the exit code, which is 2 if the server cannot start."""
    parser = _parser(prog)
    knobs = vars(parser.parse_args(arguments))
    names = ("host", "port", "spec", "overlay")
    host, port, spec, overlay = (knobs.pop(name) for name in names)
    try:
        plan = parse_plan(knobs, Plan(advances="time"))
    except ValueError as error:
        parser.error(str(error))
    try:
        return _serve(host, port, spec, overlay, plan)
    except ImportError as error:
        print(f"mock: {missing(error, 'mock')}", file=sys.stderr)
        return 2


def options() -> dict[str, str]:
    """Return the options of the command with their help, for a shell to complete."""
    actions = _parser("mock")._actions
    return {action.option_strings[-1]: action.help or "" for action in actions}


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description=__doc__,
        epilog="environment:\n  MOCK_API_KEYS         "
        "valid API keys, separated by commas (default:\n"
        "                        test-token,other-token)",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="host to listen on (default: 127.0.0.1)"
    )
    parser.add_argument(
        "--port", type=int, default=8000, help="port to listen on, 0 for a free one (default: 8000)"
    )
    parser.add_argument(
        "--spec",
        type=Path,
        metavar="FILE",
        default=None,
        help="OpenAPI document to serve (default: the bundled spec)",
    )
    parser.add_argument(
        "--overlay",
        type=Path,
        metavar="FILE",
        default=None,
        help="OpenAPI Overlay document with the rules of the spec (default: the bundled overlay)",
    )
    knob = parser.add_argument_group("plan for each submission and its task").add_argument
    knob("--ends-as", choices=FINAL_STATUSES, help="final status (default: completed)")
    knob(
        "--advances",
        choices=TRIGGERS,
        help="what advances a task: each poll, time, or POST /_mock/advance "
        "(default: poll with --polls, time without)",
    )
    knob("--seconds", type=float, help="duration of a task that advances with time (default: 5)")
    knob("--polls", type=int, metavar="N", help="which poll returns the final status (default: 3)")
    knob(
        "--shows",
        metavar="STATUS",
        help="status until a task ends (default: pending, then processing)",
    )
    knob("--error-message", metavar="TEXT", help="errorMessage of a task that does not complete")
    knob(
        "--error-code",
        type=int,
        metavar="CODE",
        help="errorCode of a task that does not complete (default: 1000)",
    )
    knob(
        "--refusals",
        type=int,
        metavar="N",
        help="refuse a submission N times before accepting it (default: 0)",
    )
    knob(
        "--refusal-status",
        type=int,
        metavar="STATUS",
        help="HTTP status of a refusal (default: 429)",
    )
    knob(
        "--drops",
        action="store_true",
        help="accept and charge each submission, then close the connection without a response",
    )
    knob(
        "--truncates",
        action="store_true",
        help="close the connection halfway through each image",
    )
    return parser


def _serve(host: str, port: int, spec: Path | None, overlay: Path | None, plan: Plan) -> int:
    import uvicorn

    from mountsea_banana.contract import Contract, ContractError
    from mountsea_banana.mock import create_app
    from mountsea_banana.mock._server import config, listen

    try:
        app = create_app(Contract.load(spec, overlay), plan=plan)
        listener = listen(host, port)
    except (ContractError, OSError, OverflowError) as error:
        print(f"mock: cannot serve at {host}:{port}: {error}", file=sys.stderr)
        return 2
    host, port = listener.getsockname()[:2]
    url = f"http://{host}:{port}"
    print(f"mock: serving at {url} (open it in a browser to see the tasks; Ctrl-C stops it)")
    variables = f"MOUNTSEA_BASE_URL={url}"
    if not os.environ.get("MOCK_API_KEYS"):
        variables += " MOUNTSEA_API_KEY=test-token"
    print(f"mock: to point your client at it: export {variables}", flush=True)
    with listener, contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config(app, "warning")).run([listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
