"""Running a server, from its options to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import secrets
import signal
import socket
import sys

from mcp.server.stdio import stdio_server

from mountsea_banana._shared.signals import ENDING
from mountsea_banana.client._async_client import AsyncNanoBanana
from mountsea_banana.client._errors import ConfigurationError
from mountsea_banana.ledger._errors import LedgerError
from mountsea_banana.ledger._ledger import Ledger

from . import _http
from ._options import Options
from ._pictures import Pictures
from ._server import create_server

TOKEN = "MOUNTSEA_MCP_TOKEN"  # noqa: S105 - the name of the variable
"""The environment variable with the token of HTTP."""

_logger = logging.getLogger("mountsea_banana.mcp")


def run(options: Options, *, port: int | None) -> None:
    """Serve over stdio, or over HTTP if there is a port, until the client or the user ends it.

    Raises LedgerError if the output folder cannot be used, and ConfigurationError if stdio, the
    port or the token cannot be.
    """
    if port is None and (sys.stdin is None or sys.stdout is None):
        raise ConfigurationError(
            "stdin or stdout is closed: an MCP client starts this command and talks over both; for "
            "HTTP, pass --http"
        )
    # stdout carries the protocol alone.
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(message)s"
    )
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LedgerError(f"the output folder could not be created: {error}") from error
    with Ledger(options.ledger) as ledger:
        asyncio.run(_serve(options, ledger, port))


async def _serve(options: Options, ledger: Ledger, port: int | None) -> None:
    client = _client(options)
    try:
        async with Pictures(options, ledger, client) as pictures:
            _end_at_signals(pictures)
            server = create_server(pictures, options)
            if port is None:
                async with stdio_server() as (read, write):
                    await server.run(read, write, server.create_initialization_options())
            else:
                token = _token()
                with _listen(port) as listener:
                    _announce(listener, token)
                    await _http.serve(server, listener, token)
    finally:
        if isinstance(client, AsyncNanoBanana):
            await client.aclose()


def _client(options: Options) -> AsyncNanoBanana | ConfigurationError:
    """Return the client; if it is not configured, the error, which paid calls then report."""
    try:
        return AsyncNanoBanana(base_url=options.base_url)
    except ConfigurationError as error:
        _logger.warning("paid tools will not work: %s", error.problem)
        return error


def _token() -> str:
    """Return the token of HTTP. Raises ConfigurationError if no header can contain it."""
    token = os.environ.get(TOKEN) or secrets.token_urlsafe()
    if not re.fullmatch("[!-~]+", token):
        raise ConfigurationError(f"{TOKEN} contains a space or a character that is not ASCII")
    return token


def _end_at_signals(pictures: Pictures) -> None:
    """Let a signal end the process as soon as no submission is under way.

    Nothing can interrupt a read of stdin, and HTTP connections may stay open for long.
    """
    ends: list[asyncio.Task[None]] = []

    async def end(number: int) -> None:
        await pictures.finish()
        os._exit(128 + number)

    def receive(number: int) -> None:
        ends.append(asyncio.create_task(end(number)))

    # A command like nohup ignores a signal on purpose.
    for each in [each for each in ENDING if signal.getsignal(each) is not signal.SIG_IGN]:
        # Windows has no such handlers, and its clients end a process without a signal.
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(each, receive, each)


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise ConfigurationError(f"cannot listen at port {port}: {error}") from error


def _announce(listener: socket.socket, token: str) -> None:
    url = f"http://127.0.0.1:{listener.getsockname()[1]}{_http.PATH}"
    print(f"nano-banana mcp: {url}", file=sys.stderr)
    if not os.environ.get(TOKEN):
        print(f"nano-banana mcp: token {token}; set {TOKEN} to choose it", file=sys.stderr)
