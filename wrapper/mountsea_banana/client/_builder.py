"""Building the httpx requests of a client."""

from __future__ import annotations

import httpx

from ._requests import APIRequest
from ._settings import Settings

# Taken when this module is imported: an instrumentation may replace it later.
_BUILD = httpx.Client.build_request


class RequestBuilder:
    """Builds requests as `httpx.Client.build_request` does, but submissions much faster.

    From one submission to the next, only the body changes. A submission is therefore copied from a
    template for as long as the client's headers stay the same.
    """

    def __init__(self, settings: Settings, http: httpx.Client | httpx.AsyncClient) -> None:
        self._settings = settings
        self._http = http
        # The client's headers, and the template that has them. Threads may share a client.
        self._template: tuple[list[tuple[bytes, bytes]], httpx.Request] | None = None

    def build(self, request: APIRequest) -> httpx.Request:
        """Return the httpx request for a request to the API."""
        arguments = self._settings.arguments(request)
        if not request.is_submission or self._has_more_than_headers():
            return self._http.build_request(**arguments)
        client_headers, template = self._http.headers.raw, self._template
        if template is None or template[0] != client_headers:
            built = self._http.build_request(**{**arguments, "content": b"{}"})
            template = self._template = client_headers, built
        return _copy(template[1], arguments["content"])

    def _has_more_than_headers(self) -> bool:
        """Return whether the client may add anything else to a request."""
        http = self._http
        is_own = type(http) in (httpx.Client, httpx.AsyncClient)
        method = getattr(http.build_request, "__func__", None)
        return not is_own or method is not _BUILD or bool(http.cookies) or bool(http.params)


def _copy(template: httpx.Request, content: bytes) -> httpx.Request:
    """Return a copy of a request with another body."""
    copy = httpx.Request(
        template.method,
        template.url,
        stream=httpx.ByteStream(content),
        extensions={"timeout": dict(template.extensions["timeout"])},
    )
    copy.headers = template.headers.copy()
    copy.headers["Content-Length"] = str(len(content))
    copy.read()
    return copy
