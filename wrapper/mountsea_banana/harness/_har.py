"""The failing exchanges as HAR, which the vendor's support can open in a browser."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from mountsea_banana._version import __version__

from ._causes import Cause
from ._failure import Failure

MAX_EXCHANGES_PER_CAUSE = 3


def har(causes: Iterable[Cause], base_url: str) -> bytes:
    """Return the smallest exchanges of each cause. They have placeholders in place of keys."""
    entries = [
        _entry(failure, cause, base_url)
        for cause in causes
        for failure in cause.failures[:MAX_EXCHANGES_PER_CAUSE]
    ]
    creator = {"name": "mountsea-banana", "version": __version__}
    log = {"version": "1.2", "creator": creator, "entries": entries}
    return json.dumps({"log": log}, indent=1).encode()


def _entry(failure: Failure, cause: Cause, base_url: str) -> dict[str, Any]:
    request, response = failure.case.request, failure.response
    posted = (request.body or b"").decode("utf-8", "backslashreplace")
    media_type = dict(request.headers).get("Content-Type", "")
    content = response.body.decode("utf-8", "backslashreplace")
    shared = {"httpVersion": "HTTP/1.1", "cookies": [], "headersSize": -1}
    return {
        "startedDateTime": failure.received_at,
        "time": 0,
        "cache": {},
        "timings": {"send": 0, "wait": 0, "receive": 0},
        "comment": cause.title,
        "request": {
            **shared,
            "method": request.method,
            "url": base_url + request.target_of(failure.task),
            "headers": _headers(dict(request.headers)),
            "queryString": [],
            "postData": {"mimeType": media_type, "text": posted},
            "bodySize": len(request.body or b""),
        },
        "response": {
            **shared,
            "status": response.status,
            "statusText": response.fault,
            "headers": _headers(response.headers),
            "content": {
                "size": len(response.body),
                "mimeType": response.headers.get("content-type", ""),
                "text": content,
            },
            "redirectURL": response.headers.get("location", ""),
            "bodySize": len(response.body),
        },
    }


def _headers(headers: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in headers.items()]
