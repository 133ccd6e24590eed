"""Building requests: from a caller's arguments to what is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, cast

from attrs import frozen

from mountsea_banana._shared.text import is_utf8, shown
from mountsea_banana.rules._check import CheckedRequest, encode_and_check
from mountsea_banana.rules._violations import Violation

from ._errors import InvalidRequest

if TYPE_CHECKING:
    from mountsea_api.models import NanoImageDto


MAX_ID = 1000
"""Characters; httpx raises an error of its own for a URL of 65,536."""


@frozen
class APIRequest:
    """A request to the API, as the generated client describes it."""

    arguments: Mapping[str, Any]
    """The arguments of `httpx.Client.build_request`; `url` is the path."""
    is_submission: bool
    task_id: str | None
    """The task that is polled; None for a submission."""


def fields(action: str, prompt: str, **options: object) -> dict[str, object]:
    """Return the fields of a request body; options that are None are left out."""
    given = {name: value for name, value in options.items() if value is not None}
    return {"action": action, "prompt": prompt, **given}


def as_list(image_urls: object) -> object:
    """Return one URL, or a sequence of URLs, as a list; return anything else unchanged.

    A path becomes a string, about which the rules say more than that it is no JSON.
    """
    if isinstance(image_urls, str | PurePath):
        return [str(image_urls)]
    if not isinstance(image_urls, Sequence) or isinstance(image_urls, bytes | bytearray):
        return image_urls
    return [str(each) if isinstance(each, PurePath) else each for each in image_urls]


def checked(request: NanoImageDto | Mapping[str, object]) -> CheckedRequest:
    """Return a request, encoded, if it violates no rule. Raises InvalidRequest."""
    result = encode_and_check(request)
    if result.violations:
        raise InvalidRequest(result.violations)
    return result


def image_urls(request: CheckedRequest) -> list[str]:
    """Return the image URLs of a valid edit."""
    return cast("list[str]", request.body["image_urls"])


def submission(request: CheckedRequest) -> APIRequest:
    """Return the request that submits a valid request body."""
    from mountsea_api.api.gemini import api_public_controller_nano_image as nano_image

    arguments = nano_image._get_kwargs(body=cast("NanoImageDto", _Encoded()))
    del arguments["json"]
    return APIRequest({**arguments, "content": request.content}, is_submission=True, task_id=None)


class _Encoded:
    """A placeholder for a request body that is already encoded."""

    def to_dict(self) -> None:
        """Return nothing for the generated client to encode."""


def poll(task_id: str) -> APIRequest:
    """Return the request that asks for the status of a task."""
    from mountsea_api.api.gemini import api_public_controller_task_result as task_result

    arguments = task_result._get_kwargs(task_id=task_id)
    return APIRequest(arguments, is_submission=False, task_id=task_id)


def is_sendable(task_id: str) -> bool:
    """Return whether a task can be polled by this id."""
    return is_utf8(task_id) and len(task_id) <= MAX_ID


def check_task_id(task_id: object) -> str:
    """Return a task id that can be sent. Raises InvalidRequest."""
    if isinstance(task_id, str) and task_id.strip() and is_utf8(task_id):
        if is_sendable(task_id):
            return task_id
        problem = f"must have at most {MAX_ID} characters, not {len(task_id)}"
    else:
        problem = f"must be the string that a submission returned, not {shown(task_id)}"
    raise InvalidRequest([Violation("type", "task_id", problem)])
