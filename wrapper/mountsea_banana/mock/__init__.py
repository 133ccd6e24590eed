"""A mock server of the API, built from the contract: it costs nothing and needs no account.

    with MockServer() as server:
        client = NanoBanana("test-token", base_url=server.url)

Needs the extra `mock`.
"""

from ._app import DEFAULT_KEYS, create_app
from ._server import MockServer

__all__ = ["DEFAULT_KEYS", "MockServer", "create_app"]
