"""A typed client of Mountsea's Nano Banana image API that never pays twice."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .client._async_client import AsyncNanoBanana, AsyncTask, AsyncTaskResult
    from .client._client import NanoBanana, Task, TaskResult
    from .client._errors import (
        APIConnectionError,
        APIStatusError,
        APITimeoutError,
        AuthenticationError,
        BadRequestError,
        ConfigurationError,
        ContractWarning,
        DownloadError,
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
    from .rules._rules import Violation, check_request

__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AsyncNanoBanana",
    "AsyncTask",
    "AsyncTaskResult",
    "AuthenticationError",
    "BadRequestError",
    "ConfigurationError",
    "ContractWarning",
    "DownloadError",
    "InvalidRequest",
    "NanoBanana",
    "NanoBananaError",
    "NotFoundError",
    "PermissionDeniedError",
    "RateLimitError",
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


def __getattr__(name: str) -> Any:
    # httpx takes most of the time of an import: the command line's help does without it, and a
    # program that is not asynchronous does without the asynchronous client.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    modules = (
        ["client._async_client"]
        if name.startswith("Async")
        else ["client._errors", "rules._rules", "client._client"]
    )
    spaces = (vars(import_module(f".{module}", __name__)) for module in modules)
    return next(space[name] for space in spaces if name in space)
