"""A typed client of Mountsea's Nano Banana image API that never pays twice."""

from typing import TYPE_CHECKING, Any

from ._client import NanoBanana, Task, TaskResult
from ._errors import (
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
from ._rules import Violation, check_request
from ._version import __version__

if TYPE_CHECKING:
    from ._async_client import AsyncNanoBanana, AsyncTask, AsyncTaskResult

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
    # A program that is not asynchronous does without the time that this import takes.
    if name in ("AsyncNanoBanana", "AsyncTask", "AsyncTaskResult"):
        from . import _async_client

        return getattr(_async_client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
