"""A mock server of the API, built from the contract. It is free and needs no account::

    with MockServer() as server:
        client = NanoBanana("test-token", base_url=server.url)

Needs the `mock` extra.
"""

from typing import TYPE_CHECKING, Any

from mountsea_banana._shared.extras import missing

if TYPE_CHECKING:
    from ._app import DEFAULT_KEYS, create_app
    from ._plan import Plan
    from ._server import MockServer

__all__ = ["DEFAULT_KEYS", "MockServer", "Plan", "create_app"]


def __dir__() -> list[str]:
    return sorted(__all__)


# With a module-level __getattr__, type checkers accept every name, even a misspelt one.
if not TYPE_CHECKING:  # pragma: no branch

    def __getattr__(name: str) -> Any:
        # The command is in this package, which must therefore be importable without the server's
        # libraries, to print the extra to install.
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            from . import _app, _server
        except ImportError as error:
            raise ImportError(missing(error, "mock"), name=error.name) from error
        value = getattr(_server, name, None) or getattr(_app, name)
        globals()[name] = value
        return value
