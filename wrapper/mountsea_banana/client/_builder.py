"""Building the httpx requests of a client."""

from __future__ import annotations

import httpx
from attrs import frozen

from ._requests import APIRequest
from ._settings import Settings


class RequestBuilder:
    """Builds requests as `httpx.Client.build_request` does, but submissions much faster.

    From one submission to the next, only the body changes. A submission is therefore copied from a
    template for as long as the client's headers stay the same.
    """

    def __init__(self, settings: Settings, http: httpx.Client | httpx.AsyncClient) -> None:
        self._settings = settings
        self._http = http
        self._template: _Template | None = None

    def build(self, request: APIRequest) -> httpx.Request:
        """Return the httpx request for a request to the API."""
        arguments = self._settings.arguments(request)
        if not request.is_submission or self._has_more_than_headers():
            return self._http.build_request(**arguments)
        template = self._template
        client_headers = self._http.headers.raw
        if template is None or template.client_headers != client_headers:
            built = self._http.build_request(**{**arguments, "content": b"{}"})
            template = self._template = _Template(client_headers, built)
        return template.copy(arguments["content"])

    def _has_more_than_headers(self) -> bool:
        """Return whether the client may add anything else to a request."""
        http = self._http
        is_overridden = (
            getattr(http.build_request, "__func__", None) is not httpx.Client.build_request
        )
        return is_overridden or bool(http.cookies) or bool(http.params)


@frozen
class _Template:
    client_headers: list[tuple[bytes, bytes]]
    request: httpx.Request

    def copy(self, content: bytes) -> httpx.Request:
        request = self.request
        copy = httpx.Request(
            request.method,
            request.url,
            stream=httpx.ByteStream(content),
            extensions={"timeout": dict(request.extensions["timeout"])},
        )
        copy.headers = request.headers.copy()
        copy.headers["Content-Length"] = str(len(content))
        copy.read()
        return copy
