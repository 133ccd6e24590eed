"""The JSON object that a command prints."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from mountsea_banana import TaskResult

Charged = Literal["no", "yes", "unknown"]
"""Whether a command may have been charged for."""


def document(
    *,
    task_id: str | None = None,
    key: str | None = None,
    result: TaskResult | None = None,
    path: Path | None = None,
    charged: Charged = "no",
    error: BaseException | None = None,
    message: str = "",
    **more: object,
) -> str:
    """Return the JSON object with the outcome of a command, and with more fields."""
    fields = {
        "task_id": task_id,
        "key": key,
        "status": result.status if result else None,
        "path": str(path) if path else None,
        "image_urls": (result.image_urls if result else None) or None,
        "charged": charged,
        "trace_id": result.trace_id if result else None,
        "error": _error(error, message) if error else None,
        **more,
    }
    return json.dumps(fields)


def _error(error: BaseException, message: str) -> dict[str, Any]:
    code = getattr(error, "error_code", None)
    if isinstance(code, float) and not math.isfinite(code):
        code = str(code)  # JSON has no such number
    return {"type": type(error).__name__, "message": message, "code": code}
