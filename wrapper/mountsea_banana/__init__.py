"""A typed client for Mountsea's Nano Banana image API that never pays twice."""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from ._version import __version__

if TYPE_CHECKING:
    from ._shared.clock import Clock, InstantClock
    from .client._async_client import AsyncNanoBanana
    from .client._async_tasks import AsyncTask, AsyncTaskResult
    from .client._client import NanoBanana
    from .client._errors import (
        APIConnectionError,
        APIStatusError,
        APITimeoutError,
        AuthenticationError,
        BadRequestError,
        ConfigurationError,
        ContractWarning,
        DownloadError,
        Hint,
        InvalidRequest,
        NanoBananaError,
        NotFoundError,
        PermissionDeniedError,
        RateLimitError,
        ServerError,
        SubmissionServerError,
        SubmissionUnknown,
        SubmissionUnreadable,
        TaskFailed,
        UnexpectedResponse,
        WaitTimeout,
    )
    from .client._tasks import Task, TaskResult
    from .rules._check import check_request
    from .rules._models import (
        AspectRatio,
        FastOptions,
        Model,
        Nano2Options,
        ProOptions,
        Resolution,
    )
    from .rules._violations import Violation

__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AspectRatio",
    "AsyncNanoBanana",
    "AsyncTask",
    "AsyncTaskResult",
    "AuthenticationError",
    "BadRequestError",
    "Clock",
    "ConfigurationError",
    "ContractWarning",
    "DownloadError",
    "FastOptions",
    "Hint",
    "InstantClock",
    "InvalidRequest",
    "Model",
    "Nano2Options",
    "NanoBanana",
    "NanoBananaError",
    "NotFoundError",
    "PermissionDeniedError",
    "ProOptions",
    "RateLimitError",
    "Resolution",
    "ServerError",
    "SubmissionServerError",
    "SubmissionUnknown",
    "SubmissionUnreadable",
    "Task",
    "TaskFailed",
    "TaskResult",
    "UnexpectedResponse",
    "Violation",
    "WaitTimeout",
    "__version__",
    "check_request",
]

# Importing httpx takes most of the time. `nano-banana --help` doesn't need it, and a
# synchronous program doesn't need the asynchronous client.
_MODULES = (
    "_shared.clock",
    "rules._models",
    "rules._violations",
    "rules._check",
    "client._errors",
    "client._tasks",
    "client._client",
)
_ASYNC_MODULES = ("client._async_tasks", "client._async_client")

if not TYPE_CHECKING:  # pragma: no branch - type checkers would accept any name

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        modules = _ASYNC_MODULES if name.startswith("Async") else _MODULES
        spaces = (vars(import_module(f".{module}", __name__)) for module in modules)
        found = next(space[name] for space in spaces if name in space)
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        shown = (n for n, value in globals().items() if n[:2] == "__" or type(value) is ModuleType)
        return sorted({*__all__, *shown})
